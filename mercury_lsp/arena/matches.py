"""Lets pairs of players answer at a place, and makes ballots of the judgments.

If the user's own text is the judge, an answer equal to that text beats a different answer. Otherwise the answer with
the longer common start with the user's text wins, if the difference is above `TIE_SHARE` of the text's characters; else
it is a tie. An empty answer has no common start, so it ties with an answer that is wrong from its first character. If
the missing text is one line, only the first line of an answer counts; trailing whitespace never counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations
from random import Random
from typing import NamedTuple

from mercury_lsp.arena.ballots import Ballot, Side
from mercury_lsp.arena.contestants import ContestantAnswer, NoAnswer, Player
from mercury_lsp.arena.edits import Edit
from mercury_lsp.syntax.document import plain

TIE_SHARE = 0.1
Ask = Callable[[Edit, ContestantAnswer, ContestantAnswer], str | None]
"""Shows two answers and returns one of `ballots.CHOICES`, or None if the user stops."""


class Worth(NamedTuple):
    """The agreement of an answer with the user's text.

    `exact`: both texts are equal. `share`: the share of the user's characters before the first difference.
    """

    exact: bool
    share: float


def judge_by_truth(players: Sequence[Player], edit: Edit, seed: int) -> list[Ballot]:
    """Judge every pair at a place by the user's text. Raises `NoAnswer`.

    The players answer in a random order for the place.
    """
    answers = _answers(_shuffled(players, edit, seed), edit)
    ballots = []
    for one, two in combinations(players, 2):
        first, second = answers[one.id], answers[two.id]
        choice = {1.0: "1", 0.0: "2", 0.5: "tie"}[
            score(answer_worth(edit, first), answer_worth(edit, second))
        ]
        choice = "same" if look_alike(first, second) else choice
        ballots.append(_ballot("truth", edit, (one, first), (two, second), choice))
    return ballots


def judge_by_user(
    players: Sequence[Player],
    edits: Sequence[Edit],
    met: Mapping[frozenset[str], Collection[str]],
    seed: int,
    ask: Ask,
    missed: Callable[[NoAnswer], None],
) -> Iterator[Ballot]:
    """Let the user judge one pair at each place, until the places end or the user stops.

    Both the pair, which has not met at the place before, and the order of the answers are random, but fixed for a place
    and a seed. Both players answer before either answer is shown. missed: called if a player has no answer.
    """
    for edit in edits:
        pairs = [pair for pair in combinations(players, 2) if edit.key not in met.get(_ids(pair), ())]
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
        choice = "same" if look_alike(first, second) else ask(edit, first, second)
        if choice is None:
            return
        yield _ballot("user", edit, (one, first), (two, second), choice)


def places_met(players: Sequence[Player], ballots: Sequence[Ballot]) -> dict[frozenset[str], set[str]]:
    """Return the keys of the places at which each pair of players has met, in either order."""
    pairs = map(_ids, combinations(players, 2))
    return {pair: {ballot.place for ballot in ballots if ballot.pair == pair} for pair in pairs}


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
    worth = answer_worth(edit, answer)
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


def answer_worth(edit: Edit, answer: ContestantAnswer) -> Worth:
    """Compare an answer with the user's text."""
    replaced = edit.suffix[: answer.end - len(edit.prefix)]
    truth, shown = _bare(edit.middle + replaced), _bare(answer.shown)
    if "\n" not in truth:
        shown = shown.partition("\n")[0].rstrip()
    shared = len(os.path.commonprefix([truth, shown]))
    return Worth(truth == shown, shared / len(truth) if truth else 0.0)


def score(one: Worth, two: Worth) -> float:
    """Return the score of the first contestant: 1 for a win, 0 for a loss, 0.5 for a tie."""
    if one.exact != two.exact:
        return float(one.exact)
    if abs(one.share - two.share) <= TIE_SHARE:
        return 0.5
    return float(one.share > two.share)


def look_alike(one: ContestantAnswer, two: ContestantAnswer) -> bool:
    """Return whether two answers look alike on the screen."""
    return _bare(one.shown) == _bare(two.shown) and (one.end == two.end or not one.shown)


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in plain(text).split("\n")).rstrip()
