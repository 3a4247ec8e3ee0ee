"""Slots: that sessions that decode at once share passes and get their own texts, and what a bad pass costs."""

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


def infilled(loaded: Checkpoint, slot: Slot, prompt: Prompt) -> str:
    engine = LocalEngine(loaded, slot)
    with slot.job(lambda: False):
        return engine.infill(prompt, SAMPLING).text


def at_once(work: Callable[[Prompt], str], prompts: Sequence[Prompt] = PROMPTS) -> list[str]:
    with ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(work, prompts))


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Checkpoint:
    return checkpoint.read_checkpoint(tiny_model)


@pytest.fixture
def together(loaded: Checkpoint) -> Iterator[ContinuousBatcher]:
    network = BatchedNetwork(Network.of(loaded), loaded.tokenizer.forbidden, "cpu", 6, 1024)
    slots = ContinuousBatcher(network)
    yield slots
    slots.close()


def test_sessions_at_once_share_passes_and_get_the_texts_that_they_get_alone(
    loaded: Checkpoint, together: ContinuousBatcher
) -> None:
    alone = []
    passes = 0
    for prompt in PROMPTS:
        executor = Counted(TorchExecutor(Network.of(loaded), loaded.tokenizer.forbidden, "cpu"))
        alone.append(LocalEngine(loaded, executor).infill(prompt, SAMPLING).text)
        passes += executor.passes
    assert len(set(alone)) > 1
    assert at_once(lambda prompt: infilled(loaded, together.acquire(), prompt)) == alone
    shared = sum(together.passes.values())
    assert sum(size * count for size, count in together.passes.items()) == passes
    assert shared < passes / 2
    assert max(together.passes) > len(PROMPTS) / 2


class Counted(TorchExecutor):
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
    assert at_once(lambda prompt: infilled(loaded, slots.acquire(), prompt), prompts) == wanted
    assert all(wanted)
    assert slots.passes[2]
    slots.close()


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_the_kernel_writes_the_same_texts_in_a_batch(packed_model: Path) -> None:
    loaded = checkpoint.read_checkpoint(packed_model)
    slots = batcher_for(loaded, "cpu", 1, 1 << 30, 1024)
    texts = at_once(lambda prompt: infilled(loaded, slots.acquire(), prompt))
    alone = LocalEngine(loaded, executor_for(loaded, "cpu", 1))
    assert texts == [alone.infill(prompt, SAMPLING).text for prompt in PROMPTS]
    assert max(slots.passes) > len(PROMPTS) / 2
    slots.close()


class Scripted:
    """A batch that waits until it is let go on, and fails where it is told to."""

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


def waiting(slots: ContinuousBatcher, count: int) -> None:
    with slots._changed:
        assert slots._changed.wait_for(lambda: slots._pending() == count, 30)


@pytest.fixture
def scripted() -> Iterator[tuple[Scripted, ContinuousBatcher, ThreadPoolExecutor]]:
    batch = Scripted()
    slots = ContinuousBatcher(batch, max_rows=5)
    with ThreadPoolExecutor(8) as pool:
        yield batch, slots, pool
        slots.close()


def ask(slot: Slot, number: int, rows: int = 2, cancelled: Callable[[], bool] = lambda: False) -> Any:
    with slot.job(cancelled):
        return slot.run([number] * rows, TokenLayout.clean(0, rows), 0)


def test_what_is_asked_during_a_pass_is_the_next_one_up_to_its_limit(
    scripted: tuple[Scripted, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = scripted
    first = pool.submit(ask, slots.acquire(), 0)
    assert batch.begun.acquire(timeout=30)
    others = [pool.submit(ask, slots.acquire(), number) for number in (1, 2, 3)]
    waiting(slots, 4)
    batch.go_on.release(3)
    assert [answer.result(30) for answer in (first, *others)] == [0, 1, 2, 3]
    assert [len(own) for own in batch.batches] == [1, 2, 1]  # five rows are two of two
    assert dict(slots.passes) == {1: 2, 2: 1}


def test_a_cancelled_call_leaves_before_the_next_pass(
    scripted: tuple[Scripted, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = scripted
    first = pool.submit(ask, slots.acquire(), 0)
    assert batch.begun.acquire(timeout=30)
    gone = threading.Event()
    one, other = pool.submit(ask, slots.acquire(), 1, 2, gone.is_set), pool.submit(ask, slots.acquire(), 2)
    waiting(slots, 3)
    gone.set()
    batch.go_on.release(2)
    assert (first.result(30), other.result(30)) == (0, 2)
    with pytest.raises(Cancelled):
        one.result(30)
    assert batch.batches == [[0], [2]]


def test_a_pass_that_fails_costs_those_in_it_and_nobody_else(
    scripted: tuple[Scripted, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = scripted
    batch.fails = True
    batch.go_on.release()
    with pytest.raises(RuntimeError, match="no such pass"):
        pool.submit(ask, slots.acquire(), 1).result(30)
    batch.fails = False
    batch.go_on.release()
    assert pool.submit(ask, slots.acquire(), 2).result(30) == 2


def test_rows_that_do_not_fit_are_refused_and_slots_are_given_again(
    scripted: tuple[Scripted, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    _, slots, _ = scripted
    taken = [slots.acquire() for _ in range(4)]
    with pytest.raises(MemoryError):
        slots.acquire()
    with pytest.raises(ValueError, match="do not fit"):
        ask(taken[0], 1, 65)
    taken[0].release()
    slots.acquire()


def test_who_waits_when_it_ends_is_told(
    scripted: tuple[Scripted, ContinuousBatcher, ThreadPoolExecutor],
) -> None:
    batch, slots, pool = scripted
    first = pool.submit(ask, slots.acquire(), 0)
    assert batch.begun.acquire(timeout=30)
    second = pool.submit(ask, slots.acquire(), 1)
    waiting(slots, 2)
    slots._closed = True
    batch.go_on.release()
    assert first.result(30) == 0
    with pytest.raises(Cancelled):
        second.result(30)
