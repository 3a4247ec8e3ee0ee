"""Answers requests from earlier completions, or derives a hint for the decoder from them.

Texts are compared but not parsed, so that a lookup is fast enough for the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mercury_lsp.completion.committed import CommittedText
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.engine.tokenizer import Hint

Place = tuple[Snapshot, int]
"""The place of a completion: a snapshot and an offset in its document."""

# The closing characters that editors insert automatically, with their openers.
CLOSED_BY = {")": "(", "]": "[", "}": "{", '"': '"', "'": "'", "`": "`", ">": "<"}
MAX_ADDED_CHARACTERS = 4
# Further after an earlier place, its text gives no hint.
MAX_TYPED_CHARACTERS = 200


def lookup(
    remembered: Iterable[tuple[Place, Completion]], snapshot: Snapshot, offset: int
) -> Completion | None:
    """Return the answer of the first remembered completion that applies at an offset; None if the model must be asked.

    A completion applies at its own place, and after typing along its shown text. Closing brackets and quotes that the
    editor has inserted automatically are overwritten if they occur in the rest of that text. A request for several
    suggestions is answered only by a completion that was made for several.
    """
    wants_alternatives, key = snapshot.max_suggestions > 1, _cache_key(snapshot)
    for (earlier, place), completion in remembered:
        if _cache_key(earlier) == key and (earlier.max_suggestions > 1 or not wants_alternatives):
            old, new = earlier.document.text, snapshot.document.text
            if completion.shown is None:
                same = place == offset and earlier == snapshot
                found = completion if same else None
            else:
                found = _untyped_rest(old, place, completion, new, offset)
            if found is not None:
                if not completion.alternatives:
                    return found
                if not wants_alternatives:
                    return replace(found, alternatives=())
                rests = (_untyped_rest(old, place, one, new, offset) for one in completion.alternatives)
                return replace(found, alternatives=tuple(rest for rest in rests if rest is not None))
    return None


def draft_hint(
    remembered: Iterable[tuple[Place, Completion | CommittedText]], snapshot: Snapshot, offset: int
) -> Hint | None:
    """Return a hint from an earlier text of the same document at, or up to `MAX_TYPED_CHARACTERS` before, an offset.

    Of several texts, the one with the longest untyped rest is taken, and the first of equals; None without any.
    """
    text = snapshot.document.text
    hints = [
        Hint(expected.text, text[place:offset].replace("\r\n", "\n"))
        for (earlier, place), expected in remembered
        if 0 <= offset - place <= MAX_TYPED_CHARACTERS and earlier.document.uri == snapshot.document.uri
        if text[:place] == earlier.document.text[:place]
    ]
    return max(hints, key=lambda hint: len(hint.untyped), default=None)


def _cache_key(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what must be equal in two snapshots, apart from the text, for a completion to be shown again."""
    document = snapshot.document
    own = (document.uri, document.path, document.language_id)
    return (*own, snapshot.config, snapshot.roots, snapshot.indentation)


def _untyped_rest(old: str, place: int, completion: Completion, new: str, offset: int) -> Completion | None:
    """Return the untyped rest of a completion at a place of `old`; None if `new` does not type along it."""
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
    if not all(CLOSED_BY.get(closer, closer) in shown[:typed] for closer in closers) or not _is_subsequence(
        closers, left
    ):
        return None
    start, end = offset, completion.end + typed + added
    if added and completion.end == place and left != closers and left.endswith(closers):
        # The editor's closers end the text already, so nothing has to be overwritten.
        left, end = left[:-added], offset
    return replace(completion, shown=left, start=start, end=end)


def _is_subsequence(part: str, text: str) -> bool:
    """Return whether a part is a subsequence of a text."""
    characters = iter(text)
    return all(character in characters for character in part)
