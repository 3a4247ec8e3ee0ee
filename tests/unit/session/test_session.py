"""The session: snapshots stand still, large files are left out, settings have layers."""

from __future__ import annotations

import logging

import pytest

from mercury_lsp.config import Config
from mercury_lsp.session import session as module
from mercury_lsp.session.session import Session

URI = "file:///w/a.py"


def opened(text: str = "one\ntwo\n") -> Session:
    session = Session()
    session.open(URI, "a.py", "python", 1, text)
    return session


def test_a_snapshot_keeps_its_text_whatever_is_typed_after() -> None:
    session = opened()
    before = session.snapshot(URI)
    session.replace(URI, 2, 0, 3, "1")
    after = session.snapshot(URI)
    assert before is not None and before.document.text == "one\ntwo\n" and before.document.version == 1
    assert after is not None and after.document.text == "1\ntwo\n" and after.document.version == 2
    assert before != after and len({before, after}) == 2  # both serve as a job's key


def test_equal_states_are_equal_keys() -> None:
    assert opened().snapshot(URI) == opened().snapshot(URI)
    assert hash(opened().snapshot(URI)) == hash(opened().snapshot(URI))


def test_a_closed_or_unknown_document_has_no_snapshot_and_takes_no_changes() -> None:
    session = opened()
    session.close(URI)
    session.replace(URI, 2, 0, 0, "x")
    session.rewrite(URI, 3, "x")
    session.close("file:///never")
    assert session.snapshot(URI) is None


def test_a_whole_text_replaces_the_document() -> None:
    session = opened()
    session.rewrite(URI, 5, "new")
    document = session.document(URI)
    assert document is not None and (document.text, document.version, document.path) == ("new", 5, "a.py")


def test_halves_of_surrogate_pairs_become_replacement_characters() -> None:
    session = opened("a\ud83db")
    session.replace(URI, 2, 0, 0, "\ude00")
    document = session.document(URI)
    assert document is not None and document.text == "\ufffda\ufffdb"


def test_a_large_file_has_no_snapshot_until_it_is_small_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENT_CHARACTERS", 10)
    session = opened("x" * 9)
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


def test_changes_make_a_large_file_small_again_unless_it_was_far_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENT_CHARACTERS", 10)
    monkeypatch.setattr(module, "MAX_KEPT_CHARACTERS", 40)
    session, offered = opened("x" * 9), list[str]()
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


def test_later_settings_lie_over_the_first_and_overrides_over_all() -> None:
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
def test_settings_of_another_shape_are_a_problem_and_leave_the_rest(settings: object) -> None:
    session = Session({"model": "mine"})
    session.configure(settings)
    assert session.config == Config(model="mine") and len(session.problems) == 1


def test_a_snapshot_has_the_settings_and_folders_of_its_time() -> None:
    session = opened()
    session.roots = ("/w",)
    before = session.snapshot(URI)
    session.configure({"enabled": False})
    after = session.snapshot(URI)
    assert before is not None and before.config.enabled and before.roots == ("/w",)
    assert after is not None and not after.config.enabled
