"""Draws the figures of `bench` by matplotlib, which the workshop's extra installs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mercury_lsp.bench.against import LONG_GROUP, LONG_TOKENS, SIDES
from mercury_lsp.errors import Failure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The width of a group of bars, as a share of its room.
_GROUP_WIDTH = 0.8

Bars = Mapping[str, Sequence[float]]


def check_picture(file: Path) -> None:
    """Raises `Failure` if no picture can be written, before minutes of measuring."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise Failure("The picture needs matplotlib: pip install 'mercury-lsp[workshop]'.") from error
    if not file.resolve().parent.is_dir():
        raise Failure(f"The picture cannot be written: there is no folder {file.resolve().parent}.")


def draw_figures(figures: Mapping[str, Any], file: Path) -> None:
    """Draw the figures and write the picture. Raises `Failure`."""
    from matplotlib.figure import Figure

    strokes = figures["keystroke_ms"]
    panels: list[tuple[str, str, Sequence[str], Bars]] = [
        ("a keystroke, request to reply", "ms", list(strokes), _percentiles(strokes))
    ]
    if rows := figures["step_ms"]:
        panels.append(("a denoising step, by rows", "ms", list(rows), {"": list(rows.values())}))
    if found := figures["against"]:
        groups = {"single lines": found["single_line"], f"{LONG_TOKENS} tokens and more": found[LONG_GROUP]}
        groups = {f"{name}\nn = {group['n']}": group for name, group in groups.items() if group}
        times = {side: [group["ms"][side]["p50"] for group in groups.values()] for side in SIDES}
        panels.append(
            (f"a request, against {found['model'] or found['url']}", "ms, p50", list(groups), times)
        )
    else:
        speed = figures["tokens_per_s"]
        panels.append(("decoding", "tokens/s", list(speed), {"": list(speed.values())}))
    if by_context := figures["typing_ms_by_context"]:
        panels.append(
            (
                "a typed key, by tokens of context",
                "ms, p50",
                list(by_context),
                {"": list(by_context.values())},
            )
        )
    figure = Figure(figsize=(4 * len(panels), 3.6), layout="constrained")
    for axes, (title, unit, names, bars) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        wide = _GROUP_WIDTH / len(bars)
        for number, (label, values) in enumerate(bars.items()):
            places = [place + (number - (len(bars) - 1) / 2) * wide for place in range(len(names))]
            axes.bar_label(axes.bar(places, values, wide, label=label), fmt=_number, fontsize=7)
        axes.set(title=title, ylabel=unit)
        axes.set_xticks(range(len(names)), names)
        if len(bars) > 1:
            axes.legend(fontsize=7)
    figure.suptitle(
        f"{figures['model']} on {figures['device']}, {figures['threads']} threads, "
        f"{figures['context_tokens']} tokens of context"
    )
    write_figure(figure, file)


def write_figure(figure: Figure, file: Path) -> None:
    """Write a matplotlib figure to a file. Raises `Failure`."""
    try:
        figure.savefig(file, dpi=110)
    except (OSError, ValueError) as error:
        # ValueError: an unknown suffix.
        raise Failure(f"The picture cannot be written to {file}: {' '.join(str(error).split())}.") from error


def _percentiles(times: Mapping[str, Mapping[str, float]]) -> Bars:
    return {name: [kind[name] for kind in times.values()] for name in ("p50", "p95")}


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
