"""``python -m model.calibrate DETAILS.jsonl``: what the model's own likelihood of a suggestion is worth, and from which
on a suggestion should be shown.

Owns the comparison of statistics, the reliability table and the choice of the option ``show_likelihood``. What the
server goes by is `complete.likelihood`, which this module calls and does not define. A request counts as *shown* where
post-processing left something that is likely enough, and as right where its first line is exactly what stood there.

The threshold is the lowest at which half of what is shown is right, so that as much as possible is shown. It is chosen
on half of the files and reported on the others; the halves exchanged tell how much the choice depends on them. Where
that threshold would show less than 30% of the requests it is the highest that shows 30%. Only holes of the kinds that
typing makes count, unless others are asked for. Expected calibration error, after Guo et al. 2017, over bins of equal
size; area under the curve (AUC): the chance that a right suggestion has a higher statistic than a wrong one.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mercury_lsp.complete import likelihood
from model.bootstrap import interval
from model.cursors import KINDS
from model.records import DetailsError, Record, read

STATISTICS: dict[str, Callable[[float, int], float]] = {
    "mean": lambda confidence, tokens: confidence,  # geometric, over the tokens and the end
    "root": lambda confidence, tokens: confidence ** math.sqrt(tokens),
    "joint": likelihood,
}
"""Of a suggestion's confidence and tokens; the server's is the last."""
TYPING = ("rest", "next")
BINS = 10
PRECISION, LEAST_SHOWN = 0.5, 0.3
THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def auc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Chance that a right one's score is above a wrong one's, ties half; 0.5 where there are none of one sort."""
    values, which = np.array(scores), np.array(right, dtype=bool)
    good, bad = values[which], np.sort(values[~which])
    if not len(good) or not len(bad):
        return 0.5
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return float(below.mean() / 2 / len(bad))


def reliability(scores: Sequence[float], right: Sequence[bool]) -> list[dict[str, float]]:
    """Bins of equal size by score: what it says on average, and how many are right."""
    order = sorted(zip(scores, right, strict=True), key=lambda pair: pair[0])
    rows = []
    for i in range(BINS):
        own = order[i * len(order) // BINS : (i + 1) * len(order) // BINS]
        if own:
            mean, share = (sum(column) / len(own) for column in zip(*own, strict=True))
            rows.append({"n": len(own), "likelihood": round(mean, 4), "right": round(share, 4)})
    return rows


def error(rows: Sequence[dict[str, float]]) -> float:
    """Expected calibration error of the bins."""
    total = sum(row["n"] for row in rows)
    return sum(row["n"] * abs(row["likelihood"] - row["right"]) for row in rows) / max(total, 1)


def at(records: Sequence[Record], threshold: float) -> dict[str, float]:
    """What a threshold shows of these requests, how much of it is right, and the share of keys that it spares."""
    seen = [record for record in records if record.shown is not None and record.likelihood >= threshold]
    return {
        "threshold": threshold,
        "shown": round(len(seen) / max(len(records), 1), 4),
        "precision": round(_precision(seen), 4),
        "spared": round(sum(one.spared for one in seen) / max(sum(one.keys for one in records), 1), 4),
    }


def _precision(seen: Sequence[Record]) -> float:
    return sum(record.first_line for record in seen) / max(len(seen), 1)


def choose(records: Sequence[Record], precision: float, least: float) -> tuple[float, bool]:
    """The threshold for these requests, and whether it has the precision while it shows enough."""
    seen = {record.likelihood for record in records if record.shown is not None}
    candidates = sorted({0.0, *(math.floor(1000 * value) / 1000 for value in seen)})
    enough = [value for value in candidates if at(records, value)["shown"] >= least]
    precise = next((value for value in enough if at(records, value)["precision"] >= precision), None)
    return (max(enough, default=0.0), False) if precise is None else (precise, True)


def halves(records: Sequence[Record], seed: int = 0) -> tuple[list[Record], list[Record]]:
    """The records of half of the files, and those of the others."""
    files = sorted({record.file for record in records})
    Random(seed).shuffle(files)
    first = set(files[::2])
    return [one for one in records if one.file in first], [one for one in records if one.file not in first]


def _by_file(records: Sequence[Record]) -> list[list[Record]]:
    files: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        files[record.file].append(record)
    return list(files.values())


def _split(
    chosen_on: Sequence[Record], told: Sequence[Record], precision: float, least: float
) -> dict[str, Any]:
    threshold, met = choose(chosen_on, precision, least)
    seen = [one for one in told if one.shown is not None and one.likelihood >= threshold]

    def pooled(clusters: Sequence[list[Record]]) -> float:
        return _precision([record for own in clusters for record in own])

    return {
        "met": met,
        "chosen": at(chosen_on, threshold),
        "reported": at(told, threshold) | {"interval": interval(_by_file(seen), pooled) if seen else [0, 0]},
        "reported_without": at(told, 0.0),
    }


def report(records: Sequence[Record], precision: float, least: float, seed: int) -> dict[str, Any]:
    """The whole answer as a JSON object; ``split`` is what to go by."""
    shown = [record for record in records if record.shown is not None]
    clusters = _by_file(shown)
    statistics = {}
    for name, statistic in STATISTICS.items():

        def area(
            drawn: Sequence[list[Record]], statistic: Callable[[float, int], float] = statistic
        ) -> float:
            flat = [record for own in drawn for record in own]
            return auc(
                [statistic(one.confidence, one.tokens) for one in flat], [one.first_line for one in flat]
            )

        statistics[name] = {"auc": round(area(clusters), 4), "interval": interval(clusters, area)}
    bins = reliability([one.likelihood for one in shown], [one.first_line for one in shown])
    one, other = halves(records, seed)
    return {
        "requests": len(records),
        "files": len({record.file for record in records}),
        "shown": len(shown),
        "statistics": statistics,
        "reliability": bins,
        "calibration_error": round(error(bins), 4),
        "curve": [at(records, threshold) for threshold in THRESHOLDS],
        "precision": precision,
        "least_shown": least,
        "split": _split(one, other, precision, least),
        "exchanged": _split(other, one, precision, least),
    }


def advice(answer: dict[str, Any]) -> str:
    """The recommendation in words."""
    split, exchanged = answer["split"], answer["exchanged"]["chosen"]["threshold"]
    chosen, told = split["chosen"], split["reported"]
    low, high = told["interval"]
    words = [f"show_likelihood {chosen['threshold']}:"]
    if not split["met"]:
        words = [
            f"No threshold makes {answer['precision']:.0%} of what is shown right and shows",
            f"{answer['least_shown']:.0%} of the requests. As many are shown from {chosen['threshold']}:",
        ]
    words += [
        f"in the half of the files that it was not chosen on, {told['shown']:.0%} of the requests are shown, and",
        f"{told['precision']:.0%} ({low:.0%} to {high:.0%}) of that is right; {told['spared']:.1%} of the keys",
        f"are spared, and {split['reported_without']['spared']:.1%} when all is shown.",
        f"With the halves exchanged the threshold is {exchanged}.",
    ]
    return " ".join(words)


def markdown(answer: dict[str, Any]) -> str:
    """The tables and the recommendation."""
    lines = ["| Statistic | AUC (95%) |", "| --- | --- |"]
    for name, row in answer["statistics"].items():
        lines.append(f"| {name} | {row['auc']:.3f} ({row['interval'][0]:.3f} to {row['interval'][1]:.3f}) |")
    lines += ["", "| Requests | Mean likelihood | First line right |", "| --- | --- | --- |"]
    lines += [
        f"| {row['n']} | {row['likelihood']:.3f} | {row['right']:.1%} |" for row in answer["reliability"]
    ]
    lines += ["", f"Expected calibration error {answer['calibration_error']:.3f}.", ""]
    lines += [
        "| Threshold | Requests shown | First line right, of shown | Spared |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['threshold']} | {row['shown']:.0%} | {row['precision']:.0%} | {row['spared']:.1%} |"
        for row in answer["curve"]
    ]
    return "\n".join([*lines, "", advice(answer), ""])


def table(answer: dict[str, Any]) -> Table:
    """The curve, for people."""
    areas = ", ".join(f"{name} {row['auc']:.3f}" for name, row in answer["statistics"].items())
    title = f"{answer['requests']} requests; AUC {areas}; calibration error {answer['calibration_error']:.3f}"
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("threshold", "shown", "right, of shown", "spared"):
        made.add_column(heading, justify="right")
    for row in answer["curve"]:
        made.add_row(
            str(row["threshold"]), *(f"{row[name]:.1%}" for name in ("shown", "precision", "spared"))
        )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m model.calibrate", description="Choose show_likelihood.")
    parser.add_argument("details", type=Path, help="what model.heldout wrote")
    parser.add_argument("--kinds", default=",".join(TYPING), help="of holes, or all (default: %(default)s)")
    parser.add_argument("--precision", type=float, default=PRECISION, help="wanted (default: %(default)s)")
    parser.add_argument("--least-shown", type=float, default=LEAST_SHOWN, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the halves")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file")
    given = parser.parse_args(arguments)
    kinds = KINDS if given.kinds == "all" else given.kinds.split(",")
    try:
        records = [record for record in read(given.details) if record.kind in kinds]
        if not any(record.shown for record in records):
            raise DetailsError(
                f"in {given.details} nothing is shown at holes of the kinds {', '.join(kinds)}"
            )
    except DetailsError as problem:
        Console(stderr=True).print(str(problem), markup=False, highlight=False, soft_wrap=True)
        return 1
    answer = report(records, given.precision, given.least_shown, given.seed)
    if given.markdown:
        given.markdown.write_text(markdown(answer), encoding="utf-8")
    if given.json:
        print(json.dumps(answer))
    else:
        Console().print(table(answer))
        Console().print(advice(answer), markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
