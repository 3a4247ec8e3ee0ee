"""The local model first, a hosted one where it is not sure; the desk's deadline, and the real server over stdio."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from support.models.scripted_engine import BEFORE, WHOLE, Scripted, place, shown
from support.servers.hosted_server import WAIT, Hosted, hosting, refuse, silent, whole

from mercury_lsp.cli.doctor import command, hosted_model
from mercury_lsp.cli.loading import read_settings
from mercury_lsp.cli.main import main
from mercury_lsp.completion import engines
from mercury_lsp.completion import scheduler as completion_scheduler
from mercury_lsp.completion.fallback import FallbackEngine
from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.config import Config
from mercury_lsp.engine import load as models
from mercury_lsp.engine.api import Infill, Progress, Run, Sampling, ScoredToken
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.remote import engine as remote_engine
from mercury_lsp.remote.engine import RemoteEngine

KEY = "sk-test-123-secret-key"
PROMPT = Prompt("a.txt", BEFORE, "", "")
SURE, UNSURE = 0.99, 0.3  # of each of three tokens


class Local(Scripted):
    """Writes `WHOLE`, as sure as it is told."""

    name, threads = "local", 1

    def __init__(self, confidence: float) -> None:
        super().__init__()
        self.confidence = confidence

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run) -> Infill:
        self.prompts.append(prompt.prefix)
        ends = accumulate(len(part) for part in re.findall(r"\S+ ?", WHOLE))
        scored = tuple(ScoredToken(end, math.log(self.confidence)) for end in ends)
        return Infill(WHOLE, 3, 1, 1, 1.0, 0.0, 1.0, 0, 1, self.confidence, True, scored=scored)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCURY_API_KEY", KEY)
    for user in (remote_engine, completion_scheduler):
        monkeypatch.setattr(user, "ANSWER_SECONDS", 30.0)


@pytest.fixture
def slow() -> Iterator[Hosted]:
    with hosting(silent) as hosted:
        yield hosted


def hedged(hosted: Hosted, confidence: float, openai: bool = False) -> FallbackEngine:
    config = Config(remote="fallback", remote_url=hosted.url + "/completions" * openai)
    return FallbackEngine(Local(confidence), RemoteEngine.of(config))


@pytest.mark.parametrize(("confidence", "text", "asked"), [(SURE, WHOLE, 0), (UNSURE, "there", 1)])
def test_only_where_it_is_not_sure_another_is_asked(confidence: float, text: str, asked: int) -> None:
    with hosting(whole("there")) as hosted:
        assert hedged(hosted, confidence).infill(PROMPT, Sampling()).text == text
        assert len(hosted.seen) == asked


def test_what_must_stay_here_is_never_asked_for_there() -> None:
    with hosting(whole("there")) as hosted:
        assert hedged(hosted, UNSURE).infill(PROMPT, Sampling(local_only=True)).text == WHOLE
        assert not hosted.seen


@pytest.mark.parametrize("answer", [refuse(500), refuse(200, b"<html>"), whole("")])
def test_whatever_becomes_of_it_the_local_text_stays(answer: object) -> None:
    drafts: list[Progress] = []
    with hosting(answer) as hosted:  # type: ignore[arg-type]
        engine = hedged(hosted, UNSURE)
        assert engine.infill(PROMPT, Sampling(), Run(on_progress=drafts.append)).text == WHOLE
        assert hosted.seen and drafts[-1].committed.text == WHOLE


@pytest.mark.parametrize(("logp", "text"), [(-9.0, WHOLE), (-0.1, "there")])
def test_the_likelier_one_counts_where_both_are_known(logp: float, text: str) -> None:
    told = {"tokens": ["there"], "token_logprobs": [logp]}
    with hosting(whole("there", key="text", logprobs=told)) as hosted:
        assert hedged(hosted, UNSURE, openai=True).infill(PROMPT, Sampling()).text == text


def test_settings_that_make_no_sense_leave_the_local_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_engine", lambda *_: Local(UNSURE))
    engine = engines.load(Config(remote="fallback"))
    assert isinstance(engine, FallbackEngine) and "remote_url" in engine.remote_status.last_error
    assert engine.infill(PROMPT, Sampling()).text == WHOLE


def test_alone_nothing_local_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> LocalEngine:
        raise AssertionError("nothing local is needed")

    monkeypatch.setattr(models, "load_engine", load)
    assert engines.load(Config(remote="always", remote_url="http://127.0.0.1:9/v1")).device == "remote"


async def loaded(config: Config) -> CompletionScheduler:
    scheduler, ready = CompletionScheduler(), asyncio.Event()
    assert scheduler.load(config, lambda state: ready.set() if state.kind == "ready" else None)
    await asyncio.wait_for(ready.wait(), WAIT)
    return scheduler


@pytest.mark.parametrize(("least", "expected"), [(0.0, WHOLE), (0.9, None)])
async def test_at_the_deadline_the_local_text_is_shown_if_it_may_be(
    least: float, expected: str | None, slow: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load_engine", lambda *_: Local(UNSURE))
    for user in (remote_engine, completion_scheduler):
        monkeypatch.setattr(user, "ANSWER_SECONDS", 0.3)
    snapshot, offset = place(deadline_ms=0, remote="fallback", remote_url=slow.url, show_likelihood=least)
    scheduler = await loaded(snapshot.config)
    assert shown(await scheduler.complete(snapshot, offset)) == expected
    assert slow.seen
    assert scheduler.remote_status is not None and scheduler.remote_status.host in slow.url
    scheduler.close()


async def test_a_late_answer_is_waited_for_where_there_is_nothing_to_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "load_engine", lambda *_: Local(UNSURE))
    monkeypatch.setattr("mercury_lsp.completion.scheduler.CPU_DEADLINE_SECONDS", 0.0)
    with hosting(whole("there")) as hosted:
        options = {"remote": "fallback", "remote_url": hosted.url}
        snapshot, offset = place(deadline_ms=0, show_likelihood=0.9, **options)
        scheduler = await loaded(snapshot.config)
        assert shown(await scheduler.complete(snapshot, offset)) == "there"
        scheduler.close()


async def test_why_there_is_no_answer_is_told_and_not_remembered() -> None:
    with hosting(refuse(401), refuse(401), refuse(401), whole("there")) as hosted:
        snapshot, offset = place(remote="always", remote_url=hosted.url)
        scheduler = await loaded(snapshot.config)
        for _ in range(3):
            reply = await scheduler.complete(snapshot, offset)
            assert reply.completion is not None and "refuses the key (401)" in (reply.completion.reason or "")
            assert reply.cause == "unanswered"
        assert shown(await scheduler.complete(snapshot, offset)) == "there"
        scheduler.close()


def test_the_command_line_asks_a_hosted_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sum.py"
    file.write_text("def add(a, b):\n    return \n")
    with hosting(whole("a + b"), refuse(401)) as hosted:
        line = ["complete", f"{file}:2:12", "--json", "--remote", hosted.url, "--remote-model", "m"]
        assert main(line) == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["shown"], answer["model"], answer["device"]) == ("a + b", "m", "remote")
        assert str(tmp_path) not in hosted.seen[0]["raw"]
        assert main(line) == 1
        told = capsys.readouterr().err
        assert "refuses the key" in told and KEY not in told
        assert main([*line, "--mode", "magic"]) == 2
        assert main(["complete", f"{file}:2:12", "--remote", "nowhere"]) == 1


@pytest.mark.parametrize(
    "form", [lambda o: o, lambda o: {"mercury": o}, lambda o: {f"mercury.{n}": v for n, v in o.items()}]
)
def test_doctor_tells_what_is_sent_where(form: Callable[[object], object], tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    with hosting(whole("a + b"), refuse(401)) as hosted:
        file.write_text(json.dumps(form({"remote": "always", "remote_url": hosted.url, "remote_model": "m"})))
        report = command.Report(read_settings(file))
        found = hosted_model.check_hosted_model(report)
        assert "is sent to 127.0.0.1" in found["sent"] and found["answers"]["model"] == "m"
        assert found["key"].startswith("found in the environment variable MERCURY_API_KEY")
        assert not report.problems and KEY not in str(found)
        assert hosted.bodies[0]["max_tokens"] == 8
        hosted_model.check_hosted_model(report)
        assert "refuses the key" in report.problems[0].problem and not report.usable


def test_doctor_asks_nobody_where_that_is_off() -> None:
    report = command.Report()
    assert hosted_model.check_hosted_model(report)["remote"] == "off" and not report.problems
