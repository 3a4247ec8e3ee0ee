"""Defines the speed targets of this project, and judges the figures of a run by them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mercury_lsp.bench.against import LONG_GROUP, LONG_TOKENS


@dataclass(frozen=True, slots=True)
class Target:
    """A promised figure: the one at `path`, divided by the one at `over` if there is one, of a `model` or of all."""

    what: str
    target: float
    path: str
    over: str = ""
    model: str = ""
    at_least: bool = False

    def judge(self, figures: Mapping[str, Any]) -> dict[str, object] | None:
        """The verdict on the figures; None if the figure was not measured."""
        if self.model and figures.get("model") != self.model:
            return None
        try:
            value = _at(figures, self.path) / (_at(figures, self.over) if self.over else 1)
        except (KeyError, TypeError):
            return None
        words, holds = ("at least", operator.ge) if self.at_least else ("at most", operator.le)
        return {
            "what": self.what,
            "found": round(value, 2),
            "wanted": f"{words} {self.target:g}",
            "met": holds(value, self.target),
        }


def _at(figures: Mapping[str, Any], path: str) -> float:
    """Raises `KeyError` or `TypeError` where the figure was not measured."""
    value: Any = figures
    for name in path.split("/"):
        value = value[name]
    return float(value)


_LONG = f"{LONG_TOKENS} tokens and more"
_PER_TOKEN = "against/all/ms_per_token"
# What, of small and of mini, and where.
_PER_MODEL = (
    ("ms of a pass of 16 rows behind 512", 12, 6, "pass_ms/16"),
    ("ms of a typed key, p50", 60, 35, "keystroke_ms/typing/p50"),
    ("ms of a typed key, p95", 120, 70, "keystroke_ms/typing/p95"),
    ("ms at another place, p50", 400, None, "keystroke_ms/moved/p50"),
    ("ms until initialize is answered", 400, 400, "start_ms/initialize"),
    ("ms until the model is ready", 2000, 2000, "start_ms/ready"),
    ("MB of memory", 600, 350, "rss_mb"),
)
TARGETS = (
    *(
        Target(what, value, path, model=model)
        for what, small, mini, path in _PER_MODEL
        for model, value in (("small", small), ("mini", mini))
        if value is not None
    ),
    Target("a typed pair over a typed key", 1.3, "keystroke_ms/pair/p50", "keystroke_ms/typing/p50"),
    *(
        Target(f"diffusion faster than {what}", value, f"against/{group}/faster/{who}", at_least=True)
        for what, value, group, who in (
            ("the server, single lines", 1.2, "single_line", "diffusion_than_server"),
            (f"the server, {_LONG}", 2, LONG_GROUP, "diffusion_than_server"),
            (f"autoregressive, {_LONG}", 3, LONG_GROUP, "diffusion_than_autoregressive"),
        )
    ),
    Target(
        "autoregressive, time a token over the server's",
        1.3,
        f"{_PER_TOKEN}/autoregressive",
        f"{_PER_TOKEN}/server",
    ),
    Target("a key typed at 4,096 tokens of context over one at 512", 2.5, "typing_4096_over_512"),
)


def judged(figures: Mapping[str, Any]) -> list[dict[str, object]]:
    """The verdicts of the `TARGETS` that a run measured."""
    return [verdict for target in TARGETS if (verdict := target.judge(figures)) is not None]
