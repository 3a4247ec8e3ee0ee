"""Types a line key by key as an ideal but honest typist would, and records what was shown at each key.

The typist knows the line. A suggestion that is wholly right is accepted with one key. Of any other, the first words are
accepted, with one key each (Ctrl+Right), if they are right and save at least `WORTH` keys net. Everything else is typed
over. Right means exact, blanks included: after accepting, there is nothing to delete.

The editor inserts closing brackets and quotes as VS Code does by default: the closer of a typed `(`, `[`, `{`, `"` or
`'` if only closing brackets follow in the line, the closer of a quote only outside of strings and not after a word.
Typing a closer that the editor inserted moves over it. Backquotes, angle brackets and prefixed strings (`f"`) are not
closed. A closer that the line itself never reaches stays after the cursor. Removing it costs nothing here: it is none
of the line's keys, and it stays with and without suggestions.

Pure but for the `Screen`, on which the line is typed.
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
"""Of what is shown: nothing is; it is wholly right; its first words are; not even its first word is."""
Deed = Literal["typed", "whole", "words"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text at the cursor, in place of the next `replaced` characters of the line."""

    text: str
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request brought, and how long it took."""

    suggestion: Suggestion | None
    ms: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its indentation, and what the author wrote after it, as far as the typist has yet to write it."""

    text: str
    following: str = ""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where the typist is: `left` is there before the cursor, `closers` are those of the editor after it."""

    left: str = ""
    closers: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`words`: the suggestion's first words that are right, each with the blanks before it; none of a whole one."""

    verdict: Verdict
    words: tuple[str, ...] = ()

    @property
    def worth(self) -> bool:
        """Whether accepting the words one by one saves enough."""
        return sum(map(len, self.words)) - len(self.words) >= WORTH


@dataclass(frozen=True, slots=True)
class Key:
    """One request and what the typist did after it.

    ``at``: characters of the line that were there; ``fresh``: the suggestion is not the rest of the one before;
    ``held``: the typed key agreed with the suggestion before, and its rest is shown again (None: it did not agree);
    ``word``: the cursor is within a word, and what is shown completes it (None: it is not); ``keys``: pressed then.
    """

    at: int
    shown: str | None
    replaced: int
    ms: float
    verdict: Verdict
    fresh: bool
    held: bool | None
    word: bool | None
    did: Deed
    keys: int


class Screen(Protocol):
    """A document with the cursor in the line that is typed."""

    async def ask(self) -> Answer:
        """What is suggested now."""

    def edit(self, replaced: int, text: str, forward: int) -> None:
        """Replace so many characters after the cursor by a text, and move the cursor forward."""


def press(stand: Stand, key: str, closing: bool = True) -> tuple[Stand, int, str]:
    """A key is typed by hand: the new stand, how many characters after the cursor are replaced, and by what."""
    if stand.closers[:1] == key:
        return Stand(stand.left + key, stand.closers[1:]), 1, key
    closer = _closer(stand, key) if closing else ""
    return Stand(stand.left + key, closer + stand.closers), 0, key + closer


def by_hand(stand: Stand, text: str, closing: bool = True) -> Stand:
    """The stand after a text has been typed key by key."""
    for key in text:
        stand = press(stand, key, closing)[0]
    return stand


def judge(line: Line, stand: Stand, suggestion: Suggestion | None, closing: bool = True) -> Judgement:
    """What a suggestion is worth where the typist is.

    A whole one must leave no closer behind the cursor that typing by hand would not leave there as well.
    """
    if suggestion is None:
        return Judgement("")
    rest, text = line.text[len(stand.left) :], suggestion.text
    stays = stand.closers[suggestion.replaced :]
    if (rest + line.following).startswith(text) and _within(stays, by_hand(stand, text, closing).closers):
        return Judgement("right")
    words = []
    for ours, theirs in zip(WORD.findall(text), WORD.findall(rest), strict=False):
        if ours != theirs:
            break
        words.append(ours)
    return Judgement("begins" if words else "wrong", tuple(words))


async def type_line(screen: Screen, line: Line, closing: bool = True) -> list[Key]:
    """Type a line, with a request before each key; the editor has put in its indentation."""
    keys: list[Key] = []
    stand = Stand()
    expected: tuple[str, ...] = ()  # what may be shown now if the suggestion before still holds
    agreed = False
    while len(stand.left) < len(line.text):
        answer = await screen.ask()
        found = answer.suggestion
        judgment = judge(line, stand, found, closing)
        shown = None if found is None else found.text + stand.closers[found.replaced :]
        held = shown in expected
        before = stand
        did, pressed, stand = _act(screen, line, stand, found, judgment, closing)
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
        expected = _expected(before, stand, found) if did != "whole" else ()
        agreed = did == "typed" and expected != ()
    return keys


def _act(
    screen: Screen,
    line: Line,
    stand: Stand,
    found: Suggestion | None,
    judgment: Judgement,
    closing: bool,
) -> tuple[Deed, int, Stand]:
    """Accept or type: what was done, with how many keys, and the stand after it."""
    if found is not None and judgment.verdict == "right" and len(found.text) > 1:
        screen.edit(found.replaced, found.text, len(found.text))
        return "whole", 1, Stand(stand.left + found.text, stand.closers[found.replaced :])
    if judgment.worth:
        for word in judgment.words:
            after = by_hand(stand, word, closing=False)
            screen.edit(len(stand.closers) - len(after.closers), word, len(word))
            stand = after
        return "words", len(judgment.words), stand
    after, replaced, text = press(stand, line.text[len(stand.left)], closing)
    screen.edit(replaced, text, 1)
    return "typed", 1, after


def _expected(before: Stand, after: Stand, found: Suggestion | None) -> tuple[str, ...]:
    """What is in the line after the cursor if a suggestion, of which a part has been entered, is shown on.

    With the closers that the editor has added since, or without them where the suggestion has its own.
    """
    entered = after.left[len(before.left) :]
    if found is None or not found.text.startswith(entered) or found.text == entered:
        return ()
    rest, stays = found.text[len(entered) :], before.closers[found.replaced :]
    added = after.closers[: max(0, len(after.closers) - len(before.closers))]
    return rest + stays, rest + added + stays, rest + after.closers[found.replaced :]


def word_part(text: str) -> str:
    """The letters, digits and underscores at the beginning of a text."""
    found = _WORD_PART.match(text)
    return found.group() if found else ""


def completes_word(rest: str, found: Suggestion | None) -> bool:
    """Whether a suggestion begins with exactly the rest of the word with which the rest of a line begins."""
    return found is not None and word_part(found.text) == word_part(rest)


def _completes(line: Line, stand: Stand, found: Suggestion | None) -> bool | None:
    """Whether a suggestion completes the word at the cursor; None where no word has been begun, or it is complete."""
    rest = line.text[len(stand.left) :]
    if not word_part(rest) or not _OPEN_WORD.search(stand.left):
        return None
    return completes_word(rest, found)


def _closer(stand: Stand, key: str) -> str:
    """What the editor adds after a typed key; "" for nothing."""
    if stand.closers and stand.closers[0] not in _CLOSING_BRACKETS:
        return ""
    if key in PAIRS:
        return PAIRS[key]
    if key in QUOTES and not re.search(r"[\w\\\"']\Z", stand.left) and not _in_string(stand.left):
        return key
    return ""


def _in_string(left: str) -> bool:
    """Whether a string that began in a line is open at its end."""
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
    """Whether all characters of a part stand in a text in their order, with any others between."""
    characters = iter(text)
    return all(character in characters for character in part)
