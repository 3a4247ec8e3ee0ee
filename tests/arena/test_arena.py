"""`mercury-lsp arena` from end to end: recorded edits, real repositories, and sessions in a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import select
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.arena_players import places, save_saying
from test_commits import CODE, make

from mercury_lsp.arena import ballots
from mercury_lsp.arena.contestants import ContestantAnswer
from mercury_lsp.arena.edits import read_edits
from mercury_lsp.cli import arena_screen
from mercury_lsp.cli.ghost import highlight
from mercury_lsp.cli.main import main

SETTINGS = {"mercury": {"threads": 1, "max_tokens": 8}}
PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[str]:
    """Return the folders of two models, each of which writes its name."""
    folders = [tmp_path_factory.mktemp("models", numbered=True) / word for word in ("value", "other")]
    for folder in folders:
        folder.mkdir()
        save_saying(folder.name, folder, tiny_model)
    return [str(folder) for folder in folders]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MERCURY_MODEL", raising=False)
    return tmp_path / "state"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    return tmp_path / "settings.json"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Return a file with six recorded edits."""
    path = tmp_path / "edits.jsonl"
    path.write_text("".join(f"{edit.to_json()}\n" for edit in places(6)), encoding="utf-8")
    return path


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["arena", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main(["arena", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("mercury-lsp: ") and len(err.splitlines()) == 1
    return status, err


def test_the_truth_judge_compares_answers_with_recorded_edits(
    capsys: pytest.CaptureFixture[str], models: list[str], record: Path, settings: Path
) -> None:
    found = answer(capsys, *models, "--edits", record, "--judge", "truth", "--settings", settings)
    assert (found["judge"], found["places"], found["margin"]) == ("truth", 6, 0.1)
    value, other = found["contestants"]["value"], found["contestants"]["other"]
    assert (value["wins"], value["exact"], value["rating"]) == (6, 1, 1000)
    assert (other["losses"], other["exact"]) == (6, 0)
    assert other["rating"] < other["interval"][1] + 1 < 1000
    assert found["shown_first"] is None and not ballots.ballots_file().exists()
    again = answer(capsys, *models, "--edits", record, "--limit", 2, "--settings", settings)
    assert again["places"] == 2, (
        "the limit should draw a sample, and without a terminal the truth should judge"
    )


def test_recorded_edits_give_the_same_result_as_the_repository(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    models: list[str],
    tmp_path: Path,
    settings: Path,
) -> None:
    repo = make(tmp_path / "project", monkeypatch)
    repo.commit(by="someone@example.org", theirs_dot_py=CODE.format(1))
    repo.commit(mine_dot_py=CODE.format(2), _dot_env="TOKEN=1\n")
    out = tmp_path / "record.jsonl"
    assert answer(capsys, "record", repo.top, "--out", out) == {"edits": 1, "left_out": {}}
    (edit,) = read_edits(out.read_text(encoding="utf-8").splitlines())
    assert edit.path == "mine.py" and edit.full_text == CODE.format(2)
    if sys.platform != "win32":
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert refused(capsys, "record", repo.top, "--out", out)[0] == 1
    at_once = answer(capsys, *models, repo.top, "--settings", settings)
    later = answer(capsys, *models, "--edits", out, "--settings", settings)
    assert at_once["pairs"] == later["pairs"] and at_once["places"] == 1
    every = answer(capsys, *models, repo.top, "--author", "all", "--settings", settings)
    assert every["places"] == 2


def test_the_report_is_printed_as_tables(
    capsys: pytest.CaptureFixture[str], models: list[str], record: Path, settings: Path
) -> None:
    assert main(["arena", *models, "--edits", str(record), "--settings", str(settings)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^value +1000 ", out, re.MULTILINE) and "Judged by the original text" in out
    assert max(map(len, out.splitlines())) <= 80


def test_wrong_usage_is_refused_with_one_sentence(
    capsys: pytest.CaptureFixture[str], models: list[str], record: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n")
    (tmp_path / "bad.json").write_text('{"modle": 3}')
    for arguments, says in (
        ([], "two contestants"),
        (["small"], "two contestants"),
        (["small", tmp_path], "two contestants"),
        ([*models, "--judge", "me"], "user, truth"),
        ([*models, "--judge", "user", "--edits", record], "terminal"),
        ([*models, "--limit", "0"], "limit"),
        (["small:magic", "mini"], "mode"),
        (["remote", "mini"], "remote_url"),
        ([*models, "--edits", tmp_path / "none"], "No such file"),
        ([*models, "--edits", tmp_path / "bad.jsonl"], "line 1"),
        ([*models, "--settings", tmp_path / "bad.json"], "did you mean model"),
        (["record", "--edits", record], "record"),
    ):
        status, sentence = refused(capsys, *arguments)
        assert status == 2 and says in sentence
    # This folder is not a repository.
    assert refused(capsys, *models, tmp_path)[0] == 1
    assert refused(capsys, "nowhere", models[0], "--edits", record)[0] == 1
    # There are no ballots yet.
    assert refused(capsys, "--report")[0] == 1
    monkeypatch.setenv("MERCURY_MODEL", "small")
    assert "MERCURY_MODEL" in refused(capsys, *models, "--edits", record)[1]


def test_private_and_secret_records_are_left_out(
    capsys: pytest.CaptureFixture[str], models: list[str], tmp_path: Path, settings: Path
) -> None:
    fine, private, secret = places(3)
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    bad = [replace(private, path=".env"), replace(secret, suffix=f"\ntoken = '{token}'\n")]
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(f"{edit.to_json()}\n" for edit in (fine, *bad)))
    found = answer(capsys, *models, "--edits", path, "--settings", settings)
    assert found["places"] == 1 and found["left_out"] == {"private, or with secrets": 2}


def test_a_long_line_is_cut_and_not_wrapped() -> None:
    one = replace(places(1)[0], prefix=f"long = '{'x' * 200}'\ntotal = ")
    console = Console(width=60, file=io.StringIO(), record=True)
    answer = ContestantAnswer("value", len(one.prefix), 1.0, 1, 1, True)
    console.print(arena_screen.render_place(one, answer, replace(answer, shown=""), 3))
    told = console.export_text()
    # The line is shown above both answers.
    assert told.count("x" * 30) == 2 and "…" in told and "nothing" in told


def test_highlighting_does_not_change_the_text() -> None:
    for code in ("", "\n\nx = (1\n\n", "def f(a):\n    return '", "\t\n"):
        assert highlight(code, "python").plain == code
    assert highlight("x = 1", "no such language").plain == "x = 1"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
class TestAtATerminal:
    class Session:
        """`arena` in a terminal of 100 columns."""

        def __init__(self, *arguments: str) -> None:
            import fcntl
            import pty
            import struct
            import termios

            self._ours, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mercury_lsp", "arena", *arguments],
                stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "50"},
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )  # fmt: skip
            os.close(theirs)
            self._end = time.monotonic() + PATIENCE
            self._raw, self._known = b"", 0

        @property
        def seen(self) -> str:
            """The whole output so far, without colors."""
            return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self._raw).decode(errors="replace")

        def until(self, text: str) -> str:
            """Wait for a text; return the output up to it since the last such call."""
            start = self._known
            while (found := self.seen.find(text, start)) < 0:
                assert self._more(), f"ended without {text!r}: {self.seen[start:]!r}"
            self._known = found + len(text)
            return self.seen[start : self._known]

        def press(self, key: str) -> str:
            """Press a key when the screen shows a new place; return that screen."""
            screen = self.until("q quit")
            os.write(self._ours, key.encode())
            return screen

        def interrupt(self) -> None:
            """Press Ctrl-C until the process ends: Python may lose one that arrives just before it waits for a key."""
            while self.process.poll() is None and time.monotonic() < self._end:
                os.write(self._ours, b"\x03")
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(2)

        def rest(self) -> str:
            """Wait for the end of the process; return the rest of the output."""
            while self._more():
                pass
            self.process.wait(PATIENCE)
            os.close(self._ours)
            return self.seen[self._known :]

        def _more(self) -> bool:
            """Wait for output; return whether there was more before the end."""
            left = max(0.0, self._end - time.monotonic())
            assert select.select([self._ours], [], [], left)[0], (
                f"nothing follows {self.seen[self._known :]!r}"
            )
            try:
                chunk = os.read(self._ours, 1 << 16)
            # On Linux, this is the end of the file.
            except OSError:
                chunk = b""
            self._raw += chunk
            return bool(chunk)

    def test_a_session_is_blind_saves_each_ballot_and_can_be_continued(
        self, capsys: pytest.CaptureFixture[str], models: list[str], record: Path, settings: Path
    ) -> None:
        arguments = (*models, "--edits", str(record), "--settings", str(settings))
        session = self.Session(*arguments)
        screens = [session.press(key) for key in ("1", "=", "x0")]
        for screen in screens:
            picture = screen[screen.index("lib/a") :]
            # The models' texts.
            assert "value" in picture and "other" in picture
            assert "diffusion" not in picture and " ms" not in picture and "/models" not in picture
            assert re.search(r"total_\d = ", picture) and "print(size)" in picture
        assert session.press("q")
        report = session.rest()
        assert session.process.returncode == 0
        assert re.search(r"value.*1000", report) and "3 comparisons at 3 places" in report

        kept, damaged = ballots.read_ballots()
        assert [ballot.choice for ballot in kept] == ["1", "tie", "neither"] and damaged == 0
        text = ballots.ballots_file().read_text()
        for piece in ("total", "size", "print", "lib/", "a0.py", "=", *models):
            assert piece not in text, "a ballot should contain neither code nor paths"
        # The names of the models, not their texts.
        assert '"other@' in text and '"value@' in text
        first = kept[0].one.id.partition("@")[0]
        assert (
            screens[0].index("─ 1 ─")
            < screens[0].index(first, screens[0].index("─ 1 ─"))
            < screens[0].index("─ 2 ─")
        )

        session = self.Session(*arguments)
        screen = session.press("2")
        assert not any(edit.path in screen for edit in places(3)), "a judged place should not be shown again"
        session.until("q quit")
        session.interrupt()
        session.rest()
        assert session.process.returncode == 130
        assert [ballot.choice for ballot in ballots.read_ballots()[0]] == ["1", "tie", "neither", "2"]

        found = answer(capsys, "--report")
        assert (found["comparisons"], found["shown_first"]["chosen"]) == (4, 2)
        assert set(found["contestants"]) == {"value", "other"}
        assert answer(capsys, "--clear") == {"deleted": 4}

    def test_identical_answers_are_recorded_and_not_shown(
        self, models: list[str], record: Path, settings: Path
    ) -> None:
        session = self.Session(models[0], models[0], "--edits", str(record), "--settings", str(settings))
        report = session.rest()
        assert "q quit" not in session.seen and "6 with the same text" in report
        assert [ballot.choice for ballot in ballots.read_ballots()[0]] == ["same"] * 6
