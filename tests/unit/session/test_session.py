"""Tests of the session: immutable snapshots, large documents, and layers of settings."""

from __future__ import annotations

import logging

import pytest

from mercury_lsp.config import Config
from mercury_lsp.session import session as module
from mercury_lsp.session.session import Session

URI = "file:///w/a.py"


def open_session(text: str = "one\ntwo\n") -> Session:
    session = Session()
    session.open(URI, "a.py", "python", 1, text)
    return session


def test_a_snapshot_keeps_its_text_after_later_changes() -> None:
    session = open_session()
    before = session.snapshot(URI)
    session.replace(URI, 2, 0, 3, "1")
    after = session.snapshot(URI)
    assert before is not None and before.document.text == "one\ntwo\n" and before.document.version == 1
    assert after is not None and after.document.text == "1\ntwo\n" and after.document.version == 2
    assert before != after and len({before, after}) == 2  # both are usable as keys of jobs


def test_equal_snapshots_have_equal_hashes() -> None:
    assert open_session().snapshot(URI) == open_session().snapshot(URI)
    assert hash(open_session().snapshot(URI)) == hash(open_session().snapshot(URI))


def test_a_closed_or_unknown_document_has_no_snapshot_and_ignores_changes() -> None:
    session = open_session()
    session.close(URI)
    session.replace(URI, 2, 0, 0, "x")
    session.rewrite(URI, 3, "x")
    session.close("file:///never")
    assert session.snapshot(URI) is None


def test_a_whole_text_replaces_the_document() -> None:
    session = open_session()
    session.rewrite(URI, 5, "new")
    document = session.document(URI)
    assert document is not None and (document.text, document.version, document.path) == ("new", 5, "a.py")


def test_lone_surrogates_become_replacement_characters() -> None:
    session = open_session("a\ud83db")
    session.replace(URI, 2, 0, 0, "\ude00")
    document = session.document(URI)
    assert document is not None and document.text == "\ufffda\ufffdb"


def test_a_large_file_has_no_snapshot_until_it_is_small_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENT_CHARACTERS", 10)
    session = open_session("x" * 9)
    with caplog.at_level(logging.WARNING):
        session.replace(URI, 2, 0, 0, "yy")
        session.replace(URI, 3, 0, 0, "z")
        session.rewrite(URI, 4, "x" * 12)
    assert session.snapshot(URI) is None
    assert len(caplog.records) == 1 and "10 characters" in caplog.text
    assert URI.rpartition("/")[2] not in caplog.text
    session.rewrite(URI, 5, "x" * 10)
    document = session.document(URI)
    assert document is not None and document.text == "x" * 10


def test_changes_are_applied_to_a_large_file_unless_it_is_far_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENT_CHARACTERS", 10)
    monkeypatch.setattr(module, "MAX_KEPT_CHARACTERS", 40)
    session, offered = open_session("x" * 9), list[str]()
    monkeypatch.setattr(session.workspace, "change", lambda document: offered.append(document.text))
    session.replace(URI, 2, 0, 0, "y" * 20)
    session.replace(URI, 3, 20, 20, "z")
    assert session.snapshot(URI) is None and offered == ["", ""]
    session.replace(URI, 4, 0, 20, "")
    document = session.document(URI)
    assert document is not None and (document.text, document.version) == ("z" + "x" * 9, 4)
    session.replace(URI, 5, 0, 0, "y" * 40)
    session.replace(URI, 6, 0, 45, "")
    assert session.document(URI) is session.stored_document(URI) is None
    session.rewrite(URI, 7, "new")
    document = session.document(URI)
    assert document is not None and document.text == "new"


def test_later_settings_override_the_first_and_overrides_come_last() -> None:
    session = Session({"model": "mine"})
    assert session.config == Config(model="mine")
    session.configure({"max_tokens": 8, "history_days": 8, "model": "other"}, first=True)
    assert session.config == Config(model="mine", max_tokens=8, history_days=8)
    session.configure({"mercury": {"max_tokens": 16, "history_days": None}})
    assert session.config == Config(model="mine", max_tokens=16, history_days=8)
    session.configure(None)
    assert session.config == Config(model="mine", max_tokens=8, history_days=8)
    assert session.problems == ()


@pytest.mark.parametrize("settings", [5, [], "x", {"mercury": 5}])
def test_settings_of_a_wrong_type_are_a_problem_and_leave_the_others_unchanged(settings: object) -> None:
    session = Session({"model": "mine"})
    session.configure(settings)
    assert session.config == Config(model="mine") and len(session.problems) == 1


def test_a_snapshot_keeps_its_settings_and_folders() -> None:
    session = open_session()
    session.roots = ("/w",)
    before = session.snapshot(URI)
    session.configure({"enabled": False})
    after = session.snapshot(URI)
    assert before is not None and before.config.enabled and before.roots == ("/w",)
    assert after is not None and not after.config.enabled
