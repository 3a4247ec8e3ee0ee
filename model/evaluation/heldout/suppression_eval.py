"""Measures the soundness of suggestions in held-out packages, and the effect of each rule that suppresses suggestions.

At each place, one automatic request is made, as by editors at every key, and one more for each variant, which disables
one rule. Of the suggestions shown, three figures are counted: those whose first line, or whole text, is the author's
(precision), those that add syntax errors, and those that repeat the following text, both by `soundness`. The places are
drawn by `cursors`, of the wanted kinds in turn: by default half of them within a line, half at the start of a line. The
other files of the package are available, see `package_index`. There are no deadlines, so only the times depend on the
machine's load.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mercury_lsp.completion.committed import CommittedText, likelihood
from mercury_lsp.completion.fitting.cutoff import rank_cuts
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config, parse_settings
from mercury_lsp.context.retrieval.index import Library
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.syntax.document import Document
from model.data.corpus import CorpusError, Source, iter_documents
from model.data.package_index import PackageIndex
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.heldout.cursors import LANGUAGES, Cursor, draw
from model.evaluation.heldout.offers import written
from model.evaluation.heldout.soundness import adds_syntax_errors, repeats
from model.evaluation.heldout.verdict import right_so_far

TYPING = "rest,next"
SHIPPED = "as shipped"
UNPROCESSED = "without post-processing"
WITHOUT_TRIGGER_RULES = "without rules of when to speak"
VARIANTS: Mapping[str, Mapping[str, object]] = {
    SHIPPED: {},
    WITHOUT_TRIGGER_RULES: {},
    "without suppression of the unlikely": {"show_likelihood": 0.0},
    "without related text": {"project_files": "none"},
}
"""The settings of each variant.

Two variants are not made by settings: `UNPROCESSED` is judged together with `SHIPPED`;
`WITHOUT_TRIGGER_RULES` makes a manual request, but shows only as much as an automatic request would.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one request.

    ``reason``: why nothing is shown; then the last three fields are false. ``again``: whether the suggestion repeats
    the following text, while the author's text does not.
    """

    variant: str
    language: str
    package: str
    path: str
    kind: str
    start: int
    shown: str | None
    reason: str | None
    likelihood: float
    ms: float
    right: bool
    worsened: bool
    again: bool

    @property
    def file(self) -> tuple[str, str]:
        """The file of the hole; outcomes in the same file are not independent."""
        return self.package, self.path


def places(
    sources: Iterable[Source], languages: Sequence[str], per_language: int, seed: int, kinds: Sequence[str]
) -> list[Cursor]:
    """Draw one cursor at each place, the kinds in turn."""
    drawn = draw(sources, languages, per_language, seed, kinds)
    return [place[number // len(languages) % len(place)] for number, place in enumerate(drawn)]


def outcomes(
    engine: LocalEngine, cursor: Cursor, library: Library, variants: Mapping[str, Config]
) -> Iterator[Outcome]:
    """Yield the outcome of each variant at a place; for `SHIPPED`, also without post-processing."""
    document = cursor.document()
    for name, config in variants.items():
        snapshot = Snapshot(document, config, manual=name == WITHOUT_TRIGGER_RULES, library=library)
        found, committed = written(snapshot, cursor.start, engine)
        if found is None:
            continue
        if name == WITHOUT_TRIGGER_RULES and committed is not None:
            found = committed.judge_as_automatic()
        yield _outcome(cursor, document, name, found, found.shown, found.end)
        if name == SHIPPED:
            said = None if committed is None else _unprocessed(committed, config.show_likelihood)
            yield _outcome(cursor, document, UNPROCESSED, found, said, cursor.start)


def _unprocessed(committed: CommittedText, least: float) -> str | None:
    """Return the part of the model's text with the highest expected gain, whether it fits or not; None if empty."""
    text = committed.text
    if least:
        text = next((text[: cut.end] for cut in rank_cuts(text, committed.infill.scored, least)), "")
    return text if text.strip() else None


def _outcome(
    cursor: Cursor, document: Document, variant: str, found: Completion, shown: str | None, end: int
) -> Outcome:
    source, start = cursor.source, cursor.start
    right = worse = again = False
    if shown is not None:
        replaced = document.text[start:end]
        right = right_so_far(cursor.hole, shown, replaced)
        worse = adds_syntax_errors(document, start, end, shown)
        again = repeats(document, start, end, shown) and not repeats(document, start, start, cursor.hole)
    return Outcome(
        variant=variant,
        language=source.language,
        package=source.package,
        path=source.path,
        kind=cursor.kind,
        start=start,
        shown=shown,
        reason=found.reason if shown is None else None,
        likelihood=round(likelihood(found.infill.confidence, found.infill.tokens), 4),
        ms=round(found.infill.ms, 1),
        right=right,
        worsened=worse,
        again=again,
    )


def report(made: Sequence[Outcome]) -> dict[str, Any]:
    """Return the report as a JSON object: the figures of each variant, and the reasons for showing nothing."""
    by_variant: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in made:
        by_variant[outcome.variant].append(outcome)
    return {name: _figures(own) for name, own in by_variant.items()}


def _figures(own: Sequence[Outcome]) -> dict[str, Any]:
    seen = [outcome for outcome in own if outcome.shown is not None]
    by_file: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in seen:
        by_file[outcome.file].append(outcome)
    counts = [(sum(one.right for one in files), len(files)) for files in by_file.values()]
    return {
        "n": len(own),
        "shown": round(len(seen) / len(own), 4),
        "precision": round(ratio(counts), 4),
        "interval": interval(counts, ratio) if counts else [0.0, 0.0],
        "worsened": sum(outcome.worsened for outcome in seen),
        "again": sum(outcome.again for outcome in seen),
        "ms_p50": round(statistics.median(outcome.ms for outcome in own), 1),
        "reasons": dict(Counter(outcome.reason for outcome in own if outcome.reason).most_common()),
    }


def table(answer: Mapping[str, Any]) -> Table:
    """Return the figures as a table for a terminal."""
    caption = "right: of what is shown; worse: more errors of syntax; again: repeats what follows"
    made = Table(box=SIMPLE_HEAD, caption=caption)
    made.add_column("Variant", min_width=24)
    for name in ("n", "shown", "right", "95%", "worse", "again"):
        made.add_column(name, justify="right")
    for name, row in answer.items():
        low, high = row["interval"]
        made.add_row(
            name,
            str(row["n"]),
            f"{row['shown']:.1%}",
            f"{row['precision']:.1%}",
            f"{low:.0%} to {high:.0%}",
            str(row["worsened"]),
            str(row["again"]),
        )
    return made


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.suppression_eval",
        description=(__doc__ or "").split("\n\n")[1],
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--per-language", type=int, default=50, help="places of each (default: 50)")
    made.add_argument("--languages", default=",".join(LANGUAGES), help="default: %(default)s")
    made.add_argument("--kinds", default=TYPING, help="of holes, in turn (default: %(default)s)")
    made.add_argument(
        "--variants", help="only variants whose name contains one of these words, separated by commas"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument("--details", type=Path, metavar="FILE", help="write a line of JSON for each outcome")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if a suggestion as shipped adds a syntax error or repeats the following text."""
    given = parser().parse_args(arguments)
    console = Console(stderr=True)
    words = given.variants.split(",") if given.variants else [""]
    chosen = {
        name: parse_settings(settings)[0]
        for name, settings in VARIANTS.items()
        if any(w in name for w in words)
    }
    languages, kinds = given.languages.split(","), given.kinds.split(",")
    try:
        sources = list(iter_documents("heldout", languages, given.corpus))
        package_index = PackageIndex((source.package, source.path, source.text) for source in sources)
        cursors = places(sources, languages, given.per_language, given.seed, kinds)
        engine = load_local_engine(given.model)
    except (CheckpointError, CorpusError, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    made = []
    with open(given.details or os.devnull, "w", encoding="utf-8", buffering=1) as details:
        for cursor in track(cursors, "asking", console=console):
            library = package_index.library(cursor.source.package, cursor.source.path)
            for outcome in outcomes(engine, cursor, library, chosen):
                made.append(outcome)
                details.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
    answer = report(made)
    if given.json:
        print(json.dumps(answer))
    else:
        Console().print(table(answer))
    shipped = answer.get(SHIPPED, {"worsened": 0, "again": 0})
    return 1 if shipped["worsened"] or shipped["again"] else 0


if __name__ == "__main__":
    sys.exit(main())
