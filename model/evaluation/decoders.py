"""Measures the speed of each decoder in held-out packages, with and without the project memory.

    python -m model.evaluation.decoders --per-language 20
    python -m model.evaluation.decoders --kinds next --markdown decoders.md --json

Places are drawn as for `heldout`: on a new line, within a line, and within a word. At each place every decoder answers
the same request, in this process; the order of the decoders rotates from place to place. Times exclude the prefill,
which is the same for all. The memory contains the package's other files. Intervals are 95% percentile bootstraps over
files. Speeds of different runs cannot be compared, but their ratios can.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mercury_lsp.completion.pipeline import PipelineCache
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from model.data.corpus import CorpusError, Source, iter_documents
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.calibration.memory_rows import memories_of
from model.evaluation.heldout.cursors import BEGUN, LANGUAGES, Cursor, draw
from model.evaluation.heldout.offers import written
from model.evaluation.tables import WIDE

KINDS = ("next", "rest", BEGUN)
"""Kinds of places, see `cursors`."""
BASELINE = "autoregressive"
"""The contender with which the others are compared."""
CONTENDERS: Mapping[str, tuple[Literal["diffusion", "autoregressive"], bool]] = {
    "diffusion, memory": ("diffusion", True),
    BASELINE: ("autoregressive", False),
    "diffusion": ("diffusion", False),
    "autoregressive, memory": ("autoregressive", True),
}
"""The option ``mode`` of each contender, and whether it uses the project memory.

The modes alternate, so that no answer reuses the scores that the engine keeps of the answer before.
"""


@dataclass(frozen=True, slots=True)
class Decoding:
    """One answer of one contender: its tokens, its passes after the prefill, and their milliseconds."""

    contender: str
    file: tuple[str, str]
    tokens: int
    passes: int
    ms: float


def decodings(
    engine: LocalEngine, cursors: Sequence[Cursor], sources: Iterable[Source]
) -> Iterator[Decoding]:
    """Yield the answers of all contenders at all cursors."""
    memory_of_package, kept = memories_of(sources, cursors, engine.tokenizer), PipelineCache()
    for number, cursor in enumerate(cursors):
        package, path = cursor.source.package, cursor.source.path
        names = [*CONTENDERS]
        first = number % len(names)
        for name in names[first:] + names[:first]:
            mode, remembers = CONTENDERS[name]
            memory = memory_of_package(package) if remembers else None
            snapshot = Snapshot(cursor.document(), Config(), memory=memory, mode=mode)
            _, committed = written(snapshot, cursor.start, engine, kept)
            if committed is not None:
                infill = committed.infill
                yield Decoding(name, (package, path), infill.tokens, infill.forward_passes, infill.ms_denoise)


def figures(found: Sequence[Decoding]) -> dict[str, dict[str, Any]]:
    """Return each contender's answers, tokens per pass, tokens per second, and speed relative to the baseline."""
    sums: dict[tuple[str, tuple[str, str]], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for one in found:
        own = sums[one.contender, one.file]
        own[0], own[1], own[2] = own[0] + one.tokens, own[1] + one.passes, own[2] + one.ms
    files = sorted({one.file for one in found})
    return {
        name: {
            "n": sum(one.contender == name for one in found),
            "files": len(files),
            "tokens_per_pass": _with_interval([(sums[name, file][0], sums[name, file][1]) for file in files]),
            "tokens_per_s": round(
                1e3 * ratio([(sums[name, file][0], sums[name, file][2]) for file in files])
            ),
            "speed_over_baseline": _relative([(sums[name, file], sums[BASELINE, file]) for file in files]),
        }
        for name in CONTENDERS
    }


def _with_interval(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {"value": round(ratio(pairs), 3), "interval": interval(pairs, ratio)}


def _relative(pairs: Sequence[tuple[list[float], list[float]]]) -> dict[str, Any]:
    def speedup(some: Sequence[tuple[list[float], list[float]]]) -> float:
        own, base = ([(side[0], side[2]) for side in sides] for sides in zip(*some, strict=True))
        return ratio(own) / (ratio(base) or 1)

    return {"value": round(speedup(pairs), 3), "interval": interval(pairs, speedup)}


def table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the figures as a table for a terminal."""
    made = Table(
        "Decoder",
        "Answers",
        "Tokens a pass (95%)",
        "Tokens a second",
        f"Against {BASELINE} (95%)",
        box=SIMPLE_HEAD,
    )
    for name, own in found.items():
        made.add_row(name, *_cells(own))
    return made


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [f"| Decoder | Answers | Tokens a pass (95%) | Tokens a second | Against {BASELINE} (95%) |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    lines += [f"| {' | '.join((name, *_cells(own)))} |" for name, own in found.items()]
    return "\n".join(lines) + "\n"


def _cells(own: Mapping[str, Any]) -> tuple[str, str, str, str]:
    passes, speed = (
        f"{own[name]['value']:.2f} ({own[name]['interval'][0]:.2f} to {own[name]['interval'][1]:.2f})"
        for name in ("tokens_per_pass", "speed_over_baseline")
    )
    return str(own["n"]), passes, str(own["tokens_per_s"]), speed


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.decoders",
        description="Compare the decoders' speed in held-out packages.",
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--per-language", type=int, default=20, help="places of each (default: 20)")
    made.add_argument("--languages", default=",".join(LANGUAGES), help="default: %(default)s")
    made.add_argument(
        "--kinds",
        default=",".join(KINDS),
        help="of places, see model.evaluation.heldout.heldout (default: %(default)s)",
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to a file")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = parser().parse_args(arguments)
    console = Console(stderr=True)
    languages = given.languages.split(",")
    try:
        sources = list(iter_documents("heldout", languages, given.corpus))
        places = draw(sources, languages, given.per_language, given.seed, given.kinds.split(","))
        engine = load_local_engine(given.model, "cpu", given.threads)
    except (CheckpointError, CorpusError, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    cursors = [cursor for place in places for cursor in place]
    made = decodings(engine, cursors, sources)
    total = len(cursors) * len(CONTENDERS)
    found = figures(list(track(made, "decoding", total=total, console=console)))
    if given.markdown is not None:
        given.markdown.write_text(markdown(found), encoding="utf-8")
    if given.json:
        print(json.dumps({"model": f"{engine.name} {engine.fingerprint[:12]}", "decoders": found}))
    else:
        Console(width=None if sys.stdout.isatty() else WIDE).print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
