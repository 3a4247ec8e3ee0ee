"""The comparison with another server: the order, the same prompts, the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.servers.completion_server import serving, writes

from mercury_lsp.bench import targets
from mercury_lsp.bench.against import (
    LONG_GROUP,
    MIN_LONG_TOKENS,
    SERVER,
    SIDES,
    Question,
    SideAnswer,
    Turn,
    compare,
    figures,
    make_client,
    select_long_questions,
)
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt, encode_prompt

PROMPT = Prompt("a.py", "def f(x):\n    return ", "", "\n")


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> LocalEngine:
    return load_local_engine(str(tiny_model), "cpu", 1)


def test_all_sides_get_the_same_prompt_in_changing_order(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    infill = engine.infill

    def noted(prompt: Prompt, sampling: Sampling) -> Any:
        asked.append(sampling.mode)
        return infill(prompt, sampling)

    monkeypatch.setattr(engine, "infill", noted)

    def answer(body: dict[str, Any]) -> tuple[int, object]:
        if body["n_predict"] > 1:
            asked.append(SERVER)
        return writes(100)(body)

    questions = [Question(PROMPT, True), Question(PROMPT, False)]
    with serving(answer) as (url, seen):
        turns = list(compare(engine, make_client(engine, url), questions, Sampling(max_tokens=8), repeats=3))
    orders = [tuple(asked[i : i + 3]) for i in range(0, len(asked), 3)]
    assert len(orders) == len(set(orders)) == 6
    assert all(set(order) == set(SIDES) for order in orders)
    assert [body["prompt"] for body in seen] == [list(encode_prompt(PROMPT, engine.tokenizer))] * 8
    assert ["stop" in body for body in seen] == [False, True, True, True, False, False, False, False]
    forbidden = [token for token, _ in seen[0]["logit_bias"]]
    assert forbidden == list(engine.tokenizer.forbidden)
    for turn in turns:
        assert turn.answers[SERVER].tokens == 2  # and the end
        assert turn.answers[SERVER].text == engine.tokenizer.decode([100])
        assert all(answer.ms > 0 for answer in turn.answers.values())


def turn(single_line: bool, tokens: int, *ms: float, texts: tuple[str, str, str] = ("a", "b", "a")) -> Turn:
    answers = {
        side: SideAnswer(text, tokens, time) for side, text, time in zip(SIDES, texts, ms, strict=True)
    }
    return Turn(Question(PROMPT, single_line), answers, 10.0, 20.0)


def test_the_figures_of_a_comparison() -> None:
    turns = [
        turn(True, 10, 50, 80, 100),
        turn(True, 10, 30, 120, 60),
        turn(False, MIN_LONG_TOKENS, 100, 600, 500),
    ]
    found: Any = figures(turns)
    assert found["all"]["n"] == 3
    assert found["single_line"]["n"] == 2
    assert found["single_line"]["faster"] == {
        "diffusion_than_server": 2.0,
        "autoregressive_than_server": 0.8,
        "diffusion_than_autoregressive": 2.5,
    }
    assert found["single_line"]["ms"]["diffusion"] == {"p50": 40, "p95": 50}
    assert found["single_line"]["tokens"] == dict.fromkeys(SIDES, 20)
    assert found[LONG_GROUP]["n"] == 1
    assert found[LONG_GROUP]["faster"]["diffusion_than_server"] == 5.0
    assert found["all"]["ms_per_token"]["autoregressive"] == round(800 / 44, 2)
    assert found["same_text"] == {"diffusion": 1.0, "autoregressive": 0.0}
    assert found["read_ms"] == {"here": 10.0, "there": 20.0}
    assert figures(turns[:2])[LONG_GROUP] is None


def test_a_long_completion_is_long_on_every_side(engine: LocalEngine) -> None:
    """The random network writes on until its limit."""
    question = Question(PROMPT, False)
    assert select_long_questions(engine, [question], Sampling(max_tokens=MIN_LONG_TOKENS, max_passes=99)) == [
        question
    ]
    assert select_long_questions(engine, [question], Sampling(max_tokens=8, max_passes=99)) == []


def test_targets_are_judged_where_they_were_measured() -> None:
    assert targets.judge_all({"against": None, "typing_4096_over_512": None}) == []
    found = figures([turn(True, 10, 50, 80, 100)])
    verdicts = targets.judge_all({"against": found, "typing_4096_over_512": 2.6})
    assert [(one["found"], one["met"]) for one in verdicts] == [(2.0, True), (0.8, True), (2.6, False)]
    assert verdicts[-1]["wanted"] == "at most 2.5"
    found = figures([turn(False, 30, 50, 150, 90)])
    assert [one["met"] for one in targets.judge_all({"against": found})] == [False, True, False]
