"""Cut what a text repeats: of itself, of the lines around it, and of the line that it is put into."""

from __future__ import annotations

import re

from mercury_lsp.context.layout import width
from mercury_lsp.context.site import Site

FOLLOWING = 12  # lines below that must not be repeated
PERIOD = 4  # lines in the longest loop

_STUTTER = re.compile(r"([A-Za-z]\w{0,40}\W[^\n]{1,20}?)\1{4,}")
_TWO_WORDS = re.compile(r"\w\W+\w")


def without_loops(text: str, left: str) -> str:
    """Cut after the first round of lines that come three times in a row, and of a piece of a line that comes five."""
    stutter = _STUTTER.search(text)
    if stutter:
        text = text[: stutter.end(1)]
    lines = text.split("\n")
    whole = [left + lines[0], *lines[1:]]
    for i in range(len(lines)):
        for period in range(1, PERIOD + 1):
            first, second, third = (whole[i + n * period : i + (n + 1) * period] for n in range(3))
            if first == second == third and any(line.strip() for line in first):
                return "\n".join(lines[: i + period])
    return text


def _alike(one: str, other: str, indented: bool) -> bool:
    """Whether two lines say the same, but for blanks, the kind of quotes, and a mark at the end."""
    if indented and width(one) != width(other):
        return False
    return _said(one) == _said(other)


def _said(line: str) -> str:
    return re.sub(r"\s+", "", line).replace('"', "'").rstrip(";,")


def without_following(text: str, site: Site, rest: str) -> str:
    """Cut before the lines which say what those do that follow the cursor's line, of which `rest` is left.

    Lines that merely look alike are left alone: of real lines one in forty is within a tenth of the next one.
    """
    document = site.syntax.document
    last = min(site.line + 1 + 2 * FOLLOWING, document.line_count)
    following = [line for line in map(document.line, range(site.line + 1, last)) if line.strip()][:FOLLOWING]
    lines = text.split("\n")
    whole = [site.left + lines[0], *lines[1:]]
    whole[-1] += rest
    for i, line in enumerate(whole):
        here = [line for line in whole[i:] if line.strip()]
        pairs = list(zip(here, following, strict=False))
        if (
            line.strip()
            and all(_alike(one, other, indented=i + n > 0) for n, (one, other) in enumerate(pairs))
            and any(re.search(r"\w", one) for one, _ in pairs)
        ):
            return "\n".join(lines[:i])
    return text


def repeats(text: str, site: Site) -> bool:
    """Whether the lines that a text makes are those right above, or only blank."""
    lines = [line.strip() for line in (site.left + text + site.rest).split("\n") if line.strip()]
    document = site.syntax.document
    above = (document.line(i).strip() for i in range(site.line - 1, max(-1, site.line - 60), -1))
    last = [line for line in above if line][: len(lines)]
    return last[::-1] == lines and _TWO_WORDS.search(" ".join(lines)) is not None
