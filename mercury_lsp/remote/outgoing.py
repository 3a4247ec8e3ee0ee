"""What leaves this machine: the text around the cursor, and nothing else.

Owns that rule. Related pieces of other files are left out, and so is the file's path, even the part below the
workspace: a hosted model is asked for a middle, not told where it stands. Documents are told apart by numbers that are
drawn at random. Each line that holds something secret is blank (see `context.secrets`); and where that is the cursor's
own line, or the cursor stands inside of a private key, nothing leaves at all. Which files are not looked into in the
first place is decided before (`pipeline.declined`), and which never leave (`Sampling.here`). Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mercury_lsp.context.secrets import without
from mercury_lsp.engine.tokenizer import Prompt

# The last lines of a private key whose head is above where the window begins.
_TAIL = re.compile(
    r"""(?:^[ \t"'`]*[A-Za-z0-9+/=]{4,}(?:\\n)?[ \t"'`,+\\]*\n)+[^\n]*-----END [A-Z0-9 ]{0,30}PRIVATE KEY""",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The text before a cursor, and that behind it."""

    prefix: str
    suffix: str


def outgoing(prompt: Prompt) -> Outgoing | None:
    """What may be sent of a prompt; None where nothing may be."""
    suffix = prompt.rest + prompt.following
    prefix = prompt.prefix + prompt.stem
    text, cursor = prefix + suffix, len(prefix)
    clean = without(text, strict=True)
    if (tail := _TAIL.search(text)) is not None:
        clean = clean[: tail.start()] + re.sub(r"[^\n]", " ", tail.group()) + clean[tail.end() :]
        if tail.start() < cursor < tail.end():
            return None
    start, end = text.rfind("\n", 0, cursor) + 1, text.find("\n", cursor)
    line = slice(start, len(text) if end < 0 else end)
    return Outgoing(clean[:cursor], clean[cursor:]) if clean[line] == text[line] else None
