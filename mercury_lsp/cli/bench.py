"""Measures latencies at the protocol's boundary, and the speed of both decoders: `mercury-lsp bench`.

The decoders run in this process, in turn on the same requests; their times leave out the prefill.
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
    FAR_TOKENS,
    SHORT_TOKENS,
    Measured,
    keystrokes,
    typing_by_context,
    working_ahead,
)
from mercury_lsp.bench.scenes import Scene, long_lines, scenes
from mercury_lsp.completion.pipeline import complete, question
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config, parse
from mercury_lsp.engine.api import MODES
from mercury_lsp.errors import BadUsage
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine, Infill
    from mercury_lsp.engine.local_engine import LocalEngine

_PASSES = (1, 8, 16, 32)  # rows of a pass
_CACHED, _TIMES = 512, 30  # tokens before it; how often each is timed
_EVERY = 4  # of the scenes one in so many shows what working ahead gains
_DECODED = 12  # scenes that both decoders complete
_LEAST = 24  # tokens of a line of the bundled files that may be answered by a long one
_REPEATS = 2  # times that each request of a comparison is timed: there are few


def run(arguments: Namespace) -> int:
    """Measure, and print the figures."""
    from mercury_lsp.engine.load import load_engine  # imports numpy

    options: dict[str, object] = {"model": arguments.model, "device": arguments.device}
    options |= {"anticipate": False, "deadline_ms": 60_000}  # what each answer takes by itself, whole
    options |= {"debounce_ms": 0, "in_strings_and_comments": True}  # and at every place
    if arguments.context is not None:
        options |= {"context_tokens": arguments.context}
    settings = {name: value for name, value in options.items() if value is not None}
    config, problems = parse(settings, strict=True)
    if problems:
        raise BadUsage(problems[0])
    engine, server = load_engine(config.model, config.device, config.threads, config.quantization), None
    own = own_engine(engine)
    if own is None and (arguments.long or arguments.against is not None):
        raise BadUsage(
            f"--long and --against work only with the shipped models, and {engine.name} is an open model."
        )
    if own is not None and arguments.against is not None:
        server = against.server_for(own, arguments.against)
        server.read((min(own.layout.ends),))  # lest minutes pass before it turns out not to be there
    with Progress(console=Console(stderr=True), transient=True) as progress:
        measured = asyncio.run(keystrokes(settings, progress))
        working = progress.add_task("working ahead", total=None)
        ahead = asyncio.run(working_ahead(settings, scenes()[::_EVERY]))
        progress.remove_task(working)
        figures = _figures(config, engine, measured, progress) | {"with_speculation": ahead}
        if own is not None and arguments.long:
            typing = asyncio.run(typing_by_context(settings, own.count, progress))
            figures["typing_ms_by_context"] = typing
            figures["typing_4096_over_512"] = round(typing[str(FAR_TOKENS)] / typing[str(SHORT_TOKENS)], 2)
        if own is not None and server is not None:
            figures["against"] = _against(config, own, server, progress)
    figures["targets"] = targets.judged(figures)
    if arguments.json:
        print(json.dumps(figures))
    else:
        Console().print(_table(figures))
    return 0


def own_engine(engine: Engine) -> LocalEngine | None:
    """The engine of a model of our own, whose passes can be timed one by one; None where it is an open model's."""
    from mercury_lsp.engine.local_engine import LocalEngine  # imports numpy

    return engine if isinstance(engine, LocalEngine) else None


def _figures(config: Config, engine: Engine, measured: Measured, progress: Progress) -> dict[str, object]:
    own = own_engine(engine)
    modes = MODES if own is not None else ("diffusion",)  # an open model only denoises
    decoded = _decode(config, engine, modes, progress)
    speed = {
        mode: sum(infill.tokens for infill in infills) / sum(infill.ms_denoise for infill in infills) * 1e3
        for mode, infills in decoded.items()
    }
    passes = sum(infill.forward_passes for infill in decoded["diffusion"])
    return {
        "model": engine.name,
        "device": engine.device,
        "threads": engine.threads,
        "context_tokens": config.context_tokens,
        "keystroke_ms": {kind: against.spread(times) for kind, times in measured.keystrokes.items()},
        "with_speculation": None,
        "pass_ms": _pass_ms(own) if own is not None else None,
        "tokens_per_s": {mode: round(value, 1) for mode, value in speed.items()},
        "tokens_per_pass": round(sum(infill.tokens for infill in decoded["diffusion"]) / passes, 2),
        "ratio_diffusion_over_autoregressive": round(speed["diffusion"] / speed["autoregressive"], 2)
        if own is not None
        else None,
        "start_ms": {"initialize": round(measured.initialize), "ready": round(measured.ready)},
        "rss_mb": measured.rss,
        "typing_ms_by_context": None,
        "typing_4096_over_512": None,
        "against": None,
    }


def _decode(
    config: Config, engine: Engine, modes: Sequence[str], progress: Progress
) -> dict[str, list[Infill]]:
    infills: dict[str, list[Infill]] = {mode: [] for mode in modes}
    for number, scene in enumerate(progress.track(scenes()[:_DECODED], description="decoders")):
        for mode in modes if number % 2 else reversed(modes):  # either is first as often
            snapshot = Snapshot(_document(scene), config, mode=mode)
            completion = complete(snapshot, scene.start, engine)
            if completion is not None:  # always: none of the files is one that is declined
                infills[mode].append(completion.infill)
    return infills


def _pass_ms(engine: LocalEngine) -> dict[str, float]:
    """Milliseconds of a pass by its rows, a canvas behind `_CACHED` tokens, without what scores them."""
    from mercury_lsp.engine.backends.attention import TokenLayout  # imports numpy

    ids = engine.tokenizer.encode("".join(scene.text for scene in scenes()))[:_CACHED]
    passes, times = engine.passes, defaultdict[int, list[float]](list)
    passes.reuse(())
    passes.read(ids, lambda: False)
    for _ in range(_TIMES):
        for rows in _PASSES:
            where = TokenLayout.block(_CACHED, rows - 1)
            began = time.perf_counter()
            float(passes.run(ids[-rows:], where)[0, 0])  # to look at a value is to wait for the device
            times[rows].append((time.perf_counter() - began) * 1e3)
    passes.reuse(())
    return {str(rows): round(median(own), 1) for rows, own in times.items()}


def _against(
    config: Config, engine: LocalEngine, server: CompletionServer, progress: Progress
) -> dict[str, object]:
    """Single lines at the scenes; and the lines that are long, where our answer is, too, until the model ends it."""
    from mercury_lsp.engine.api import Sampling  # imports numpy

    sampling = Sampling(max_tokens=config.max_tokens, max_passes=2 * config.max_tokens)
    lines = long_lines(engine.count, _LEAST)

    def ask(scene: Scene, single_line: bool) -> against.Question:
        snapshot = Snapshot(_document(scene), config)
        return against.Question(question(snapshot, scene.start, engine), single_line)

    asked = progress.track([ask(scene, False) for scene in lines], description="long lines")
    questions = [ask(scene, True) for scene in scenes()] + against.long_questions(engine, asked, sampling)
    tracked = progress.track(questions, description="against")
    turns = against.compare(engine, server, tracked, sampling, _REPEATS)
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
        case list():  # targets
            for one in value:
                verdict = "met" if one["met"] else "missed"
                yield one["what"], f"{one['found']}, wanted {one['wanted']}: {verdict}"
        case _:
            yield name, str(value)
