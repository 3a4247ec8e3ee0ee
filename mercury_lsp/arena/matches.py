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
AskUser = Callable[[Edit, ContestantAnswer, ContestantAnswer], str | None]
"""Shows two answers and returns one of `ballots.CHOICES`, or None if the user stops."""


class Agreement(NamedTuple):
    """The agreement of an answer with the user's text.

    `exact`: both texts are equal. `share`: the share of the user's characters before the first difference.
    """

    exact: bool
    share: float


def judge_by_truth(players: Sequence[Player], edit: Edit, seed: int) -> list[Ballot]:
    """Judge every pair at a place by the user's text. Raises `NoAnswer`.

    The players answer in a random order for the place.
    """
    answers = _collect_answers(_shuffle(players, edit, seed), edit)
    ballots = []
    for one, two in combinations(players, 2):
        first, second = answers[one.id], answers[two.id]
        choice = {1.0: "1", 0.0: "2", 0.5: "tie"}[
            score_pair(measure_agreement(edit, first), measure_agreement(edit, second))
        ]
        choice = "same" if look_alike(first, second) else choice
        ballots.append(_make_ballot("truth", edit, (one, first), (two, second), choice))
    return ballots


def judge_by_user(
    players: Sequence[Player],
    edits: Sequence[Edit],
    compared: Mapping[frozenset[str], Collection[str]],
    seed: int,
    ask_user: AskUser,
    on_no_answer: Callable[[NoAnswer], None],
) -> Iterator[Ballot]:
    """Let the user judge one pair at each place, until the places end or the user stops.

    Both the pair, which has not met at the place before, and the order of the answers are random, but fixed for a place
    and a seed. Both players answer before either answer is shown. on_no_answer: called if a player has no answer.
    """
    for edit in edits:
        pairs = [
            pair for pair in combinations(players, 2) if edit.key not in compared.get(_pair_ids(pair), ())
        ]
        if not pairs:
            continue
        pair = Random(f"{seed}/{edit.key}").choice(pairs)
        try:
            answers = _collect_answers(_shuffle(pair, edit, seed), edit)
        except NoAnswer as error:
            on_no_answer(error)
            continue
        one, two = _shuffle(pair, edit, seed + 1)
        first, second = answers[one.id], answers[two.id]
        choice = "same" if look_alike(first, second) else ask_user(edit, first, second)
        if choice is None:
            return
        yield _make_ballot("user", edit, (one, first), (two, second), choice)


def compared_places(players: Sequence[Player], ballots: Sequence[Ballot]) -> dict[frozenset[str], set[str]]:
    """Return the keys of the places at which each pair of players has met, in either order."""
    pairs = map(_pair_ids, combinations(players, 2))
    return {pair: {ballot.place for ballot in ballots if ballot.pair == pair} for pair in pairs}


def _pair_ids(pair: Sequence[Player]) -> frozenset[str]:
    return frozenset(player.id for player in pair)


def _shuffle(players: Sequence[Player], edit: Edit, seed: int) -> list[Player]:
    order = list(players)
    Random(f"{seed}/{edit.key}/order").shuffle(order)
    return order


def _collect_answers(players: Sequence[Player], edit: Edit) -> dict[str, ContestantAnswer]:
    return {player.id: player.answer(edit) for player in players}


def _make_ballot(
    judge: str,
    edit: Edit,
    one: tuple[Player, ContestantAnswer],
    two: tuple[Player, ContestantAnswer],
    choice: str,
) -> Ballot:
    first, second = (_make_side(edit, *side) for side in (one, two))
    return Ballot(time.time(), judge, edit.key, edit.language, edit.kind, first, second, choice)


def _make_side(edit: Edit, player: Player, answer: ContestantAnswer) -> Side:
    agreement = measure_agreement(edit, answer)
    return Side(
        id=player.id,
        ms=round(answer.ms, 1),
        passes=answer.passes,
        tokens=answer.tokens,
        shown=bool(answer.shown),
        likely=answer.likely,
        exact=agreement.exact,
        share=round(agreement.share, 4),
    )


def measure_agreement(edit: Edit, answer: ContestantAnswer) -> Agreement:
    """Compare an answer with the user's text."""
    replaced = edit.suffix[: answer.end - len(edit.prefix)]
    truth, shown = _strip_trailing(edit.middle + replaced), _strip_trailing(answer.shown)
    if "\n" not in truth:
        shown = shown.partition("\n")[0].rstrip()
    shared_length = len(os.path.commonprefix([truth, shown]))
    return Agreement(truth == shown, shared_length / len(truth) if truth else 0.0)


def score_pair(one: Agreement, two: Agreement) -> float:
    """Return the score of the first contestant: 1 for a win, 0 for a loss, 0.5 for a tie."""
    if one.exact != two.exact:
        return float(one.exact)
    if abs(one.share - two.share) <= TIE_SHARE:
        return 0.5
    return float(one.share > two.share)


def look_alike(one: ContestantAnswer, two: ContestantAnswer) -> bool:
    """Return whether two answers look alike on the screen."""
    return _strip_trailing(one.shown) == _strip_trailing(two.shown) and (one.end == two.end or not one.shown)


def _strip_trailing(text: str) -> str:
    return "\n".join(line.rstrip() for line in plain(text).split("\n")).rstrip()
