"""The kernel computes the same as torch with every instruction set, and each row depends only on its own context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.models.tiny_models import PACKABLE

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.cpu import kernel
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets, supports_shape
from mercury_lsp.engine.backends.cpu.network import NativeBatch, NativeExecutor, NativeNetwork
from mercury_lsp.engine.backends.cpu.sources import PackedSource
from mercury_lsp.engine.backends.cpu.weights import PreparedWeights
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.batching import SlotRows
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the kernel is not compiled for this machine")

IDS = np.random.default_rng(1).integers(17, PACKABLE.vocabulary, 1500).tolist()
# The share of a row's norm by which 8-bit activations may change the row, in two layers.
ROUNDING = 0.06
Make = Callable[..., NativeExecutor]


@pytest.fixture(scope="session")
def loaded(packed_model: Path) -> Checkpoint:
    return checkpoint.read_checkpoint(packed_model)


@pytest.fixture
def make(loaded: Checkpoint) -> Make:
    prepared = PreparedWeights.of(PackedSource(loaded))
    assert prepared is not None

    def make(instructions: str | None = None, threads: int = 2) -> NativeExecutor:
        return NativeExecutor(NativeNetwork(prepared, loaded.tokenizer.forbidden, threads, instructions))

    return make


@pytest.fixture
def exact(loaded: Checkpoint) -> TorchExecutor:
    """Torch with the same weights, without rounded activations."""
    return TorchExecutor(Network.of(loaded, torch.float32), loaded.tokenizer.forbidden, "cpu")


def run_clean(executor: Any, first: int, last: int) -> NDArray[np.float32]:
    """Return a copy of the hidden rows of the ids from `first` to `last`, read in one pass after the ids before."""
    return copy_of(executor.run(IDS[first:last], TokenLayout.clean(first, last - first), first))


def copy_of(hidden: Any) -> NDArray[np.float32]:
    """Return a copy of the hidden rows of any executor."""
    return np.asarray(hidden).copy()


def canvases(past: int) -> tuple[list[int], TokenLayout]:
    """Return the ids and rows of one pass: three clean rows, then two canvases of seven and four masks."""
    ids = [*IDS[past : past + 3], *IDS[900:908], *IDS[950:955]]
    rows = TokenLayout.join(
        TokenLayout.clean(past, 3), TokenLayout.block(past + 3, 7), TokenLayout.block(past + 3, 4, number=2)
    )
    return ids, rows


def assert_near(found: NDArray[np.float32], expected: NDArray[np.float32], share: float = ROUNDING) -> None:
    """Assert that the error of each row is less than a share of the row's norm."""
    error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert error.max() < share


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("count", [1, 5, 7, 64, 150])
def test_clean_rows_equal_those_of_torch(
    make: Make, exact: TorchExecutor, instructions: str, count: int
) -> None:
    ours = make(instructions)
    for first in (0, 40):
        if first:
            run_clean(ours, 0, first), run_clean(exact, 0, first)
        found, expected = run_clean(ours, first, first + count), run_clean(exact, first, first + count)
        assert_near(found, expected)
        assert_near(np.exp(ours.scores(found)), np.exp(exact.scores(torch.from_numpy(expected))), 0.1)


@pytest.mark.parametrize("instructions", SETS)
def test_canvas_rows_equal_those_of_torch(make: Make, exact: TorchExecutor, instructions: str) -> None:
    ours = make(instructions)
    for past in (0, 1, 15, 16, 17, 100):
        if past:
            run_clean(ours, 0, past), run_clean(exact, 0, past)
        ids, rows = canvases(past)
        assert_near(ours.run(ids, rows, past), copy_of(exact.run(ids, rows, past)))


@pytest.mark.parametrize("instructions", SETS)
def test_kept_rows_survive_the_growth_of_the_buffers(
    make: Make, exact: TorchExecutor, instructions: str
) -> None:
    ours = make(instructions)
    for first, last in ((0, 500), (500, 520), (520, 1020), (1020, 1040), (1040, 1400)):
        assert_near(run_clean(ours, first, last), run_clean(exact, first, last))
    ids, rows = canvases(1400)
    assert_near(ours.run(ids, rows, 1400), copy_of(exact.run(ids, rows, 1400)))


def test_scores_of_more_rows_than_any_earlier_pass_are_right(make: Make) -> None:
    ours = make()
    hidden = (
        np.random.default_rng(2).normal(size=(kernel.BUFFER_STEP_ROWS + 9, PACKABLE.width)).astype(np.float32)
    )
    many = ours.scores(hidden)
    assert (many[-1:] == make().scores(hidden[-1:])).all()


@pytest.mark.parametrize("instructions", SETS)
def test_results_are_bitwise_equal_for_any_number_of_threads(make: Make, instructions: str) -> None:
    def results(threads: int) -> list[NDArray[np.float32]]:
        ours = make(instructions, threads)
        rows = [run_clean(ours, 0, 150), run_clean(ours, 150, 155), copy_of(ours.run(*canvases(155), 155))]
        return [*rows, ours.scores(rows[-1])]

    alone = results(1)
    for threads in (2, 3):
        assert all((a == b).all() for a, b in zip(alone, results(threads), strict=True))


@pytest.mark.parametrize("instructions", SETS)
def test_a_row_does_not_depend_on_other_canvases_of_its_pass(make: Make, instructions: str) -> None:
    ours = make(instructions)
    run_clean(ours, 0, 90)
    alone, both = (
        TokenLayout.block(90, 7),
        TokenLayout.join(TokenLayout.block(90, 7), TokenLayout.block(90, 4, number=2)),
    )
    ids = IDS[900:908]
    expected = copy_of(ours.run(ids, alone, 90))
    for companions in (IDS[950:955], IDS[1000:1005]):
        assert (ours.run([*ids, *companions], both, 90)[:8] == expected).all()
    others = np.random.default_rng(3).normal(size=(9, PACKABLE.width)).astype(np.float32)
    assert (ours.scores(np.concatenate([others, expected]))[9:] == ours.scores(expected)).all()


@pytest.mark.parametrize("instructions", SETS)
def test_reading_in_parts_gives_the_same_rows_as_reading_at_once(make: Make, instructions: str) -> None:
    at_once = run_clean(make(instructions), 0, 300)
    ours = make(instructions)
    for first, last in ((0, 7), (7, 8), (8, 30), (30, 94), (94, 257), (257, 300)):
        assert_near(run_clean(ours, first, last), at_once[first:last], 1e-4)
    # The canvases overwrite rows, which then are read again.
    ours.run(*canvases(200), 200)
    assert_near(run_clean(ours, 200, 300), at_once[200:], 1e-4)


@pytest.mark.parametrize("instructions", SETS)
def test_sequences_of_one_pass_get_the_same_rows_as_alone(
    loaded: Checkpoint, make: Make, instructions: str
) -> None:
    prepared = PreparedWeights.of(PackedSource(loaded))
    assert prepared is not None
    batch = NativeBatch(NativeNetwork(prepared, loaded.forbidden, 2, instructions), 1 << 30, 512)
    starts = (0, 100, 300)
    alone = [make(instructions) for _ in starts]
    # Each has a different length, and the third one a canvas, whose rows attend in both directions.
    for count, past in ((90, 0), (1, 90), (7, 91)):
        parts, expected = [], []
        for slot, start in enumerate(starts):
            rows = TokenLayout.clean(past, count + slot)
            if count == 7 and slot == 2:
                rows = TokenLayout.join(
                    TokenLayout.clean(past, 3), TokenLayout.block(past + 3, count + slot - 4)
                )
            ids = IDS[start + past : start + past + count + slot]
            parts.append(SlotRows(slot, ids, rows, past))
            expected.append(copy_of(alone[slot].run(ids, rows, past)))
        hidden = batch.run(parts)
        assert all((a == b).all() for a, b in zip(hidden, expected, strict=True))
        scores = batch.scores([own[-2:] for own in hidden])
        assert (scores[1] == alone[1].scores(expected[1][-2:])).all()
    batch.free(1)
    again = make(instructions)
    ids, rows = IDS[:20], TokenLayout.clean(0, 20)
    assert (batch.run([SlotRows(1, ids, rows, 0)])[0] == copy_of(again.run(ids, rows, 0))).all()


def test_the_measured_cost_of_a_row_is_plausible(make: Make) -> None:
    assert 0.01 <= make()._network.row_cost() < 2


def test_scores_are_log_probabilities_without_forbidden_tokens(make: Make, loaded: Checkpoint) -> None:
    ours = make()
    scores = ours.scores(run_clean(ours, 0, 5)[[4, 2]])
    assert scores.dtype == np.float32
    assert scores.shape == (2, PACKABLE.vocabulary)
    assert np.flatnonzero(np.isinf(scores[0])).tolist() == list(loaded.tokenizer.forbidden)
    assert np.exp(scores.astype(np.float64)).sum(-1) == pytest.approx(1.0, rel=1e-5)


def test_a_checkpoint_that_fits_the_kernel_is_loaded_and_reports_progress(loaded: Checkpoint) -> None:
    told: list[float] = []
    network = NativeNetwork.of(PackedSource(loaded), loaded.forbidden, 2, told.append)
    assert network is not None
    assert network.threads == 2
    assert told == sorted(told)


def test_networks_that_the_kernel_cannot_run_are_declined(
    unpacked_model: Path, loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = checkpoint.read_checkpoint(unpacked_model)
    assert not supports_shape(tiny.shape)
    assert supports_shape(loaded.shape)
    for kind in ({"qkv_bias": True}, {"head_norms": True}, {"tied": False}, {"vocabulary": 515}):
        assert supports_shape(replace(loaded.shape, **kind))
    assert NativeNetwork.of(PackedSource(tiny), tiny.forbidden, 1) is None
    # As if the kernel were not installed.
    monkeypatch.setattr(kernel, "kernel_library", lambda: None)
    assert instruction_sets() == ()
    assert NativeNetwork.of(PackedSource(loaded), loaded.forbidden, 1) is None


TEXT = Path(checkpoint.__file__).read_text(encoding="utf-8")


@cache
def expected_of(model: str) -> tuple[Checkpoint, Sequence[int], NDArray[np.float32]]:
    """Return a shipped model, the ids of a real text, and their scores by torch with unrounded activations."""
    loaded = checkpoint.read_checkpoint(checkpoint.SHIPPED / model)
    ids = loaded.tokenizer.encode(TEXT)[:512]
    torchs = TorchExecutor(Network.of(loaded, torch.float32), loaded.tokenizer.forbidden, "cpu")
    return loaded, ids, torchs.scores(torchs.run(ids, TokenLayout.clean(0, len(ids)), 0))


@pytest.mark.parametrize("model", ["small", "mini"])
def test_shipped_models_in_the_kernel_agree_with_torch(model: str) -> None:
    loaded, ids, expected = expected_of(model)
    ours = NativeNetwork.of(PackedSource(loaded), loaded.forbidden, 2)
    assert ours is not None
    executor = NativeExecutor(ours)
    scores = executor.scores(executor.run(ids, TokenLayout.clean(0, len(ids)), 0))
    shown = np.isfinite(expected[0])
    a, b = (each[:, shown] - each[:, shown].mean(-1, keepdims=True) for each in (scores, expected))
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    assert cosine.mean() > 0.999
    assert (scores.argmax(-1) == expected.argmax(-1)).mean() > 0.95
