"""Looks up what earlier completions tell about a new place: the answer itself, or a hint for the decoder.

Texts are compared and never parsed, so that a look-up is quick enough for the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mercury_lsp.completion.committed import Committed
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.engine.tokenizer import Hint

Place = tuple[Snapshot, int]
"""Where a completion was made: a snapshot and an offset in it."""

# What editors add by themselves, and what they close by it.
CLOSED_BY = {")": "(", "]": "[", "}": "{", '"': '"', "'": "'", "`": "`", ">": "<"}
MAX_ADDED_CHARACTERS = 4
# After an earlier place, within which the same text is still being written.
MAX_TYPED_CHARACTERS = 200


def lookup(
    remembered: Iterable[tuple[Place, Completion]], snapshot: Snapshot, offset: int
) -> Completion | None:
    """What is to be suggested at an offset by the first completion of those remembered that tells; None: ask the model.

    It tells if it was made for just this, or if since then a part of what it shows was typed and nothing else, but
    for closing brackets and quotes that the editor added and that come in the rest of it: they are overwritten. Only
    who asks is told of several suggestions, and then only by what was made for somebody who asked.
    """
    several, surroundings = snapshot.candidates > 1, _surroundings(snapshot)
    for (earlier, place), completion in remembered:
        if _surroundings(earlier) == surroundings and (earlier.candidates > 1 or not several):
            old, new = earlier.document.text, snapshot.document.text
            if completion.shown is None:
                same = place == offset and earlier == snapshot
                found = completion if same else None
            else:
                found = _rest(old, place, completion, new, offset)
            if found is not None:
                if not completion.others:
                    return found
                left = (_rest(old, place, other, new, offset) for other in completion.others if several)
                return replace(found, others=tuple(other for other in left if other is not None))
    return None


def draft_hint(
    remembered: Iterable[tuple[Place, Completion | Committed]], snapshot: Snapshot, offset: int
) -> Hint | None:
    """What was expected that stood in this document a little before the offset.

    Of several the one of which most is still to come, or else the first.
    """
    text = snapshot.document.text
    hints = [
        Hint(expected.text, text[place:offset].replace("\r\n", "\n"))
        for (earlier, place), expected in remembered
        if 0 <= offset - place <= MAX_TYPED_CHARACTERS and earlier.document.uri == snapshot.document.uri
        if text[:place] == earlier.document.text[:place]
    ]
    return max(hints, key=lambda hint: len(hint.left), default=None)


def _surroundings(snapshot: Snapshot) -> tuple[object, ...]:
    """All of a snapshot but the text and who asked: where it is the same, what was shown may be shown again."""
    document = snapshot.document
    own = (document.uri, document.path, document.language_id)
    return (*own, snapshot.config, snapshot.roots, snapshot.indentation)


def _rest(old: str, place: int, completion: Completion, new: str, offset: int) -> Completion | None:
    """What is left of a completion of `old` at a place, where `new` has a part of it typed; None if it is not so."""
    shown = completion.shown or ""
    typed = offset - place
    added = len(new) - len(old) - typed
    if (
        not 0 <= typed < len(shown)
        or not 0 <= added <= MAX_ADDED_CHARACTERS
        or not new.startswith(shown[:typed], place)
    ):
        return None
    if new[:place] != old[:place] or new[offset + added :] != old[place:]:
        return None
    left, closers = shown[typed:], new[offset : offset + added]
    if not all(CLOSED_BY.get(closer, closer) in shown[:typed] for closer in closers) or not _within(
        closers, left
    ):
        return None
    start, end = offset, completion.end + typed + added
    if added and completion.end == place and left != closers and left.endswith(closers):
        left, end = left[:-added], offset  # the same text, and nothing has to be overwritten
    return replace(completion, shown=left, start=start, end=end)


def _within(part: str, text: str) -> bool:
    """Whether all characters of a part stand in a text in their order, maybe with others between."""
    characters = iter(text)
    return all(character in characters for character in part)
