"""Requests: the text they are about, cancellation, and the two forms of an answer."""

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


def test_a_change_and_a_request_in_one_piece_are_answered_for_the_right_text(client: Client) -> None:
    uri = client.open("")
    asked = request(client, uri, 1, 17)
    client.write(
        frame(
            change(uri, 2, "first\r\nsome 😀 words and \n", (0, 0), (0, 0)),
            asked,
            change(uri, 3, "", (0, 0), (2, 0)),  # in the text after it, the request's place is out of range
        )
    )
    item, *_ = client.answer(asked["id"])["result"]["items"]
    assert item["range"]["start"] == {"line": 1, "character": 17}
    assert client.complete(uri, 1, 17) == [] or client.complete(uri, 1, 17)[0]["range"]["start"]["line"] == 0


def test_a_cancelled_request_is_answered_once_as_cancelled(client: Client) -> None:
    uri = client.open("some words and ")
    asked = request(client, uri, 0, 15)
    client.write(frame(asked, {"method": "$/cancelRequest", "params": {"id": asked["id"]}}))
    assert client.answer(asked["id"])["error"]["code"] == -32800
    client.notify("$/cancelRequest", {"id": asked["id"]})
    client.notify("$/cancelRequest", {"id": "never asked"})
    assert client.is_served()
    assert len(client.answers[asked["id"]]) == 1


def test_who_asks_may_have_several_suggestions_and_the_first_is_the_same(
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


def test_cancelling_one_of_two_equal_requests_leaves_the_other(client: Client) -> None:
    uri = client.open("some words and ")
    one, two = request(client, uri, 0, 15), request(client, uri, 0, 15)
    client.write(frame(one, two, {"method": "$/cancelRequest", "params": {"id": one["id"]}}))
    assert client.answer(one["id"])["error"]["code"] == -32800
    assert client.answer(two["id"])["result"]["items"]


def test_the_newest_of_several_requests_is_answered_and_the_others_are_empty(client: Client) -> None:
    uri = client.open("some words and " * 200)  # so much to read that none is done before the newest comes
    for again in range(5):  # unless the machine is so busy that one is done before the next is read
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
    for message in asked:  # not a manual request, which has several suggestions, as many as are there in time
        message["params"]["context"]["triggerKind"] = 2
    client.write(frame(*asked))
    first, *others = [client.answer(message["id"])["result"]["items"] for message in asked]
    ids = {item.pop("command")["arguments"][0] for items in (first, *others) for item in items}
    assert first and all(items == first for items in others)
    assert len(ids) == len(asked)  # each is known by its own


def rest(client: Client) -> int:
    """Wait until the server has nothing to do; how many jobs it has begun so far."""
    while (work := client.ask("mercury/work", None)["result"])["busy"]:
        pass
    return work["begun"]


def test_what_is_typed_of_a_suggestion_is_answered_without_a_pass(client: Client) -> None:
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
    client.write(frame(change(uri, 9, "e", end, end)))  # all of it: what follows was worked out already
    assert rest(client) == begun
    client.write(frame(change(uri, 10, "?", (0, 20), (0, 20))))  # something else: work begins unasked
    assert rest(client) == begun + 1
    (item,) = client.complete(uri, 0, 21)
    assert item["insertText"] == WORD


def test_the_item_chosen_in_a_menu_is_part_of_the_answer(client: Client) -> None:
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
