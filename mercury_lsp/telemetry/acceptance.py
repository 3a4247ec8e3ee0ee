"""Infers the outcome of each suggestion from the changes of the document.

This is a state machine: answers, changes, requests and commands are its inputs, outcomes its output. No protocol tells
that a suggestion was shown or rejected, so both are inferred.

A suggestion is *shown* if the document did not change between request and answer; if a client reports the suggestions
that it shows, its reports count instead. A suggestion is *accepted* by its command, or by a change of more than one key
that inserts its text; *partly* accepted by such a change that inserts its beginning up to the end of a word or a line;
*typed* if the user typed it to its end, key by key; *replaced* if the server suggested another text at the same place;
*rejected* if the user types another text there or goes to another place, or at the end of the session. A request that
comes while the user types the suggestion, and is answered with its rest, belongs to the same suggestion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from mercury_lsp.completion.cache import CLOSED_BY, MAX_ADDED_CHARACTERS
from mercury_lsp.syntax.document import common_prefix_length
from mercury_lsp.telemetry.text_edits import Edit, join_edits, normalize_newlines, trim_edit

FactsT = TypeVar("FactsT")
Kind = Literal["accepted", "partly", "typed", "replaced", "rejected", "unseen"]

_PAIRS = frozenset(opening + closing for closing, opening in CLOSED_BY.items())


@dataclass(frozen=True, slots=True)
class Item:
    """A candidate: `text` replaces the text `replaced` at `start`. `id`: the argument of its command."""

    id: str
    start: int
    replaced: str
    text: str

    @property
    def end(self) -> int:
        """The end of the replaced text."""
        return self.start + len(self.replaced)


@dataclass(frozen=True, slots=True)
class SuggestionOutcome(Generic[FactsT]):
    """The outcome of a suggestion.

    `facts`: the facts of its request. `shown`: the characters of the first candidate. `accepted`: the characters that
    the user did not have to type.
    """

    kind: Kind
    facts: FactsT
    shown: int
    accepted: int


class AcceptanceTracker(Generic[FactsT]):
    """Tracks the current suggestion of one client, and the previous suggestion, whose command may be late.

    report: called with each outcome as soon as the outcome is certain.
    """

    def __init__(self, report: Callable[[SuggestionOutcome[FactsT]], None]) -> None:
        self._report = report
        self._current: _TrackedSuggestion[FactsT] | None = None
        self._previous: _TrackedSuggestion[FactsT] | None = None
        # Whether the client reports the suggestions that it shows.
        self._client_reports_shown = False

    def on_request(self, uri: str, cursor: int) -> None:
        """Note a request at a place, which ends a suggestion at another place."""
        if self._current is not None and not self._current.is_at_cursor(uri, cursor):
            self._end_current("rejected")

    def on_suggestion(self, uri: str, cursor: int, items: Sequence[Item], region: str, facts: FactsT) -> bool:
        """Note candidates for a document that has not changed since the request.

        `region`: the document's text from the start of the first item to the end of the last. Return whether the
        candidates are a new suggestion; if they are the rest of the current one, `facts` are not used.
        """
        suggestion = self._current
        if suggestion is not None and suggestion.continues(uri, items):
            return False
        self._end_current(
            "replaced" if suggestion is not None and suggestion.is_at_cursor(uri, cursor) else "rejected"
        )
        self._current = _TrackedSuggestion(
            uri, cursor, items, region, facts, seen=not self._client_reports_shown
        )
        return True

    def is_tracking(self, uri: str) -> bool:
        """Return whether the current suggestion is in this document, so that its changes matter."""
        return self._current is not None and self._current.uri == uri

    def on_change(self, uri: str, edits: Sequence[Edit]) -> None:
        """Note the edits of one notification, in the order in which they apply."""
        suggestion = self._current
        if suggestion is not None and suggestion.uri == uri:
            suggestion.change(edits)
            if suggestion.kind is not None:
                self._end_current(suggestion.kind)

    def on_acceptance(self, id_: str) -> None:
        """Note the command of an item, which may come before or after its text was inserted."""
        if (suggestion := self._find(id_)) is not None:
            suggestion.accept(id_)
            if suggestion is self._current:
                self._end_current("accepted")

    def on_partial_acceptance(self, id_: str, utf16_units: int) -> None:
        """Note that the first ``units`` UTF-16 units of an item's text were accepted."""
        if (suggestion := self._find(id_)) is not None:
            suggestion.accept_part(id_, utf16_units)

    def on_shown(self, id_: str) -> None:
        """Note that the client shows an item; from then on only such reports count as shown."""
        self._client_reports_shown = True
        if (suggestion := self._find(id_)) is not None:
            suggestion.seen = True

    def on_focus(self, uri: str) -> None:
        """Note that the user switched to a document."""
        if not self.is_tracking(uri):
            self._end_current("rejected")

    def on_close(self, uri: str) -> None:
        """Note that a document was closed."""
        if self.is_tracking(uri):
            self._end_current("rejected")

    def close(self) -> None:
        """End all open suggestions, after the client is gone."""
        self._end_current("rejected")
        if self._previous is not None:
            self._report(self._previous.outcome())
        self._previous = None

    def _find(self, id_: str) -> _TrackedSuggestion[FactsT] | None:
        for suggestion in (self._current, self._previous):
            if suggestion is not None and id_ in suggestion.goals:
                return suggestion
        return None

    def _end_current(self, kind: Kind) -> None:
        """End the current suggestion, if there is one, and report the outcome of the previous suggestion."""
        if self._current is None:
            return
        if self._previous is not None:
            self._report(self._previous.outcome())
        self._previous, self._current = self._current, None
        self._previous.kind = self._previous.kind or kind


class _TrackedSuggestion(Generic[FactsT]):
    """A suggestion from its answer to its end.

    `_region`: the current text from the offset `_origin` on, in which the items apply. `ids`: the region's text after
    accepting each item. `_cursor`: the cursor's offset in the region.
    """

    def __init__(
        self, uri: str, cursor: int, items: Sequence[Item], region: str, facts: FactsT, seen: bool
    ) -> None:
        self.uri, self.seen, self._facts = uri, seen, facts
        self.kind: Kind | None = None
        self.goals: dict[str, str] = {}
        self._shown = len(items[0].text)
        # Accepted characters: in all, by the last change, and reported by the client.
        self._accepted = self._gain = self._reported = 0
        self._origin = replaced_range(items)[0]
        self._region = region
        self._cursor = cursor - self._origin
        # The text after the cursor.
        self._tail = region[self._cursor :]
        self._texts: dict[str, str] = {}
        self._add(items)

    def is_at_cursor(self, uri: str, cursor: int) -> bool:
        """Return whether a cursor is at this suggestion."""
        return self.uri == uri and cursor == self._origin + self._cursor

    def continues(self, uri: str, items: Sequence[Item]) -> bool:
        """Return whether items are the rest of this suggestion, and add them to it if so."""
        start, end = replaced_range(items)
        if self.uri != uri or start < self._origin or end > self._origin + len(self._region):
            return False
        known = {normalize_newlines(goal) for goal in self.goals.values()}
        if not any(normalize_newlines(self._goal(item)) in known for item in items):
            return False
        self._add(items)
        return True

    def change(self, edits: Sequence[Edit]) -> None:
        """Apply the edits of one notification, and set `kind` if they end the suggestion."""
        before, touched, at_once = self._region, False, False
        for edit in join_edits(edits):
            if edit.start > self._origin + len(self._region):
                continue
            if edit.end < self._origin:
                self._origin += len(edit.text) - len(edit.removed)
                continue
            inner = edit if self._contains(edit) else trim_edit(edit)
            if not self._contains(inner):
                self.kind = "rejected"
                return
            at = inner.start - self._origin
            self._region = self._region[:at] + inner.text + self._region[at + len(inner.removed) :]
            touched |= inner.text != inner.removed
            at_once |= not _is_one_key(edit.text)
        if touched:
            self._infer_outcome(before, at_once)

    def accept(self, id_: str) -> None:
        """Note the command of an item. If its change came before, the saved characters are those of the change."""
        if self.kind == "accepted":
            return
        if self.kind == "typed":
            self._accepted += self._gain
        elif self.kind is None:
            self._accepted += max(
                0, len(normalize_newlines(self.goals[id_])) - len(normalize_newlines(self._region))
            )
        else:
            # Another event has ended the suggestion before.
            self._accepted = self._shown
        self.kind, self.seen = "accepted", True

    def accept_part(self, id_: str, utf16_units: int) -> None:
        """Note the accepted part of an item."""
        part = self._texts[id_].encode("utf-16-le", "surrogatepass")[: 2 * utf16_units]
        self._reported = max(self._reported, len(part.decode("utf-16-le", "ignore")))
        self.seen = True

    def outcome(self) -> SuggestionOutcome[FactsT]:
        """Return the outcome, after the end of the suggestion."""
        kind = self.kind or "rejected"
        accepted = max(self._accepted, self._reported)
        if accepted and kind in ("rejected", "replaced", "typed"):
            kind = "partly"
        if not self.seen and kind not in ("accepted", "partly"):
            kind = "unseen"
        return SuggestionOutcome(kind, self._facts, self._shown, accepted)

    def _add(self, items: Sequence[Item]) -> None:
        self._texts |= {item.id: item.text for item in items}
        self.goals |= {item.id: self._goal(item) for item in items}

    def _goal(self, item: Item) -> str:
        """Return the region's text after accepting an item."""
        start = item.start - self._origin
        return self._region[:start] + item.text + self._region[start + len(item.replaced) :]

    def _contains(self, edit: Edit) -> bool:
        return self._origin <= edit.start and edit.end <= self._origin + len(self._region)

    def _infer_outcome(self, before: str, at_once: bool) -> None:
        """Infer the outcome from a change of the region. `at_once`: the change inserts more than one key could."""
        after, goals = (
            normalize_newlines(self._region),
            [normalize_newlines(goal) for goal in self.goals.values()],
        )
        self._gain = max(0, len(after) - len(normalize_newlines(before)))
        if after in goals:
            self.kind = "accepted" if at_once else "typed"
            self._accepted += self._gain if at_once else 0
            return
        typed_lengths = {goal: self._typed_length(after, goal) for goal in goals}
        goal = max(typed_lengths, key=lambda goal: typed_lengths[goal])
        typed = typed_lengths[goal]
        if typed < 0:
            self.kind = "rejected"
            return
        if at_once and _ends_word(goal, typed):
            self._accepted += self._gain
        self._cursor = len(self._region) - (len(after) - typed)

    def _typed_length(self, region: str, goal: str) -> int:
        """Return how many characters of a goal stand in the region before the old text; -1 if other text is there."""
        tail = normalize_newlines(self._tail)
        for typed in range(common_prefix_length(region, goal), -1, -1):
            rest = region[typed:]
            # Brackets that the editor has closed automatically; alternatively, the user has typed over such brackets.
            added = rest.removesuffix(tail)
            is_auto_closed = len(added) <= MAX_ADDED_CHARACTERS and all(
                CLOSED_BY.get(bracket, "\0") in goal[:typed] for bracket in added
            )
            if tail.endswith(rest) or (is_auto_closed and rest.endswith(tail)):
                return typed
        return -1


def replaced_range(items: Sequence[Item]) -> tuple[int, int]:
    """Return the start and the end of the text that the items replace together."""
    return min(item.start for item in items), max(item.end for item in items)


def _is_one_key(text: str) -> bool:
    """Return whether one key can insert a text: a character, a pair, a line ending with indentation, or nothing."""
    return len(text) <= 1 or text in _PAIRS or not text.strip()


def _ends_word(text: str, offset: int) -> bool:
    """Return whether no word continues across an offset."""
    return 0 < offset <= len(text) and not re.match(r"\w\w", text[offset - 1 : offset + 1])
