"""Matches: two players at a place, from their answers to a ballot.

Owns the order in which players are asked and shown, and who meets whom. What a user sees and presses is behind a
function that is handed in; knows no terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations
from random import Random

from mercury_lsp.arena import ballots, verdicts
from mercury_lsp.arena.ballots import Ballot, Side
from mercury_lsp.arena.contestants import Answer, NoAnswer, Player
from mercury_lsp.arena.edits import Edit

Ask = Callable[[Edit, Answer, Answer], str | None]
"""Shows two answers and returns a choice, see `ballots.CHOICES`; None where the user wants no more."""


def by_truth(players: Sequence[Player], edit: Edit, seed: int) -> list[Ballot]:
    """Every pair at a place, judged by what the user wrote. Raises `NoAnswer`.

    The players are asked in an order drawn for the place.
    """
    answers = _answers(_shuffled(players, edit, seed), edit)
    found = []
    for one, two in combinations(players, 2):
        first, second = answers[one.id], answers[two.id]
        score = verdicts.score(verdicts.worth(edit, first), verdicts.worth(edit, second))
        choice = {1.0: "1", 0.0: "2", 0.5: "tie"}[score]
        choice = "same" if verdicts.same(first, second) else choice
        found.append(_ballot("truth", edit, (one, first), (two, second), choice))
    return found


def by_user(
    players: Sequence[Player],
    edits: Sequence[Edit],
    seen: Mapping[frozenset[str], Collection[str]],
    seed: int,
    ask: Ask,
    missed: Callable[[NoAnswer], None],
) -> Iterator[Ballot]:
    """One pair at each place, which has not met there, judged by the user, until there are no more or he has enough.

    Which pair it is, is drawn for the place. Both have answered before either is shown, and which is shown first is
    drawn, too. `missed`: is told where one had no answer, and so there was no match.
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
        choice = "same" if verdicts.same(first, second) else ask(edit, first, second)
        if choice is None:
            return
        yield _ballot("user", edit, (one, first), (two, second), choice)


def seen_by(players: Sequence[Player], kept: Sequence[Ballot]) -> dict[frozenset[str], set[str]]:
    """The places at which each pair of players has met."""
    return {_ids(pair): ballots.seen(kept, _ids(pair)) for pair in combinations(players, 2)}


def _ids(pair: Sequence[Player]) -> frozenset[str]:
    return frozenset(player.id for player in pair)


def _shuffled(players: Sequence[Player], edit: Edit, seed: int) -> list[Player]:
    order = list(players)
    Random(f"{seed}/{edit.key}/order").shuffle(order)
    return order


def _answers(players: Sequence[Player], edit: Edit) -> dict[str, Answer]:
    return {player.id: player.answer(edit) for player in players}


def _ballot(
    judge: str, edit: Edit, one: tuple[Player, Answer], two: tuple[Player, Answer], choice: str
) -> Ballot:
    first, second = (_side(edit, *side) for side in (one, two))
    return Ballot(time.time(), judge, edit.key, edit.language, edit.kind, first, second, choice)


def _side(edit: Edit, player: Player, answer: Answer) -> Side:
    worth = verdicts.worth(edit, answer)
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
