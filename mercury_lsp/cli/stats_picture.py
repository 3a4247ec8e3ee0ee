"""Draws the outcomes of suggestions and what they saved, by day and by language."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mercury_lsp.errors import Failure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LANGUAGES = 10  # that there is room for
_PARTS = {
    "accepted": "#2a7f62",
    "partly": "#7cc6a4",
    "typed": "#e0c36a",
    "replaced": "#b8b8b8",
    "rejected": "#d98880",
}


def check(file: Path) -> None:
    """Raises `Failure` if no picture can be written."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise Failure("The picture needs matplotlib: pip install 'mercury-lsp[workshop]'.") from error
    if not file.resolve().parent.is_dir():
        raise Failure(f"The picture cannot be written: there is no folder {file.resolve().parent}.")


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Write the picture. Raises `Failure`."""
    from matplotlib.figure import Figure

    whole, days = figures["all"], figures["by_day"]
    languages = dict(list(figures["by_language"].items())[:_LANGUAGES])
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    ((by_day, by_language), (spared, latency)) = figure.subplots(2, 2)
    _outcomes(by_day, "suggestions shown, by day", days)
    _outcomes(by_language, "suggestions shown, by language", languages)
    by_language.legend(fontsize=8)
    places = range(len(days))
    spared.bar(places, [day["characters_saved"] for day in days.values()], color=_PARTS["accepted"])
    spared.set(title="characters saved, by day", ylabel="characters")
    for percent, style in (("p50", "-"), ("p90", "--"), ("p95", "-."), ("p99", ":")):
        times = [day["latency_ms"][percent] for day in days.values()]
        latency.plot(
            places,
            [float("nan") if ms is None else ms for ms in times],
            style,
            marker="o",
            ms=3,
            label=percent,
        )
    latency.set(title="from request to answer, by day", ylabel="ms", ylim=(0, None))
    latency.legend(fontsize=8)
    for axes in (by_day, spared, latency):
        _name(axes, list(days))
    rate = "nothing shown" if whole["acceptance"] is None else f"{whole['acceptance']:.0%} of them accepted"
    figure.suptitle(
        f"{whole['requests']:,} requests, {whole['shown']:,} suggestions shown, {rate}; "
        f"{whole['characters_saved']:,} characters saved"
    )
    try:
        figure.savefig(file, dpi=110)
    except (OSError, ValueError) as error:
        # ValueError: an unknown suffix.
        raise Failure(f"The picture cannot be written to {file}: {' '.join(str(error).split())}.") from error


def _outcomes(axes: Axes, title: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Stacked bars of what became of suggestions, with the share that was accepted above."""
    places = range(len(groups))
    below = [0] * len(groups)
    for kind, color in _PARTS.items():
        counts = [group[kind] for group in groups.values()]
        bars = axes.bar(places, counts, bottom=below, color=color, label=kind)
        below = [one + count for one, count in zip(below, counts, strict=True)]
    rates = [group["acceptance"] for group in groups.values()]
    if len(groups) <= 2 * _LANGUAGES:
        axes.bar_label(bars, ["" if rate is None else f"{rate:.0%}" for rate in rates], fontsize=8, padding=2)
    axes.set(title=title, ylabel="suggestions")
    axes.margins(y=0.12)
    _name(axes, list(groups))


def _name(axes: Axes, names: list[str]) -> None:
    """Name the bars, as many as there is room for."""
    every = -(-len(names) // _LANGUAGES)
    axes.set_xticks(
        range(0, len(names), every),
        names[::every],
        rotation=30 if len(names) > 4 else 0,
        ha="right" if len(names) > 4 else "center",
        fontsize=8,
    )
