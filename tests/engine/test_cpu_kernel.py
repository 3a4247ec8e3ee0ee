"""The kernel: that it computes what torch does, in every instruction set, and that only the rows themselves count."""

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
ROUNDING = 0.06  # share of a row's length that rounding activations to 8 bits may move it, in two layers
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
    """Torch with the same weights and unrounded activations."""
    return TorchExecutor(Network.of(loaded, torch.float32), loaded.tokenizer.forbidden, "cpu")


def clean(executor: Any, first: int, last: int) -> NDArray[np.float32]:
    """The hidden rows of the ids from `first` to `last`, read in one pass behind those before; a copy."""
    return array(executor.run(IDS[first:last], TokenLayout.clean(first, last - first), first))


def array(hidden: Any) -> NDArray[np.float32]:
    """A copy of hidden rows of any executor."""
    return np.asarray(hidden).copy()


def canvases(past: int) -> tuple[list[int], TokenLayout]:
    """Ids and rows of one pass that masks much: three clean rows, and two canvases behind them, of seven and four."""
    ids = [*IDS[past : past + 3], *IDS[900:908], *IDS[950:955]]
    rows = TokenLayout.join(
        TokenLayout.clean(past, 3), TokenLayout.block(past + 3, 7), TokenLayout.block(past + 3, 4, number=2)
    )
    return ids, rows


def near(found: NDArray[np.float32], expected: NDArray[np.float32], share: float = ROUNDING) -> None:
    """Each row is off by no more than a share of its length."""
    error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert error.max() < share


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("count", [1, 5, 7, 64, 150])
def test_clean_rows_are_torchs(make: Make, exact: TorchExecutor, instructions: str, count: int) -> None:
    ours = make(instructions)
    for first in (0, 40):
        if first:
            clean(ours, 0, first), clean(exact, 0, first)
        found, expected = clean(ours, first, first + count), clean(exact, first, first + count)
        near(found, expected)
        near(np.exp(ours.scores(found)), np.exp(exact.scores(torch.from_numpy(expected))), 0.1)


@pytest.mark.parametrize("instructions", SETS)
def test_canvases_are_torchs(make: Make, exact: TorchExecutor, instructions: str) -> None:
    ours = make(instructions)
    for past in (0, 1, 15, 16, 17, 100):
        if past:
            clean(ours, 0, past), clean(exact, 0, past)
        ids, rows = canvases(past)
        near(ours.run(ids, rows, past), array(exact.run(ids, rows, past)))


@pytest.mark.parametrize("instructions", SETS)
def test_what_is_kept_outlives_the_growth_of_the_buffers(
    make: Make, exact: TorchExecutor, instructions: str
) -> None:
    ours = make(instructions)
    for first, last in ((0, 500), (500, 520), (520, 1020), (1020, 1040), (1040, 1400)):
        near(clean(ours, first, last), clean(exact, first, last))
    ids, rows = canvases(1400)
    near(ours.run(ids, rows, 1400), array(exact.run(ids, rows, 1400)))


def test_scores_of_more_rows_than_any_pass_had(make: Make) -> None:
    ours = make()
    hidden = (
        np.random.default_rng(2).normal(size=(kernel.BUFFER_STEP_ROWS + 9, PACKABLE.width)).astype(np.float32)
    )
    many = ours.scores(hidden)
    assert (many[-1:] == make().scores(hidden[-1:])).all()


@pytest.mark.parametrize("instructions", SETS)
def test_the_number_of_threads_changes_no_bit(make: Make, instructions: str) -> None:
    def results(threads: int) -> list[NDArray[np.float32]]:
        ours = make(instructions, threads)
        rows = [clean(ours, 0, 150), clean(ours, 150, 155), array(ours.run(*canvases(155), 155))]
        return [*rows, ours.scores(rows[-1])]

    alone = results(1)
    for threads in (2, 3):
        assert all((a == b).all() for a, b in zip(alone, results(threads), strict=True))


@pytest.mark.parametrize("instructions", SETS)
def test_a_row_does_not_depend_on_its_companions(make: Make, instructions: str) -> None:
    ours = make(instructions)
    clean(ours, 0, 90)
    alone, both = (
        TokenLayout.block(90, 7),
        TokenLayout.join(TokenLayout.block(90, 7), TokenLayout.block(90, 4, number=2)),
    )
    ids = IDS[900:908]
    expected = array(ours.run(ids, alone, 90))
    for companions in (IDS[950:955], IDS[1000:1005]):
        assert (ours.run([*ids, *companions], both, 90)[:8] == expected).all()
    others = np.random.default_rng(3).normal(size=(9, PACKABLE.width)).astype(np.float32)
    assert (ours.scores(np.concatenate([others, expected]))[9:] == ours.scores(expected)).all()


@pytest.mark.parametrize("instructions", SETS)
def test_kept_rows_serve_as_fresh_ones(make: Make, instructions: str) -> None:
    at_once = clean(make(instructions), 0, 300)
    ours = make(instructions)
    for first, last in ((0, 7), (7, 8), (8, 30), (30, 94), (94, 257), (257, 300)):
        near(clean(ours, first, last), at_once[first:last], 1e-4)
    ours.run(*canvases(200), 200)  # overwrites rows that are read anew then
    near(clean(ours, 200, 300), at_once[200:], 1e-4)


@pytest.mark.parametrize("instructions", SETS)
def test_sequences_in_one_pass_are_those_that_run_alone(
    loaded: Checkpoint, make: Make, instructions: str
) -> None:
    prepared = PreparedWeights.of(PackedSource(loaded))
    assert prepared is not None
    batch = NativeBatch(NativeNetwork(prepared, loaded.forbidden, 2, instructions), 1 << 30, 512)
    starts = (0, 100, 300)
    alone = [make(instructions) for _ in starts]
    # Of different lengths, the third with a canvas that sees both ways.
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
            expected.append(array(alone[slot].run(ids, rows, past)))
        hidden = batch.run(parts)
        assert all((a == b).all() for a, b in zip(hidden, expected, strict=True))
        scores = batch.scores([own[-2:] for own in hidden])
        assert (scores[1] == alone[1].scores(expected[1][-2:])).all()
    batch.free(1)
    again = make(instructions)
    ids, rows = IDS[:20], TokenLayout.clean(0, 20)
    assert (batch.run([SlotRows(1, ids, rows, 0)])[0] == array(again.run(ids, rows, 0))).all()


def test_a_row_costs_a_share_of_a_pass(make: Make) -> None:
    assert 0.01 <= make()._network.row_cost() < 2


def test_scores_are_log_probabilities_without_the_forbidden(make: Make, loaded: Checkpoint) -> None:
    ours = make()
    scores = ours.scores(clean(ours, 0, 5)[[4, 2]])
    assert scores.dtype == np.float32
    assert scores.shape == (2, PACKABLE.vocabulary)
    assert np.flatnonzero(np.isinf(scores[0])).tolist() == list(loaded.tokenizer.forbidden)
    assert np.exp(scores.astype(np.float64)).sum(-1) == pytest.approx(1.0, rel=1e-5)


def test_a_checkpoint_that_the_kernel_can_run_needs_no_more(loaded: Checkpoint) -> None:
    told: list[float] = []
    network = NativeNetwork.of(PackedSource(loaded), loaded.forbidden, 2, told.append)
    assert network is not None
    assert network.threads == 2
    assert told == sorted(told)


def test_other_networks_are_left_to_others(
    unpacked_model: Path, loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = checkpoint.read_checkpoint(unpacked_model)
    assert not supports_shape(tiny.shape)
    assert supports_shape(loaded.shape)
    for kind in ({"qkv_bias": True}, {"head_norms": True}, {"tied": False}, {"vocabulary": 515}):
        assert supports_shape(replace(loaded.shape, **kind))
    assert NativeNetwork.of(PackedSource(tiny), tiny.forbidden, 1) is None
    monkeypatch.setattr(kernel, "kernel_library", lambda: None)  # as where the kernel is not installed
    assert instruction_sets() == ()
    assert NativeNetwork.of(PackedSource(loaded), loaded.forbidden, 1) is None


TEXT = Path(checkpoint.__file__).read_text(encoding="utf-8")


@cache
def expected_of(model: str) -> tuple[Checkpoint, Sequence[int], NDArray[np.float32]]:
    """A shipped model, ids of a real text, and the probabilities that torch computes with unrounded activations."""
    loaded = checkpoint.read_checkpoint(checkpoint.SHIPPED / model)
    ids = loaded.tokenizer.encode(TEXT)[:512]
    torchs = TorchExecutor(Network.of(loaded, torch.float32), loaded.tokenizer.forbidden, "cpu")
    return loaded, ids, torchs.scores(torchs.run(ids, TokenLayout.clean(0, len(ids)), 0))


@pytest.mark.parametrize("model", ["small", "mini"])
def test_the_shipped_models_say_what_their_exact_networks_say(model: str) -> None:
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
