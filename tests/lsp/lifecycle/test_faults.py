"""What befalls the whole server: it is killed, or its cache folder is of no use; the next completion is there."""

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
    """The cache and state folders of servers that are started."""
    for name in ("CACHE", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return tmp_path / "cache"


def begun(client: Client) -> int:
    return client.ask("mercury/work", None)["result"]["begun"]


def works(client: Client) -> bool:
    """Whether the model is there, and completes; what random weights write need not be worth showing."""
    client.start(options={**OPTIONS, "anticipate": False, "max_tokens": 4})
    assert "items" in client.ask("textDocument/inlineCompletion", at(client.open(TEXT), 4, 9))["result"]
    return begun(client) == 1 and client.messages() == []


def test_a_server_that_is_killed_while_it_completes_is_followed_by_one_that_does(
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
    assert prepared.stat().st_ino == before  # what it had prepared is still good


@pytest.mark.parametrize("stage", range(4))
def test_a_server_that_is_killed_while_it_loads_leaves_nothing_broken(
    home: Path, packed_model: Path, launch: Launch, stage: int
) -> None:
    server = launch(packed_model)
    client = server.client
    client.initialize(options=OPTIONS)
    client.notify("initialized", {})
    for _ in range(5 * stage):  # so far it comes
        begun(client)
    server.process.kill()
    server.process.wait()
    assert works(launch(packed_model).client)
    files = [path for path in home.rglob("*.bin") if not path.name.startswith(UNFINISHED_PREFIX)]
    assert len(files) == 1


@pytest.mark.parametrize("kind", ["a file", "below a file", "missing"])
def test_it_completes_without_a_cache_folder(
    kind: str, home: Path, packed_model: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "missing":
        home.write_text("not a folder")
    if kind == "below a file":
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    assert works(launch(packed_model).client)
    assert home.is_dir() == (kind == "missing")


def test_it_completes_with_a_damaged_file_of_weights(home: Path, packed_model: Path, launch: Launch) -> None:
    assert works(launch(packed_model).client)
    (file,) = (path for path in home.rglob("*") if path.is_file())
    whole = file.read_bytes()
    for damaged in (whole[:1000], bytes(len(whole)), whole[:5000] + b"\xff" * 5000 + whole[10_000:]):
        file.write_bytes(damaged)
        assert works(launch(packed_model).client)
        assert file.read_bytes() == whole
