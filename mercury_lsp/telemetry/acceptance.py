"""What became of each suggestion, as far as any standard client lets it be seen.

A pure state machine: what was answered, changed, asked and told goes in, outcomes come out. No protocol tells that a
suggestion was shown or rejected, so it is inferred from the document's changes. Knows neither editors nor who counts.

The words: a suggestion is *shown* when it was answered to a document that is still as it was asked about, unless the
client is one that tells what it shows; then it counts when it was told. It is *accepted* by its command, or by a
change of more than a key that leaves what it would; *partly* by such a change that leaves its beginning up to the end
of a word or a line; *typed* when it was typed to its end, key by key; *replaced* when the server thought of something
else at the same place; *rejected* when something else is typed there, when the user goes elsewhere, or at the end.
What is asked for while it is typed through, and answered with the rest of it, is the same suggestion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from mercury_lsp.completion.cache import CLOSED_BY, MAX_ADDED_CHARACTERS

F = TypeVar("F")
Kind = Literal["accepted", "partly", "typed", "replaced", "rejected", "unseen"]

_PAIRS = frozenset(opening + closing for closing, opening in CLOSED_BY.items())
_ENDING = re.compile(r"\r\n|\r")


@dataclass(frozen=True, slots=True)
class Edit:
    """The characters of a document from `start`, which are `removed`, become `text`. Edits count code points."""

    start: int
    removed: str
    text: str

    @property
    def end(self) -> int:
        """Where the removed text ends."""
        return self.start + len(self.removed)


@dataclass(frozen=True, slots=True)
class Item:
    """One candidate: `text` for the characters from `start` on, which are `replaced` now. The id is its command's."""

    id: str
    start: int
    replaced: str
    text: str

    @property
    def end(self) -> int:
        """Where the replaced text ends."""
        return self.start + len(self.replaced)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[F]):
    """What became of a suggestion. `facts` are those of the request that it was the answer to.

    `accepted`: characters that the user was spared; `shown`: those of its first candidate.
    """

    kind: Kind
    facts: F
    shown: int
    accepted: int


class Feedback(Generic[F]):
    """The suggestion of one client that is at its cursor now, and the one before, whose command may be late.

    Each method returns the outcomes that are certain by then.
    """

    def __init__(self) -> None:
        self._life: _Life[F] | None = None
        self._ended: _Life[F] | None = None
        self._tells = False  # the client tells what it shows

    def asked(self, uri: str, cursor: int) -> list[Outcome[F]]:
        """The client asked at a place: what is shown at another is gone."""
        life = self._life
        return [] if life is None or life.is_at(uri, cursor) else self._end("rejected")

    def answered(
        self, uri: str, cursor: int, items: Sequence[Item], around: str, facts: F
    ) -> tuple[bool, list[Outcome[F]]]:
        """Candidates were sent for a document that is still what they were made for.

        `around` is its text from the first item's start to the last one's end, see `spanned`. Also tells whether they
        are a suggestion that the client did not have before: otherwise `facts` are not used.
        """
        life = self._life
        if life is not None and life.continues(uri, items):
            return False, []
        outcomes = self._end("replaced" if life is not None and life.is_at(uri, cursor) else "rejected")
        self._life = _Life(uri, cursor, items, around, facts, seen=not self._tells)
        return True, outcomes

    def follows(self, uri: str) -> bool:
        """Whether changes of a document matter now."""
        return self._life is not None and self._life.uri == uri

    def changed(self, uri: str, edits: Sequence[Edit]) -> list[Outcome[F]]:
        """A document was changed, by all the edits of one notification, each to the outcome of the one before."""
        life = self._life
        if life is None or life.uri != uri:
            return []
        life.change(edits)
        return [] if life.kind is None else self._end(life.kind)

    def accepted(self, id_: str) -> list[Outcome[F]]:
        """The command of an item was run, before or after its text was put in."""
        life = self._of(id_)
        if life is not None:
            life.accept(id_)
        return self._end("accepted") if life is not None and life is self._life else []

    def accepted_part(self, id_: str, units: int) -> None:
        """A client told that the first so many UTF-16 units of an item's text are accepted, from its start on."""
        if (life := self._of(id_)) is not None:
            life.accept_part(id_, units)

    def shown(self, id_: str) -> None:
        """A client told that an item is shown: from now on nothing else counts as shown."""
        self._tells = True
        if (life := self._of(id_)) is not None:
            life.seen = True

    def focused(self, uri: str) -> list[Outcome[F]]:
        """The user went to a document."""
        return [] if self._life is None or self._life.uri == uri else self._end("rejected")

    def closed(self, uri: str) -> list[Outcome[F]]:
        """A document was closed."""
        return [] if self._life is None or self._life.uri != uri else self._end("rejected")

    def finish(self) -> list[Outcome[F]]:
        """The client is gone: all that is still open."""
        outcomes = self._end("rejected")
        if self._ended is not None:
            outcomes.append(self._ended.outcome())
        self._ended = None
        return outcomes

    def _of(self, id_: str) -> _Life[F] | None:
        for life in (self._life, self._ended):
            if life is not None and id_ in life.ids:
                return life
        return None

    def _end(self, kind: Kind) -> list[Outcome[F]]:
        """End the life of what is shown; the one before is certain now."""
        if self._life is None:
            return []
        certain = [] if self._ended is None else [self._ended.outcome()]
        self._ended, self._life = self._life, None
        if self._ended.kind is None:
            self._ended.kind = kind
        return certain


class _Life(Generic[F]):
    """A suggestion from its answer to its end.

    `_region` is what stands now where the items apply, from `_origin`; of each id, `ids` has what would stand there if
    it were accepted. `_cursor` counts from the origin.
    """

    def __init__(
        self, uri: str, cursor: int, items: Sequence[Item], around: str, facts: F, seen: bool
    ) -> None:
        self.uri, self.seen, self._facts = uri, seen, facts
        self.kind: Kind | None = None
        self.ids: dict[str, str] = {}
        self._shown = len(items[0].text)
        self._accepted = self._gain = 0  # characters: in all, and by the last change
        self._told = 0  # characters that the client says were accepted
        self._origin = spanned(items)[0]
        self._region = around
        self._cursor = cursor - self._origin
        self._tail = around[self._cursor :]  # what stands behind the cursor, if nobody adds to it
        self._texts = {item.id: item.text for item in items}
        self._add(items)

    def is_at(self, uri: str, cursor: int) -> bool:
        """Whether a cursor is where this suggestion is shown."""
        return self.uri == uri and cursor == self._origin + self._cursor

    def continues(self, uri: str, items: Sequence[Item]) -> bool:
        """Whether items offer what this does, as far as it is not typed yet; then they are this suggestion, too."""
        start, end = spanned(items)
        if self.uri != uri or start < self._origin or end > self._origin + len(self._region):
            return False
        known = {_plain(goal) for goal in self.ids.values()}
        if not any(_plain(self._goal(item)) in known for item in items):
            return False
        self._texts |= {item.id: item.text for item in items}
        self._add(items)
        return True

    def change(self, edits: Sequence[Edit]) -> None:
        """Take the edits of one notification. `kind` is set when they end the suggestion."""
        before, touched, at_once = self._region, False, False
        for edit in _joined(edits):
            if edit.start > self._origin + len(self._region):
                continue
            if edit.end < self._origin:
                self._origin += len(edit.text) - len(edit.removed)
                continue
            inner = edit if self._holds(edit) else _trimmed(edit)
            if not self._holds(inner):
                self.kind = "rejected"
                return
            at = inner.start - self._origin
            self._region = self._region[:at] + inner.text + self._region[at + len(inner.removed) :]
            touched |= inner.text != inner.removed
            at_once |= not _keyed(edit.text)
        if touched:
            self._judge(before, at_once)

    def accept(self, id_: str) -> None:
        """Its command was run. Where its change has come already, that has told what it spared."""
        if self.kind == "accepted":
            return
        if self.kind == "typed":
            self._accepted += self._gain
        elif self.kind is None:
            self._accepted += max(0, len(_plain(self.ids[id_])) - len(_plain(self._region)))
        else:  # something else came in between
            self._accepted = self._shown
        self.kind, self.seen = "accepted", True

    def accept_part(self, id_: str, units: int) -> None:
        """A client told how much of an item is accepted."""
        part = self._texts[id_].encode("utf-16-le", "surrogatepass")[: 2 * units]
        self._told = max(self._told, len(part.decode("utf-16-le", "ignore")))
        self.seen = True

    def outcome(self) -> Outcome[F]:
        """What became of it, once it has ended."""
        kind = self.kind or "rejected"
        accepted = max(self._accepted, self._told)
        if accepted and kind in ("rejected", "replaced", "typed"):
            kind = "partly"
        if not self.seen and kind not in ("accepted", "partly"):
            kind = "unseen"
        return Outcome(kind, self._facts, self._shown, accepted)

    def _add(self, items: Sequence[Item]) -> None:
        self.ids |= {item.id: self._goal(item) for item in items}

    def _goal(self, item: Item) -> str:
        """What stands in the region when an item has been accepted."""
        start = item.start - self._origin
        return self._region[:start] + item.text + self._region[start + len(item.replaced) :]

    def _holds(self, edit: Edit) -> bool:
        return self._origin <= edit.start and edit.end <= self._origin + len(self._region)

    def _judge(self, before: str, at_once: bool) -> None:
        """The region has changed; `at_once`: by more than a key."""
        after, goals = _plain(self._region), [_plain(goal) for goal in self.ids.values()]
        self._gain = max(0, len(after) - len(_plain(before)))
        if after in goals:
            self.kind = "accepted" if at_once else "typed"
            self._accepted += self._gain if at_once else 0
            return
        reached = {goal: self._reached(after, goal) for goal in goals}
        goal = max(reached, key=lambda goal: reached[goal])
        typed = reached[goal]
        if typed < 0:
            self.kind = "rejected"
            return
        if at_once and _ends_word(goal, typed):
            self._accepted += self._gain
        self._cursor = len(self._region) - (len(after) - typed)

    def _reached(self, region: str, goal: str) -> int:
        """How many characters of a goal stand in the region, in front of what stood there; -1: something else does."""
        tail = _plain(self._tail)
        for typed in range(_common(region, goal), -1, -1):
            left = region[typed:]
            added = left.removesuffix(tail)  # what the editor closed
            closes = len(added) <= MAX_ADDED_CHARACTERS and all(
                CLOSED_BY.get(one, "\0") in goal[:typed] for one in added
            )
            if tail.endswith(left) or (
                closes and left.endswith(tail)
            ):  # or else closed brackets were typed over
                return typed
        return -1


def spanned(items: Sequence[Item]) -> tuple[int, int]:
    """From where to where the text is that items replace, together."""
    return min(item.start for item in items), max(item.end for item in items)


def difference(old: str, new: str) -> Edit:
    """The one edit that makes an old text a new one, for clients that send it whole."""
    head = _common(old, new)
    return _trimmed(Edit(head, old[head:], new[head:]))


def _joined(edits: Sequence[Edit]) -> list[Edit]:
    """The same edits, each joined to the one before where it touches what that put in."""
    joined: list[Edit] = []
    for edit in edits:
        last = joined[-1] if joined else None
        if last is None or edit.start > last.start + len(last.text) or edit.end < last.start:
            joined.append(edit)
            continue
        before, after = max(0, last.start - edit.start), max(0, edit.end - last.start - len(last.text))
        removed = edit.removed[:before] + last.removed + edit.removed[len(edit.removed) - after :]
        kept, left = last.text[: max(0, edit.start - last.start)], last.text[max(0, edit.end - last.start) :]
        joined[-1] = Edit(min(edit.start, last.start), removed, kept + edit.text + left)
    return joined


def _trimmed(edit: Edit) -> Edit:
    """The edit without what it leaves as it was at its start and its end."""
    head = _common(edit.removed, edit.text)
    removed, text = edit.removed[head:], edit.text[head:]
    tail = _common(removed[::-1], text[::-1])
    return Edit(edit.start + head, removed[: len(removed) - tail], text[: len(text) - tail])


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike; by halves, for they may be long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _keyed(text: str) -> bool:
    """Whether one key puts in a text: a character, a pair, a line ending and indentation, or nothing."""
    return len(text) <= 1 or text in _PAIRS or not text.strip()


def _ends_word(text: str, offset: int) -> bool:
    """Whether a word or a line ends at an offset, or something that is neither."""
    before, after = text[offset - 1 : offset], text[offset : offset + 1]
    return bool(before) and not (_is_word(before) and _is_word(after))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _plain(text: str) -> str:
    """With newlines for all line endings: editors differ in what they send of a document that has others."""
    return _ENDING.sub("\n", text) if "\r" in text else text
