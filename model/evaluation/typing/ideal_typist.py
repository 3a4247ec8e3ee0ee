"""Types a line key by key as an ideal but honest typist would, and records the suggestion at each key.

The typist knows the line, and accepts a suggestion that is wholly right with one key. Of any other suggestion, the
typist accepts the first words, with one key each (Ctrl+Right), if they are right and save at least `WORTH` keys net.
All other suggestions are ignored. Right means exact, including whitespace: after accepting, there is nothing to delete.

The editor inserts closing brackets and quotes as VS Code does by default: the closer of a typed `(`, `[`, `{`, `"` or
`'` if only closing brackets follow in the line, the closer of a quote only outside of strings and not after a word.
Typing a closer that the editor inserted moves over it. Backquotes, angle brackets and prefixed strings (`f"`) are not
closed. A closer that the line never reaches stays after the cursor. Removing it is not counted, since it is not one of
the line's keys, and it stays with and without suggestions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from model.evaluation.heldout.verdict import WORD

WORTH = 2
"""Keys that accepting word by word must save, net."""
PAIRS = {"(": ")", "[": "]", "{": "}"}
QUOTES = "\"'"
_CLOSING_BRACKETS = frozenset(PAIRS.values())
_OPEN_WORD = re.compile(r"(?<!\w)[^\W\d]\w*\Z")
_WORD_PART = re.compile(r"\w*")

Verdict = Literal["", "right", "begins", "wrong"]
"""Nothing is shown; the suggestion is wholly right; its first words are right; its first word is wrong."""
Action = Literal["typed", "whole", "words"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text at the cursor, in place of the next `replaced` characters of the line."""

    text: str
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request, and its time in milliseconds."""

    suggestion: Suggestion | None
    ms: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its indentation, and the author's text after it that the typist has not written yet."""

    text: str
    following: str = ""


@dataclass(frozen=True, slots=True)
class LineState:
    """The state of the line: `left` is the text before the cursor, `closers` are the editor's closers after it."""

    left: str = ""
    closers: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgment of a suggestion.

    `words`: the right first words, each with the whitespace before it; empty if the whole suggestion is right.
    """

    verdict: Verdict
    words: tuple[str, ...] = ()

    @property
    def worth(self) -> bool:
        """Whether accepting the words one by one saves at least `WORTH` keys."""
        return sum(map(len, self.words)) - len(self.words) >= WORTH


@dataclass(frozen=True, slots=True)
class Key:
    """One request and the typist's next action.

    ``at``: the number of typed characters of the line. ``fresh``: whether the suggestion is not the rest of the one
    before. ``held``: whether the rest of the suggestion before is still shown; None if the typed key did not agree with
    that suggestion. ``word``: whether the suggestion completes the word at the cursor; None if the cursor is not within
    a word. ``keys``: the number of keys that the typist then pressed.
    """

    at: int
    shown: str | None
    replaced: int
    ms: float
    verdict: Verdict
    fresh: bool
    held: bool | None
    word: bool | None
    did: Action
    keys: int


class Screen(Protocol):
    """A document with the cursor in the line to type."""

    async def ask(self) -> Answer:
        """Return the suggestion at the cursor."""

    def edit(self, replaced: int, text: str, forward: int) -> None:
        """Replace ``replaced`` characters after the cursor by a text, and move the cursor forward."""


def press(state: LineState, key: str, closing: bool = True) -> tuple[LineState, int, str]:
    """Type a key; return the new state, the number of replaced characters after the cursor, and the inserted text."""
    if state.closers[:1] == key:
        return LineState(state.left + key, state.closers[1:]), 1, key
    closer = _closer(state, key) if closing else ""
    return LineState(state.left + key, closer + state.closers), 0, key + closer


def type_manually(state: LineState, text: str, closing: bool = True) -> LineState:
    """Return the state after a text has been typed key by key."""
    for key in text:
        state = press(state, key, closing)[0]
    return state


def judge(line: Line, state: LineState, suggestion: Suggestion | None, closing: bool = True) -> Judgement:
    """Judge a suggestion in the current state of the line.

    A wholly right suggestion must leave no closer after the cursor that typing would not leave there as well.
    """
    if suggestion is None:
        return Judgement("")
    rest, text = line.text[len(state.left) :], suggestion.text
    stays = state.closers[suggestion.replaced :]
    if (rest + line.following).startswith(text) and _within(
        stays, type_manually(state, text, closing).closers
    ):
        return Judgement("right")
    words = []
    for ours, theirs in zip(WORD.findall(text), WORD.findall(rest), strict=False):
        if ours != theirs:
            break
        words.append(ours)
    return Judgement("begins" if words else "wrong", tuple(words))


async def type_line(screen: Screen, line: Line, closing: bool = True) -> list[Key]:
    """Type a line, with a request before each key; return the keys. The editor has inserted the indentation already."""
    keys: list[Key] = []
    state = LineState()
    # The texts that may be shown now if the suggestion before still holds.
    expected: tuple[str, ...] = ()
    agreed = False
    while len(state.left) < len(line.text):
        answer = await screen.ask()
        found = answer.suggestion
        judgment = judge(line, state, found, closing)
        shown = None if found is None else found.text + state.closers[found.replaced :]
        held = shown in expected
        before = state
        did, pressed, state = _act(screen, line, state, found, judgment, closing)
        keys.append(
            Key(
                at=len(before.left),
                shown=None if found is None else found.text,
                replaced=0 if found is None else found.replaced,
                ms=round(answer.ms, 2),
                verdict=judgment.verdict,
                fresh=found is not None and not held,
                held=held if agreed else None,
                word=_completes(line, before, found),
                did=did,
                keys=pressed,
            )
        )
        expected = _expected(before, state, found) if did != "whole" else ()
        agreed = did == "typed" and expected != ()
    return keys


def _act(
    screen: Screen,
    line: Line,
    state: LineState,
    found: Suggestion | None,
    judgment: Judgement,
    closing: bool,
) -> tuple[Action, int, LineState]:
    """Accept the suggestion or type a key; return the action, the number of keys, and the new state."""
    if found is not None and judgment.verdict == "right" and len(found.text) > 1:
        screen.edit(found.replaced, found.text, len(found.text))
        return "whole", 1, LineState(state.left + found.text, state.closers[found.replaced :])
    if judgment.worth:
        for word in judgment.words:
            after = type_manually(state, word, closing=False)
            screen.edit(len(state.closers) - len(after.closers), word, len(word))
            state = after
        return "words", len(judgment.words), state
    after, replaced, text = press(state, line.text[len(state.left)], closing)
    screen.edit(replaced, text, 1)
    return "typed", 1, after


def _expected(before: LineState, after: LineState, found: Suggestion | None) -> tuple[str, ...]:
    """Return the possible texts after the cursor if the rest of a partly entered suggestion is still shown.

    They are with or without the closers that the editor has added since, as the suggestion may contain its own.
    """
    entered = after.left[len(before.left) :]
    if found is None or not found.text.startswith(entered) or found.text == entered:
        return ()
    rest, stays = found.text[len(entered) :], before.closers[found.replaced :]
    added = after.closers[: max(0, len(after.closers) - len(before.closers))]
    return rest + stays, rest + added + stays, rest + after.closers[found.replaced :]


def word_part(text: str) -> str:
    """Return the letters, digits and underscores at the beginning of a text."""
    found = _WORD_PART.match(text)
    return found.group() if found else ""


def completes_word(rest: str, found: Suggestion | None) -> bool:
    """Return whether a suggestion completes the word at the cursor exactly. rest: the rest of the line."""
    return found is not None and word_part(found.text) == word_part(rest)


def _completes(line: Line, state: LineState, found: Suggestion | None) -> bool | None:
    """Return whether a suggestion completes the word at the cursor; None if the cursor is not within a word."""
    rest = line.text[len(state.left) :]
    if not word_part(rest) or not _OPEN_WORD.search(state.left):
        return None
    return completes_word(rest, found)


def _closer(state: LineState, key: str) -> str:
    """Return the closer that the editor inserts after a typed key; "" for none."""
    if state.closers and state.closers[0] not in _CLOSING_BRACKETS:
        return ""
    if key in PAIRS:
        return PAIRS[key]
    if key in QUOTES and not re.search(r"[\w\\\"']\Z", state.left) and not _in_string(state.left):
        return key
    return ""


def _in_string(left: str) -> bool:
    """Return whether a string is open at the end of a text."""
    quote, escaped = "", False
    for character in left:
        if escaped:
            escaped = False
        elif quote:
            escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character in QUOTES:
            quote = character
    return quote != ""


def _within(part: str, text: str) -> bool:
    """Return whether a text contains all characters of ``part`` in order, possibly with others between them."""
    characters = iter(text)
    return all(character in characters for character in part)
