"""Measures latencies at the protocol's boundary, and the speed of both decoders: `mercury-lsp bench`.

The decoders run in this process, alternately on the same requests; their times exclude the prefill.
"""

from __future__ import annotations

import asyncio
import json
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mercury_lsp.bench import against, targets
from mercury_lsp.bench.completion_api import CompletionServer
from mercury_lsp.bench.keystrokes import (
    LONG_TOKENS,
    SHORT_TOKENS,
    Measurements,
    measure_context_lengths,
    measure_keystrokes,
    measure_prefetch,
)
from mercury_lsp.bench.scenes import Scene, long_lines, scenes
from mercury_lsp.completion.pipeline import build_prompt, complete
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config, parse_settings
from mercury_lsp.engine.api import MODES
from mercury_lsp.errors import BadUsage
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine, Infill
    from mercury_lsp.engine.local_engine import LocalEngine

# Rows of the timed passes.
_PASS_ROWS = (1, 8, 16, 32)
# Tokens in the KV cache before a timed pass, and the number of repetitions of each pass.
_CACHED_TOKENS, _PASS_REPEATS = 512, 30
# Prefetch is measured at every fourth scene.
_PREFETCH_SCENE_STEP = 4
# Scenes that both decoders complete.
_DECODED_SCENES = 12
# The least number of tokens in a line of the bundled files whose answer may be long.
_MIN_LONG_LINE_TOKENS = 24
# Each request of a comparison is timed twice, because there are few requests.
_COMPARISON_REPEATS = 2


def run(arguments: Namespace) -> int:
    """Measure and print the figures; return the exit status."""
    from mercury_lsp.engine.load import load_engine  # imports numpy

    options: dict[str, object] = {"model": arguments.model, "device": arguments.device}
    # Time complete answers, without prefetch and debounce, at every place.
    options |= {"anticipate": False, "deadline_ms": 60_000}
    options |= {"debounce_ms": 0, "in_strings_and_comments": True}
    if arguments.context is not None:
        options |= {"context_tokens": arguments.context}
    settings = {name: value for name, value in options.items() if value is not None}
    config, problems = parse_settings(settings, strict=True)
    if problems:
        raise BadUsage(problems[0])
    engine, server = load_engine(config.model, config.device, config.threads, config.quantization), None
    local_engine = as_local_engine(engine)
    if local_engine is None and (arguments.long or arguments.against is not None):
        raise BadUsage(
            f"--long and --against work only with the shipped models, and {engine.name} is an open model."
        )
    if local_engine is not None and arguments.against is not None:
        server = against.make_client(local_engine, arguments.against)
        # Fail now if the server cannot be reached, not after minutes of measuring.
        server.prefill((min(local_engine.layout.stop_tokens),))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        measured = asyncio.run(measure_keystrokes(settings, progress))
        prefetch_task = progress.add_task("working ahead", total=None)
        prefetch_figures = asyncio.run(measure_prefetch(settings, scenes()[::_PREFETCH_SCENE_STEP]))
        progress.remove_task(prefetch_task)
        figures = _figures(config, engine, measured, progress) | {"with_speculation": prefetch_figures}
        if local_engine is not None and arguments.long:
            typing_ms = asyncio.run(measure_context_lengths(settings, local_engine.count, progress))
            figures["typing_ms_by_context"] = typing_ms
            figures["typing_4096_over_512"] = round(
                typing_ms[str(LONG_TOKENS)] / typing_ms[str(SHORT_TOKENS)], 2
            )
        if local_engine is not None and server is not None:
            figures["against"] = _compare_with_server(config, local_engine, server, progress)
    figures["targets"] = targets.judge_all(figures)
    if arguments.json:
        print(json.dumps(figures))
    else:
        Console().print(_table(figures))
    return 0


def as_local_engine(engine: Engine) -> LocalEngine | None:
    """Return the engine if it runs one of our own models, whose passes can be timed one by one; None for others."""
    from mercury_lsp.engine.local_engine import LocalEngine  # imports numpy

    return engine if isinstance(engine, LocalEngine) else None


def _figures(config: Config, engine: Engine, measured: Measurements, progress: Progress) -> dict[str, object]:
    local_engine = as_local_engine(engine)
    # An open model has no autoregressive mode.
    modes = MODES if local_engine is not None else ("diffusion",)
    infills_by_mode = _run_decoders(config, engine, modes, progress)
    speed = {
        mode: sum(infill.tokens for infill in infills) / sum(infill.ms_denoise for infill in infills) * 1e3
        for mode, infills in infills_by_mode.items()
    }
    passes = sum(infill.forward_passes for infill in infills_by_mode["diffusion"])
    return {
        "model": engine.name,
        "device": engine.device,
        "threads": engine.threads,
        "context_tokens": config.context_tokens,
        "keystroke_ms": {
            kind: against.latency_percentiles(times) for kind, times in measured.keystrokes.items()
        },
        "with_speculation": None,
        "pass_ms": _pass_ms(local_engine) if local_engine is not None else None,
        "tokens_per_s": {mode: round(value, 1) for mode, value in speed.items()},
        "tokens_per_pass": round(sum(infill.tokens for infill in infills_by_mode["diffusion"]) / passes, 2),
        "ratio_diffusion_over_autoregressive": round(speed["diffusion"] / speed["autoregressive"], 2)
        if local_engine is not None
        else None,
        "start_ms": {"initialize": round(measured.initialize), "ready": round(measured.ready)},
        "rss_mb": measured.rss,
        "typing_ms_by_context": None,
        "typing_4096_over_512": None,
        "against": None,
    }


def _run_decoders(
    config: Config, engine: Engine, modes: Sequence[str], progress: Progress
) -> dict[str, list[Infill]]:
    infills: dict[str, list[Infill]] = {mode: [] for mode in modes}
    for number, scene in enumerate(progress.track(scenes()[:_DECODED_SCENES], description="decoders")):
        # Each mode comes first equally often.
        for mode in modes if number % 2 else reversed(modes):
            snapshot = Snapshot(_document(scene), config, mode=mode)
            completion = complete(snapshot, scene.start, engine)
            # It is never None: no bundled file is declined.
            if completion is not None:
                infills[mode].append(completion.infill)
    return infills


def _pass_ms(engine: LocalEngine) -> dict[str, float]:
    """Return the median ms of a pass by its number of rows, for a canvas after `_CACHED_TOKENS` cached tokens.

    Only one score is read, which waits for the device.
    """
    from mercury_lsp.engine.backends.attention import TokenLayout  # imports numpy

    ids = engine.tokenizer.encode("".join(scene.text for scene in scenes()))[:_CACHED_TOKENS]
    passes, times = engine.cached_model, defaultdict[int, list[float]](list)
    passes.reuse(())
    passes.extend(ids, lambda: False)
    for _ in range(_PASS_REPEATS):
        for rows in _PASS_ROWS:
            layout = TokenLayout.block(_CACHED_TOKENS, rows - 1)
            began = time.perf_counter()
            # Reading a value waits for the device.
            float(passes.run(ids[-rows:], layout)[0, 0])
            times[rows].append((time.perf_counter() - began) * 1e3)
    passes.reuse(())
    return {str(rows): round(median(row_times), 1) for rows, row_times in times.items()}


def _compare_with_server(
    config: Config, engine: LocalEngine, server: CompletionServer, progress: Progress
) -> dict[str, object]:
    """Compare with another server: single lines at the scenes, and long lines at which our answer is long, too.

    A long answer goes on until the model ends it.
    """
    from mercury_lsp.engine.api import Sampling  # imports numpy

    sampling = Sampling(max_tokens=config.max_tokens, max_passes=2 * config.max_tokens)
    lines = long_lines(engine.count, _MIN_LONG_LINE_TOKENS)

    def ask(scene: Scene, single_line: bool) -> against.Question:
        snapshot = Snapshot(_document(scene), config)
        return against.Question(build_prompt(snapshot, scene.start, engine), single_line)

    long_line_questions = progress.track([ask(scene, False) for scene in lines], description="long lines")
    questions = [ask(scene, True) for scene in scenes()] + against.select_long_questions(
        engine, long_line_questions, sampling
    )
    tracked = progress.track(questions, description="against")
    turns = against.compare(engine, server, tracked, sampling, _COMPARISON_REPEATS)
    return {"url": server.url, "model": server.model(), **against.figures(list(turns))}


def _document(scene: Scene) -> Document:
    return Document(scene.uri, scene.path.name, scene.language_id, 1, scene.cut)


def _table(figures: Mapping[str, object]) -> Table:
    table = Table(show_header=False, box=None)
    for name, value in _rows("", figures):
        table.add_row(name, value)
    return table


def _rows(name: str, value: object) -> Iterable[tuple[str, str]]:
    match value:
        case None | "":
            return
        case {"p50": p50, "p95": p95}:
            yield name, f"p50 {p50}  p95 {p95}"
        case dict():
            for part, inner in value.items():
                yield from _rows(f"{name}.{part}" if name else part, inner)
        # The targets.
        case list():
            for target in value:
                verdict = "met" if target["met"] else "missed"
                yield target["what"], f"{target['found']}, wanted {target['wanted']}: {verdict}"
        case _:
            yield name, str(value)
