"""Times suggestions in project code by this engine and by a server with llama.cpp's API, on the same prompts.

    python -m model.release.gguf_export small --type q4_0 --out small-q4_0.gguf
    llama-server -m small-q4_0.gguf -t 2 -c 2048 --port 8091
    python -m model.evaluation.against_server http://127.0.0.1:8091 --per-language 10 --details DETAILS

Lines of held-out packages are typed key by key. At each key where a suggestion may be shown, both sides are asked, each
with its cache from the key before (*keys*). Before the first key, both prefill the prompt, then write as much as the
syntax allows (*completions*). This engine drafts from the package's other files, as in an editor. Its time covers the
whole pipeline; the server's time covers its answer, including about 1.5 ms of HTTP. Intervals are 95% percentile
bootstraps over files.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mercury_lsp.bench.against import MIN_LONG_TOKENS, PAUSE_SECONDS, latency_percentiles, make_client
from mercury_lsp.bench.completion_api import CompletionServer
from mercury_lsp.completion.pipeline import PipelineCache, build_prompt
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.memory.project import ProjectMemory
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.errors import Failure
from model.data.corpus import CorpusError, Source, iter_documents
from model.evaluation import tables
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.calibration.memory_rows import memories_of
from model.evaluation.heldout.cursors import LANGUAGES, Cursor, draw
from model.evaluation.heldout.offers import written

KEYS, COMPLETIONS, LONG = "keys", "completions", f"completions of {MIN_LONG_TOKENS} tokens and more"
HEADINGS = (
    "requests",
    "n",
    "ms p50, p95",
    "the server's",
    "time over ours (95%)",
    "a token (95%)",
    "same text",
)


@dataclass(frozen=True, slots=True)
class Timed:
    """One request: the milliseconds and the tokens, including the stop token, of this engine and of the server."""

    kind: str
    package: str
    path: str
    ms: float
    tokens: int
    server_ms: float
    server_tokens: int
    same: bool


class Typist:
    """Types the missing lines of held-out files, and asks this engine and the server."""

    def __init__(self, engine: LocalEngine, server: CompletionServer, config: Config) -> None:
        self._engine, self._server, self._config = engine, server, config
        self._kept = PipelineCache()
        self._turns = 0

    def type(self, cursor: Cursor, memory: ProjectMemory) -> Iterator[Timed]:
        """Yield the completion before the first key of a hole, and the request at each of its keys."""
        yield from self._ask(COMPLETIONS, cursor, 0, memory)
        for count in range(len(cursor.hole)):
            yield from self._ask(KEYS, cursor, count, memory)

    def _ask(self, kind: str, cursor: Cursor, count: int, memory: ProjectMemory) -> Iterator[Timed]:
        """Ask both sides after ``count`` keys; yield nothing if the pipeline asks no model at this place."""
        engine, offset = self._engine, cursor.start + count
        document, hole = cursor.document(), cursor.hole
        text = document.text[: cursor.start] + hole[:count] + document.text[cursor.start :]
        one_line = kind == KEYS
        config = replace(self._config, multiline="never" if one_line else "auto")
        snapshot = Snapshot(replace(document, text=text), config, memory=memory)
        prompt = build_prompt(snapshot, offset, engine, self._kept)
        ids = engine.layout.encode(prompt)
        if kind == COMPLETIONS:
            engine.prefill(prompt)
            self._server.prefill(ids)
        ours, theirs = None, None
        self._turns += 1
        for side in (0, 1) if self._turns % 2 else (1, 0):
            time.sleep(PAUSE_SECONDS)
            if side == 0:
                began = time.perf_counter()
                _, committed = written(snapshot, offset, engine, self._kept)
                ms = (time.perf_counter() - began) * 1e3
                if committed is None:
                    return
                ours = committed, ms
            else:
                theirs = self._server.complete(ids, self._config.max_tokens, one_line)
        if ours is None or theirs is None:
            return
        committed, ms = ours
        infill, source = committed.infill, cursor.source
        yield Timed(
            kind,
            source.package,
            source.path,
            ms,
            infill.tokens,
            theirs.ms,
            len(theirs.tokens) + theirs.finished,
            engine.tokenizer.decode(theirs.tokens) == prompt.stem + infill.text,
        )


def time_requests(
    typist: Typist, engine: LocalEngine, cursors: Sequence[Cursor], sources: Iterable[Source]
) -> Iterator[list[Timed]]:
    """Yield the requests of each cursor, with its package as the project."""
    memory_of_package = memories_of(sources, cursors, engine.tokenizer)
    for cursor in cursors:
        yield list(typist.type(cursor, memory_of_package(cursor.source.package)))


def figures(requests: Sequence[Timed]) -> dict[str, Any]:
    """Return the figures of each kind of request; None for a kind without requests."""
    long = [
        one
        for one in requests
        if one.kind == COMPLETIONS and min(one.tokens, one.server_tokens) >= MIN_LONG_TOKENS
    ]
    groups = {kind: [one for one in requests if one.kind == kind] for kind in (KEYS, COMPLETIONS)}
    return {kind: _group(own) for kind, own in (groups | {LONG: long}).items()}


def _group(requests: Sequence[Timed]) -> dict[str, Any] | None:
    if not requests:
        return None
    by_file: dict[tuple[str, str], list[Timed]] = defaultdict(list)
    for one in requests:
        by_file[one.package, one.path].append(one)
    files = [
        tuple(
            sum(getattr(one, name) for one in own) for name in ("ms", "tokens", "server_ms", "server_tokens")
        )
        for own in by_file.values()
    ]

    def faster(some: Sequence[Sequence[float]]) -> float:
        return ratio([(server_ms, ms) for ms, _, server_ms, _ in some])

    def faster_a_token(some: Sequence[Sequence[float]]) -> float:
        theirs = ratio([(server_ms, tokens) for _, _, server_ms, tokens in some])
        return theirs / (ratio([(ms, tokens) for ms, tokens, _, _ in some]) or 1)

    return {
        "n": len(requests),
        "files": len(files),
        "ms": latency_percentiles([one.ms for one in requests]),
        "server_ms": latency_percentiles([one.server_ms for one in requests]),
        "faster": {"value": round(faster(files), 2), "interval": interval(files, faster)},
        "faster_a_token": {
            "value": round(faster_a_token(files), 2),
            "interval": interval(files, faster_a_token),
        },
        "same_text": round(sum(one.same for one in requests) / len(requests), 3),
    }


def rows(made: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table."""
    return [
        [
            kind,
            str(own["n"]),
            *(f"{own[side]['p50']}, {own[side]['p95']}" for side in ("ms", "server_ms")),
            *(_with_interval(own[name]) for name in ("faster", "faster_a_token")),
            f"{own['same_text']:.0%}",
        ]
        for kind, own in made.items()
        if own is not None
    ]


def _with_interval(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.2f} ({low:.2f} to {high:.2f})"


def draw_picture(requests: Sequence[Timed], file: Path) -> None:
    """Draw the distribution of the response times of keys and of completions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for axis, kind in zip(axes, (KEYS, COMPLETIONS), strict=True):
        own = [one for one in requests if one.kind == kind]
        shares = [(i + 1) / len(own) for i in range(len(own))]
        axis.step(sorted(one.ms for one in own), shares, label="mercury-lsp", where="post")
        axis.step(sorted(one.server_ms for one in own), shares, label="llama.cpp, same weights", where="post")
        axis.set(
            xscale="log", xlabel="ms from request to answer", title=f"{kind}, n = {len(own)}", ylim=(0, 1)
        )
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share answered")
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.against_server",
        description="Time suggestions in project code, here and by a server of llama.cpp's API.",
    )
    made.add_argument("url", nargs="?", help="the server's address, such as http://127.0.0.1:8091")
    made.add_argument("--model", default="small", help="a model's name, folder or file (default: small)")
    made.add_argument("--per-language", type=int, default=10, help="lines of each (default: 10)")
    made.add_argument("--languages", default=",".join(LANGUAGES), help="default: %(default)s")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument("--details", type=Path, metavar="FILE", help="write a line of JSON for each request")
    made.add_argument("--again", type=Path, metavar="FILE", help="only report on the details of a run")
    made.add_argument("--picture", type=Path, metavar="FILE", help="draw the distribution of the times")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    if (given.url is None) == (given.again is None):
        options.error("name either a server's address or --again FILE")
    console = Console(stderr=True)
    try:
        if given.again:
            lines = given.again.read_text(encoding="utf-8").splitlines()
            requests = [Timed(**json.loads(line)) for line in lines]
        else:
            requests = _measured(given, console)
    except (Failure, CorpusError, OSError, ValueError, TypeError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    made = figures(requests)
    if given.picture:
        draw_picture(requests, given.picture)
    if given.json:
        print(json.dumps(made))
    else:
        width = None if sys.stdout.isatty() else tables.WIDE
        Console(width=width).print(tables.table("In project code", HEADINGS, rows(made)))
    return 0


def _measured(given: argparse.Namespace, console: Console) -> list[Timed]:
    languages = given.languages.split(",")
    sources = list(iter_documents("heldout", languages, given.corpus))
    places = draw(sources, languages, given.per_language, given.seed, ("next",))
    cursors = [cursor for place in places for cursor in place]
    engine = load_local_engine(given.model, "cpu", given.threads)
    typist = Typist(engine, make_client(engine, given.url), Config())
    requests: list[Timed] = []
    made = time_requests(typist, engine, cursors, sources)
    for own in track(made, "typing", total=len(cursors), console=console):
        requests += own
        if given.details:
            with given.details.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(one)) + "\n" for one in own)
    return requests


if __name__ == "__main__":
    sys.exit(main())
