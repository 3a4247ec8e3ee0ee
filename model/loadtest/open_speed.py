"""Times passes of networks with the shapes of open models and random weights: `python -m model.loadtest.open_speed`.

The time of a pass does not depend on the values of the weights. The time of a keystroke is that of reading one typed
token and decoding a line of eight tokens: with a right draft in one pass of nine rows, else with a pass for each token.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.cpu.layout import Matrix
from mercury_lsp.engine.backends.cpu.network import NativeExecutor, NativeNetwork
from mercury_lsp.engine.backends.cpu.sources import WriteWeight
from mercury_lsp.engine.backends.cpu.weights import PreparedWeights, prepare_weights
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.system import default_threads

VOCABULARY = 151_936
SHAPES = {
    "0.5B (Qwen2.5-Coder)": Shape(
        VOCABULARY, width=896, layers=24, heads=14, kv_heads=2, head_width=64, hidden=4864, qkv_bias=True
    ),
    "1.5B (Qwen2.5-Coder, Fast-dLLM v2)": Shape(
        VOCABULARY, width=1536, layers=28, heads=12, kv_heads=2, head_width=128, hidden=8960, qkv_bias=True
    ),
    "1.7B (SDAR, Qwen3)": Shape(
        VOCABULARY, width=2048, layers=28, heads=16, kv_heads=8, head_width=128, hidden=6144, head_norms=True
    ),
}
CONTEXT, LINE = 512, 8


class RandomWeights:
    """A source of weights with random levels, and with scales of 0.001."""

    key = ""

    def __init__(self, shape: Shape, bits: int) -> None:
        self.shape, self._bits = shape, bits

    def bits(self, name: str) -> int:
        """Return the bits of a matrix, see `WeightSource.bits`: the vocabulary's matrix has 8 bits."""
        return self._bits if name.startswith("layers.") else 8

    def writer(self) -> WriteWeight:
        """Return a function that fills in weights, see `WeightSource.writer`."""
        rng = np.random.default_rng(0)

        def put(name: str, place: Matrix | NDArray[np.float32]) -> None:
            if isinstance(place, Matrix):
                flat = place.levels.reshape(-1)
                noise = rng.integers(0, 256, 1 << 20, np.uint8)
                for at in range(0, len(flat), len(noise)):
                    flat[at : at + len(noise)] = noise[: len(flat) - at]
                place.scales[:] = 1e-3
            else:
                place[:] = 1.0

        return put


def executor_of(shape: Shape, bits: int, threads: int) -> NativeExecutor:
    """Create an executor with random weights."""
    source = RandomWeights(shape, bits)
    blob = prepare_weights(source)
    assert blob is not None, "random weights are supported"
    return NativeExecutor(NativeNetwork(PreparedWeights(source, blob), (), threads))


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of some work in milliseconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return round(median(times), 2)


def measure(shape: Shape, bits: int, threads: int, repeats: int) -> dict[str, float]:
    """Measure the times of one network in milliseconds, after `CONTEXT` tokens."""
    executor = executor_of(shape, bits, threads)
    ids = np.random.default_rng(1).integers(0, shape.vocabulary, CONTEXT).tolist()

    def read() -> None:
        for at in range(0, CONTEXT, 64):
            executor.run(ids[at : at + 64], TokenLayout.clean(at, 64), at)

    def line(rows: int) -> None:
        hidden = executor.run(ids[:rows], TokenLayout.clean(CONTEXT, rows), CONTEXT)
        executor.scores(np.array(hidden))

    reading = milliseconds(read, 2)
    passes = {rows: milliseconds(lambda rows=rows: line(rows), repeats) for rows in (1, 8, LINE + 1, 32)}  # type: ignore[misc]
    return {
        "ms_a_row_read": round(reading / CONTEXT, 3),
        **{f"ms_pass_{rows}": passes[rows] for rows in (1, 8, 32)},
        "ms_keystroke_without_draft": round(passes[1] * (LINE + 1), 1),
        "ms_keystroke_with_draft": round(passes[1] + passes[LINE + 1], 1),
    }


def main() -> None:
    """Run the command line; print one JSON object for each network."""
    parser = argparse.ArgumentParser(prog="python -m model.loadtest.open_speed", description=__doc__)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    for name, shape in SHAPES.items():
        for bits in (4, 8):
            figures = measure(shape, bits, given.threads, given.repeats)
            print(json.dumps({"model": name, "bits": bits, **figures}), flush=True)


if __name__ == "__main__":
    main()
