"""What this project promises of its speed, and how the figures of a run stand to it.

Owns the promises' numbers. Knows the figures by their names in `bench`'s JSON, and nothing of how they were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mercury_lsp.commands.against import LONG, MORE, SERVER


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that this project promises; `read` finds it among the figures, or raises `KeyError` or `TypeError`
    where it was not measured."""

    what: str
    read: Callable[[Mapping[str, object]], float]
    wanted: float
    at_least: bool = True

    def judge(self, found: Mapping[str, object]) -> dict[str, object] | None:
        """How the figures stand to it; None where it was not measured."""
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


TARGETS = (
    Target(
        "diffusion faster than the server, single lines", _faster("single_line", "diffusion_than_server"), 1.2
    ),
    Target(
        f"diffusion faster than the server, {LONG} tokens and more", _faster(MORE, "diffusion_than_server"), 2
    ),
    Target(
        f"diffusion faster than autoregressive, {LONG} tokens and more",
        _faster(MORE, "diffusion_than_autoregressive"),
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
    """How the figures of a run stand to the `TARGETS` that it measured."""
    return [verdict for target in TARGETS if (verdict := target.judge(found)) is not None]
