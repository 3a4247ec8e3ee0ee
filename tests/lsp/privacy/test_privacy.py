"""Over stdio, in a workspace with planted secrets: which files have suggestions, and that no connection is made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.planted_secrets import workspace

from ..conftest import INLINE, WORD, Process, change, frame

WATCHING = {**INLINE, "workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}}}
# Python's audit hooks see each socket before it is connected, bound or written to, and each name lookup.
GUARDED = """
import sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open({path!r}, "a") as file:
            print(event, arguments, file=file)
        raise PermissionError(event)
sys.addaudithook(hook)
from mercury_lsp.cli.main import main
main(["--stdio"])
"""
Launch = Callable[..., Process]


def can_unshare() -> bool:
    """Return whether a process without a network can be started here."""
    program = shutil.which("unshare")
    return (
        program is not None and subprocess.run([program, "-rn", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("alone", [False, True], ids=["sockets forbidden", "no network"])
def test_private_files_have_no_suggestions_and_no_connection_is_made(
    alone: bool, launch: Launch, tmp_path: Path
) -> None:
    if alone and not can_unshare():
        pytest.skip("unshare -n is not allowed here")
    there, log = workspace(tmp_path), tmp_path / "sockets.txt"
    command = [sys.executable, "-c", GUARDED.format(path=str(log))]
    server = launch(command=["unshare", "-rn", *command] if alone else command)
    client = server.client
    client.start(WATCHING, root=there.root.as_uri())

    def suggested(file: Path) -> list[str]:
        """Open a file and return the suggestions at its end."""
        text = "x = "
        uri = client.open(text, file.as_uri())
        return [item["insertText"] for item in client.complete(uri, 0, len(text))]

    for file in (*there.usable, tmp_path / "other/outside.py"):
        assert suggested(file) == [WORD], file
    for file in there.private:
        assert suggested(file) == [], file
    for file in there.ignored:
        # Ignored files are completed, because the text does not leave the machine.
        assert suggested(file) == [WORD], file
    # This file is a link to a private file.
    assert suggested(there.root / "lib/key.py") == []

    # With complete_ignored off, new ignore rules take effect immediately, and so does their removal.
    client.notify("workspace/didChangeConfiguration", {"settings": {"complete_ignored": False}})
    for file in there.ignored:
        assert suggested(file) == [], file
    main, rules = there.root / "main.py", there.root / ".mercuryignore"
    old = rules.read_text()
    for text, expected in ((f"{old}main.py\n", []), (old, [WORD])):
        rules.write_text(text)
        event = {"uri": rules.as_uri(), "type": 2}
        client.notify("workspace/didChangeWatchedFiles", {"changes": [event]})
        items = client.complete(main.as_uri(), 0, 4)
        assert [item["insertText"] for item in items] == expected
    client.write(frame(change(main.as_uri(), 2, " ", (0, 4), (0, 4))))
    assert client.complete(main.as_uri(), 0, 5)
    assert "client/registerCapability" in client.asked
    assert server.end() == 0
    assert not log.exists(), log.read_text()


def test_the_audit_hook_sees_a_connection(tmp_path: Path) -> None:
    """Check that the test above can fail."""
    log = tmp_path / "sockets.txt"
    code = GUARDED.format(path=str(log)).partition("from mercury_lsp")[0]
    code += "import urllib.request\ntry:\n    urllib.request.urlopen('http://127.0.0.1:9')\nexcept OSError:\n    pass\n"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "socket.connect" in log.read_text() or "socket.getaddrinfo" in log.read_text()
