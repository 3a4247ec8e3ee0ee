"""Measures the gain and the cost of each source of related text.

No related text, each source alone, and all sources are compared at the same held-out places by `heldout.measure`, for
one or several budgets. Differences are paired, with bootstrap intervals over files. There are two costs: the prefill of
the related tokens when they change, and computing with them at each key. Recent edits are not measured, because a
corpus has none (see `package_index`). The loss of the author's text, in nats per token, is measured as well: it
compares the sources at all holes, not only at those that a source makes right or wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mercury_lsp.completion.pipeline import build_prompt
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.retrieval.index import Library
from mercury_lsp.context.retrieval.ranking import Related
from mercury_lsp.engine.api import Sampling, never_cancelled
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt, Snippet
from model.data.corpus import CorpusError, iter_documents
from model.data.package_index import PackageIndex
from model.data.sources import SOURCES, fused
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.heldout.cursors import KINDS, LANGUAGES, Cursor, draw
from model.evaluation.heldout.figures import gains
from model.evaluation.heldout.heldout import measure
from model.evaluation.heldout.records import DetailsError, Record

MEASURED = tuple(SOURCES)
NOTHING = "nothing"
ALL = "all"
# Tokens of a hole whose loss is measured.
SCORED = 64
# Places at which times are measured.
TIMED = 12
# Prefilled before each cold prefill, so that no tokens of the last prompt are in the cache.
BLANK = Prompt("", "", "", "")


@dataclass(frozen=True, slots=True)
class Trial:
    """The suggestion at a hole with one choice of sources.

    ``related``: the number of related tokens. ``nats`` and ``tokens``: of the author's text, see `cost_of`.
    """

    variant: str
    related: int
    nats: float
    tokens: int
    record: Record

    def line(self) -> str:
        """Return the trial as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read(file: Path) -> list[Trial]:
    """Read the trials of an earlier run. Raises `DetailsError`."""
    try:
        with file.open(encoding="utf-8") as lines:
            found = [json.loads(line) for line in lines]
        return [Trial(**{**one, "record": Record.read(one["record"])}) for one in found]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DetailsError(f"{file} was not written by model.evaluation.heldout.ablation: {error}") from error


def variants(budgets: Sequence[int], sources: Sequence[str] = MEASURED) -> dict[str, Related]:
    """Return the compared settings by name; the first is without related text."""
    made = {NOTHING: Related(0)}
    for budget in budgets:
        for source in sources:
            made[f"{source} {budget}"] = Related(budget, SOURCES[source])
        if len(sources) > 1:
            made[f"{ALL} {budget}"] = Related(budget, fused(sources))
    return made


def trials(
    engine: LocalEngine, place: Sequence[Cursor], library: Library, seed: int, compared: dict[str, Related]
) -> Iterator[Trial]:
    """Yield the trials of all variants at the holes of one place. Equal prompts are asked only once."""
    told: dict[tuple[Cursor, tuple[Snippet, ...]], tuple[float, int, Record | None]] = {}
    for name, related in compared.items():
        for cursor in place:
            snapshot = Snapshot(cursor.document(), Config(), manual=True, library=library, related=related)
            prompt = build_prompt(snapshot, cursor.start, engine)
            key = cursor, prompt.related
            if key not in told:
                record = measure(engine, cursor, seed, Config(), library, related=related)
                told[key] = *cost_of(engine, prompt, cursor.hole), record
            nats, tokens, record = told[key]
            if record is not None:
                yield Trial(name, _tokens(engine, prompt.related), nats, tokens, record)


def cost_of(engine: LocalEngine, prompt: Prompt, hole: str) -> tuple[float, int]:
    """Return the nats of a hole's text and its stop token, by the model's causal rows, and the number of tokens.

    Only the first `SCORED` tokens are measured.
    """
    passes, ids = engine.cached_model, engine.layout.encode(prompt)
    passes.extend(ids[passes.reuse(ids[:-1]) : -1], never_cancelled)
    told = [*engine.tokenizer.encode(hole), min(engine.layout.stop_tokens)][:SCORED]
    rows = [ids[-1], *told[:-1]]
    scores = passes.scores(passes.run(rows, TokenLayout.clean(len(passes.ids), len(rows))))
    return -sum(float(scores[i, token]) for i, token in enumerate(told)), len(told)


def _tokens(engine: LocalEngine, beside: Sequence[Snippet]) -> int:
    return sum(1 + engine.count(f"{snippet.path}\n{snippet.text}") for snippet in beside)


def cost(engine: LocalEngine, prompt: Prompt) -> tuple[float, float]:
    """Return the milliseconds of a cold prefill, and of a suggestion after one more character is typed."""
    engine.prefill(BLANK)
    began = time.perf_counter()
    engine.prefill(prompt)
    cold = time.perf_counter() - began
    typed = replace(prompt, prefix=prompt.prefix + "a")
    began = time.perf_counter()
    engine.infill(typed, Sampling(max_tokens=8, max_passes=1))
    return 1000 * cold, 1000 * (time.perf_counter() - began)


def report(found: Sequence[Trial], costs: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Return, as a JSON object, each variant's gains over no related text by kind of hole, its tokens and its costs."""
    by_variant: dict[str, list[Trial]] = defaultdict(list)
    for trial in found:
        by_variant[trial.variant].append(trial)
    plain = {trial.record.hole_id: trial for trial in by_variant[NOTHING]}
    answer: dict[str, Any] = {}
    for name, own in by_variant.items():
        row: dict[str, Any] = {
            "n": len(own),
            "exact": round(sum(trial.record.exact for trial in own) / len(own), 4),
            "tokens": round(sum(trial.related for trial in own) / len(own), 1),
            "beside": round(sum(trial.related > 0 for trial in own) / len(own), 4),
        }
        if name != NOTHING:
            paired = gains([trial.record for trial in own], [trial.record for trial in plain.values()])
            row["gains"] = {kind: languages["all"] for kind, languages in paired.items()}
            row["nats"] = _less(own, plain)
        if costs.get(name):
            pairs = list(zip(costs[name], costs[NOTHING], strict=False))
            row["cold_ms"] = round(median(one[0] - other[0] for one, other in pairs), 1)
            row["typing_ms"] = round(median(one[1] - other[1] for one, other in pairs), 1)
        answer[name] = row
    return answer


def _less(own: Sequence[Trial], plain: dict[tuple[str, str, str, int], Trial]) -> dict[str, Any]:
    """Return the nats per token that a variant saves, with the interval over files."""
    sums: dict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for trial in own:
        spared, tokens = sums[trial.record.file]
        sums[trial.record.file] = (
            spared + plain[trial.record.hole_id].nats - trial.nats,
            tokens + trial.tokens,
        )
    pairs = list(sums.values())
    return {"difference": round(ratio(pairs), 4), "interval": interval(pairs, ratio)}


def table(answer: dict[str, Any]) -> Table:
    """Return the report as a table for a terminal."""
    made = Table(title="difference to no related text", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("source", "n", "beside", "tokens", "exact", "exact gain (95%)", "keys spared gain (95%)"):
        made.add_column(heading, justify="left" if heading == "source" else "right", no_wrap=True)
    for heading in ("nats spared (95%)", "cold ms", "typing ms"):
        made.add_column(heading, justify="right", no_wrap=True)
    for name, row in answer.items():
        gained = row.get("gains", {}).get("all")
        cells = [f"{row['beside']:.0%}", f"{row['tokens']:.0f}", f"{row['exact']:.1%}"]
        cells += [_signed(gained[what]) if gained else "" for what in ("exact", "spared")]
        cells.append(_nats(row["nats"]) if "nats" in row else "")
        cells += [f"{row[what]:+.0f}" if what in row else "" for what in ("cold_ms", "typing_ms")]
        made.add_row(name, str(row["n"]), *cells)
    return made


def _signed(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['difference']:+.1%} ({100 * low:+.1f} to {100 * high:+.1f})"


def _nats(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _run(given: argparse.Namespace, compared: dict[str, Related], console: Console) -> Iterator[Trial | Any]:
    """Yield the trials place by place, until the time is over; then the costs of each variant."""
    languages = given.languages.split(",")
    sources = list(iter_documents("heldout", languages, given.corpus))
    places = draw(sources, languages, given.per_language, given.seed, given.kinds.split(","))
    if not places:
        raise CorpusError(f"no held-out package has code in {', '.join(languages)}")
    package_index = PackageIndex((source.package, source.path, source.text) for source in sources)
    engine = load_local_engine(given.model, given.device, given.threads)
    began = time.monotonic()
    costs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, place in enumerate(places, start=1):
        if given.minutes and time.monotonic() - began > 60 * given.minutes:
            break
        source = place[0].source
        library = package_index.library(source.package, source.path)
        yield from trials(engine, place, library, given.seed, compared)
        if number <= TIMED:
            for name, related in compared.items():
                snapshot = Snapshot(place[0].document(), Config(), library=library, related=related)
                costs[name].append(cost(engine, build_prompt(snapshot, place[0].start, engine)))
        console.print(f"{number} of {len(places)} places, {time.monotonic() - began:.0f} s", highlight=False)
    yield costs


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.ablation", description="Compare the sources of related text."
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--per-language", type=int, default=17, help="places of each (default: 17)")
    made.add_argument("--languages", default=",".join(LANGUAGES), help="default: %(default)s")
    made.add_argument("--kinds", default="rest,next", help="of holes at each place (default: %(default)s)")
    made.add_argument("--sources", default=",".join(MEASURED), help="default: %(default)s")
    made.add_argument("--budgets", default="96", help="of related text, in tokens (default: %(default)s)")
    made.add_argument(
        "--minutes", type=float, default=0, help="end after this time, with fewer places of each language"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--device", default="auto")
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument("--details", type=Path, metavar="FILE", help="write a line of JSON for each trial")
    made.add_argument(
        "--again", type=Path, metavar="FILE", help="only report on the details of an earlier run"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    console = Console(stderr=True)
    sources = given.sources.split(",")
    for wrong, known in (
        (set(given.kinds.split(",")) - set(KINDS), KINDS),
        (set(sources) - set(MEASURED), MEASURED),
    ):
        if wrong:
            options.error(f"there is no {', '.join(sorted(wrong))}, only {', '.join(known)}")
    found: list[Trial] = []
    costs: dict[str, list[tuple[float, float]]] = {}
    try:
        if given.again:
            found = read(given.again)
        else:
            compared = variants([int(budget) for budget in given.budgets.split(",")], sources)
            details = given.details.open("w", encoding="utf-8", buffering=1) if given.details else None
            for one in _run(given, compared, console):
                if isinstance(one, Trial):
                    found.append(one)
                    if details:
                        details.write(one.line())
                else:
                    costs = one
    except (CheckpointError, CorpusError, DetailsError, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    if not found:
        console.print("There is no hole to report on; allow more --minutes.")
        return 1
    answer = report(found, costs)
    if given.json:
        print(json.dumps(answer))
    else:
        Console(width=160).print(table(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
