"""Downloads from a hub over real sockets: the files, resumption, refusals and error messages."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from support.servers.fake_hub import TOKEN, Hub, Repo, serving

from mercury_lsp.models.downloads import NOTE_FILE

NAME = "acme/tiny"
# The unchanged command line, except for small chunks and short pauses.
CODE = """
import sys
from mercury_lsp.models import fetch
from mercury_lsp.cli.main import main
fetch.CHUNK_BYTES, fetch.RETRY_PAUSE_SECONDS = 1024, 0.001
sys.exit(main(sys.argv[1:]))
"""
WEIGHTS = save({"weight": np.arange(10_000, dtype=np.float32)})
FILES = {
    "config.json": b'{"model_type": "qwen2", "architectures": ["Tiny"]}',
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    "LICENSE": b"Apache License",
    "empty.json": b"",
    "pytorch_model.bin": b"pickle" * 1000,
    "modeling_tiny.py": b"raise SystemExit",
    "consolidated.pt": b"pickle",
    "inner/model.safetensors": WEIGHTS,
    ".mercury-lsp.json": b"{}",
}
FETCHED = {"config.json", "tokenizer.json", "model.safetensors", "README.md", "LICENSE", "empty.json"}


def repo(**changes: object) -> Repo:
    return replace(Repo(dict(FILES)), **changes)  # type: ignore[arg-type]


class User:
    """A user with folders of their own, who runs commands."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.models = home / "data" / "mercury-lsp" / "models"
        self.folder = self.models / "acme--tiny"

    def environment(self, hub: Hub | None, **more: str) -> dict[str, str]:
        names = {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MERCURY_"))
        }
        homes = {f"XDG_{name}_HOME": str(self.home / name.lower()) for name in ("CONFIG", "DATA")}
        address = {"HF_ENDPOINT": hub.url} if hub else {}
        return {**names, **homes, **address, "HF_HOME": str(self.home / "hf"), "COLUMNS": "160", **more}

    def run(
        self, hub: Hub | None, *arguments: object, typed: str | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CODE, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.environment(hub, **more),
            timeout=120,
            **({"stdin": subprocess.DEVNULL} if typed is None else {"input": typed}),
        )

    def download(
        self, hub: Hub, name: str = NAME, *more: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(hub, "models", "download", name, *(more or ("--yes",)), **environment)

    def is_whole(self, files: dict[str, bytes] = FILES) -> bool:
        held = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name != NOTE_FILE}
        return held == {name: files[name] for name in FETCHED} and not list(self.models.glob("*.partial"))


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def sentence(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """Return the error sentence of a failed command, without the lines that name the hub and the model."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    *before, last = done.stderr.splitlines()
    assert all(line.startswith(("Asking 127.0.0.1:", f"{NAME}, ")) for line in before), done.stderr
    assert last.startswith("mercury-lsp: ") and last.endswith("."), last
    return last


def test_all_files_of_a_model_are_downloaded_except_code_and_pickles(user: User) -> None:
    with serving(acme__tiny=repo()) as hub:
        done = user.download(hub)
        assert done.returncode == 0, done.stderr
        assert user.is_whole()
        assert Counter(hub.fetched()) == Counter(FETCHED - {"empty.json"})
        assert f"Asking {hub.url[7:]} for {NAME}." in done.stderr
        assert "apache-2.0" in done.stderr
        note = json.loads((user.folder / NOTE_FILE).read_text())
        assert (note["repo"], note["revision"], note["license"]) == (NAME, "a" * 40, "apache-2.0")
        asked = len(hub.seen)
        again = user.download(hub)
        assert again.returncode == 0 and "already" in again.stdout
        # The only further request resolves the commit.
        assert len(hub.seen) == asked + 1


def test_all_files_are_from_the_commit_that_was_resolved_first(user: User) -> None:
    with serving(acme__tiny=repo()) as hub:
        assert user.download(hub, f"{NAME}@{'a' * 40}").returncode == 0
        assert all(f"/resolve/{'a' * 40}/" in s.path for s in hub.seen if "/resolve/" in s.path)
        assert "no revision v9" in sentence(user.download(hub, f"{NAME}@v9"))


def test_a_download_resumes_after_a_lost_connection(user: User) -> None:
    with serving(acme__tiny=repo(cut={"model.safetensors": [5 * 1024, 0, 7 * 1024 + 13]})) as hub:
        done = user.download(hub)
        assert done.returncode == 0, done.stderr
        assert user.is_whole()
        ranges = [seen.range for seen in hub.seen if seen.path.startswith("/cdn/")]
        assert ranges == [None, "bytes=5120-", "bytes=5120-", f"bytes={12 * 1024}-"]


def test_requests_to_a_busy_hub_or_one_without_ranges_are_retried(user: User) -> None:
    busy = Counter({"config.json": 2})
    with serving(acme__tiny=repo(cut={"model.safetensors": [5 * 1024]}, busy=busy, whole=True)) as hub:
        done = user.download(hub)
        assert done.returncode == 0, done.stderr
        assert user.is_whole()
        assert hub.fetched().count("config.json") == 3


def test_a_download_that_always_restarts_at_the_beginning_fails(user: User) -> None:
    with serving(acme__tiny=repo(cut={"model.safetensors": [5 * 1024] * 100}, whole=True)) as hub:
        assert "goes on from there" in sentence(user.download(hub))


def test_after_a_permanently_lost_connection_the_next_download_resumes(user: User) -> None:
    with serving(acme__tiny=repo(cut={"model.safetensors": [8 * 1024] + [0] * 100})) as hub:
        said = sentence(user.download(hub))
        assert "model.safetensors" in said and "goes on from there" in said
        assert not user.folder.exists()
        listed = user.run(None, "models", "--json")
        states = {row["name"]: row["state"] for row in json.loads(listed.stdout)["models"]}
        assert states[NAME] == "unfinished"
        hub.repos[NAME].cut.clear()
        hub.seen.clear()
        assert user.download(hub).returncode == 0
        assert user.is_whole()
        assert [seen.range for seen in hub.seen if seen.path.startswith("/cdn/")] == ["bytes=8192-"]
        fetched = hub.fetched()
        # Complete files are not requested again.
        assert len(fetched) == len(set(fetched)) < len(FETCHED)


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
def test_the_download_resumes_after_an_interrupt(user: User, with_signal: signal.Signals) -> None:
    with serving(acme__tiny=repo(cut={"model.safetensors": [16 * 1024]})) as hub:
        hub.stall = threading.Event()
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, "models", "download", NAME, "--yes"],
            env=user.environment(hub),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert hub.stalled.wait(60)
        other = user.download(hub)
        assert "being downloaded already" in sentence(other)
        process.send_signal(with_signal)
        out, err = process.communicate(timeout=60)
        if with_signal == signal.SIGINT:
            assert process.returncode == 130
            assert err.splitlines()[-1] == (
                "mercury-lsp: Stopped the download: run the same command to resume it."
            )
        assert out == "" and not user.folder.exists()
        hub.stall.set()
        hub.seen.clear()
        assert user.download(hub).returncode == 0
        assert user.is_whole()
        (asked,) = [seen.range for seen in hub.seen if seen.path.startswith("/cdn/")]
        if with_signal == signal.SIGINT:
            assert asked is not None and asked.startswith("bytes=")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_a_wrong_checksum_is_deleted(user: User, name: str) -> None:
    with serving(acme__tiny=repo(corrupt={name})) as hub:
        assert f"{name} from 127.0.0.1" in sentence(user.download(hub))
        assert not user.folder.exists()
        hub.repos[NAME].corrupt.clear()
        assert user.download(hub).returncode == 0
        assert user.is_whole()


def test_a_wrong_partial_file_is_detected(user: User) -> None:
    """Test a partial file that was damaged on the disk, and one that is longer than the whole file."""
    with serving(acme__tiny=repo(cut={"model.safetensors": [8 * 1024] + [0] * 100})) as hub:
        sentence(user.download(hub))
        hub.repos[NAME].cut.clear()
        (part,) = user.models.glob("*/*.part")
        part.write_bytes(b"x" * 8192)
        assert "checksum" in sentence(user.download(hub))
        part.write_bytes(b"x" * (len(WEIGHTS) + 1))
        assert user.download(hub).returncode == 0
        assert user.is_whole()


def test_a_newer_revision_reuses_unchanged_files(user: User) -> None:
    with serving(acme__tiny=repo()) as hub:
        assert user.download(hub).returncode == 0
        newer = {**FILES, "config.json": b'{"model_type": "qwen3"}'}
        hub.repos[NAME] = Repo(newer, commit="b" * 40)
        hub.seen.clear()
        assert user.download(hub).returncode == 0
        assert hub.fetched() == ["config.json"]
        assert user.is_whole(newer)
        assert json.loads((user.folder / NOTE_FILE).read_text())["revision"] == "b" * 40


def test_a_gated_model_needs_a_token(user: User) -> None:
    with serving(acme__tiny=repo(gated=True)) as hub:
        said = sentence(user.download(hub))
        assert f"accept its terms at {hub.url}/{NAME}" in said and "HF_TOKEN" in said
        assert "accept its terms" in sentence(user.download(hub, HF_TOKEN="hf_wrong"))
        hub.seen.clear()
        done = user.download(hub, HF_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr
        assert user.is_whole()
        told = {seen.authorization for seen in hub.seen if seen.host == "127.0.0.1"}
        elsewhere = {seen.authorization for seen in hub.seen if seen.host == "localhost"}
        # The token is sent to no other host.
        assert told == {f"Bearer {TOKEN}"} and elsewhere == {None}


def test_the_token_stored_by_huggingface_hub_is_used(user: User) -> None:
    (user.home / "hf").mkdir()
    (user.home / "hf" / "token").write_text(TOKEN)
    with serving(acme__tiny=repo(private=True)) as hub:
        assert user.download(hub).returncode == 0
        assert "or it is private" in sentence(user.download(hub, HF_HUB_DISABLE_IMPLICIT_TOKEN="1"))


def test_models_that_do_not_exist_are_refused_with_one_sentence(user: User) -> None:
    weightless = {name: content for name, content in FILES.items() if name != "model.safetensors"}
    with serving(acme__tiny=repo(), acme__pickle=Repo(weightless)) as hub:
        assert "has no model acme/none, or it is private" in sentence(user.download(hub, "acme/none"))
        assert "no name of a model" in sentence(user.download(hub, "acme/ti ny"))
        assert "safetensors" in sentence(user.download(hub, "acme/pickle"))
        asked = len(hub.seen)
        assert "HF_HUB_OFFLINE" in sentence(user.download(hub, HF_HUB_OFFLINE="1"))
        assert "neither a known model" in sentence(user.download(hub, "nonesuch"), 2)
        assert "part of mercury-lsp" in sentence(user.download(hub, "small"), 2)
        assert len(hub.seen) == asked
        assert not user.models.exists() or not list(user.models.iterdir())
    # The hub has ended.
    assert "cannot be reached" in sentence(user.download(hub))


def test_an_answer_that_no_hub_gives_is_refused_with_one_sentence(user: User) -> None:
    class Other(Repo):
        def info(self, name: str) -> dict[str, object]:
            return {"id": "../..", "sha": "../../etc", "siblings": []}

    with serving(acme__tiny=Other({})) as hub:
        assert "not what a hub does" in sentence(user.download(hub))


def test_the_license_is_shown_and_must_be_confirmed(user: User) -> None:
    card = {"license": "other", "license_name": "tiny-terms"}
    with serving(acme__tiny=repo(card=card)) as hub:
        assert "--yes" in sentence(user.run(hub, "models", "download", NAME), 2)
        assert set(hub.fetched()) == set()
        for answer, status in (("n\n", 1), ("y\n", 0)):
            controller, terminal = pty.openpty()
            process = subprocess.Popen(
                [sys.executable, "-c", CODE, "models", "download", NAME],
                env=user.environment(hub),
                stdin=terminal,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            os.write(controller, answer.encode())
            _, err = process.communicate(timeout=60)
            os.close(terminal)
            os.close(controller)
            assert process.returncode == status, err
            assert "the license other, tiny-terms" in err and f"{hub.url}/{NAME}" in err
        assert user.is_whole()


def test_without_a_card_the_license_is_not_guessed(user: User) -> None:
    with serving(acme__tiny=repo(card=None)) as hub:
        done = user.download(hub)
        assert done.returncode == 0 and "a license that its model card does not name" in done.stderr


def test_progress_is_shown_on_a_terminal_only(user: User) -> None:
    with serving(acme__tiny=repo()) as hub:
        assert len(user.download(hub).stderr.splitlines()) == 2
        user.run(None, "models", "remove", NAME)
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, "models", "download", NAME, "--yes"],
            env=user.environment(hub, TERM="xterm-256color"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
        )
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(controller, 4096):
                shown += chunk
        # The other end is closed.
        except OSError:
            pass
        assert process.wait(60) == 0
        os.close(controller)
        assert re.search(rb"acme/tiny .*\d+(\.\d+)?/\d+(\.\d+)? .*B", shown), shown


def test_a_full_disk_is_reported_with_one_sentence(user: User) -> None:
    with serving(acme__tiny=repo()) as hub:
        few = CODE.replace(
            "sys.exit",
            "import shutil\nshutil.disk_usage = lambda path: shutil._ntuple_diskusage(9, 8, 1)\nsys.exit",
        )
        done = subprocess.run(
            [sys.executable, "-c", few, "models", "download", NAME, "--yes"],
            capture_output=True,
            text=True,
            env=user.environment(hub),
        )
        assert "make room, or set XDG_DATA_HOME" in sentence(done)
        assert hub.fetched() == []
        full = CODE.replace(
            "sys.exit",
            "import errno\ndef full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
            "fetch._finish = full\nsys.exit",
        )
        done = subprocess.run(
            [sys.executable, "-c", full, "models", "download", NAME, "--yes"],
            capture_output=True,
            text=True,
            env=user.environment(hub),
        )
        assert "No space left on device; make room" in sentence(done)
        hub.seen.clear()
        assert user.download(hub).returncode == 0 and user.is_whole()
        # All files were complete.
        assert hub.fetched() == []


def test_a_folder_that_cannot_be_written_is_reported_with_one_sentence(user: User) -> None:
    user.models.parent.mkdir(parents=True)
    user.models.write_text("a file")
    with serving(acme__tiny=repo()) as hub:
        assert "cannot be written" in sentence(user.download(hub))
