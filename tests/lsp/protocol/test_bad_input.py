"""Bad and odd input causes a clear error or an empty answer, and the server continues."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mercury_lsp.engine.tokenizer import Tokenizer

from ..conftest import COMMAND, PATIENCE, Client, Message, Process, at, change, frame


def test_a_truncated_header_is_skipped(client: Client) -> None:
    client.write(b"Content-Len")
    assert client.is_served()
    client.write(b"Content-Length: 40\r\n")
    assert client.is_served()


def test_invalid_json_is_a_parse_error_and_an_invalid_message_an_invalid_request(client: Client) -> None:
    for body in (b"{wrong", b"", b"\xff\xfe{}", b"[" * 100_000):
        client.answers.pop(None, None)
        client.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        assert client.answer(None)["error"]["code"] == -32700
    for body in (
        b"[]",
        b"17",
        b'{"id": 1}',
        b'{"jsonrpc": "2.0", "id": [], "method": "shutdown"}',
        b'{"jsonrpc": "2.0", "id": true, "method": "shutdown"}',
    ):
        client.answers.pop(None, None)
        client.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        assert client.answer(None)["error"]["code"] == -32600
    assert client.is_served()


def test_the_error_for_an_invalid_request_has_the_id_of_the_request(client: Client) -> None:
    for wrong in ({"method": 5}, {"method": "shutdown", "jsonrpc": "1.0"}):
        id_ = client.new_id()
        client.write(frame({"id": id_, **wrong}))
        assert client.answer(id_)["error"]["code"] == -32600
    assert client.is_served()


def test_a_second_request_with_the_id_of_an_open_one_is_refused(client: Client) -> None:
    method, params = "textDocument/inlineCompletion", at(client.open("some words and "), 0, 15)
    id_ = client.new_id()
    asked = {"id": id_, "method": method, "params": params}
    client.write(frame(asked, asked))
    client.until(lambda: len(client.answers.get(id_, [])) == 2)
    assert sorted(answer.get("error", {}).get("code", 0) for answer in client.answers[id_]) == [-32600, 0]
    # The request is answered, so its id can be used again.
    client.write(frame(asked))
    client.until(lambda: len(client.answers[id_]) == 3)
    assert client.answers[id_][2]["result"]["items"]


def test_answers_that_the_server_did_not_request_are_ignored(client: Client) -> None:
    method, params = "textDocument/inlineCompletion", at(client.open("some words and "), 0, 15)
    id_ = client.new_id()
    asked = {"id": id_, "method": method, "params": params}
    client.write(frame(asked, {"id": id_, "result": None}, {"id": "never asked", "error": 5}, {}))
    assert client.answer(id_)["result"]["items"]
    assert client.is_served() and len(client.answers[id_]) == 1


def test_lone_surrogates_are_accepted_in_uris_languages_and_texts(client: Client) -> None:
    uri = client.open("some words and ", "file:///w/\ud83d.txt", "\ud83d")
    (item,) = client.complete(uri, 0, 15)
    params = at(uri, 0, 15)
    range_ = {"start": {"line": 0, "character": 11}, "end": {"line": 0, "character": 15}}
    params["context"]["selectedCompletionInfo"] = {"range": range_, "text": "and\ud83d "}
    item, *_ = client.ask("textDocument/inlineCompletion", params)["result"]["items"]
    assert item["insertText"] == "and\ud83d value" and item["range"] == range_


def test_notifications_of_features_that_the_server_lacks_are_not_logged(client: Client) -> None:
    document = {"uri": "file:///w/n.ipynb", "notebookType": "n", "version": 1, "cells": []}
    client.notify("notebookDocument/didOpen", {"notebookDocument": document, "cellTextDocuments": []})
    client.notify(
        "notebookDocument/didChange", {"notebookDocument": {"uri": "x", "version": 1}, "change": {}}
    )
    client.notify("window/workDoneProgress/cancel", {"token": []})
    before = [m for m in client.told if m["method"] == "window/logMessage"]
    assert client.is_served()
    assert [m for m in client.told if m["method"] == "window/logMessage"] == before


def test_an_unknown_request_is_an_error_and_an_unknown_notification_is_ignored(client: Client) -> None:
    client.notify("mercury/unknown", {"jsonrpc": "2.0"})
    client.notify("$/unknown", None)
    client.write(frame({"method": "exit/"}))
    assert client.ask("mercury/unknown", {})["error"]["code"] == -32601
    id_ = client.new_id()
    client.write(frame({"id": id_, "method": "mercury/unknown"}))  # without parameters
    assert client.answer(id_)["error"]["code"] == -32601
    assert client.is_served()


def test_invalid_parameters_are_an_error(client: Client) -> None:
    for params in ({}, None, [], {"textDocument": 5, "position": "here"}, at("file:///w/a.txt", -1, 0)):
        assert client.ask("textDocument/inlineCompletion", params)["error"]["code"] == -32602
    for params in ({}, None, [], 5, {"textDocument": 5}, {"textDocument": {"uri": []}}):
        assert client.ask("mercury/documentDigest", params)["error"]["code"] == -32602
    client.notify("mercury/documentDigest", 5)
    client.notify("$/cancelRequest", {"id": {}})
    item = {"uri": "file:///w/none.txt", "languageId": None, "version": 1, "text": "some words and "}
    client.notify("textDocument/didOpen", {"textDocument": item})
    assert client.complete(item["uri"], 0, 15)
    for method in (
        "textDocument/didOpen",
        "textDocument/didChange",
        "textDocument/didClose",
        "$/cancelRequest",
    ):
        client.notify(method, {"textDocument": 5})
    assert client.is_served()
    assert not [m for m in client.told if "unexpected error" in str(m["params"])]


def test_a_position_out_of_range_is_clamped(client: Client) -> None:
    uri = client.open("some words and")
    for line, character in ((0, 99), (7, 3), (2**31 - 1, 2**31 - 1)):
        (item,) = client.complete(uri, line, character)
        assert item["range"]["start"] == {"line": 0, "character": 14}
    client.write(frame(change(uri, 2, " more", (3, 9), (8, 0)), change(uri, 3, "", (0, 2), (0, 1))))
    (item,) = client.complete(uri, 0, 99)
    assert item["range"]["start"] == {"line": 0, "character": 19}


def test_an_unopened_document_has_no_suggestion(client: Client) -> None:
    uri = "file:///w/never-opened.txt"
    assert client.complete(uri, 0, 0) == []
    client.write(frame(change(uri, 2, "x", (0, 0), (0, 0))))
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert client.complete(uri, 0, 0) == []
    assert client.is_served()


def test_a_file_of_20_megabytes_has_no_suggestion_until_it_is_small(client: Client) -> None:
    uri = client.open("x = 1\n" * 3_500_000, "file:///w/large.txt")
    assert client.complete(uri, 5, 5) == []
    client.write(frame(change(uri, 2, "y", (0, 0), (0, 0))))
    assert client.complete(uri, 0, 1) == []
    assert client.is_served()
    params = {"textDocument": {"uri": uri, "version": 3}, "contentChanges": [{"text": "some words and"}]}
    client.notify("textDocument/didChange", params)
    assert client.complete(uri, 0, 14)


def test_a_binary_file_has_no_suggestion(client: Client) -> None:
    text = bytes(range(256)).decode("latin-1") * 40
    assert client.complete(client.open(text, "file:///w/a.bin"), 1, 0) == []
    assert client.complete(client.open("half \ud83d of a pair and ", "file:///w/half.txt"), 0, 18)
    assert client.is_served()


def test_invalid_settings_cause_one_message_and_leave_the_defaults(launch: Callable[..., Process]) -> None:
    client = launch().client
    client.start(options={"max_tokens": "many", "device": "toaster", "history_days": 4})
    assert client.is_served()
    client.notify("workspace/didChangeConfiguration", {"settings": {"mercury": {"max_tokens": "many"}}})
    assert client.is_served()
    client.notify("workspace/didChangeConfiguration", {"settings": 5})
    assert client.is_served()
    first, *later = client.messages()
    assert "max_tokens" in first and "device" in first and "history_days" not in first
    assert len(later) == 1 and "must be an object" in later[0]


def test_corrupt_weights_cause_one_message(
    launch: Callable[..., Process], model: Path, tmp_path: Path
) -> None:
    corrupt = shutil.copytree(model, tmp_path / "corrupt")
    (weights,) = corrupt.glob("*.safetensors")
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    client = launch(corrupt).client
    client.start()
    assert not client.is_served()
    assert not client.is_served()
    (message,) = client.messages()
    assert str(corrupt) in message and message.count("\n") == 0


EDITOR = """
import subprocess, sys, time
print(subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE).pid, flush=True)
time.sleep(999)
"""


LAUNCHER = """
import os, subprocess, sys, time
out, into = os.pipe()
server = subprocess.Popen(sys.argv[1:], stdin=out, stdout=subprocess.DEVNULL)
other = subprocess.Popen(["sleep", "999"], pass_fds=[into], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
params = b'{"processId": %d, "capabilities": {}}' % os.getpid()
body = b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": %s}' % params
os.write(into, b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
os.close(into)
print(server.pid, other.pid, flush=True)
time.sleep(999)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_server_ends_with_a_killed_client_even_if_another_process_holds_its_stdin() -> None:
    command = [sys.executable, "-c", LAUNCHER, *COMMAND]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        server, other = map(int, process.stdout.readline().split())
        try:
            # The server has read the message; if not, it will find that the process is gone.
            time.sleep(3)
            os.kill(server, 0)
            # The killed process remains a zombie: nobody has waited for it.
            os.kill(process.pid, signal.SIGKILL)
            # The server has the other end of the pipe, too, so this waits for its end.
            process.stderr.read()
        finally:
            os.kill(other, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_server_ends_if_the_client_process_is_already_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    body = frame({"id": 1, "method": "initialize", "params": {"processId": gone.pid, "capabilities": {}}})
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdin is not None
        server.stdin.write(body)
        server.stdin.flush()
        assert server.wait(PATIENCE) == 1


@pytest.mark.parametrize("process", [None, 0, -1])
def test_a_client_process_id_that_cannot_be_watched_is_no_error(
    process: int | None, launch: Callable[..., Process]
) -> None:
    client = launch().client
    params = {"processId": process, "rootUri": None, "capabilities": {}}
    assert "result" in client.ask("initialize", params)


def digest(client: Client, uri: str) -> tuple[object, object]:
    answer = client.ask("mercury/documentDigest", {"textDocument": {"uri": uri}})["result"]
    return answer["version"], answer["sha256"]


@pytest.mark.parametrize("version", [{"version": None}, {}])
@pytest.mark.parametrize("range_", [{"range": None}, {"range": None, "rangeLength": None}, {}])
def test_a_change_without_version_or_range_is_applied(
    client: Client, version: Message, range_: Message
) -> None:
    uri = "file:///w/null.txt"
    item = {"uri": uri, "languageId": "plaintext", "text": "some words", **version}
    client.notify("textDocument/didOpen", {"textDocument": item})
    document = {"uri": uri, **version}
    changes = [
        [{"text": "all new", **range_}],
        [change(uri, 0, "!", (0, 7), (0, 7))["params"]["contentChanges"][0]],
    ]
    changes += [[{"rangeLength": None, **changes[1][0], "text": "?"}]]
    for content in changes:
        client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": content})
    assert digest(client, uri) == (3, hashlib.sha256(b"all new?!").hexdigest())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_server_ends_with_a_killed_client() -> None:
    with subprocess.Popen([sys.executable, "-c", EDITOR, *COMMAND], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        # The server runs.
        os.kill(server, 0)
        process.send_signal(signal.SIGKILL)
        # The server has the other end of this pipe, too, so the pipe ends when both processes are gone.
        assert process.stdout.read() == b""


def test_a_document_may_contain_every_special_string_of_the_tokenizer(client: Client, model: Path) -> None:
    tokenizer = Tokenizer.load(model)
    special = list(tokenizer._vocabulary.get_added_tokens_decoder().values())
    text = " ".join(token.content for token in special)
    assert "<mask>" in text and "<eot>" in text and "<fim_middle>" in text
    uri = client.open(f"{text}\n{text} and \n{text}\n", "file:///w/special.txt")
    (item,) = client.complete(uri, 1, len(text) + 5)
    assert not any(token.content in item["insertText"] for token in special)
    assert client.is_served()
