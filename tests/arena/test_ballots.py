"""The file of ballots: appended at once, read completely, private, and tolerant of damage."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from support.arena_players import ballot, places, side

from mercury_lsp.arena import ballots
from mercury_lsp.errors import Failure
from mercury_lsp.telemetry.store import history_file

A, B = side("small@1"), side("mini@2")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_appended_ballots_are_read_and_can_be_deleted() -> None:
    assert ballots.read_ballots() == ([], 0)
    every = [ballot(A, B, choice, f"p{choice}") for choice in ballots.CHOICES]
    for one in every:
        ballots.append_ballot(one)
    assert ballots.read_ballots() == (every, 0)
    assert ballots.ballots_file().parent == history_file().parent
    assert ballots.delete_ballots() == len(every)
    assert not ballots.ballots_file().exists()
    assert ballots.delete_ballots() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_the_user_may_read_the_file_of_ballots() -> None:
    before = os.umask(0)
    try:
        ballots.append_ballot(ballot(A, B, "1"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(ballots.ballots_file().stat().st_mode) == 0o600


def test_damaged_lines_are_counted_and_the_others_are_read() -> None:
    ballots.append_ballot(ballot(A, B, "1"))
    whole = ballots.ballots_file().read_text()
    spoilt = (whole[:50], "[]", "nothing", '{"one": {}}', whole.strip().replace('"1"}', '"9"}'))
    ballots.ballots_file().write_text("\n".join([whole.strip(), *spoilt, whole]))
    assert ballots.read_ballots() == ([ballot(A, B, "1")] * 2, len(spoilt))


def test_concurrent_sessions_do_not_mix_lines() -> None:
    def work(number: int) -> None:
        for i in range(50):
            ballots.append_ballot(ballot(A, B, "tie", f"{number}-{i}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, damaged = ballots.read_ballots()
    assert damaged == 0 and len({one.place for one in found}) == 200


def test_a_file_that_cannot_be_written_or_read_is_a_failure(state: Path) -> None:
    (state / "mercury-lsp").write_text("a file where the folder should be")
    with pytest.raises(Failure, match="cannot be kept"):
        ballots.append_ballot(ballot(A, B, "1"))
    with pytest.raises(Failure, match="cannot be read"):
        ballots.read_ballots()


def test_the_key_of_a_place_differs_with_each_of_its_parts() -> None:
    one, two = places(2)
    assert one.key != two.key and one.key == places(1)[0].key
    assert len(one.key) == 24
