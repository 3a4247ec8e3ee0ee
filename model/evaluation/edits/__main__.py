"""Measures next edits: the precision and the recall of offers while changes are replayed edit by edit.

    python -m model.evaluation.edits                       # the part that is reported
    python -m model.evaluation.edits --part tune --gains gains.jsonl    # the part used to choose limits
    python -m model.evaluation.edits --no-judge --details wrong.jsonl

A change is a file in two consecutive versions of a package, or before and after a commit of this repository. The change
is made line by line; each offer that makes only edits of the change is taken, and every other offer is dismissed.
*Precision* is the share of offers that were taken. *Recall after n* is over the edits with at least n earlier edits of
the same key in the change, and counts those made by taking an offer. Two edits have the same key if their tokens are
equal except for words that occur on both sides. In addition, lines whose edits are not repeated in their change are
edited alone.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.judge import MIN_GAIN, gain, pick_candidate
from mercury_lsp.edits.search import Candidate
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.paths import cache_folder
from mercury_lsp.syntax.document import Document
from model.data.fetch import FetchError
from model.evaluation.edits.changes import PAIRS, Change, package_changes, repository_changes
from model.evaluation.edits.figures import figures, tables
from model.evaluation.edits.replay import Judge, Offer, alone, replay
from model.evaluation.tables import WIDE

REPOSITORY_CHANGES = 250
SINGLE_EDITS = 200


def changes(
    part: str, sources: Sequence[str], downloads: Path, console: Console, seed: int = 0
) -> list[Change]:
    """Return the changes of a part; packages that cannot be fetched are reported and left out."""
    found: list[Change] = []
    for pair in PAIRS:
        if pair.part == part and "packages" in sources:
            try:
                found += package_changes(pair, downloads)
            except FetchError as error:
                console.print(f"left out: {error}", markup=False, highlight=False, soft_wrap=True)
    if "repository" in sources:
        own = list(repository_changes(part))
        random.Random(seed).shuffle(own)
        found += own[:REPOSITORY_CHANGES]
    return found


def singles(found: Sequence[Change], seed: int, count: int = SINGLE_EDITS) -> list[tuple[Change, int]]:
    """Draw edited lines whose edits are not repeated in their change, as pairs of a change and a line's index."""
    made = []
    for change in found:
        keys = Counter(step.key for step in change.steps if step.key is not None)
        pairs = Counter((step.before.strip(), step.after.strip()) for step in change.steps)
        for number, line in enumerate(change.lines):
            if all(
                pairs[step.before.strip(), step.after.strip()] == 1
                and (step.key is None or keys[step.key] == 1)
                for step in line
            ):
                made.append((change, number))
    random.Random(seed).shuffle(made)
    return made[:count]


def judge_of(engine: LocalEngine | None, gains: list[dict[str, Any]] | None = None) -> Judge:
    """Return the server's judge; without an engine, a judge that shows the first candidate.

    gains: receives the gain of each first candidate.
    """
    known: dict[tuple[str, Candidate], float | None] = {}

    def judge(document: Document, found: Sequence[Candidate], edits: Sequence[Edit]) -> Candidate | None:
        if engine is None:
            return found[0] if found else None
        if gains is not None and found and (key := (document.text, found[0])) not in known:
            known[key] = gain(document, found[0], edits, engine)
            gains.append({"path": document.path, **asdict(found[0]), "gain": known[key]})
        return pick_candidate(document, found, edits, engine)

    return judge


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m model.evaluation.edits", description="Measure next edits.")
    made.add_argument("--part", default="report", choices=("tune", "report"), help="default: %(default)s")
    made.add_argument("--sources", default="packages,repository", help="default: %(default)s")
    made.add_argument("--model", default="small", help="the judge's name or folder (default: %(default)s)")
    made.add_argument("--no-judge", action="store_true", help="show the first candidate, whatever it is")
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--downloads", type=Path, help="instead of the folder in the cache folder")
    made.add_argument("--details", type=Path, metavar="FILE", help="write a line of JSON for each offer")
    made.add_argument(
        "--gains", type=Path, metavar="FILE", help="write a line of JSON for the gain of each first candidate"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = parser().parse_args(arguments)
    console = Console(stderr=True)
    gains: list[dict[str, Any]] | None = None if given.gains is None else []
    try:
        downloads = given.downloads or cache_folder() / "downloads"
        found = changes(given.part, given.sources.split(","), downloads, console, given.seed)
        engine = None if given.no_judge else load_local_engine(given.model, "cpu", given.threads)
    except (CheckpointError, OSError, subprocess.CalledProcessError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    judge = judge_of(engine, gains)
    several = [change for change in found if len(change.lines) > 1]
    replayed = [replay(change, judge) for change in track(several, "replaying", console=console)]
    lonely = singles(found, given.seed)
    offered: list[tuple[Change, Offer]] = []
    for change, number in track(lonely, "single edits", console=console):
        if (offer := alone(change, number, judge)) is not None:
            offered.append((change, offer))
    report = {
        "part": given.part,
        "model": None if engine is None else f"{engine.name} {engine.fingerprint[:12]}",
        "least_gain": None if engine is None else dict(MIN_GAIN),
        **figures(replayed),
        "single_edits": {"n": len(lonely), "offered": len(offered)},
    }
    if given.details is not None:
        lines = [(one.source, one.path, asdict(offer)) for one in replayed for offer in one.shown]
        lines += [
            (change.source, change.path, {**asdict(offer), "single": True}) for change, offer in offered
        ]
        given.details.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if gains is not None:
        given.gains.write_text("".join(json.dumps(line) + "\n" for line in gains), encoding="utf-8")
    if given.json:
        print(json.dumps(report))
        return 0
    out = Console(width=None if sys.stdout.isatty() else WIDE)
    for table in tables(report):
        out.print(table)
    out.print(f"Edits that repeat nothing: {len(lonely)}; something was shown after {len(offered)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
