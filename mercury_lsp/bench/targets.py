"""Defines the speed targets of this project, and judges the figures of a run by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mercury_lsp.bench.against import LONG_GROUP, LONG_TOKENS, SERVER


@dataclass(frozen=True, slots=True)
class Target:
    """A promised figure. `read` finds it in the figures, or raises `KeyError` or `TypeError` if it was not measured."""

    what: str
    read: Callable[[Mapping[str, object]], float]
    wanted: float
    at_least: bool = True

    def judge(self, found: Mapping[str, object]) -> dict[str, object] | None:
        """The verdict on the figures; None if the figure was not measured."""
        try:
            value = self.read(found)
        except (KeyError, TypeError):
            return None
        met = value >= self.wanted if self.at_least else value <= self.wanted
        words = "at least" if self.at_least else "at most"
        return {"what": self.what, "found": round(value, 2), "wanted": f"{words} {self.wanted:g}", "met": met}


def _faster(group: str, who: str) -> Callable[[Mapping[str, object]], float]:
    return lambda found: float(found["against"][group]["faster"][who])  # type: ignore[index]


def _slower_a_token(found: Mapping[str, object]) -> float:
    cost = found["against"]["all"]["ms_per_token"]  # type: ignore[index]
    return float(cost["autoregressive"] / cost[SERVER])


def _at_most(what: str, small: float, mini: float | None, *path: str) -> tuple[Target, ...]:
    """The targets of both models for the figure under a path of names."""

    def read(model: str) -> Callable[[Mapping[str, object]], float]:
        def own(found: Mapping[str, object]) -> float:
            if found["model"] != model:
                raise KeyError(model)
            value: object = found
            for name in path:
                value = value[name]  # type: ignore[index]
            return float(value)  # type: ignore[arg-type]

        return own

    most = {"small": small, "mini": mini}
    return tuple(
        Target(what, read(model), value, False) for model, value in most.items() if value is not None
    )


TARGETS = (
    *_at_most("ms of a pass of 16 rows behind 512", 12, 6, "pass_ms", "16"),
    *_at_most("ms of a typed key, p50", 60, 35, "keystroke_ms", "typing", "p50"),
    *_at_most("ms of a typed key, p95", 120, 70, "keystroke_ms", "typing", "p95"),
    *_at_most("ms at another place, p50", 400, None, "keystroke_ms", "moved", "p50"),
    Target(
        "a typed pair over a typed key",
        lambda found: float(found["keystroke_ms"]["pair"]["p50"] / found["keystroke_ms"]["typing"]["p50"]),  # type: ignore[index]
        1.3,
        at_least=False,
    ),
    *_at_most("ms until initialize is answered", 400, 400, "start_ms", "initialize"),
    *_at_most("ms until the model is ready", 2000, 2000, "start_ms", "ready"),
    *_at_most("MB of memory", 600, 350, "rss_mb"),
    Target(
        "diffusion faster than the server, single lines", _faster("single_line", "diffusion_than_server"), 1.2
    ),
    Target(
        f"diffusion faster than the server, {LONG_TOKENS} tokens and more",
        _faster(LONG_GROUP, "diffusion_than_server"),
        2,
    ),
    Target(
        f"diffusion faster than autoregressive, {LONG_TOKENS} tokens and more",
        _faster(LONG_GROUP, "diffusion_than_autoregressive"),
        3,
    ),
    Target("autoregressive, time a token over the server's", _slower_a_token, 1.3, at_least=False),
    Target(
        "a key typed at 4,096 tokens of context over one at 512",
        lambda found: float(found["typing_4096_over_512"]),  # type: ignore[arg-type]
        2.5,
        at_least=False,
    ),
)


def judged(found: Mapping[str, object]) -> list[dict[str, object]]:
    """The verdicts of the `TARGETS` that a run measured."""
    return [verdict for target in TARGETS if (verdict := target.judge(found)) is not None]
