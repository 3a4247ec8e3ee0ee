"""Decides what leaves this machine: the text around the cursor, and, for the next edit, the document's recent edits.

Related pieces of other files and the file's path are left out. Documents are told apart by random numbers. Each line
with a secret is blanked, see `context.secrets`. If the cursor's own line has a secret, or the cursor is inside a
private key, nothing leaves. Files that must not be read at all are refused before.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from mercury_lsp.context.secrets import without
from mercury_lsp.engine.tokenizer import Prompt

# The last lines of a private key that begins above the window.
_TAIL = re.compile(
    r"""(?:^[ \t"'`]*[A-Za-z0-9+/=]{4,}(?:\\n)?[ \t"'`,+\\]*\n)+[^\n]*-----END [A-Z0-9 ]{0,30}PRIVATE KEY""",
    re.MULTILINE,
)
_ENDING = re.compile(r"\.[A-Za-z+#]{1,12}")


def outgoing(prompt: Prompt) -> tuple[str, str] | None:
    """The text before and after a cursor that may be sent; None if none may."""
    suffix = prompt.rest + prompt.following
    prefix = prompt.prefix + prompt.stem
    text, cursor = prefix + suffix, len(prefix)
    clean = blanked(text)
    start, end = text.rfind("\n", 0, cursor) + 1, text.find("\n", cursor)
    line = slice(start, len(text) if end < 0 else end)
    return (clean[:cursor], clean[cursor:]) if clean[line] == text[line] else None


def blanked(text: str) -> str:
    """A text with each line blank that has a part of something secret in it; it keeps its length."""
    clean = without(text, strict=True)
    if (tail := _TAIL.search(text)) is not None:
        clean = clean[: tail.start()] + re.sub(r"[^\n]", " ", tail.group()) + clean[tail.end() :]
    return clean


def anonymous(path: str) -> str:
    """What a hosted model is told of a document's path: the ending of its name, which says the language."""
    ending = PurePosixPath(path).suffix
    return f"file{ending}" if _ENDING.fullmatch(ending) else "file"
