"""Decides which text leaves this machine: that around the cursor and, for the next edit, the document's recent edits.

Snippets of other files and the file's path are left out. Documents are identified by random numbers. Each line with a
secret is blanked, see `context.secrets`. If the cursor's own line has a secret, or the cursor is inside a private key,
nothing is sent. Ignored and private files are refused earlier.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from mercury_lsp.context.secrets import blank_secrets
from mercury_lsp.engine.tokenizer import Prompt

# The last lines of a private key that starts above the window.
_TAIL = re.compile(
    r"""(?:^[ \t"'`]*[A-Za-z0-9+/=]{4,}(?:\\n)?[ \t"'`,+\\]*\n)+[^\n]*-----END [A-Z0-9 ]{0,30}PRIVATE KEY""",
    re.MULTILINE,
)
_ENDING = re.compile(r"\.[A-Za-z+#]{1,12}")


def outgoing(prompt: Prompt) -> tuple[str, str] | None:
    """Return the text before and after the cursor that may be sent, or None if nothing may be sent."""
    suffix = prompt.rest + prompt.following
    prefix = prompt.prefix + prompt.stem
    text, cursor = prefix + suffix, len(prefix)
    clean = blank_outgoing(text)
    start, end = text.rfind("\n", 0, cursor) + 1, text.find("\n", cursor)
    line = slice(start, len(text) if end < 0 else end)
    return (clean[:cursor], clean[cursor:]) if clean[line] == text[line] else None


def blank_outgoing(text: str) -> str:
    """Blank each line that contains a part of a secret, also of a cut-off key; the text's length stays the same."""
    clean = blank_secrets(text, strict=True)
    if (tail := _TAIL.search(text)) is not None:
        clean = clean[: tail.start()] + re.sub(r"[^\n]", " ", tail.group()) + clean[tail.end() :]
    return clean


def anonymous_name(path: str) -> str:
    """Return a document's name for a hosted model: "file" with the document's extension, which tells the language."""
    ending = PurePosixPath(path).suffix
    return f"file{ending}" if _ENDING.fullmatch(ending) else "file"
