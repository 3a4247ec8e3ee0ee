"""Canvases between two texts: the rows of a pass, the loop that fills one, and the one that lets it grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.models.stems import NO_STEM

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask, needs_no_mask
from mercury_lsp.engine.decoding.decode import DecodeBudget
from mercury_lsp.engine.decoding.denoise import CommitRule, entropy_bound
from mercury_lsp.engine.open_models.bidirectional import (
    FIRST_MASKS,
    BidirectionalCanvas,
    denoise_expandable,
    denoise_fixed,
)

MASK, EXPAND, END, NEWLINE, VOCABULARY = 90, 91, 92, 93, 100
BEFORE, AFTER = (1, 2, 3), (7, 8)


class Scripted:
    """An executor whose row at a position predicts what a script tells of the canvas that it sees."""

    device, threads, block, hedge = "cpu", 1, 1, 0.0

    def __init__(self, script: Any = lambda canvas, place: 5) -> None:
        self.script = script
        self.calls: list[tuple[list[int], TokenLayout, int]] = []

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> NDArray[np.int64]:
        self.calls.append((list(ids), rows, past))
        order = np.argsort(rows.position)
        canvas = [ids[i] for i in order if len(BEFORE) <= rows.position[i]][: self._size(ids, past)]
        self.canvas = canvas
        return rows.position

    def _size(self, ids: Sequence[int], past: int) -> int:
        return len(ids) - 1 - (len(BEFORE) - 1 + len(AFTER) if past == 0 else 0)

    def scores(self, hidden: NDArray[np.int64]) -> NDArray[np.float32]:
        """With the shift: the row at a position foretells the next place."""
        logits = np.zeros((len(hidden), VOCABULARY), np.float32)
        for row, position in enumerate(hidden):
            place = int(position) + 1 - len(BEFORE)
            logits[row, self.script(self.canvas, place)] = 20.0 - place
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def between(executor: Scripted, refresh: int = 99, shift: bool = True) -> BidirectionalCanvas:
    return BidirectionalCanvas(executor, BEFORE, AFTER, MASK, shift, refresh)


@pytest.mark.parametrize("shift", [True, False])
def test_a_full_pass_and_a_short_one_ask_the_same_rows(shift: bool) -> None:
    executor = Scripted()
    place = between(executor, shift=shift)
    for canvas in ([None, None, None], [None, 5, None]):
        assert len(place.scores(canvas)) == canvas.count(None)
    (ids, rows, past), (again, short, kept) = executor.calls
    assert (ids, past) == ([1, 2, 7, 8, 3, MASK, MASK, MASK], 0)
    assert rows.position.tolist() == [0, 1, 6, 7, 2, 3, 4, 5]
    assert (again, kept) == ([3, MASK, 5, MASK], 4)
    assert short.position.tolist() == [2, 3, 4, 5]
    for each in (rows, short):
        assert needs_no_mask(each)
        assert attention_mask(each, TokenLayout.join(TokenLayout.clean(0, 99), each)).all()


def test_a_canvas_of_another_size_and_an_old_context_are_read_anew() -> None:
    executor = Scripted()
    place = between(executor, refresh=3)
    for size in (4, 4, 4, 4, 5, 5):
        place.scores([None] * size)
    assert [past for *_, past in executor.calls] == [0, 4, 4, 0, 0, 4]


def limit(tokens: int = 16, passes: int = 99) -> DecodeBudget:
    return DecodeBudget(passes, tokens, lambda: False)


def test_a_full_canvas_is_finished_and_one_with_an_end_is_shorter() -> None:
    commit_rule = CommitRule(entropy_bound(0.3))

    def ends(index: int, token: int) -> bool:
        return token == END

    whole = denoise_fixed(between(Scripted()), 4, ends, commit_rule, limit(), NO_STEM, lambda canvas: None)
    assert (whole.tokens, whole.finished, len(whole.logp)) == ([5] * 4, True, 4)
    ended = Scripted(lambda canvas, place: END if place >= 2 else 5)
    short = denoise_fixed(between(ended), 4, ends, commit_rule, limit(), NO_STEM, lambda canvas: None)
    assert (short.tokens, short.finished, len(short.logp)) == ([5, 5], True, 3)
    stopped = denoise_fixed(
        between(Scripted()), 4, ends, commit_rule, limit(passes=0), NO_STEM, lambda canvas: None
    )
    assert (stopped.tokens, stopped.finished) == ([], False)


def grown(script: Any, newlines: frozenset[int] = frozenset(), **limits: int) -> tuple[Any, list[list[Any]]]:
    seen: list[list[Any]] = []
    middle = denoise_expandable(
        between(Scripted(script)),
        EXPAND,
        frozenset({END}),
        newlines,
        limit(**limits),
        lambda committed, behind, logp: seen.append([*committed, *behind]),
        NO_STEM,
    )
    return middle, seen


def test_a_canvas_grows_until_it_has_room() -> None:
    wanted = [11, 12, 13, 14, 15, 16]
    middle, seen = grown(lambda canvas, place: EXPAND if len(canvas) < 6 else wanted[place])
    assert (middle.tokens, middle.finished, len(middle.logp)) == (wanted, True, 6)
    assert [len(canvas) for canvas in seen] == [5, 6, 6, 6, 6, 6, 6, 6]
    assert FIRST_MASKS == 4


def test_a_canvas_shrinks_where_there_is_less_to_write() -> None:
    middle, seen = grown(lambda canvas, place: END if len(canvas) > 2 else 11 + place)
    assert (middle.tokens, middle.finished) == ([11, 12], True)
    assert [len(canvas) for canvas in seen] == [3, 2, 2, 2]
    nothing, _ = grown(lambda canvas, place: END)
    assert (nothing.tokens, nothing.logp, nothing.finished) == ([], [], True)


def test_growth_has_an_end() -> None:
    middle, seen = grown(lambda canvas, place: EXPAND, tokens=6)
    assert max(len(canvas) for canvas in seen) == 6
    assert len(middle.tokens) == 6
    assert EXPAND not in middle.tokens


def test_a_line_that_is_wanted_alone_ends_with_it() -> None:
    middle, _ = grown(lambda canvas, place: (11, NEWLINE, 13, 14)[place], frozenset({NEWLINE}))
    assert (middle.tokens, middle.finished, len(middle.logp)) == ([11], True, 2)
