"""Who takes part, and what they answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.arena_players import places

from mercury_lsp.arena import contestants
from mercury_lsp.arena.contestants import Contestant, NoAnswer, Player, load_player, parse_contestants
from mercury_lsp.arena.edits import Edit
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.errors import BadUsage, Failure

HOSTED = Config(threads=1, remote_url="https://models.example/v1", remote_model="coder")


class RemoteBacked:
    """Stands for a hosted model: no code of ours runs there."""

    name, device, threads = "coder", "remote", 0

    def __init__(self, text: str | Exception) -> None:
        self.text, self.asked = text, 0

    def stem_start(self, text: str) -> int:
        return len(text)

    def count(self, text: str) -> int:
        return len(text) // 3 + 1

    def infill(self, *_: object) -> Infill:
        self.asked += 1
        if isinstance(self.text, Exception):
            raise self.text
        return Infill(self.text, 1, 1, 1, 1.0, 0.0, 1.0, 0, 9, 1.0, True)


def hosted(text: str | Exception) -> Player:
    (contestant,) = parse_contestants(["remote"], HOSTED)
    there: Any = RemoteBacked(text)
    return Player(contestant, there, "")


def test_names_and_modes(tiny_model: Path) -> None:
    found = parse_contestants(
        ["small", "small:autoregressive", "mini:diffusion", str(tiny_model)], Config(threads=3)
    )
    assert [one.name for one in found] == ["small", "small:autoregressive", "mini", tiny_model.name]
    assert [(one.config.model, one.mode) for one in found] == [
        ("small", "diffusion"),
        ("small", "autoregressive"),
        ("mini", "diffusion"),
        (str(tiny_model), "diffusion"),
    ]
    assert all(one.config.threads == 3 and not one.remote for one in found)


def test_the_same_twice_has_a_number() -> None:
    assert [one.name for one in parse_contestants(["small", "small", "mini", "small"], Config())] == [
        "small", "small (2)", "mini", "small (3)",
    ]  # fmt: skip


def test_a_hosted_model_is_that_of_the_settings_or_named() -> None:
    found = parse_contestants(["remote", "remote:large:v2"], HOSTED)
    assert [(one.name, one.config.remote_model, one.remote) for one in found] == [
        ("remote:coder", "coder", True),
        ("remote:large:v2", "large:v2", True),
    ]


def test_a_local_contestant_asks_nobody_else_whatever_the_settings() -> None:
    (one,) = parse_contestants(["small"], replace(HOSTED, remote="fallback"))
    assert one.config.remote == "off" and not one.remote


@pytest.mark.parametrize(("spec", "says"), [("small:magic", "mode"), ("remote", "remote_url")])
def test_what_makes_no_sense_is_told(spec: str, says: str) -> None:
    with pytest.raises(BadUsage, match=says):
        parse_contestants([spec], Config())


def test_an_answer_is_what_the_server_would_show(model: Path) -> None:
    (contestant,) = parse_contestants([str(model)], Config(threads=1))
    loaded = load_player(contestant)
    answer = loaded.answer(places(1)[0])
    assert (answer.shown, answer.end, answer.likely) == ("value", len(places(1)[0].prefix), True)
    assert answer.ms > 0 and answer.passes > 0 and answer.tokens == 2
    assert loaded.id.startswith(f"{model.name}@") and len(loaded.id) == len(model.name) + 9


def test_what_does_not_fit_gets_a_line_of_its_own(model: Path) -> None:
    (contestant,) = parse_contestants([str(model)], Config(threads=1))
    repeated = Edit("a.py", "python", "total = ", "value\n", "x")
    answer = load_player(contestant).answer(repeated)
    assert answer.shown == "value\nvalue" and answer.passes > 0  # after the rest of the line


def test_a_hosted_model_answers_through_the_same_door() -> None:
    answer = hosted("value").answer(places(1)[0])
    assert (answer.shown, answer.passes) == ("value", 1)


def test_what_goes_wrong_elsewhere_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="remote:coder gave no answer: too many requests"):
        hosted(NoResult("too many requests")).answer(places(1)[0])


def test_what_goes_wrong_here_is_not_hidden() -> None:
    broken: Any = RemoteBacked(RuntimeError("a fault of ours"))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        Player(Contestant("small", Config()), broken, "").answer(places(1)[0])


def test_a_hosted_model_is_never_stood_in_for_by_a_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    local: Any = RemoteBacked("value")
    local.device = "cpu"
    monkeypatch.setattr(contestants.engines, "load", lambda config: local)
    with pytest.raises(Failure, match="cannot take part"):
        load_player(parse_contestants(["remote"], HOSTED)[0])
    assert local.asked == 0


def test_a_hosted_model_is_asked_nothing_before_the_first_place(monkeypatch: pytest.MonkeyPatch) -> None:
    there: Any = RemoteBacked("value")
    monkeypatch.setattr(contestants.engines, "load", lambda config: there)
    load_player(parse_contestants(["remote"], HOSTED)[0])
    assert there.asked == 0


def test_what_would_be_shown_unasked_is_the_servers_choice(model: Path) -> None:
    (contestant,) = parse_contestants([str(model)], Config(threads=1))
    sure, (edit,) = load_player(contestant), places(1)[:1]
    never = replace(
        sure, contestant=replace(contestant, config=replace(contestant.config, show_likelihood=1.0))
    )
    assert sure.answer(edit).likely
    answer = never.answer(edit)
    assert answer.shown == "value" and not answer.likely
