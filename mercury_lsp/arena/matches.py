"""Lets pairs of players answer at a place, and makes ballots of the judgments."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations
from random import Random

from mercury_lsp.arena import ballots, verdicts
from mercury_lsp.arena.ballots import Ballot, Side
from mercury_lsp.arena.contestants import ContestantAnswer, NoAnswer, Player
from mercury_lsp.arena.edits import Edit

Ask = Callable[[Edit, ContestantAnswer, ContestantAnswer], str | None]
"""Shows two answers and returns a choice of `ballots.CHOICES`; None if the user stops."""


def judge_by_truth(players: Sequence[Player], edit: Edit, seed: int) -> list[Ballot]:
    """Judge every pair at a place by the user's text. Raises `NoAnswer`.

    The players answer in a random order for the place.
    """
    answers = _answers(_shuffled(players, edit, seed), edit)
    found = []
    for one, two in combinations(players, 2):
        first, second = answers[one.id], answers[two.id]
        score = verdicts.score(verdicts.answer_worth(edit, first), verdicts.answer_worth(edit, second))
        choice = {1.0: "1", 0.0: "2", 0.5: "tie"}[score]
        choice = "same" if verdicts.look_alike(first, second) else choice
        found.append(_ballot("truth", edit, (one, first), (two, second), choice))
    return found


def judge_by_user(
    players: Sequence[Player],
    edits: Sequence[Edit],
    seen: Mapping[frozenset[str], Collection[str]],
    seed: int,
    ask: Ask,
    missed: Callable[[NoAnswer], None],
) -> Iterator[Ballot]:
    """Let the user judge one pair at each place, until the places end or the user stops.

    The pair, which has not met at the place before, and the order of showing are random for the place. Both players
    answer before either answer is shown. missed: called if a player has no answer.
    """
    for edit in edits:
        pairs = [pair for pair in combinations(players, 2) if edit.key not in seen.get(_ids(pair), ())]
        if not pairs:
            continue
        pair = Random(f"{seed}/{edit.key}").choice(pairs)
        try:
            answers = _answers(_shuffled(pair, edit, seed), edit)
        except NoAnswer as error:
            missed(error)
            continue
        one, two = _shuffled(pair, edit, seed + 1)
        first, second = answers[one.id], answers[two.id]
        choice = "same" if verdicts.look_alike(first, second) else ask(edit, first, second)
        if choice is None:
            return
        yield _ballot("user", edit, (one, first), (two, second), choice)


def seen_by(players: Sequence[Player], kept: Sequence[Ballot]) -> dict[frozenset[str], set[str]]:
    """The keys of the places at which each pair of players has met."""
    return {_ids(pair): ballots.places_met(kept, _ids(pair)) for pair in combinations(players, 2)}


def _ids(pair: Sequence[Player]) -> frozenset[str]:
    return frozenset(player.id for player in pair)


def _shuffled(players: Sequence[Player], edit: Edit, seed: int) -> list[Player]:
    order = list(players)
    Random(f"{seed}/{edit.key}/order").shuffle(order)
    return order


def _answers(players: Sequence[Player], edit: Edit) -> dict[str, ContestantAnswer]:
    return {player.id: player.answer(edit) for player in players}


def _ballot(
    judge: str,
    edit: Edit,
    one: tuple[Player, ContestantAnswer],
    two: tuple[Player, ContestantAnswer],
    choice: str,
) -> Ballot:
    first, second = (_side(edit, *side) for side in (one, two))
    return Ballot(time.time(), judge, edit.key, edit.language, edit.kind, first, second, choice)


def _side(edit: Edit, player: Player, answer: ContestantAnswer) -> Side:
    worth = verdicts.answer_worth(edit, answer)
    return Side(
        id=player.id,
        ms=round(answer.ms, 1),
        passes=answer.passes,
        tokens=answer.tokens,
        shown=bool(answer.shown),
        likely=answer.likely,
        exact=worth.exact,
        share=round(worth.share, 4),
    )
