"""The examples run, and the messages in docs/protocol.md have the form of those in a real session."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.models.tiny_models import WORD
from support.servers.http_service import Scripted, served

from mercury_lsp.config import OPTIONS, SECTION, parse_settings
from mercury_lsp.http.backend import Update

EXAMPLES = ROOT / "examples"
CLIENT = EXAMPLES / "client_minimal.py"
COMMAND = [sys.executable, "-m", "mercury_lsp", "--stdio"]
NAMES = {"lua": "init.lua", "elisp": "init.el", "toml": "languages.toml", "json": "settings.json"}
SECONDS = 120.0
"""Seconds after which a process counts as stuck; no test here measures time with it."""

Message = dict[str, Any]


def blocks(name: str, language: str) -> list[str]:
    document = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def service() -> Scripted:
    return Scripted(Update("width * height", 3, "stop", 10, 4, 2, 1))


def test_the_minimal_client_prints_a_suggestion(model: Path) -> None:
    assert run(sys.executable, str(CLIENT), *COMMAND, MERCURY_MODEL=str(model)).strip() == WORD


def test_the_curl_example_gets_an_infill() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with served(service()) as client:
        answer = json.loads(run("sh", str(EXAMPLES / "curl_fim.sh"), str(client.base_url).rstrip("/")))
    assert answer["choices"][0]["message"]["content"] == "width * height"


def test_the_openai_example_gets_a_completion() -> None:
    with served(service()) as client:
        printed = run(sys.executable, str(EXAMPLES / "openai_client.py"), str(client.base_url).rstrip("/"))
    assert printed == "width * height\n"


@pytest.mark.parametrize(("language", "name"), NAMES.items())
def test_the_example_configurations_are_those_in_the_document(language: str, name: str) -> None:
    assert blocks("docs/editors.md", language) == [(EXAMPLES / name).read_text(encoding="utf-8")]


def test_the_example_configurations_set_existing_options() -> None:
    helix = tomllib.loads((EXAMPLES / "languages.toml").read_text(encoding="utf-8"))
    wanted = helix["language-server"]["mercury"]["config"]
    assert parse_settings(wanted)[1] == ()
    code = json.loads((EXAMPLES / "settings.json").read_text(encoding="utf-8"))
    own = {name.partition(".")[2]: value for name, value in code.items() if name.startswith(SECTION)}
    lua = re.findall(r"(\w+) = (\"\w+\"|\d+)", (EXAMPLES / "init.lua").read_text(encoding="utf-8"))
    elisp = re.findall(r":(\w+) (\"\w+\"|\d+)", (EXAMPLES / "init.el").read_text(encoding="utf-8"))
    assert own == wanted
    for given in (lua, elisp):
        assert {name: json.loads(value) for name, value in given} == wanted
    assert set(wanted) <= {option.name for option in OPTIONS}


class Session:
    """Sends the messages of the document to a real server and records its notifications."""

    def __init__(self, model: Path) -> None:
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"MERCURY_MODEL": str(model)},
        )
        self.notifications: list[Message] = []

    def send(self, message: Message) -> Message | None:
        """Send a message; return the answer if it is a request."""
        assert self.process.stdin is not None
        body = json.dumps(message).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()
        if "id" not in message:
            return None
        while (answer := self.receive()).get("id") != message["id"]:
            self.notifications.append(answer)
        return answer

    def wait_for_model(self) -> None:
        """Request the status until the model is loaded."""
        status: Message = {"jsonrpc": "2.0", "id": "ready", "method": "mercury/status"}
        while (answer := self.send(status)) is not None and answer["result"]["state"] == "loading":
            time.sleep(0.02)

    def receive(self) -> Message:
        assert self.process.stdout is not None
        header = self.process.stdout.readline()
        assert header, "the server closed the connection"
        while self.process.stdout.readline().strip():
            pass
        answer: Message = json.loads(self.process.stdout.read(int(header.split(b":")[1])))
        return answer


@pytest.fixture
def session(model: Path) -> Iterator[Session]:
    session = Session(model)
    yield session
    session.process.kill()
    session.process.wait()


def shape(value: object) -> object:
    """Replace the values of a message with their types; of a list, keep the first item. Null counts as a string."""
    match value:
        case dict():
            return {name: shape(part) for name, part in value.items()}
        case list():
            return [shape(part) for part in value[:1]]
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None | str():
            return "text or null"
    raise TypeError(type(value).__name__)


def test_the_documented_messages_have_the_form_of_a_real_session(session: Session) -> None:
    messages = [json.loads(block) for block in blocks("docs/protocol.md", "json")]
    answered = {message["id"] for message in messages if "method" in message and "id" in message}
    documented = {message["id"]: message for message in messages if "method" not in message}
    assert answered == set(documented)
    to_client = ("mercury/status", "mercury/draft")
    for message in messages:
        if "method" not in message or (message["method"] in to_client and "id" not in message):
            continue
        if message["method"] == "textDocument/inlineCompletion":
            session.wait_for_model()
        answer = session.send(message)
        if answer is None:
            continue
        expected = documented[message["id"]]
        assert shape(answer) == shape(expected), message["method"]
        if message["method"] in ("initialize", "mercury/documentDigest"):
            assert answer == expected
    assert session.process.wait(SECONDS) == 0
    for message in messages:
        if "id" not in message and message["method"] in to_client:
            sent = [shape(each) for each in session.notifications if each["method"] == message["method"]]
            assert shape(message) in sent, message["method"]
