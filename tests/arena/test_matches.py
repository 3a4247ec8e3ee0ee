"""Who meets whom, in which order, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.arena_players import ballot, places, save_saying, side
from test_contestants import hosted

from mercury_lsp.arena import matches
from mercury_lsp.arena.contestants import (
    Contestant,
    ContestantAnswer,
    NoAnswer,
    Player,
    load_player,
    parse_contestants,
)
from mercury_lsp.arena.edits import Edit
from mercury_lsp.arena.standings import compute_standings
from mercury_lsp.config import Config
from mercury_lsp.engine.worker import NoResult

SHORT = Config(threads=1, max_tokens=8)
WORDS = ("value", "other", "count")


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[Player]:
    """Three models, each of which writes its name."""
    top = tmp_path_factory.mktemp("models")
    folders = [top / word for word in WORDS]
    for folder in folders:
        folder.mkdir()
        save_saying(folder.name, folder, tiny_model)
    return [
        load_player(one) for one in parse_contestants([str(folder) for folder in folders], Config(threads=1))
    ]


@pytest.fixture
def quick() -> list[Player]:
    """Three that write a word each without computing, where it is about order and not about models."""
    return [replace(hosted(word), contestant=Contestant(word, Config()), fingerprint="0") for word in WORDS]


def never(error: NoAnswer) -> None:
    raise AssertionError(error)


def test_the_truth_decides_between_every_pair(players: list[Player]) -> None:
    made = [ballot for edit in places(2) for ballot in matches.judge_by_truth(players, edit, 0)]
    assert len(made) == 2 * 3
    found = compute_standings(made, [one.id for one in players])
    own = found["contestants"]
    assert [own[word]["wins"] for word in WORDS] == [4, 0, 0]
    assert [own[word]["losses"] for word in WORDS] == [0, 2, 2]
    assert own["value"]["exact"] == 1 and own["other"]["exact"] == 0
    assert own["value"]["rating"] > own["other"]["rating"] == own["count"]["rating"]
    assert found["shown_first"] is None


def test_identical_contestants_are_all_ties(tiny_model: Path) -> None:
    both = [load_player(one) for one in parse_contestants([str(tiny_model)] * 2, SHORT)]
    made = [ballot for edit in places(3) for ballot in matches.judge_by_truth(both, edit, 0)]
    assert [ballot.choice for ballot in made] == ["same"] * 3
    found = compute_standings(made, [one.id for one in both])
    assert [(own["ties"], own["rating"]) for own in found["contestants"].values()] == [(3, 1000), (3, 1000)]
    assert len(found["contestants"]) == 2


def test_diffusion_meets_its_autoregressive_twin(tiny_model: Path) -> None:
    """Verified to the last token it writes the same as the twin, in fewer passes or as many."""
    both = [
        load_player(one)
        for one in parse_contestants([str(tiny_model), f"{tiny_model}:autoregressive"], SHORT)
    ]
    made = [ballot for edit in places(3) for ballot in matches.judge_by_truth(both, edit, 0)]
    assert {ballot.choice for ballot in made} == {"same"}
    assert all(0 < ballot.one.tokens == ballot.two.tokens for ballot in made)
    assert all(0 < ballot.one.passes <= ballot.two.passes for ballot in made)


def test_a_user_sees_each_place_once_in_an_order_that_tells_nothing(quick: list[Player]) -> None:
    edits = places(60)
    seen: list[tuple[Edit, str, str]] = []

    def ask(edit: Edit, one: ContestantAnswer, two: ContestantAnswer) -> str:
        seen.append((edit, one.shown, two.shown))
        return "1"

    made = list(matches.judge_by_user(quick[:2], edits, {}, 0, ask, never))
    assert [edit for edit, _, _ in seen] == edits
    assert all({one, two} == {"value", "other"} for _, one, two in seen)
    first = Counter(one for _, one, _ in seen)
    assert 15 < first["value"] < 45
    assert all(ballot.one.id.startswith(f"{one}@") for ballot, (_, one, _) in zip(made, seen, strict=True))
    found = compute_standings(made, [one.id for one in quick[:2]])
    assert found["contestants"]["value"]["wins"] == first["value"]
    assert found["shown_first"]["share"] == 1


def test_pairs_of_three_take_turns_and_go_on_where_they_have_not_met(quick: list[Player]) -> None:
    edits = places(12)
    made: list[Any] = []
    for _ in range(4):
        seen = matches.compared_places(quick, made)
        made += matches.judge_by_user(quick, edits, seen, 0, lambda *_: "tie", never)
    met = Counter((ballot.place, ballot.pair) for ballot in made)
    assert len(made) == len(met) == 12 * 3
    first_round = Counter(ballot.pair for ballot in made[:12])
    assert len(first_round) == 3


def test_a_pair_has_met_whoever_was_shown_first(quick: list[Player]) -> None:
    one, two, other = (side(player.id) for player in quick)
    ballots = [ballot(one, two, "1", "p"), ballot(two, one, "skip", "q"), ballot(one, other, "1", "r")]
    met = matches.compared_places(quick, ballots)
    assert met[frozenset((one.id, two.id))] == {"p", "q"} and met[frozenset((two.id, other.id))] == set()


def test_what_is_alike_is_not_asked_and_the_user_may_stop(quick: list[Player]) -> None:
    same = replace(quick[0], contestant=replace(quick[0].contestant, name="value (2)"))
    alike = matches.judge_by_user([quick[0], same], places(3), {}, 0, lambda *_: pytest.fail("asked"), never)
    assert [ballot.choice for ballot in alike] == ["same"] * 3
    answers = iter(["1", "skip", None])
    made = list(matches.judge_by_user(quick[:2], places(9), {}, 0, lambda *_: next(answers), never))
    assert [ballot.choice for ballot in made] == ["1", "skip"]


def test_where_a_hosted_model_gives_no_answer_there_is_no_match(players: list[Player]) -> None:
    silent = hosted(NoResult("busy"))
    with pytest.raises(NoAnswer):
        matches.judge_by_truth([players[0], silent], places(1)[0], 0)
    missed: list[NoAnswer] = []
    assert not list(
        matches.judge_by_user([players[0], silent], places(3), {}, 0, lambda *_: "1", missed.append)
    )
    assert len(missed) == 3
