"""Fuzzes the answers of a hosted model: a short suggestion or `Unanswered` with one short sentence, in bounded time."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz_cases import fuzzed
from support.servers.hosted_server import Answer, Exchange, hosting

from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill, Sampling
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.remote import connection
from mercury_lsp.remote.engine import MAX_CHARACTERS_PER_TOKEN, RemoteEngine

PROMPT = Prompt("a.py", "def add(a, b):\n    return ", "", "\n")
ANSWER_SECONDS = 0.4
SLACK_SECONDS = 4.0  # of a busy machine
TOKENS = 16
STATUSES = (200, 200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 413, 422, 429, 500, 503)
KINDS = (
    "application/json", "text/event-stream", "text/event-stream; charset=utf-16", "text/html", "", "\x1b[2J", "x" * 9000
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["\ud800", "\0", "\x1b[2J", "a" * 100_000, "\n" * 999])
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.sampled_from([10**400, -(10**400)])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["choices", "text", "message", "delta", "content", "error", "usage", "finish_reason", "logprobs",
                 "tokens", "token_logprobs", "prompt_tokens", "completion_tokens", "code", "type"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "text": VALUES,
        "delta": st.fixed_dictionaries({}, optional={"content": VALUES}),
        "message": st.one_of(VALUES, st.fixed_dictionaries({"content": VALUES})),
        "finish_reason": VALUES,
        "logprobs": st.one_of(
            VALUES,
            st.fixed_dictionaries(
                {"tokens": st.lists(TEXTS, max_size=2), "token_logprobs": st.lists(LEAVES, max_size=2)}
            ),
        ),
    },
)
REPLIES = st.one_of(
    VALUES,
    st.fixed_dictionaries({"choices": st.lists(CHOICE, max_size=2)}, optional={"usage": VALUES, "error": VALUES}),
).map(json.dumps)  # fmt: skip
BODIES = st.one_of(
    REPLIES.map(str.encode),
    REPLIES.map(lambda reply: reply.encode("utf-16")),
    REPLIES.map(lambda reply: reply[: len(reply) // 2].encode()),
    st.lists(REPLIES, max_size=4).map(lambda replies: "".join(f"data: {r}\n\n" for r in replies).encode()),
    st.binary(max_size=40),
    st.sampled_from([b"[" * 100_000, b"data: " + b"[" * 100_000 + b"\n\n", b"data:", b"\n\n\n", b"data: [DONE]\n\n"]),
)  # fmt: skip


def asked(answer: Answer, path: str = "/completions", **options: Any) -> Infill | str:
    """What comes of a request: an infill, or the sentence for the user."""
    with hosting(answer) as hosted:
        config = Config(remote="always", remote_url=f"{hosted.url}{path}")
        engine = RemoteEngine.of(config)
        began = monotonic()
        try:
            return engine.infill(PROMPT, Sampling(max_tokens=TOKENS, **options))
        except NoResult as unanswered:
            return str(unanswered)
        finally:
            engine.close()
            assert monotonic() - began < ANSWER_SECONDS + SLACK_SECONDS


def check(found: Infill | str) -> None:
    """Whether what came is what may be shown."""
    if isinstance(found, str):
        assert found.startswith("127.0.0.1:") and found.isprintable() and len(found) < 300
        return
    assert len(found.text) <= MAX_CHARACTERS_PER_TOKEN * TOKENS
    assert 0 <= found.confidence <= 1.01 and found.tokens >= 0 and found.prompt_tokens >= 0
    assert all(line.end <= len(found.text) for line in found.lines)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("mercury_lsp.remote.engine.ANSWER_SECONDS", ANSWER_SECONDS)


@fuzzed(25)
@given(
    st.sampled_from(STATUSES),
    st.sampled_from(KINDS),
    BODIES,
    st.sampled_from(["/fim/completions", "/completions"]),
    st.booleans(),
    st.sampled_from(
        ["", "0", "-1", "9" * 30, "Fri, 99 Foo 9999", "\x1b[2J", "Fri, 31 Dec 9999 23:59:59 GMT"]
    ),
)
def test_any_answer_is_a_suggestion_or_a_sentence(
    status: int, kind: str, body: bytes, path: str, single_line: bool, retry: str
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.reply(status, body, kind, Retry_After=retry, Location="http://[::1/")

    check(asked(answer, path, single_line=single_line))


@fuzzed(20)
@given(st.one_of(st.binary(max_size=60), st.sampled_from([
    b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", b"HTTP/9.9 200\r\n\r\n{}",
    b"HTTP/1.1 99999 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nx: " + b"y" * 3_000_000 + b"\r\n\r\n", b"HTTP/1.1 200 \xff\xfe\r\nx\xff: \xff\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Type: \xff\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
])))  # fmt: skip
def test_any_bytes_are_a_sentence(data: bytes) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(data)
        exchange.close_connection = True

    found = asked(answer)
    assert isinstance(found, str)
    check(found)


def forever(chunk: bytes, kind: str = "text/event-stream", pause: float = 0.0) -> Answer:
    """An answer that never ends."""

    def answer(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Type", kind)
        exchange.end_headers()
        until = monotonic() + 30
        while monotonic() < until:
            exchange.wfile.write(chunk)
            sleep(pause)

    return answer


def headers_forever(exchange: Exchange) -> None:
    exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
    until = monotonic() + 30
    while monotonic() < until:
        exchange.wfile.write(b"a: b\r\n")
        sleep(0.01)


EVENT = b'data: {"choices": [{"text": %s}]}\n\n'


@pytest.mark.parametrize(
    "answer",
    [forever(EVENT % b'"ab "'), forever(EVENT % b'""'), forever(EVENT % b'""', pause=0.02), forever(b": ping\n\n"),
     forever(b"data: "), forever(b"data: x\n"), forever(b"\n"), forever(b"x" * 4096, "application/json"),
     forever(b" ", "application/json", 0.02), headers_forever],
    ids=["text", "nothing", "slowly", "comments", "one line", "one event", "blanks", "JSON", "slow JSON", "headers"],
)  # fmt: skip
def test_an_answer_without_end_is_ended(answer: Callable[[Exchange], None]) -> None:
    check(asked(answer))


@pytest.mark.parametrize(
    "logprobs",
    [[-1e308, -1e308], [float("nan")] * 2, [-float("inf")] * 2, [-(10**400)] * 2, [True, False], ["0", "0"]],
)
def test_odd_log_probabilities_are_none_or_small(logprobs: list[Any]) -> None:
    choice = {"text": "ab", "logprobs": {"tokens": ["a", "b"], "token_logprobs": logprobs}}
    body = json.dumps({"choices": [choice]}).encode()
    check(asked(lambda exchange: exchange.reply(200, body)))
