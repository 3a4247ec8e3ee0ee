"""Which drafts pay, by what a row more costs."""

from __future__ import annotations

import pytest

from mercury_lsp.engine.decoding.speculative import draft_defaults


def test_free_rows_get_canvases_at_each_place() -> None:
    drafts = draft_defaults(0.0)
    assert drafts.canvases and drafts.block == 6 and drafts.canvas_threshold == 0.0


@pytest.mark.parametrize(("row_cost", "canvases"), [(0.08, True), (0.12, True), (0.14, False), (0.27, False)])
def test_dear_rows_get_one_small_canvas_or_none(row_cost: float, canvases: bool) -> None:
    drafts = draft_defaults(row_cost)
    assert drafts.canvases is canvases and drafts.block == 3 and drafts.canvas_threshold == 1.0


def test_a_dearer_row_must_be_surer() -> None:
    min_probability = [draft_defaults(cost).min_probability for cost in (0.0, 0.05, 0.1, 0.2, 0.4)]
    assert (
        min_probability == sorted(min_probability)
        and min_probability[0] == 0.1
        and min_probability[-1] == pytest.approx(0.5)
    )
