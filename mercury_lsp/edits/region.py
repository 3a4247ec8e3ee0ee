"""Selects the lines around the cursor for a model that rewrites them, and turns its result into edits.

The lines have no endings, so that the document's own line endings stay unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from mercury_lsp.context.secrets import find_secrets
from mercury_lsp.edits.candidates import has_secret
from mercury_lsp.edits.history import Edit, by_line
from mercury_lsp.edits.search import Candidate, Dismissals
from mercury_lsp.syntax.document import Document, plain

# The number of lines above and below the cursor's line that a model may rewrite.
REGION_LINES = 10
# The number of lines above and below the cursor's line that are searched for secrets.
CONTEXT_LINES = 100
MAX_REGION_CHARACTERS = 6_000
MAX_CHANGES = 5
MAX_CHANGE_LINES = 40
# The number of lines that one candidate may replace or add.
MAX_CANDIDATE_LINES = 12
# The length of a remainder of a secret that is still hidden after an edit of the secret or of its name.
MIN_REMAINDER_CHARACTERS = 6

Clean = Callable[[str], str]
"""Blanks the lines of a text that the model must not see, and leaves the others unchanged."""


@dataclass(frozen=True, slots=True)
class Change:
    """An edit of whole lines: from line `first` of the current document on, `new` replaced `old`."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """The lines `first` to `last` of a document, which a model may rewrite, within `lines`, which it sees.

    `top`: the number of the first of `lines`. `line`, `character`: the cursor.
    """

    document: Document
    top: int
    lines: tuple[str, ...]
    first: int
    last: int
    line: int
    character: int

    @property
    def above(self) -> tuple[str, ...]:
        """The visible lines above the region."""
        return self.lines[: self.first - self.top]

    @property
    def editable(self) -> tuple[str, ...]:
        """The lines of the region."""
        return self.lines[self.first - self.top : self.last + 1 - self.top]

    @property
    def below(self) -> tuple[str, ...]:
        """The visible lines below the region."""
        return self.lines[self.last + 1 - self.top :]

    def with_mark(self, mark: str) -> tuple[str, ...]:
        """Return the lines of the region with a mark at the cursor."""
        lines, at = list(self.editable), self.line - self.first
        lines[at] = lines[at][: self.character] + mark + lines[at][self.character :]
        return tuple(lines)


def region_around(
    document: Document,
    cursor: int,
    characters: int,
    clean: Clean | None = None,
    hidden: Collection[int] = (),
) -> Region | None:
    """Return the region around a cursor within a budget of characters; hidden lines are blank and end the region.

    `clean`: blanks the lines that the model must not see. `hidden`: the numbers of further such lines. Returns None if
    the cursor's line must not be seen, or is too long.
    """
    line, character = document.position(cursor)
    low, high = max(0, line - CONTEXT_LINES), min(document.line_count - 1, line + CONTEXT_LINES)
    text = plain(document.text[document.span(low)[0] : document.span(high)[1]])
    raw, shown = text.split("\n"), (text if clean is None else clean(text)).split("\n")
    shown = [" " * len(one) if low + i in hidden else one for i, one in enumerate(shown)]
    visible = [one == other for one, other in zip(raw, shown, strict=True)]
    at = line - low
    most = min(MAX_REGION_CHARACTERS, characters)
    if not visible[at] or len(raw[at]) > most:
        return None
    first = last = at
    size = len(raw[at]) + 1
    up = down = True
    while up or down:
        up = up and first > 0 and at - first < REGION_LINES and visible[first - 1]
        if up and (up := size + len(raw[first - 1]) < most):
            first -= 1
            size += len(raw[first]) + 1
        down = down and last + 1 < len(raw) and last - at < REGION_LINES and visible[last + 1]
        if down and (down := size + len(raw[last + 1]) < most):
            last += 1
            size += len(raw[last]) + 1
    top, bottom = first, last
    room = max(0, characters - size)
    above = room * 8 // 11
    while top > 0 and len(shown[top - 1]) < above:
        top -= 1
        above -= len(shown[top]) + 1
    below = room - room * 8 // 11
    while bottom + 1 < len(shown) and len(shown[bottom + 1]) < below:
        bottom += 1
        below -= len(shown[bottom]) + 1
    lines = tuple(shown[top : bottom + 1])
    return Region(document, low + top, lines, low + first, low + last, line, character)


def recent_changes(document: Document, edits: Sequence[Edit], clean: Clean | None = None) -> list[Change]:
    """Return the last edits of a document as whole lines, the newest last, without those that `clean` would change."""
    made: list[Change] = []
    for edit in reversed(by_line(document.text, edits)):
        if len(made) == MAX_CHANGES:
            break
        first, last, old, new = _old_and_new_lines(document, edit)
        if clean is not None and not all(
            _is_visible(document, first, last, side, clean) for side in (old, new)
        ):
            continue
        change = _without_common_lines(first, plain(old).split("\n"), plain(new).split("\n"))
        if change.old != change.new and len(change.old) + len(change.new) <= MAX_CHANGE_LINES:
            made.append(change)
    return made[::-1]


def lines_with_secret_remains(document: Document, edits: Sequence[Edit]) -> frozenset[int]:
    """Return the lines that still contain a part of a secret after an edit, which may be hard to recognize now."""
    lines: set[int] = set()
    for edit in by_line(document.text, edits):
        first, last, old, new = _old_and_new_lines(document, edit)
        # The lines of generated files are too long to be shown, and to be searched.
        long = len(old) + len(new) > 2 * MAX_REGION_CHARACTERS
        secrets = [] if long else [old[start:end] for start, end in find_secrets(old, strict=True)]
        if long or any(
            one[at : at + MIN_REMAINDER_CHARACTERS] in new
            for one in secrets
            for at in range(len(one) - MIN_REMAINDER_CHARACTERS + 1)
        ):
            lines.update(range(first, last + 1))
    return frozenset(lines)


def _old_and_new_lines(document: Document, edit: Edit) -> tuple[int, int, str, str]:
    """Return the first and the last line of an edit, and the text of these lines before and after the edit."""
    first, last = document.position(edit.start)[0], document.position(edit.end)[0]
    low, high = document.span(first)[0], document.span(last)[1]
    old = document.text[low : edit.start] + edit.before + document.text[edit.end : high]
    return first, last, old, document.text[low:high]


def _is_visible(document: Document, first: int, last: int, side: str, clean: Clean) -> bool:
    """Return whether the model may see one side of an edit of the lines `first` to `last`, in its context."""
    low, high = max(0, first - CONTEXT_LINES), min(document.line_count - 1, last + CONTEXT_LINES)
    before = plain(document.text[document.span(low)[0] : document.span(first)[0]])
    after = plain(document.text[document.span(last)[1] : document.span(high)[1]])
    middle = plain(side)
    return clean(before + middle + after)[len(before) : len(before) + len(middle)] == middle


def _without_common_lines(first: int, old: list[str], new: list[str]) -> Change:
    """Return a change without the lines that both sides have in common, but with at least one line on each side."""
    while len(old) > 1 and len(new) > 1 and old[0] == new[0]:
        old, new, first = old[1:], new[1:], first + 1
    while len(old) > 1 and len(new) > 1 and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return Change(first, tuple(old), tuple(new))


def edit_candidates(
    region: Region,
    lines: Sequence[str],
    changes: Sequence[Change] = (),
    dismissals: Dismissals | None = None,
) -> list[Candidate]:
    """Return the edits that turn the region into `lines`, the nearest to the cursor first.

    Left out are edits of blank lines and of trailing blanks, edits that undo a recent change, secrets, and insertions
    at the cursor, which are left to completion.
    """
    made = []
    for low, high, new in _hunks(region.editable, _with_original_end(lines, region.editable)):
        old = region.editable[low:high]
        if [part.rstrip() for part in old if part.strip()] == [part.rstrip() for part in new if part.strip()]:
            continue
        if max(len(old), len(new)) > MAX_CANDIDATE_LINES or _undoes_change(
            region.first + low, old, new, changes
        ):
            continue
        candidate = _candidate(region, region.first + low, region.first + high, new)
        if candidate.start == candidate.end == region.document.offset(region.line, region.character):
            continue
        if dismissals is not None and not dismissals.allows(candidate):
            continue
        if not has_secret(region.document, candidate):
            made.append(candidate)
    at = region.document.offset(region.line, region.character)
    return sorted(made, key=lambda one: abs(one.start - at))


def _with_original_end(lines: Sequence[str], old: Sequence[str]) -> list[str]:
    """Replace the blank lines at the end by those of the old lines, because models often get them wrong."""
    kept, blank = list(lines), len(old)
    while kept and not kept[-1].strip():
        kept.pop()
    while blank and not old[blank - 1].strip():
        blank -= 1
    return [*kept, *old[blank:]]


def _hunks(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the ranges of different lines and their new lines; line by line if their numbers are equal."""
    for kind, low, high, first, last in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "replace" and high - low == last - first:
            yield from ((low + i, low + i + 1, [new[first + i]]) for i in range(high - low))
        elif kind != "equal":
            yield low, high, list(new[first:last])


def _undoes_change(first: int, old: Sequence[str], new: Sequence[str], changes: Sequence[Change]) -> bool:
    """Return whether replacing `old` lines by `new` ones undoes a change, all of it or some of its lines."""
    for change in changes:
        begin, end = first - change.first, first - change.first + len(old)
        if begin < 0 or end > len(change.new) or tuple(old) != change.new[begin:end]:
            continue
        if tuple(new) == change.old or (new and set(new) <= set(change.old)) or (old and not new):
            return True
    return False


def _candidate(region: Region, low: int, high: int, new: Sequence[str]) -> Candidate:
    """Return the candidate that replaces the lines from `low` to before `high`, without their unchanged parts."""
    document, eol = region.document, region.document.eol
    joined = eol.join(new)
    if low < high:
        start, end = document.span(low)[0], document.span(high - 1)[1]
        if not new and high < document.line_count:
            end = document.span(high)[0]
        elif not new and low > 0:
            start = document.span(low - 1)[1]
    elif low > 0:
        start = end = document.span(low - 1)[1]
        joined = eol + joined
    else:
        start = end = 0
        joined += eol
    edit = Edit(start, document.text[start:end], joined).trimmed() if new and low < high else None
    if edit is not None:
        start, end, joined = _extend_to_words(document.text, edit)
    old = document.text[start:end]
    line, column = document.position(start)
    key = (document.line(line).strip(), column, joined.strip())
    return Candidate(start, end, joined, "rewrite", 1, f"{old} -> {joined}", key)


def _extend_to_words(text: str, edit: Edit) -> tuple[int, int, str]:
    """Return start, end and new text of an edit, extended to whole words."""
    start, end, new = edit.start, edit.start + len(edit.before), edit.after
    sides = [side for side in (edit.before, edit.after) if side]
    while start > 0 and _is_word(text[start - 1]) and any(_is_word(side[0]) for side in sides):
        start, new, sides = start - 1, text[start - 1] + new, [text[start - 1]]
    sides = [side for side in (edit.before, edit.after) if side]
    while end < len(text) and _is_word(text[end]) and any(_is_word(side[-1]) for side in sides):
        end, new, sides = end + 1, new + text[end], [text[end]]
    return start, end, new


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
