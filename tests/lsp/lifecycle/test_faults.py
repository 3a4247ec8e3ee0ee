"""Completions work after the server is killed, and with an unusable cache folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.backends.cpu.weights import UNFINISHED_PREFIX

from ..conftest import Client, Process, at, frame

Launch = Callable[..., Process]
OPTIONS = {
    "device": "cpu",
    "show_likelihood": 0,
    "max_tokens": 256,
}
TEXT = "def area(width, height):\n    return width * height\n\n\nresult = "

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the cache, state and data folders of the servers; return the cache folder."""
    for name in ("CACHE", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return tmp_path / "cache"


def begun(client: Client) -> int:
    return client.ask("mercury/work", None)["result"]["begun"]


def works(client: Client) -> bool:
    """Start the client; return whether the model is loaded and completes. Random weights may have nothing to show."""
    client.start(options={**OPTIONS, "anticipate": False, "max_tokens": 4})
    assert "items" in client.ask("textDocument/inlineCompletion", at(client.open(TEXT), 4, 9))["result"]
    return begun(client) == 1 and client.messages() == []


def test_after_a_server_is_killed_during_a_completion_the_next_one_completes(
    home: Path, packed_model: Path, launch: Launch
) -> None:
    server = launch(packed_model)
    client = server.client
    client.start(options=OPTIONS)
    (prepared,) = (path for path in home.rglob("*") if path.is_file())
    before = prepared.stat().st_ino
    client.open(TEXT)
    client.write(
        frame(
            {"id": "never", "method": "textDocument/inlineCompletion", "params": at("file:///w/a.txt", 4, 9)}
        )
    )
    client.until(lambda: client.ask("mercury/work", None)["result"]["busy"] or "never" in client.answers)
    server.process.kill()
    server.process.wait()
    assert works(launch(packed_model).client)
    # The file of prepared weights is used again.
    assert prepared.stat().st_ino == before


@pytest.mark.parametrize("stage", range(4))
def test_after_a_server_is_killed_while_loading_the_next_one_completes(
    home: Path, packed_model: Path, launch: Launch, stage: int
) -> None:
    server = launch(packed_model)
    client = server.client
    client.initialize(options=OPTIONS)
    client.notify("initialized", {})
    # The more requests, the further the server gets before it is killed.
    for _ in range(5 * stage):
        begun(client)
    server.process.kill()
    server.process.wait()
    assert works(launch(packed_model).client)
    files = [path for path in home.rglob("*.bin") if not path.name.startswith(UNFINISHED_PREFIX)]
    assert len(files) == 1


@pytest.mark.parametrize("kind", ["a file", "below a file", "missing"])
def test_the_server_completes_without_a_usable_cache_folder(
    kind: str, home: Path, packed_model: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "missing":
        home.write_text("not a folder")
    if kind == "below a file":
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    assert works(launch(packed_model).client)
    assert home.is_dir() == (kind == "missing")


def test_a_damaged_file_of_prepared_weights_is_rebuilt(
    home: Path, packed_model: Path, launch: Launch
) -> None:
    assert works(launch(packed_model).client)
    (file,) = (path for path in home.rglob("*") if path.is_file())
    whole = file.read_bytes()
    for damaged in (whole[:1000], bytes(len(whole)), whole[:5000] + b"\xff" * 5000 + whole[10_000:]):
        file.write_bytes(damaged)
        assert works(launch(packed_model).client)
        assert file.read_bytes() == whole
