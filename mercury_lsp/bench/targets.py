"""Defines this project's targets for speed and memory, and judges the figures of a run by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mercury_lsp.bench.against import LONG_GROUP, MIN_LONG_TOKENS

_MODELS = ("small", "mini")


@dataclass(frozen=True, slots=True)
class Target:
    """A target for the figure at `path`, divided by the figure at `over` if given.

    `target`: the target of every model, or of each of `_MODELS`, where None means no target.
    """

    what: str
    target: float | tuple[float | None, ...]
    path: str
    over: str = ""
    at_least: bool = False

    def judge(self, figures: Mapping[str, Any]) -> dict[str, object] | None:
        """Return the verdict on the figures; None if the figure was not measured, or the model has no target."""
        if isinstance(self.target, tuple):
            target = dict(zip(_MODELS, self.target, strict=True)).get(figures.get("model", ""))
        else:
            target = self.target
        try:
            value = _figure_at(figures, self.path) / (_figure_at(figures, self.over) if self.over else 1)
        except (KeyError, TypeError):
            return None
        if target is None:
            return None
        bound, met = ("at least", value >= target) if self.at_least else ("at most", value <= target)
        return {"what": self.what, "found": round(value, 2), "wanted": f"{bound} {target:g}", "met": met}


def _figure_at(figures: Mapping[str, Any], path: str) -> float:
    """Return the figure at a path. Raises `KeyError` or `TypeError` if the figure was not measured."""
    value: Any = figures
    for name in path.split("/"):
        value = value[name]
    return float(value)


_LONG = f"{MIN_LONG_TOKENS} tokens and more"
_FASTER = f"against/{LONG_GROUP}/faster/diffusion_than_"
_SINGLE = "against/single_line/faster/diffusion_than_server"
_OURS, _THEIRS = (f"against/all/ms_per_token/{side}" for side in ("autoregressive", "server"))
TARGETS = (
    Target("ms of a pass of 16 rows after 512 tokens", (12, 6), "pass_ms/16"),
    Target("ms of a typed key, p50", (60, 35), "keystroke_ms/typing/p50"),
    Target("ms of a typed key, p95", (120, 70), "keystroke_ms/typing/p95"),
    Target("ms at another place, p50", (400, None), "keystroke_ms/moved/p50"),
    Target("ratio of a typed pair to a typed key", 1.3, "keystroke_ms/pair/p50", "keystroke_ms/typing/p50"),
    Target("ms until initialize is answered", (400, 400), "start_ms/initialize"),
    Target("ms until the model is ready", (2000, 2000), "start_ms/ready"),
    Target("MB of memory", (600, 350), "rss_mb"),
    Target("diffusion faster than the server, single lines", 1.2, _SINGLE, at_least=True),
    Target(f"diffusion faster than the server, {_LONG}", 2, f"{_FASTER}server", at_least=True),
    Target(f"diffusion faster than autoregressive, {_LONG}", 3, f"{_FASTER}autoregressive", at_least=True),
    Target("autoregressive, ratio of ms per token to the server's", 1.3, _OURS, _THEIRS),
    Target("ratio of a key at 4,096 tokens of context to a key at 512", 2.5, "typing_4096_over_512"),
)


def judge_all(figures: Mapping[str, Any]) -> list[dict[str, object]]:
    """Return the verdicts on all `TARGETS` that a run measured."""
    return [verdict for target in TARGETS if (verdict := target.judge(figures)) is not None]
