"""Draws the loss curves of a run from its metrics."""

from __future__ import annotations

import json
from pathlib import Path

import torch

# Each point of a curve is the mean of this many lines of metrics.
WIDE = 50


def plot(folder: Path) -> None:
    """Draw the loss curves of a run into its ``loss.png``; do nothing if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel=f"nats a token, mean of {WIDE} points")
    for name in ("next_token", "masked"):
        values = torch.tensor([line[name] for line in lines])
        wide = min(WIDE, len(values))
        if wide:
            axes.plot(
                [line["step"] for line in lines][wide - 1 :], values.unfold(0, wide, 1).mean(-1), label=name
            )
    axes.legend()
    figure.savefig(folder / "loss.png", dpi=110)
