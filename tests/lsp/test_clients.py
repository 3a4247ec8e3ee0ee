"""How the behaviour of a real server depends on the client's entry in the table of clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import INLINE, WORD, Message, Process, at, change, frame
from .test_requests import rest

Launch = Callable[..., Process]


def started(launch: Launch, name: str, capabilities: Message) -> Process:
    server = launch()
    ask = server.client.ask

    def named(method: str, params: Message) -> Message:
        return ask(method, {**params, "clientInfo": {"name": name}} if method == "initialize" else params)

    server.client.ask = named  # type: ignore[method-assign, assignment]
    server.client.start(capabilities, {"max_tokens": 8})
    return server


def request_automatically(server: Process, position: int) -> list[Message]:
    params = at("file:///w/a.txt", 0, position)
    params["context"] = {"triggerKind": 2}
    items: list[Message] = server.client.ask("textDocument/inlineCompletion", params)["result"]["items"]
    return items


@pytest.mark.parametrize(("name", "several"), [("emacs", True), ("Neovim", False)])
def test_clients_that_cycle_through_suggestions_get_several_prefetched_ones(
    launch: Launch, name: str, several: bool
) -> None:
    server = started(launch, name, INLINE)
    client = server.client
    uri = client.open("some words an")
    # The answer means that the check for ignored documents is done.
    request_automatically(server, 4)
    begun = rest(client)
    client.write(frame(change(uri, 2, "d ", (0, 13), (0, 13))))
    # The first suggestion; then, after a pause, all suggestions.
    jobs = 2 if several else 1
    assert rest(client) - begun == jobs
    items = request_automatically(server, 15)
    assert items[0]["insertText"] == WORD
    assert len({item["insertText"] for item in items}) == len(items) <= (3 if several else 1)
    assert client.ask("mercury/status", None)["result"]["last"]["recalled"]


@pytest.mark.parametrize("modes", [[1], [2]])
def test_a_menu_entry_has_insert_text_mode_as_is_only_if_the_client_supports_it(
    launch: Launch, modes: list[int]
) -> None:
    item = {"insertTextModeSupport": {"valueSet": modes}}
    menu = {"window": {"workDoneProgress": True}, "textDocument": {"completion": {"completionItem": item}}}
    client = started(launch, "helix", menu).client
    (entry,) = client.ask("textDocument/completion", at(client.open("some word"), 0, 9))["result"]["items"]
    assert entry.get("insertTextMode") == (1 if modes == [1] else None)
