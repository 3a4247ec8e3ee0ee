"""Next edits of a hosted model, over a real socket: what leaves, when, and what becomes of the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.servers.hosted_server import WAIT, Hosted, goes_on, hosting, refuse, silent, whole

from mercury_lsp.cli.doctor import hosted_model
from mercury_lsp.cli.doctor.report import Report
from mercury_lsp.completion import edit_models, rewrites
from mercury_lsp.completion.rewrites import Rewrites
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.edits.history import DocumentEdits
from mercury_lsp.edits.search import Candidate
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.remote import connection
from mercury_lsp.remote import edits as hosted_edits
from mercury_lsp.remote.address import RemoteError
from mercury_lsp.remote.breaker import FAILURES_BEFORE_PAUSE
from mercury_lsp.syntax.document import Document

KEY = "sk-test-123-secret-key"
TEXT = "def f(a):\n    x = a\n    return x\n"
ANSWER = "```\ndef f(b):\n    y = b\n    return y\n```"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCURY_API_KEY", KEY)
    monkeypatch.setattr(connection, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(rewrites, "DEBOUNCE_SECONDS", 0.01)


class Asked:
    """A document with an edit, and the model that is asked about it."""

    def __init__(
        self, hosted: Hosted, text: str = TEXT, change: tuple[str, str] = ("(a)", "(b)"), **more: Any
    ) -> None:
        self.config = Config(next_edit="hosted", remote_url=hosted.url, remote_model="m")
        self.rewrites = Rewrites(lambda: edit_models.make(self.config))
        self.history = DocumentEdits()
        self.more = more
        self.document = Document("file:///home/user42/a.py", "deep/a.py", "python", 1, text)
        self.change(text.index(change[0]), *change)

    def change(self, start: int, old: str, new: str) -> None:
        self.history.change(start, old, new)
        self.document = self.document.replace(start, start + len(old), new, self.document.version + 1)
        self.cursor = start + len(new)

    def take(self, one: Candidate) -> None:
        self.change(one.start, self.document.text[one.start : one.end], one.text)

    async def find(self) -> Candidate | None:
        snapshot = Snapshot(self.document, self.config, **self.more)
        return await self.rewrites.find(snapshot, self.cursor, self.history.edits, None)


def run(hosted: Hosted, play: Callable[[Asked], Awaitable[None]], **options: Any) -> None:
    async def body() -> None:
        asked = Asked(hosted, **options)
        try:
            await play(asked)
        finally:
            asked.rewrites.close()

    asyncio.run(body())


def test_the_request_and_all_edits_of_its_answer() -> None:
    async def play(asked: Asked) -> None:
        while (one := await asked.find()) is not None:
            asked.take(one)
            if asked.document.text == TEXT.replace("a", "b").replace("x", "y"):
                break
        assert len(hosted.seen) == 1, "what is left of an answer is offered without another request"
        assert await asked.find() is None
        # The whole answer is used, so that the model is asked again, and again it has only what is there.
        assert len(hosted.seen) == 2
        assert await asked.find() is None and len(hosted.seen) == 2, "the same is not asked twice"

    with hosting(whole(ANSWER)) as hosted:
        run(hosted, play)
    seen = hosted.seen[0]
    assert seen["path"] == "/v1/edit/completions"
    assert seen["headers"]["Authorization"] == f"Bearer {KEY}"
    message = seen["body"].pop("messages")
    assert seen["body"] == {"model": "m", "max_tokens": pytest.approx(215, abs=30)}
    (one,) = message
    assert one["role"] == "user"
    assert "current_file_path: file.py\n<|code_to_edit|>\ndef f(b)<|cursor|>:\n" in one["content"]
    assert "-def f(a):\n+def f(b):\n" in one["content"]
    for word in ("user42", "deep"):
        assert word not in seen["raw"] + str(seen["headers"])


def test_secrets_are_blank_and_never_rewritten() -> None:
    secret = 'token = "ghp_a1B2c3D4a1B2c3D4a1B2c3D4a1B2c3D4a1B2"'

    async def play(asked: Asked) -> None:
        one = await asked.find()
        assert one is not None and secret in asked.document.text
        start = asked.document.text.index("ghp_") + 8
        asked.change(start, "", "zz")
        assert await asked.find() is None, "nothing is asked where the cursor's line has a secret"
        asked.cursor = len(asked.document.text)
        await asked.find()

    with hosting(whole("```\ny = f(1)\n\n```"), whole("```\n```")) as hosted:
        run(hosted, play, text=f"a = g(1)\n{secret}\nx = f(1)\n", change=("x = f", "x = h"))
    assert len(hosted.seen) == 2
    assert all("ghp_" not in seen["raw"] and "a1B2" not in seen["raw"] for seen in hosted.seen)
    assert "a = g(1)" in hosted.seen[0]["raw"]


def test_ignored_documents_are_not_sent() -> None:
    async def play(asked: Asked) -> None:
        assert await asked.find() is None

    with hosting(whole(ANSWER)) as hosted:
        run(hosted, play, ignored=True)
        assert not hosted.seen


def test_a_document_that_is_ignored_while_a_request_waits_is_not_sent() -> None:
    async def play(asked: Asked) -> None:
        ignored: set[str] = set()
        asked.rewrites = Rewrites(lambda: edit_models.make(asked.config), ignored=ignored.__contains__)
        task = asyncio.create_task(asked.find())
        await asyncio.sleep(0)
        ignored.add(asked.document.uri)
        assert await task is None

    with hosting(whole(ANSWER)) as hosted:
        run(hosted, play)
        assert not hosted.seen


def test_a_document_that_is_ignored_while_another_request_runs_is_not_sent() -> None:
    async def play(asked: Asked) -> None:
        ignored: set[str] = set()
        asked.rewrites = Rewrites(lambda: edit_models.make(asked.config), ignored=ignored.__contains__)
        first = asyncio.create_task(asked.find())
        assert await asyncio.to_thread(hosted.asked.wait, WAIT)
        second = asyncio.create_task(asked.find())
        await asyncio.sleep(10 * rewrites.DEBOUNCE_SECONDS)
        ignored.add(asked.document.uri)
        first.cancel()
        assert await asyncio.wait_for(second, WAIT) is None

    with hosting(silent) as hosted:
        run(hosted, play)
        assert len(hosted.seen) == 1


def test_a_model_that_cannot_be_made_is_not_tried_again() -> None:
    tries = 0

    def make() -> edit_models.EditModel:
        nonlocal tries
        tries += 1
        raise RemoteError("The file is broken.")

    async def play(asked: Asked) -> None:
        asked.rewrites = Rewrites(make)
        for _ in range(2):
            with pytest.raises(RemoteError, match="broken"):
                await asked.find()

    with hosting(silent) as hosted:
        run(hosted, play)
    assert tries == 1


def test_nothing_is_sent_without_a_change() -> None:
    async def play(asked: Asked) -> None:
        asked.history = DocumentEdits()
        assert await asked.find() is None

    with hosting(whole(ANSWER)) as hosted:
        run(hosted, play)
        assert not hosted.seen


@pytest.mark.parametrize("content", ["nothing to do", "", "```\ndef f(b):\n    y = b\n", "```\n\n```"])
def test_a_malformed_answer_is_no_edit(content: str) -> None:
    async def play(asked: Asked) -> None:
        assert await asked.find() is None
        assert await asked.find() is None and len(hosted.seen) == 1

    with hosting(whole(content)) as hosted:
        run(hosted, play)


@pytest.mark.parametrize("bad", ["\0", "\x1b[31m", "\r", "\u202e", "\ud800", "b" * 30_000, "\n" * 400])
def test_an_answer_with_what_no_text_has_is_no_edit(bad: str) -> None:
    async def play(asked: Asked) -> None:
        assert await asked.find() is None

    with hosting(whole(ANSWER.replace("y", f"y{bad}"))) as hosted:
        run(hosted, play)


def test_what_the_document_has_already_may_be_in_an_answer() -> None:
    async def play(asked: Asked) -> None:
        one = await asked.find()
        assert one is not None and one.text == "y"

    with hosting(whole("```\ndef f(b):\n    y = '\x0c'\n```")) as hosted:
        run(hosted, play, text="def f(a):\n    x = '\x0c'\n")


@pytest.mark.parametrize("change", [("password", "name"), ("-Xy9", ""), ('"hun', '(\n"hun')])
def test_what_is_left_of_a_secret_is_not_sent(change: tuple[str, str]) -> None:
    async def play(asked: Asked) -> None:
        asked.change(asked.document.text.index("f(a)"), "f(a)", "g(a)")
        await asked.find()

    with hosting(whole("```\n```")) as hosted:
        run(hosted, play, text='a = 1\npassword = "hunter2-Xy9Kq"\nx = f(a)\n', change=change)
    assert "g(a)" in hosted.seen[0]["raw"] and "hunter" not in hosted.seen[0]["raw"]


def test_an_answer_that_a_limit_cut_off_is_no_edit() -> None:
    async def play(asked: Asked) -> None:
        assert await asked.find() is None

    with hosting(whole(ANSWER, finish="length")) as hosted:
        run(hosted, play)


@pytest.mark.parametrize("answer", [silent, goes_on("```")])
def test_a_change_breaks_a_request_off(answer: Any) -> None:
    async def play(asked: Asked) -> None:
        task = asyncio.create_task(asked.find())
        assert await asyncio.to_thread(hosted.asked.wait, WAIT)
        task.cancel()
        assert await asyncio.to_thread(hosted.left.wait, WAIT)
        author = asked.rewrites.model
        assert isinstance(author, edit_models.HostedEditModel)
        assert author.model.remote_status.last_error == ""

    with hosting(answer) as hosted:
        run(hosted, play)


@pytest.mark.parametrize("answer", [silent, goes_on("```")])
def test_who_waits_for_a_closed_model_gets_nothing(answer: Any) -> None:
    async def play(asked: Asked) -> None:
        task = asyncio.create_task(asked.find())
        assert await asyncio.to_thread(hosted.asked.wait, WAIT)
        asked.rewrites.close()
        assert await asyncio.wait_for(task, WAIT) is None

    with hosting(answer) as hosted:
        run(hosted, play)


def test_nothing_is_asked_of_a_closed_model() -> None:
    async def play(asked: Asked) -> None:
        task = asyncio.create_task(asked.find())
        await asyncio.sleep(0)
        asked.rewrites.close()
        assert await asyncio.wait_for(task, WAIT) is None and not hosted.seen

    with hosting(whole(ANSWER)) as hosted:
        run(hosted, play)


def test_what_is_typed_on_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrites, "DEBOUNCE_SECONDS", 30.0)

    async def play(asked: Asked) -> None:
        task = asyncio.create_task(asked.find())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        asked.more = {"manual": True}
        assert await asked.find() is not None, "who asks does not wait"

    with hosting(whole(ANSWER)) as hosted:
        run(hosted, play)
    assert len(hosted.seen) == 1


def test_a_server_that_fails_is_left_alone_and_told_of() -> None:
    async def play(asked: Asked) -> None:
        for number in range(FAILURES_BEFORE_PAUSE):
            asked.change(len(asked.document.text), "", f"z{number}\n")
            with pytest.raises(NoResult, match="knows no such model, or no such path"):
                await asked.find()
        with pytest.raises(NoResult, match="left alone"):
            await asked.find()
        author = asked.rewrites.model
        assert isinstance(author, edit_models.HostedEditModel)
        assert (
            author.model.remote_status.breaker == "open" and "(404)" in author.model.remote_status.last_error
        )

    with hosting(refuse(404)) as hosted:
        run(hosted, play)
    assert len(hosted.seen) == FAILURES_BEFORE_PAUSE


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_edits.HostedEdits.__init__, "__defaults__", (0.1,))

    async def play(asked: Asked) -> None:
        with pytest.raises(NoResult, match="took longer than 100 ms"):
            await asked.find()

    with hosting(silent) as hosted:
        run(hosted, play)


def test_an_address_is_needed() -> None:
    with pytest.raises(RemoteError, match="remote_url"):
        edit_models.make(Config(next_edit="hosted"))
    assert (
        json.dumps(edit_models.relevant_settings(Config(next_edit="hosted")))
        and edit_models.relevant_settings(Config()) is None
    )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(whole(ANSWER), ""), (whole("no fence"), "answers without an edit"), (refuse(401), "refuses the key")],
)
def test_doctor_asks_for_an_edit_without_a_text_of_the_user(answer: Any, problem: str) -> None:
    with hosting(answer) as hosted:
        report = Report(Config(next_edit="hosted", remote_url=hosted.url))
        facts = hosted_model.check_hosted_model(report)
    assert facts["remote"] == "off" and "are sent to 127.0.0.1" in facts["next_edit"]["sent"]
    assert facts["next_edit"]["key"].startswith("found") and len(hosted.seen) == 1
    assert [problem in one.problem for one in report.problems] == ([True] if problem else [])
    assert report.usable
