"""Computes the figures of held-out holes from their records, with intervals and tables.

``exact``, ``first_line`` and the endings are over all suggestions. ``shown`` is the share of requests for which a
server shows a suggestion automatically, by its own rule. ``precision`` is the share of these whose first line is right
or, if they were cut off, that are right as far as they go. ``spared``, the headline, is the keys they save as a share
of all keys of the holes; a suggestion that is not shown, or is wrong, saves none. ``right_end``: of the texts without
an error before their own end or the hole's, the share that ends where the hole does. Intervals are 95% percentile
bootstraps over files, because places in one file are alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from model.evaluation.bootstrap import interval, ratio
from model.evaluation.heldout.cursors import KINDS, TRIGGERS
from model.evaluation.heldout.records import Record

HEADLINE = {"rest": "Rest of the line", "next": "Next line"}
TOTAL = "all"
BY_LANGUAGE = (
    "Missing | Language | n | Characters spared (95%) | Spared by word (95%) | Exact (95%) "
    "| Shown | Right, of shown"
)
BY_KIND = (
    "Missing | n | Exact (95%) | First line | Ends right | short | over | Right end | Passes "
    "| Tokens a pass | Spared (95%)"
)


def figures(records: Sequence[Record], threshold: float) -> dict[str, Any]:
    """Return the figures of at least one record, with ``threshold`` as the server's ``show_likelihood``."""
    n, passes = len(records), sum(record.passes for record in records)
    automatic = [record.automatic(threshold) for record in records]
    seen = [record for record in automatic if record is not None]
    keys = sum(record.keys for record in records)
    endings = {
        name: sum(record.ending == name for record in records) for name in ("right", "short", "over", "other")
    }

    def share(values: Iterable[float], of: Iterable[float]) -> dict[str, Any]:
        found, bounds = _by_file(zip((record.file for record in records), values, of, strict=True))
        return {"share": found, "interval": bounds}

    def spared(keys: Callable[[Record], int]) -> dict[str, Any]:
        values = (0 if record is None else keys(record) for record in automatic)
        return share(values, (record.keys for record in records))

    return {
        "n": n,
        "files": len({record.file for record in records}),
        "exact": share((record.exact for record in records), [1] * n),
        "first_line": round(sum(record.first_line for record in records) / n, 4),
        "endings": {name: round(count / n, 4) for name, count in endings.items()},
        "right_end": round(endings["right"] / max(1, n - endings["other"]), 4),
        "forward_passes": round(passes / n, 3),
        "tokens_per_pass": round(sum(record.tokens for record in records) / max(passes, 1), 3),
        "keys": keys,
        "shown": round(len(seen) / n, 4),
        "precision": round(sum(record.first_line for record in seen) / max(len(seen), 1), 4),
        "spared": spared(lambda record: record.spared),
        "spared_by_word": spared(lambda record: record.spared_by_word),
    }


def _by_file(counts: Iterable[tuple[tuple[str, str], float, float]]) -> tuple[float, list[float]]:
    """Return the ratio of sums and its interval over files. counts: (file, numerator, denominator) each."""
    sums: dict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (0, 0))
    for file, count, of in counts:
        sums[file] = sums[file][0] + count, sums[file][1] + of
    clusters = list(sums.values())
    return round(ratio(clusters), 4), interval(clusters, ratio)


def report(records: Sequence[Record], threshold: float) -> dict[str, Any]:
    """Return the whole report as a JSON object, by kind of hole, then by language."""
    by_kind: dict[str, dict[str, list[Record]]] = {kind: defaultdict(list) for kind in (*KINDS, *TRIGGERS)}
    for record in records:
        by_kind[record.kind][record.language].append(record)
    for languages in by_kind.values():
        if languages:
            languages[TOTAL] = [record for own in languages.values() for record in own]
    return {
        "model": records[0].model,
        "seed": records[0].seed,
        "n": len(records),
        "files": len({record.file for record in records}),
        "show_likelihood": threshold,
        "kinds": {
            kind: {language: figures(own, threshold) for language, own in languages.items()}
            for kind, languages in by_kind.items()
            if languages
        },
        "refused": {
            reason: figures([record for record in records if record.refused == reason], threshold)
            for reason in dict.fromkeys(record.refused for record in records)
            if reason is not None
        },
    }


def gains(records: Sequence[Record], others: Sequence[Record]) -> dict[str, Any]:
    """Return the differences to another model's records at the same holes, by kind of hole, then by language.

    The differences are those of the shares of exact suggestions and of spared keys, if all suggestions are shown. The
    result is empty if no hole is in both.
    """
    theirs = {record.hole_id: record for record in others}
    pairs = [(record, theirs[record.hole_id]) for record in records if record.hole_id in theirs]
    answer: dict[str, Any] = {}
    for kind in (*KINDS, *TRIGGERS, TOTAL):
        own = [pair for pair in pairs if kind in (pair[0].kind, TOTAL)]
        languages = dict.fromkeys(pair[0].language for pair in own)
        rows = {
            name: _gain([pair for pair in own if name in (pair[0].language, TOTAL)])
            for name in (*languages, TOTAL)
        }
        if own:
            answer[kind] = rows
    return answer


def _gain(pairs: Sequence[tuple[Record, Record]]) -> dict[str, Any]:
    exact = _by_file((ours.file, ours.exact - theirs.exact, 1) for ours, theirs in pairs)
    spared = _by_file((ours.file, ours.spared - theirs.spared, ours.keys) for ours, theirs in pairs)
    found = {"exact": exact, "spared": spared}
    return {"n": len(pairs)} | {
        name: {"difference": difference, "interval": bounds} for name, (difference, bounds) in found.items()
    }


def gains_table(answer: dict[str, Any]) -> Table:
    """Return a table, for a terminal, of the differences between two models."""
    made = Table(title="minus the other model, at the same holes", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("hole", "language", "n", "exact (95%)", "spared (95%)"):
        made.add_column(heading, justify="left" if heading in ("hole", "language") else "right", no_wrap=True)
    for kind, languages in answer.items():
        for language, row in languages.items():
            made.add_row(kind, language, str(row["n"]), *(_signed(row[name]) for name in ("exact", "spared")))
    return made


def _signed(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['difference']:+.1%} ({100 * low:+.1f} to {100 * high:+.1f})"


def markdown(answer: dict[str, Any]) -> str:
    """Return the report as two tables in Markdown: the headline by language, and all kinds of holes."""
    kinds = answer["kinds"]
    lines = _heading(BY_LANGUAGE)
    for kind, title in HEADLINE.items():
        for language, row in kinds.get(kind, {}).items():
            rates = (_with_interval(row[name]) for name in ("spared", "spared_by_word", "exact"))
            cells = (title, language, str(row["n"]), *rates, f"{row['shown']:.0%}", f"{row['precision']:.0%}")
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_heading(BY_KIND)]
    for kind, languages in kinds.items():
        row = languages[TOTAL]
        shares = (*(row["endings"][name] for name in ("right", "short", "over")), row["right_end"])
        cells = (kind, str(row["n"]), _with_interval(row["exact"]), f"{row['first_line']:.0%}")
        cells += (*(f"{cell:.0%}" for cell in shares), f"{row['forward_passes']:.2f}")
        cells += (f"{row['tokens_per_pass']:.2f}", _with_interval(row["spared"]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _heading(names: str) -> list[str]:
    return [f"| {names} |", "| --- " * len(names.split("|")) + "|"]


def _with_interval(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['share']:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def table(answer: dict[str, Any]) -> Table:
    """Return the report as a table for a terminal."""
    title = f"{answer['n']} holes in {answer['files']} held-out files, {answer['model']}"
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("hole", "language", "n", "spared", "words", "exact", "end", "shown", "passes"):
        made.add_column(heading, justify="left" if heading in ("hole", "language") else "right", no_wrap=True)
    for kind, languages in answer["kinds"].items():
        for language, row in languages.items():
            rates = [row[name]["share"] for name in ("spared", "spared_by_word", "exact")]
            cells = (f"{rate:.1%}" for rate in (*rates, row["right_end"], row["shown"]))
            made.add_row(kind, language, str(row["n"]), *cells, f"{row['forward_passes']:.2f}")
    return made


def refused_table(answer: dict[str, Any]) -> Table:
    """Return a table, for a terminal, of places where automatic requests are refused, and what would be shown there."""
    made = Table(title="where automatic requests are refused", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("because", "n", "shown", "right", "passes"):
        made.add_column(
            heading, justify="left" if heading == "because" else "right", no_wrap=heading != "because"
        )
    for reason, row in answer["refused"].items():
        shares = (f"{row[name]:.1%}" for name in ("shown", "precision"))
        made.add_row(reason, str(row["n"]), *shares, f"{row['forward_passes']:.2f}")
    return made
