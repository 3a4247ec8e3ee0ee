"""Continuous batching: concurrent sessions share passes and get their own texts; a failed pass affects no others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.batched import BatchedNetwork
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.backends.devices import batcher_for, executor_for
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.batching import ContinuousBatcher, Slot, SlotRows
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import Cancelled

SOURCE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(12))
PROMPTS = [Prompt(f"{i}.py", SOURCE[: 60 * i + 20], "", SOURCE[60 * i + 40 : 60 * i + 200]) for i in range(6)]
SAMPLING = Sampling(max_tokens=10)


def infill_in_slot(loaded: Checkpoint, slot: Slot, prompt: Prompt) -> str:
    engine = LocalEngine(loaded, slot)
    with slot.job(lambda: False):
        return engine.infill(prompt, SAMPLING).text


def run_concurrently(work: Callable[[Prompt], str], prompts: Sequence[Prompt] = PROMPTS) -> list[str]:
    with ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(work, prompts))


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Checkpoint:
    return checkpoint.read_checkpoint(tiny_model)


@pytest.fixture
def batcher(loaded: Checkpoint) -> Iterator[ContinuousBatcher]:
    network = BatchedNetwork(Network.of(loaded), loaded.tokenizer.forbidden, "cpu", 6, 1024)
    slots = ContinuousBatcher(network)
    yield slots
    slots.close()


def test_concurrent_sessions_share_passes_and_get_the_same_texts_as_alone(
    loaded: Checkpoint, batcher: ContinuousBatcher
) -> None:
    alone = []
    passes = 0
    for prompt in PROMPTS:
        executor = CountingExecutor(TorchExecutor(Network.of(loaded), loaded.tokenizer.forbidden, "cpu"))
        alone.append(LocalEngine(loaded, executor).infill(prompt, SAMPLING).text)
        passes += executor.passes
    assert len(set(alone)) > 1
    assert run_concurrently(lambda prompt: infill_in_slot(loaded, batcher.acquire(), prompt)) == alone
    shared = sum(batcher.passes.values())
    assert sum(size * count for size, count in batcher.passes.items()) == passes
    assert shared < passes / 2
    assert max(batcher.passes) > len(PROMPTS) / 2


class CountingExecutor(TorchExecutor):
    def __init__(self, inner: TorchExecutor) -> None:
        self.__dict__ |= inner.__dict__
        self.passes = 0

    def run(self, ids: Sequence[int], rows: TokenLayout, past: int) -> Any:
        self.passes += 1
        return super().run(ids, rows, past)


def test_the_shipped_model_writes_the_same_texts_in_a_batch() -> None:
    loaded = checkpoint.read_checkpoint(checkpoint.find_model("small"))
    network = Network.of(loaded)
    alone = LocalEngine(loaded, TorchExecutor(network, loaded.tokenizer.forbidden, "cpu"))
    prompts = [PROMPTS[1], PROMPTS[4]]
    wanted = [alone.infill(prompt, SAMPLING).text for prompt in prompts]
    slots = ContinuousBatcher(BatchedNetwork(network, loaded.tokenizer.forbidden, "cpu", 2, 512))
    assert run_concurrently(lambda prompt: infill_in_slot(loaded, slots.acquire(), prompt), prompts) == wanted
    assert all(wanted)
    assert slots.passes[2]
    slots.close()


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_the_kernel_writes_the_same_texts_in_a_batch(packed_model: Path) -> None:
    loaded = checkpoint.read_checkpoint(packed_model)
    slots = batcher_for(loaded, "cpu", 1, 1 << 30, 1024)
    texts = run_concurrently(lambda prompt: infill_in_slot(loaded, slots.acquire(), prompt))
    alone = LocalEngine(loaded, executor_for(loaded, "cpu", 1))
    assert texts == [alone.infill(prompt, SAMPLING).text for prompt in PROMPTS]
    assert max(slots.passes) > len(PROMPTS) / 2
    slots.close()


class ControlledBatch:
    """A batch network whose passes wait for `go_on`, and fail while `fails` is set."""

    device, threads, row_cost, slots, rows, bytes_per_slot = "cpu", 1, 0.0, 4, 64, 1

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.fails = False

    def run(self, parts: Sequence[SlotRows]) -> Sequence[Any]:
        self.batches.append(sorted(part.ids[0] for part in parts))
        self.begun.release()
        assert self.go_on.acquire(timeout=30)
        if self.fails:
            raise RuntimeError("no such pass")
        return [part.ids[0] for part in parts]

    def scores(self, hidden: Sequence[Any]) -> Sequence[Any]:
        return hidden

    def free(self, slot: int) -> None:
        pass


def wait_for_pending(slots: ContinuousBatcher, count: int) -> None:
    with slots._changed:
        assert slots._changed.wait_for(lambda: slots._pending() == count, 30)


@pytest.fixture
def controlled() -> Iterator[tuple[ControlledBatch, ContinuousBatcher, ThreadPoolExecutor]]:
    batch = ControlledBatch()
    slots = ContinuousBatcher(batch, max_rows=5)
    with ThreadPoolExecutor(8) as pool:
        yield batch, slots, pool
        slots.close()


def run_rows(slot: Slot, number: int, rows: int = 2, cancelled: Callable[[], bool] = lambda: False) -> Any:
    with slot.job(cancelled):
        return slot.run([number] * rows, TokenLayout.clean(0, rows), 0)


def test_calls_that_arrive_during_a_pass_share_the_next_pass_up_to_the_row_limit(
    controlled: tuple[ControlledBatch, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = controlled
    first = pool.submit(run_rows, slots.acquire(), 0)
    assert batch.begun.acquire(timeout=30)
    others = [pool.submit(run_rows, slots.acquire(), number) for number in (1, 2, 3)]
    wait_for_pending(slots, 4)
    batch.go_on.release(3)
    assert [answer.result(30) for answer in (first, *others)] == [0, 1, 2, 3]
    assert [len(own) for own in batch.batches] == [1, 2, 1]  # at most five rows: two calls of two rows
    assert dict(slots.passes) == {1: 2, 2: 1}


def test_a_cancelled_call_is_removed_before_the_next_pass(
    controlled: tuple[ControlledBatch, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = controlled
    first = pool.submit(run_rows, slots.acquire(), 0)
    assert batch.begun.acquire(timeout=30)
    gone = threading.Event()
    one, other = (
        pool.submit(run_rows, slots.acquire(), 1, 2, gone.is_set),
        pool.submit(run_rows, slots.acquire(), 2),
    )
    wait_for_pending(slots, 3)
    gone.set()
    batch.go_on.release(2)
    assert (first.result(30), other.result(30)) == (0, 2)
    with pytest.raises(Cancelled):
        one.result(30)
    assert batch.batches == [[0], [2]]


def test_a_failed_pass_fails_only_the_calls_in_it(
    controlled: tuple[ControlledBatch, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = controlled
    batch.fails = True
    batch.go_on.release()
    with pytest.raises(RuntimeError, match="no such pass"):
        pool.submit(run_rows, slots.acquire(), 1).result(30)
    batch.fails = False
    batch.go_on.release()
    assert pool.submit(run_rows, slots.acquire(), 2).result(30) == 2


def test_too_many_rows_are_refused_and_a_freed_slot_is_used_again(
    controlled: tuple[ControlledBatch, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    _, slots, _ = controlled
    taken = [slots.acquire() for _ in range(4)]
    with pytest.raises(MemoryError):
        slots.acquire()
    with pytest.raises(ValueError, match="do not fit"):
        run_rows(taken[0], 1, 65)
    taken[0].release()
    slots.acquire()


def test_closing_cancels_the_calls_that_wait(
    controlled: tuple[ControlledBatch, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = controlled
    first = pool.submit(run_rows, slots.acquire(), 0)
    assert batch.begun.acquire(timeout=30)
    second = pool.submit(run_rows, slots.acquire(), 1)
    wait_for_pending(slots, 2)
    slots._closed = True
    batch.go_on.release()
    assert first.result(30) == 0
    with pytest.raises(Cancelled):
        second.result(30)
