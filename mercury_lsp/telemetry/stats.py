"""Counts the events of the history, for `mercury-lsp stats` and the command `mercury.stats`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mercury_lsp.telemetry.store import Event

PERCENTILES = (50, 90, 95, 99)
SHOWN_OUTCOMES = ("accepted", "partly", "typed", "replaced", "rejected")


def count_events(events: Sequence[Event]) -> dict[str, Any]:
    """Return the figures of all events, by language, day, editor and model, and the causes of empty answers."""
    causes = Counter(event.cause for event in events if event.cause)
    return {
        "all": _group(events),
        "by_language": _groups(events, lambda event: event.language or "unknown", busiest=True),
        "by_day": _groups(events, lambda event: event.day),
        "by_editor": _groups(events, lambda event: event.editor or "unknown", busiest=True),
        "by_model": _groups(events, lambda event: event.model or "none", busiest=True),
        "nothing_because": dict(causes.most_common()),
    }


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """Return the percentiles of values by the nearest rank; each is None if there are no values."""
    ranked = sorted(values)
    return {
        f"p{percent}": round(ranked[-(-percent * len(ranked) // 100) - 1], 2) if ranked else None
        for percent in PERCENTILES
    }


def _groups(
    events: Sequence[Event], key: Callable[[Event], str], busiest: bool = False
) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(key(event), []).append(event)
    order = sorted(groups, key=lambda name: (-len(groups[name]) if busiest else 0, name))
    return {name: _group(groups[name]) for name in order}


def _group(events: Sequence[Event]) -> dict[str, Any]:
    """Return the counts of requests and outcomes, the latencies of answered requests, and the saved characters.

    `acceptance` includes partly accepted suggestions, and is None if nothing was shown.
    """
    kinds = Counter(event.outcome for event in events)
    answered = [event for event in events if event.outcome != "nothing"]
    shown = sum(kinds[kind] for kind in SHOWN_OUTCOMES)
    accepted = kinds["accepted"] + kinds["partly"]
    tokens, passes = (sum(getattr(event, name) for event in answered) for name in ("tokens", "passes"))
    return {
        "requests": len(events),
        "answered": len(answered),
        "shown": shown,
        **{kind: kinds[kind] for kind in SHOWN_OUTCOMES},
        "acceptance": round(accepted / shown, 4) if shown else None,
        "latency_ms": percentiles(event.latency_ms for event in answered),
        "latency_ms_not_from_memory": percentiles(one.latency_ms for one in answered if not one.recalled),
        "from_memory": sum(event.recalled for event in answered),
        "characters_shown": sum(event.shown for event in events if event.outcome in SHOWN_OUTCOMES),
        "characters_saved": sum(event.accepted for event in events),
        "tokens_per_pass": round(tokens / passes, 2) if passes else None,
    }
