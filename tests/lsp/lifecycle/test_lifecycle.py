"""A server's life from the first message to the last: initialize, loading, settings, and a clean end."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mercury_lsp.context.background import NICE
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets

from ..conftest import COMMAND, INLINE, PATIENCE, Client, Process, at, frame

Launch = Callable[..., Process]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc/PID/maps")
@pytest.mark.parametrize("packed", [True, False])
def test_torch_is_loaded_only_for_weights_that_need_it(
    packed: bool, packed_model: Path, unpacked_model: Path, launch: Launch
) -> None:
    if packed and not instruction_sets():
        pytest.skip("the kernel is not compiled for this machine")
    server = launch(packed_model if packed else unpacked_model)
    server.client.initialize(options={"device": "cpu"})
    assert "libtorch" not in Path(f"/proc/{server.process.pid}/maps").read_text()
    server.client.notify("initialized", {})
    server.client.until(
        lambda: any(
            m["method"] == "$/progress" and m["params"]["value"]["kind"] == "end" for m in server.client.told
        )
    )
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert ("libtorch" in maps) is not packed
    assert "kernel.lib" in maps or not packed


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's on Linux only")
def test_threads_that_compute_have_lower_priority_than_the_thread_that_answers(
    packed_model: Path, launch: Launch
) -> None:
    server, usual = launch(packed_model), os.getpriority(os.PRIO_PROCESS, 0)
    server.client.start(options={"device": "cpu", "nice": usual + 4})
    threads = [int(task.name) for task in Path(f"/proc/{server.process.pid}/task").iterdir()]
    levels = {thread: os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
    assert levels[server.process.pid] == usual
    assert set(levels.values()) == {
        usual,
        usual + 4,
        max(usual, NICE),
        # The last level is that of the thread that reads the workspace.
    }


def test_loading_is_shown_as_work_done_progress(client: Client) -> None:
    begin, *reports, end = client.progress()
    assert client.asked == ["window/workDoneProgress/create"]
    assert begin == "begin" and end == "end" and set(reports) <= {"report"}
    assert len({m["params"]["token"] for m in client.told if m["method"] == "$/progress"}) == 1


def test_a_client_without_progress_and_without_initialized_parameters_is_served(launch: Launch) -> None:
    client = launch().client
    client.initialize({"textDocument": {"inlineCompletion": {}}})
    client.write(frame({"method": "initialized"}))
    # Until the model is loaded, answers are empty.
    while not client.is_served():
        pass
    assert client.asked == []
    assert {m["method"] for m in client.told} == set()


def test_requests_before_the_model_is_ready_are_never_errors(launch: Launch) -> None:
    client = launch().client
    client.initialize()
    uri = "file:///w/a.txt"
    item = {"uri": uri, "languageId": "plaintext", "version": 1, "text": "some words and "}
    id_ = client.new_id()
    client.write(
        frame(
            {"method": "initialized", "params": {}},
            {"method": "textDocument/didOpen", "params": {"textDocument": item}},
            {"id": id_, "method": "textDocument/inlineCompletion", "params": at(uri, 0, 15)},
        )
    )
    assert "items" in client.answer(id_)["result"]


def test_requests_at_the_wrong_time_are_errors(launch: Launch) -> None:
    server = launch()
    client = server.client
    client.open("text")
    assert client.ask("textDocument/inlineCompletion", at("file:///w/a.txt", 0, 0))["error"]["code"] == -32002
    client.initialize()
    assert (
        client.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})["error"]["code"]
        == -32600
    )
    assert client.ask("shutdown", None)["result"] is None
    assert client.ask("textDocument/inlineCompletion", at("file:///w/a.txt", 0, 0))["error"]["code"] == -32600
    client.write(frame({"method": "exit"}))
    assert server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_the_first_supported_position_encoding_of_the_client_is_used(encoding: str, launch: Launch) -> None:
    general = {"positionEncodings": ["utf-7", encoding, "utf-8", "utf-16", "utf-32"]}
    assert launch().client.initialize({**INLINE, "general": general})["positionEncoding"] == encoding


def test_without_a_position_encoding_from_the_client_positions_are_utf_16(launch: Launch) -> None:
    assert launch().client.initialize({})["positionEncoding"] == "utf-16"


def test_menus_are_offered_only_to_clients_without_ghost_text(launch: Launch) -> None:
    offered = launch().client.initialize({"textDocument": {"completion": {}}})
    assert "." in offered["completionProvider"]["triggerCharacters"]
    assert offered["textDocumentSync"] == {"openClose": True, "change": 2, "save": False}
    server = launch()
    offered = server.client.initialize(INLINE)
    assert "inlineCompletionProvider" in offered and "completionProvider" not in offered
    assert (
        server.client.ask("textDocument/completion", at("file:///w/a.txt", 0, 0))["error"]["code"] == -32601
    )


def test_settings_are_pulled_if_the_client_supports_it(launch: Launch) -> None:
    workspace = {"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}}
    client = launch(settings={"enabled": False, "max_tokens": 0}).client
    client.initialize({**INLINE, "workspace": workspace}, options={"enabled": True})
    client.notify("initialized", {})
    client.until(lambda: "workspace/configuration" in client.asked)
    assert "client/registerCapability" in client.asked
    client.until(lambda: any(m["method"] == "window/showMessage" for m in client.told))
    assert "max_tokens" in client.messages()[0]
    assert not client.is_served()
    client.asked.clear()
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    client.until(lambda: "workspace/configuration" in client.asked)
    # The same problem is not reported again.
    assert len(client.messages()) == 1


def test_shutdown_and_exit_leave_no_process(launch: Launch) -> None:
    server = launch()
    server.client.start()
    assert server.end() == 0


def test_shutdown_and_exit_end_a_server_that_is_loading(launch: Launch) -> None:
    server = launch()
    server.client.initialize()
    server.client.notify("initialized", {})
    assert server.end() == 0


def test_shutdown_ends_a_command_that_waits_for_the_model(launch: Launch) -> None:
    server = launch()
    client = server.client
    client.initialize()
    uri = client.open("some words and ", "untitled:a.txt")
    explain, shutdown = client.new_id(), client.new_id()
    params = {"command": "mercury.explain", "arguments": [uri, {"line": 0, "character": 15}]}
    client.write(
        frame(
            {"id": explain, "method": "workspace/executeCommand", "params": params},
            {"id": shutdown, "method": "shutdown"},
            {"method": "exit"},
        )
    )
    assert client.answer(explain)["error"]["code"] == -32800
    assert client.answer(shutdown)["result"] is None
    assert server.process.wait(PATIENCE) == 0


def test_exit_without_shutdown_has_status_1(launch: Launch) -> None:
    server = launch()
    server.client.initialize()
    server.client.write(frame({"method": "exit"}))
    assert server.process.wait(PATIENCE) == 1


def test_the_server_ends_at_the_end_of_stdin(launch: Launch) -> None:
    server = launch()
    server.client.initialize()
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.process.wait(PATIENCE) == 1


NOISY = """
import os
from mercury_lsp.lsp import process
async def noisy(*_):
    print("noise", flush=True)
    os.write(1, b"noise")
    return 0
process.serve = noisy
process.run_stdio()
"""


def test_prints_of_a_library_go_to_stderr_and_not_between_messages() -> None:
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout == b"" and done.stderr.count(b"noise") == 2


def test_one_tcp_server_serves_clients_in_sequence(model: Path) -> None:
    command = [*COMMAND[:-1], "--tcp", "--port", "0"]
    environment = {**os.environ, "MERCURY_MODEL": str(model)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        address = re.search(rb"listening on (\S+):(\d+)\s", process.stderr.readline())
        assert address is not None and address[1] == b"127.0.0.1"
        token = process.stderr.readline().split()[1].decode()
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", int(address[2]))) as connection:
                stream = connection.makefile("rwb")
                client = Client(stream, stream)
                assert "inlineCompletionProvider" in client.initialize(options={"token": token})
                assert client.ask("shutdown", None)["result"] is None
                client.write(frame({"method": "exit"}))
        process.terminate()
