"""Tests of the client of llama.cpp's completion API: its requests, where a text ends, and each kind of failure."""

from __future__ import annotations

import socket

import pytest
from support.servers.completion_server import serving, writes

from mercury_lsp.bench.completion_api import CompletionServer
from mercury_lsp.errors import BadUsage, Failure

END, NEWLINE = 0, 7
NEWLINES = frozenset({NEWLINE})


def test_requests_are_greedy_and_exclude_special_tokens() -> None:
    with serving(writes(11, 12)) as (url, seen):
        reply = CompletionServer(url, (END,), NEWLINES, (5, 6)).complete((1, 2, 3), 40, False)
    assert (reply.tokens, reply.finished) == ((11, 12), True)
    assert reply.ms > 0
    (body,) = seen
    assert body["prompt"] == [1, 2, 3]
    assert (body["n_predict"], body["temperature"], body["cache_prompt"]) == (40, 0, True)
    assert body["logit_bias"] == [[5, False], [6, False]]
    assert "stop" not in body


def test_prefill_requests_one_token() -> None:
    with serving(writes(11)) as (url, seen):
        assert CompletionServer(url + "/", (END,)).prefill((1, 2)) > 0
    assert seen[0]["n_predict"] == 1


@pytest.mark.parametrize(
    ("tokens", "one_line", "reply", "requests"),
    [
        ((11, NEWLINE, 12), True, ((11,), True), 1),
        ((11, NEWLINE, 12), False, ((11, NEWLINE, 12), True), 1),
        # A newline as the first token does not end the text.
        ((NEWLINE, 11, NEWLINE, 12), True, ((NEWLINE, 11), True), 2),
        ((NEWLINE, NEWLINE), True, ((NEWLINE,), True), 2),
        ((NEWLINE,), True, ((NEWLINE,), True), 2),
        ((11, 12, 13, 14, 15), True, ((11, 12, 13, 14), False), 1),  # the token limit
    ],
)
def test_a_text_ends_where_the_local_engine_would_end_it(
    tokens: tuple[int, ...], one_line: bool, reply: tuple[tuple[int, ...], bool], requests: int
) -> None:
    with serving(writes(*tokens, newlines=NEWLINES)) as (url, seen):
        found = CompletionServer(url, (END,), NEWLINES).complete((1,), 4, one_line)
    assert (found.tokens, found.finished) == reply
    assert len(seen) == requests


def test_the_name_of_the_model_is_that_of_its_file() -> None:
    with serving(writes()) as (url, _):
        assert CompletionServer(url, (END,)).model() == "tiny.gguf"
    assert CompletionServer(url, (END,)).model() == ""  # the server is gone


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://x:port", "http://x:0"]
)
def test_invalid_addresses_are_rejected(url: str) -> None:
    with pytest.raises(BadUsage, match="address is like"):
        CompletionServer(url, (END,))


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (404, {}, "has no /completion"),
        (400, {"error": {"message": "too\nlong."}}, "refused: too long"),
        (503, {"error": "loading"}, "refused: loading"),
        (500, [], "refused: Internal Server Error"),
        (200, b"<html>", "no JSON"),
        (200, [1], "without token ids"),
        (200, {"content": "x"}, "without token ids"),
        (200, {"tokens": ["x"]}, "without token ids"),
        (200, {"tokens": [], "content": "x"}, "does not return tokens"),
    ],
)
def test_invalid_answers_are_reported_in_one_sentence(status: int, answer: object, says: str) -> None:
    with serving(lambda body: (status, answer)) as (url, _), pytest.raises(Failure, match=says) as failure:
        CompletionServer(url, (END,)).prefill((1,))
    assert url in str(failure.value)
    assert str(failure.value).endswith(".") and "\n" not in str(failure.value)


def test_an_unreachable_server_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Failure, match="cannot be asked: Connection refused"):
        CompletionServer(f"http://127.0.0.1:{port}", (END,)).prefill((1,))
