"""Requests: the version of the text that they see, cancellation, ghost text and menu entries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import WORD, Client, Message, Process, at, change, frame

METHOD = "textDocument/inlineCompletion"


def request(client: Client, uri: str, line: int, character: int) -> Message:
    return {"id": client.new_id(), "method": METHOD, "params": at(uri, line, character)}


def test_a_suggestion_is_inserted_at_the_cursor(client: Client) -> None:
    (item,) = client.complete(client.open("some words and \nmore"), 0, 15)
    assert item["insertText"] == WORD
    assert item["range"] == {"start": {"line": 0, "character": 15}, "end": {"line": 0, "character": 15}}


def test_a_request_between_two_changes_in_one_write_sees_the_text_between_them(client: Client) -> None:
    uri = client.open("")
    asked = request(client, uri, 1, 17)
    client.write(
        frame(
            change(uri, 2, "first\r\nsome 😀 words and \n", (0, 0), (0, 0)),
            asked,
            # After this change, the request's position is out of range.
            change(uri, 3, "", (0, 0), (2, 0)),
        )
    )
    item, *_ = client.answer(asked["id"])["result"]["items"]
    assert item["range"]["start"] == {"line": 1, "character": 17}
    assert client.complete(uri, 1, 17) == [] or client.complete(uri, 1, 17)[0]["range"]["start"]["line"] == 0


def test_a_cancelled_request_has_one_answer_the_error_request_cancelled(client: Client) -> None:
    uri = client.open("some words and ")
    asked = request(client, uri, 0, 15)
    client.write(frame(asked, {"method": "$/cancelRequest", "params": {"id": asked["id"]}}))
    assert client.answer(asked["id"])["error"]["code"] == -32800
    client.notify("$/cancelRequest", {"id": asked["id"]})
    client.notify("$/cancelRequest", {"id": "never asked"})
    assert client.is_served()
    assert len(client.answers[asked["id"]]) == 1


def test_only_a_manual_request_has_several_suggestions_and_the_first_is_unchanged(
    launch: Callable[..., Process],
) -> None:
    client = launch().client
    client.start(options={"max_tokens": 8})
    items = client.ask(METHOD, at(client.open("some words and "), 0, 15))["result"]["items"]
    assert items[0]["insertText"] == WORD
    assert 1 <= len({item["insertText"] for item in items}) == len(items) <= 3
    params = at(client.open("some words or "), 0, 14)
    params["context"] = {"triggerKind": 2}
    assert len(client.ask(METHOD, params)["result"]["items"]) == 1


def test_cancelling_one_of_two_equal_requests_does_not_affect_the_other(client: Client) -> None:
    uri = client.open("some words and ")
    one, two = request(client, uri, 0, 15), request(client, uri, 0, 15)
    client.write(frame(one, two, {"method": "$/cancelRequest", "params": {"id": one["id"]}}))
    assert client.answer(one["id"])["error"]["code"] == -32800
    assert client.answer(two["id"])["result"]["items"]


def test_of_several_requests_only_the_newest_has_suggestions(client: Client) -> None:
    # The text is so long that no request is done before the newest arrives, except on a busy machine: hence the loop.
    uri = client.open("some words and " * 200)
    for again in range(5):
        asked = [
            request(client, uri, 0, column) for column in (750 + again, 1500 + again, 2250 + again, 3000)
        ]
        client.write(frame(*asked))
        *older, newest = [client.answer(message["id"])["result"]["items"] for message in asked]
        assert newest
        assert all(len(client.answers[message["id"]]) == 1 for message in asked)
        if older == [[], [], []]:
            return
    raise AssertionError(f"older requests were answered, five times: {older}")


def test_equal_requests_have_equal_answers(client: Client) -> None:
    uri = client.open("some words and ")
    asked = [request(client, uri, 0, 15) for _ in range(3)]
    # Automatic requests: the number of suggestions of a manual request depends on time.
    for message in asked:
        message["params"]["context"]["triggerKind"] = 2
    client.write(frame(*asked))
    first, *others = [client.answer(message["id"])["result"]["items"] for message in asked]
    ids = {item.pop("command")["arguments"][0] for items in (first, *others) for item in items}
    assert first and all(items == first for items in others)
    # Each answer has an id of its own.
    assert len(ids) == len(asked)


def rest(client: Client) -> int:
    """Wait until the server is idle, and return the number of jobs it has started so far."""
    while (work := client.ask("mercury/work", None)["result"])["busy"]:
        pass
    return work["begun"]


def test_typing_along_a_suggestion_is_answered_without_a_pass_of_the_model(client: Client) -> None:
    uri = client.open("some words and ", "file:///w/typed.txt")
    (item,) = client.complete(uri, 0, 15)
    assert item["insertText"] == WORD
    begun = rest(client)
    for typed in range(1, len(WORD)):
        asked = request(client, uri, 0, 15 + typed)
        at_end = (0, 14 + typed)
        client.write(frame(change(uri, 1 + typed, WORD[typed - 1], at_end, at_end), asked))
        item, *_ = client.answer(asked["id"])["result"]["items"]
        assert item["insertText"] == WORD[typed:]
        assert item["range"]["start"] == item["range"]["end"] == {"line": 0, "character": 15 + typed}
    assert rest(client) == begun
    end = (0, 14 + len(WORD))
    # The whole suggestion is typed: the continuation was prefetched.
    client.write(frame(change(uri, 9, "e", end, end)))
    assert rest(client) == begun
    # Something else is typed: a prefetch starts.
    client.write(frame(change(uri, 10, "?", (0, 20), (0, 20))))
    assert rest(client) == begun + 1
    (item,) = client.complete(uri, 0, 21)
    assert item["insertText"] == WORD


def test_the_item_selected_in_a_menu_is_part_of_the_suggestion(client: Client) -> None:
    uri = client.open("some wo")
    params = at(uri, 0, 7)
    range_ = {"start": {"line": 0, "character": 5}, "end": {"line": 0, "character": 7}}
    params["context"]["selectedCompletionInfo"] = {"range": range_, "text": "words and "}
    item, *_ = client.ask(METHOD, params)["result"]["items"]
    assert item["insertText"] == f"words and {WORD}"
    assert item["range"] == range_


@pytest.mark.parametrize("uri", ["file:///w/.env", "file:///home/u/.ssh/config", "untitled:server.key"])
def test_private_files_have_no_suggestion(client: Client, uri: str) -> None:
    assert client.complete(client.open("some words and ", uri), 0, 15) == []


def test_a_closed_document_has_no_suggestion(client: Client) -> None:
    uri = client.open("some words and ")
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert client.complete(uri, 0, 15) == []


def test_a_client_without_ghost_text_gets_a_menu_entry(launch: Callable[..., Process]) -> None:
    client = launch().client
    client.start({"window": {"workDoneProgress": True}}, options={"disabled_languages": ["markdown"]})
    params = at(client.open("é some word"), 0, 11)
    answer = client.ask("textDocument/completion", params)["result"]
    (item,) = answer["items"]
    assert answer["isIncomplete"] and item["preselect"] and item["detail"] == "mercury"
    assert item["textEdit"]["newText"] == f"word{WORD}"
    assert item["textEdit"]["range"] == {
        "start": {"line": 0, "character": 7},
        "end": {"line": 0, "character": 11},
    }
    params = at(client.open("é some word", "file:///w/a.md", "markdown"), 0, 11)
    assert client.ask("textDocument/completion", params)["result"] == {"isIncomplete": True, "items": []}
