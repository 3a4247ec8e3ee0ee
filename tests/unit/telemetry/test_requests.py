"""Tests of the request log: which requests are recorded in the history."""

from __future__ import annotations

from typing import Any

import pytest

from mercury_lsp.completion.types import Cause, Completion, Reply, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill
from mercury_lsp.syntax.document import Document
from mercury_lsp.telemetry.requests import Request, RequestLog
from mercury_lsp.telemetry.store import Event
from mercury_lsp.telemetry.text_edits import Edit

TEXT = "x = "


class EventList(list[Event]):
    """A list in place of the history."""

    def add(self, events: list[Event]) -> None:
        self.extend(events)


@pytest.fixture
def kept() -> EventList:
    return EventList()


@pytest.fixture
def journal(kept: EventList) -> RequestLog:
    journal = RequestLog(kept)  # type: ignore[arg-type]
    journal.editor = "An Editor" * 99
    return journal


def document(text: str = TEXT) -> Document:
    return Document("file:///w/a.py", "a.py", "py\ud800", 1, text)


def request(**values: Any) -> Request:
    return Request(Snapshot(document(), Config()), len(TEXT), document(), len(TEXT), **values)


def completion(shown: str | None = "total", reason: str | None = None) -> Completion:
    infill = Infill("total", 3, 1, 2, 1.0, 0.0, 1.0, 0, 1, 0.99, True)
    return Completion("total", shown, len(TEXT), len(TEXT), infill, reason)


def log_suggestion(journal: RequestLog, asked: Request, now: Document | None) -> Request:
    """Log a request that is answered with a suggestion, while the client's document is `now`."""
    journal.start(asked)
    found = asked.record_reply(Reply(completion()))
    assert found is not None
    journal.assign_ids(asked, [found])
    journal.finish(asked, now)
    return asked


def test_a_suggestion_is_recorded_when_its_outcome_is_known(journal: RequestLog, kept: EventList) -> None:
    asked = log_suggestion(journal, request(model="/home/someone/models/mine"), document())
    assert kept == [] and journal.last is asked
    journal.on_change("file:///w/a.py", [Edit(len(TEXT), "", "total")])
    journal.close()
    (event,) = kept
    assert (event.outcome, event.shown, event.accepted, event.tokens, event.passes) == (
        "accepted",
        5,
        5,
        3,
        2,
    )
    assert (event.language, event.model, event.cause) == ("py?", "mine", "")
    assert len(event.editor) == 60 and event.latency_ms == round(asked.ms, 2)


def test_ids_are_unique(journal: RequestLog) -> None:
    ids = [log_suggestion(journal, request(), document()).ids for _ in range(3)]
    assert len({*ids}) == 3 and all(len(one) == 1 for one in ids)


def test_a_late_answer_is_recorded_as_unseen(journal: RequestLog, kept: EventList) -> None:
    for now in (None, document("y = ")):
        log_suggestion(journal, request(), now)
    journal.close()
    assert [event.outcome for event in kept] == ["unseen", "unseen"]


@pytest.mark.parametrize("said", ["loading", "failed", "superseded", "deadline"])
def test_the_cause_of_an_empty_reply_is_recorded(journal: RequestLog, kept: EventList, said: str) -> None:
    asked = request()
    assert asked.record_reply(Reply(cause=Cause(said))) is None
    journal.finish(asked, document())
    assert [(event.outcome, event.cause) for event in kept] == [("nothing", said)]


def test_the_reason_for_a_withheld_suggestion_is_not_recorded(journal: RequestLog, kept: EventList) -> None:
    asked = request()
    assert (
        asked.record_reply(Reply(completion(None, "it is too unlikely"), Cause.WITHHELD, from_cache=True))
        is None
    )
    journal.finish(asked, document())
    assert asked.reason == "it is too unlikely"
    assert [(event.outcome, event.cause, event.recalled) for event in kept] == [("nothing", "withheld", True)]


def test_a_cancelled_request_is_recorded_as_cancelled(journal: RequestLog, kept: EventList) -> None:
    journal.finish(request(), document())
    assert [(event.outcome, event.cause) for event in kept] == [("nothing", "cancelled")]


def test_requests_in_private_files_are_not_recorded(journal: RequestLog, kept: EventList) -> None:
    asked = request()
    asked.record_nothing(Cause.DECLINED, "files of this name hold secrets")
    journal.finish(asked, document())
    assert kept == [] and journal.last is asked
