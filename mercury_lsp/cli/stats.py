"""Prints acceptance, latencies and saved characters from the history: `mercury-lsp stats`."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from mercury_lsp.telemetry import store
from mercury_lsp.telemetry.stats import PERCENTILES, count_events

# Characters of a full bar.
_BAR_CHARACTERS = 6
_BLOCKS = " ▏▎▍▌▋▊▉█"


def run(arguments: Namespace) -> int:
    """Print the figures of the history, or delete the history; return the exit status."""
    if arguments.clear:
        deleted = store.delete_events()
        print(json.dumps({"deleted": deleted}) if arguments.json else f"Deleted {deleted} records.")
        return 0
    events = store.read_events(arguments.days)
    figures = count_events(events)
    if arguments.json:
        print(json.dumps(figures))
    elif not events:
        since = "yet" if arguments.days is None else f"in the last {arguments.days} days"
        print(f"No suggestions recorded {since}. The server records them while an editor uses it.")
    else:
        _show(figures)
    return 0


def _show(figures: Mapping[str, Any]) -> None:
    output, overall = Console(highlight=False), figures["all"]
    days = list(figures["by_day"])
    output.print(" to ".join(f"[bold]{day}[/bold]" for day in dict.fromkeys((days[0], days[-1]))))
    for title, groups in (
        ("language", figures["by_language"] | {"all": overall}),
        ("day", figures["by_day"]),
    ):
        output.print(_group_table(title, groups))
    latency_table = make_table("latency in ms", *(f"p{percent}" for percent in PERCENTILES))
    for name, key in (("answered", "latency_ms"), ("by the model", "latency_ms_not_from_memory")):
        latency_table.add_row(name, *(_format_ms(overall[key][f"p{percent}"]) for percent in PERCENTILES))
    output.print(latency_table)
    if counts_by_cause := figures["nothing_because"]:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in counts_by_cause.items())
        output.print(f"Nothing was shown because: {causes}.", markup=False)


def _group_table(title: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    group_table = make_table(
        title, "requests", "shown", "accepted", "partly", "rate", "", "p50", "p95", "saved"
    )
    for name, group in groups.items():
        rate = group["acceptance"]
        group_table.add_row(
            name,
            *(f"{group[kind]:,}" for kind in ("requests", "shown", "accepted", "partly")),
            format_number(rate, ".0%"),
            draw_bar(rate or 0.0),
            *(_format_ms(group["latency_ms"][percent]) for percent in ("p50", "p95")),
            f"{group['characters_saved']:,}",
        )
    return group_table


def make_table(*column_heads: str) -> Table:
    """Return an empty table of numbers with names at the left; a column without a head is for bars."""
    table = Table(box=None, pad_edge=False)
    for column, head in enumerate(column_heads):
        table.add_column(head, justify="right" if column and head else "left", no_wrap=True)
    return table


def format_number(value: float | None, format_spec: str) -> str:
    """Format a number by a Python format specification; None becomes a dash."""
    return "-" if value is None else format(value, format_spec)


def draw_bar(share: float) -> str:
    """Draw a share from 0 to 1 as a bar in steps of an eighth of a character."""
    whole, eighths = divmod(round(share * _BAR_CHARACTERS * 8), 8)
    return (_BLOCKS[-1] * whole + _BLOCKS[eighths] * (eighths > 0)).ljust(_BAR_CHARACTERS)


def _format_ms(value: float | None) -> str:
    return format_number(value, ".1f" if value is not None and value < 10 else ",.0f")
