"""Formats reports as tables, for a terminal and in Markdown, with the same headings and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mercury_lsp.engine.api import MODES

RUN = ("suite", "n", "shots", "mode", "pass@1", "95%", "exact", "passes", "tokens/pass", "ms p50")
COMPARED = ("suite", "mode", "n", "first", "second", "pass@1, difference", "exact, difference", "passes")
# Columns of the output if it is not a terminal.
WIDE = 140
NOTHING = "–"  # noqa: RUF001

Rows = Sequence[Sequence[str]]


def run_rows(reports: Sequence[Mapping[str, Any]], against: bool = False) -> list[list[str]]:
    """Return a row for each suite, mode and model; for a suite that could not run, one row with the reason.

    against: the reports are of a second model, so rows need its name.
    """
    rows = []
    for report in reports:
        suite, n = report["suite"], str(report.get("n", NOTHING))
        if "missing" in report:
            rows.append([suite, n, NOTHING, NOTHING, f"not run: {report['missing']}", *[NOTHING] * 5])
            continue
        modes = {mode: report[mode] for mode in MODES if mode in report} or {report["mode"]: report}
        name = f", {report['model']}" if against or "against" in report else ""
        for mode, row in modes.items():
            rows.append([suite, n, str(report["shots"]), mode + name, *_figures(row)])
        if "against" in report:
            rows += run_rows([report["against"]], against=True)
    return rows


def compared_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each suite and mode of a comparison."""
    rows = []
    for row in report["suites"]:
        passed, exact = row["pass_at_1"], row["exact_match"]
        ratio, (low, high) = row["forward_passes_ratio"], row["forward_passes_ratio_interval"]
        rows.append(
            [
                row["suite"],
                row["mode"],
                str(row["n"]),
                f"{passed['first']:.1%}",
                f"{passed['second']:.1%}",
                _gain(passed),
                _gain(exact) if exact else NOTHING,
                f"{ratio:.0%} ({low:.0%} to {high:.0%})",
            ]
        )
    return rows


def notes(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the differences, which do not fit into cells: a line for each suite with two modes or two models."""
    lines = []
    for report in reports:
        if found := report.get("difference"):
            low, high = found["interval"]
            lines.append(
                f"{report['suite']}: diffusion less autoregressive {found['pass_at_1']:+.1%} "
                f"({low:+.1%} to {high:+.1%}), in {found['forward_passes_ratio']:.0%} of the passes"
            )
        for row in report.get("paired", {}).get("suites", ()):
            exact = f", exact {_gain(row['exact_match'])}" if row["exact_match"] else ""
            lines.append(
                f"{report['suite']}, {row['mode']}: {report['paired']['first']} less "
                f"{report['paired']['second']} {_gain(row['pass_at_1'])}{exact}"
            )
    return lines


def table(title: str, headings: Sequence[str], rows: Rows, caption: str = "") -> Table:
    """Return a table for a terminal; words are left-aligned, numbers right-aligned."""
    shown = Table(title=title, caption=caption or None, box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        shown.add_column(heading, justify="left" if heading in ("suite", "mode") else "right")
    for row in rows:
        shown.add_row(*row)
    return shown


def markdown(title: str, headings: Sequence[str], rows: Rows, caption: str = "") -> str:
    """Return a table in Markdown."""
    lines = [
        list(headings),
        ["---"] * len(headings),
        *([cell.replace("|", r"\|") for cell in row] for row in rows),
    ]
    below = f"\n{caption}\n" if caption else ""
    return f"{title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + below


def _figures(row: Mapping[str, Any]) -> list[str]:
    low, high = row["interval"]
    exact = NOTHING if row["exact_match"] is None else f"{row['exact_match']:.1%}"
    cells = (row["forward_passes"], row["tokens_per_pass"], row["ms_p50"])
    return [f"{row['pass_at_1']:.1%}", f"{low:.1%} to {high:.1%}", exact, *(f"{cell:.2f}" for cell in cells)]


def _gain(found: Mapping[str, Any]) -> str:
    low, high = found["interval_by_problem"]
    mark = "" if found["excludes_zero"] else ", zero within"
    return f"{found['difference']:+.1%} ({low:+.1%} to {high:+.1%}{mark})"
