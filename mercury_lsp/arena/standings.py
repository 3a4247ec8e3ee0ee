"""Computes the figures of ballots, by contestant and by pair.

Comparisons with answers that look alike count as ties, and are also counted separately. Skipped comparisons have no
result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from mercury_lsp.arena import ratings
from mercury_lsp.arena.ballots import SCORES, Ballot, Side
from mercury_lsp.arena.ratings import Comparison, wilson_interval
from mercury_lsp.telemetry.stats import percentiles


def compute_standings(ballots: Sequence[Ballot], ids: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Return the figures of the contestants in the order of their ids; the first is the anchor of the ratings."""
    numbers = {id_: number for number, id_ in enumerate(ids)}
    relevant = [ballot for ballot in ballots if ballot.pair <= numbers.keys()]
    places: dict[str, list[Comparison]] = {}
    for ballot in relevant:
        if ballot.choice in SCORES:
            comparison = Comparison(numbers[ballot.one.id], numbers[ballot.two.id], SCORES[ballot.choice])
            places.setdefault(ballot.place, []).append(comparison)
    comparisons = [comparison for place in places.values() for comparison in place]
    fitted = ratings.fit_ratings(ratings.count_wins(comparisons, len(ids)))
    intervals = ratings.bootstrap_intervals(list(places.values()), len(ids), seed) if places else []
    sides = {
        id_: {
            ballot.place: side for ballot in relevant for side in (ballot.one, ballot.two) if side.id == id_
        }
        for id_ in ids
    }
    names = _short_names(ids)
    return {
        "places": len({ballot.place for ballot in relevant}),
        "comparisons": len(relevant),
        "same": sum(ballot.choice == "same" for ballot in relevant),
        "skipped": sum(ballot.choice == "skip" for ballot in relevant),
        "neither": sum(ballot.choice == "neither" for ballot in relevant),
        "contestants": {
            names[id_]: {
                "rating": round(fitted[number]),
                "interval": [round(bound) for bound in intervals[number]] if intervals else None,
                **_win_figures(
                    [
                        _score_for(comparison, number)
                        for comparison in comparisons
                        if number in (comparison.one, comparison.two)
                    ]
                ),
                **_answer_figures(sides[id_].values()),
            }
            for id_, number in numbers.items()
        },
        "pairs": [
            {"one": names[one], "two": names[two], **_pair_figures(relevant, one, two)}
            for one, two in combinations(ids, 2)
            if any(ballot.pair == {one, two} for ballot in relevant)
        ],
        "shown_first": _shown_first_figures(relevant),
    }


def contestant_ids(ballots: Iterable[Ballot]) -> list[str]:
    """Return the ids of the contestants in ballots, in the order of their first appearance."""
    return list(dict.fromkeys(side.id for ballot in ballots for side in (ballot.one, ballot.two)))


def _short_names(ids: Sequence[str]) -> dict[str, str]:
    """Return names by id: the id without the fingerprint of the weights, unless two names would be equal."""
    short = {id_: id_.rpartition("@")[0] or id_ for id_ in ids}
    names = list(short.values())
    return {id_: name if names.count(name) == 1 else id_ for id_, name in short.items()}


def _score_for(comparison: Comparison, number: int) -> float:
    return comparison.score if comparison.one == number else 1 - comparison.score


def _win_figures(scores: Sequence[float]) -> dict[str, Any]:
    """Return wins, losses, ties, and the win rate with its 95% interval; a tie counts as half a win."""
    n = len(scores)
    return {
        "wins": scores.count(1.0),
        "losses": scores.count(0.0),
        "ties": scores.count(0.5),
        "win_rate": round(sum(scores) / n, 4) if n else None,
        "win_rate_interval": [round(bound, 4) for bound in wilson_interval(sum(scores), n)],
    }


def _pair_figures(ballots: Sequence[Ballot], one: str, two: str) -> dict[str, Any]:
    """Return the results of a pair from the view of contestant `one`."""
    pair_ballots = [ballot for ballot in ballots if ballot.pair == {one, two} and ballot.choice in SCORES]
    scores = [SCORES[b.choice] if b.one.id == one else 1 - SCORES[b.choice] for b in pair_ballots]
    return {**_win_figures(scores), "same": sum(ballot.choice == "same" for ballot in pair_ballots)}


def _answer_figures(sides: Iterable[Side]) -> dict[str, Any]:
    sides = list(sides)
    n, passes = len(sides), sum(side.passes for side in sides)

    def mean(values: Iterable[float]) -> float | None:
        return round(sum(values) / n, 4) if n else None

    times = percentiles(side.ms for side in sides)
    return {
        "n": n,
        "shown": mean(side.shown for side in sides),
        "shown_unasked": mean(side.likely for side in sides),
        "exact": mean(side.exact for side in sides),
        "shared": mean(side.share for side in sides),
        "ms": {name: times[name] for name in ("p50", "p95")},
        "tokens_per_pass": round(sum(side.tokens for side in sides) / passes, 2) if passes else None,
    }


def _shown_first_figures(ballots: Iterable[Ballot]) -> dict[str, Any] | None:
    """Return the share of the user's choices for the answer shown first; None without such choices."""
    chosen = [b.choice for b in ballots if b.judge == "user" and b.choice in ("1", "2")]
    if not chosen:
        return None
    first = chosen.count("1")
    return {
        "chosen": len(chosen),
        "share": round(first / len(chosen), 4),
        "interval": [round(bound, 4) for bound in wilson_interval(first, len(chosen))],
    }
