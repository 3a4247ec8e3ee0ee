"""Computes the figures of replayed changes, with bootstrap intervals over files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from model.evaluation.bootstrap import interval, ratio
from model.evaluation.edits.replay import Made, Offer, Replayed

Pairs = Sequence[tuple[float, float]]


def figures(found: Sequence[Replayed]) -> dict[str, Any]:
    """Return the figures of all changes, of each language, and of each kind of offer."""
    languages = sorted({one.language for one in found})
    made = {"all": _figures(found)}
    made |= {language: _figures([one for one in found if one.language == language]) for language in languages}
    kinds = sorted({offer.kind for one in found for offer in one.shown})
    return {"languages": made, "kinds": {kind: _kind(found, kind) for kind in kinds}}


def _figures(found: Sequence[Replayed]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "changes": len(found),
        "edits": sum(len(one.made) for one in found),
        "precision": _share(found, lambda one: one.shown, lambda offer: offer.right),
    }
    for prior in (1, 2):
        repeated = [
            replace(one, made=tuple(made for made in one.made if made.prior >= prior)) for one in found
        ]
        answer[f"recall_offered_after_{prior}"] = _share(
            repeated, lambda one: one.made, lambda made: made.offered
        )
        answer[f"recall_candidate_after_{prior}"] = _share(
            repeated, lambda one: one.made, lambda made: made.candidate
        )
    return answer


def _kind(found: Sequence[Replayed], kind: str) -> dict[str, Any]:
    return _share(found, lambda one: [o for o in one.shown if o.kind == kind], lambda offer: offer.right)


def _share(
    found: Sequence[Replayed],
    of: Callable[[Replayed], Sequence[Offer] | Sequence[Made]],
    right: Callable[[Any], bool],
) -> dict[str, Any]:
    pairs = [(float(sum(map(right, ones))), float(len(ones))) for one in found if (ones := of(one))]
    if not pairs:
        return {"n": 0, "value": None, "interval": None}
    total = int(sum(pair[1] for pair in pairs))
    return {"n": total, "value": round(ratio(pairs), 4), "interval": interval(pairs, ratio)}


def tables(made: dict[str, Any]) -> list[Table]:
    """Return the figures as tables for a terminal."""
    by_language = Table("", "Changes", "Edits", "Precision (95%)", "Recall after 2 (95%)", "of candidates",
                        "after 1", "of candidates", box=SIMPLE_HEAD)  # fmt: skip
    for name, own in made["languages"].items():
        names = ("precision", "recall_offered_after_2", "recall_candidate_after_2", "recall_offered_after_1",
                 "recall_candidate_after_1")  # fmt: skip
        by_language.add_row(
            name, str(own["changes"]), str(own["edits"]), *(_cell(own[which]) for which in names)
        )
    by_kind = Table("Kind", "Precision (95%)", box=SIMPLE_HEAD)
    for name, own in made["kinds"].items():
        by_kind.add_row(name, _cell(own))
    return [by_language, by_kind]


def _cell(share: dict[str, Any]) -> str:
    if share["value"] is None:
        return "-"
    low, high = share["interval"]
    return f"{100 * share['value']:.0f}% ({100 * low:.0f} to {100 * high:.0f}), n = {share['n']}"
