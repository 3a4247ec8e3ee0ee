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
_BAR = 6
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
    output, whole = Console(highlight=False), figures["all"]
    days = list(figures["by_day"])
    output.print(" to ".join(f"[bold]{day}[/bold]" for day in dict.fromkeys((days[0], days[-1]))))
    for title, groups in (("language", figures["by_language"] | {"all": whole}), ("day", figures["by_day"])):
        output.print(_by_group(title, groups))
    times = table("latency in ms", *(f"p{percent}" for percent in PERCENTILES))
    for name, key in (("answered", "latency_ms"), ("by the model", "latency_ms_not_from_memory")):
        times.add_row(name, *(_ms(whole[key][f"p{percent}"]) for percent in PERCENTILES))
    output.print(times)
    if because := figures["nothing_because"]:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in because.items())
        output.print(f"Nothing was shown because: {causes}.", markup=False)


def _by_group(title: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = table(title, "requests", "shown", "accepted", "partly", "rate", "", "p50", "p95", "saved")
    for name, group in groups.items():
        rate = group["acceptance"]
        rows.add_row(
            name,
            *(f"{group[kind]:,}" for kind in ("requests", "shown", "accepted", "partly")),
            number(rate, ".0%"),
            bar(rate or 0.0),
            *(_ms(group["latency_ms"][percent]) for percent in ("p50", "p95")),
            f"{group['characters_saved']:,}",
        )
    return rows


def table(*heads: str) -> Table:
    """Return an empty table of numbers with names at the left; a column without a head is for bars."""
    table = Table(box=None, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place and head else "left", no_wrap=True)
    return table


def number(value: float | None, form: str) -> str:
    """Format a number by a Python format specification; None becomes a dash."""
    return "-" if value is None else format(value, form)


def bar(share: float) -> str:
    """Draw a share from 0 to 1 as a bar in steps of an eighth of a character."""
    whole, eighths = divmod(round(share * _BAR * 8), 8)
    return (_BLOCKS[-1] * whole + _BLOCKS[eighths] * (eighths > 0)).ljust(_BAR)


def _ms(value: float | None) -> str:
    return number(value, ".1f" if value is not None and value < 10 else ",.0f")
