"""The HTTP application over a scripted backend, on a real socket: access, refusals, answers, metrics and logs."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

import httpx2
import pytest
from starlette.types import Message
from support.servers.http_service import Scripted, counted, served

from mercury_lsp.http.app import application
from mercury_lsp.http.backend import Busy, Unavailable, Update
from mercury_lsp.http.settings import ServiceSettings

JSON = {"Content-Type": "application/json"}
ASKED = {"prompt": "secret_prefix", "suffix": "secret_suffix", "max_tokens": 5}
STEPS = (
    Update("a░░", 1),
    Update("a░\n", 1),
    Update("abc\n", 3),
    Update("abcd", 4, "length", 10, 4, 5, 3),
)


def events(response: httpx2.Response) -> list[object]:
    assert response.headers["content-type"].startswith("text/event-stream")
    parts = response.text.split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") and "\n" not in part for part in parts)
    return [part if part == "data: [DONE]" else json.loads(part[6:]) for part in parts]


def texts(chunks: list[object]) -> list[object]:
    return [chunk["choices"][0]["text"] for chunk in chunks if isinstance(chunk, dict) and chunk["choices"]]


def test_only_committed_text_is_streamed() -> None:
    with served(Scripted(*STEPS)) as client:
        chunks = events(client.post("/v1/completions", json=ASKED | {"stream": True}))
    assert texts(chunks) == ["a", "bc", "d"]
    assert chunks[-1] == "data: [DONE]"
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"  # type: ignore[index]
    assert len({chunk["id"] for chunk in chunks[:-1]}) == 1  # type: ignore[index]


def test_whole_drafts_are_streamed_on_request() -> None:
    backend = Scripted(*STEPS)
    with served(backend) as client:
        asked = ASKED | {"stream": True, "diffusing": True, "stream_options": {"include_usage": True}}
        chunks = events(client.post("/v1/fim/completions", json=asked))
    assert backend.tasks[0].drafts
    assert texts(chunks) == ["a░░", "a░\n", "abc\n", "abcd"]
    usage = chunks[-2]
    assert isinstance(usage, dict)
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


def test_the_affinity_key_comes_from_header_body_or_client_and_differs_by_token() -> None:
    backend = Scripted()
    with served(backend, ServiceSettings(tokens={"one": "ann", "two": "bob"})) as client:

        def key(token: str, header: str = "", **fields: str) -> str:
            headers = {"Authorization": f"Bearer {token}"} | ({"X-Affinity-Key": header} if header else {})
            assert client.post("/v1/completions", json=ASKED | fields, headers=headers).status_code == 200
            return backend.tasks[-1].key

        assert key("one", "doc") == key("one", "doc", user="x") == key("one", prompt_cache_key="doc")
        assert key("one", prompt_cache_key="a", user="b") == key("one", prompt_cache_key="a")
        assert len({key("one"), key("two"), key("one", "doc"), key("two", "doc"), key("one", user="u")}) == 5
        assert key("one") == key("one")
        assert "doc" not in key("one", "doc")


def test_without_a_valid_token_only_the_health_is_answered() -> None:
    backend = Scripted()
    with served(backend, ServiceSettings(tokens={"sesame": "ann"})) as client:
        for headers in ({}, {"Authorization": "Bearer other"}):
            for answer in (
                client.post("/v1/completions", json=ASKED, headers=headers),
                client.get("/v1/models", headers=headers),
                client.get("/metrics", headers=headers),
            ):
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
        assert client.get("/health").json() == {"status": "ready"}
        assert not backend.tasks
        sesame = {"Authorization": "Bearer sesame"}
        assert client.get("/v1/models", headers=sesame).json()["data"][0]["id"] == "scripted"
        assert client.post("/v1/completions", json=ASKED, headers=sesame).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "waits"),
    [(Busy(), 429, True), (Unavailable("The model is loading."), 503, True), (ValueError("x"), 500, False)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_the_backend_have_the_form_of_openai_errors(
    error: Exception, status: int, waits: bool, stream: bool
) -> None:
    backend = Scripted()
    backend.error = error
    with served(backend) as client:
        answer = client.post("/v1/completions", json=ASKED | {"stream": stream})
        assert answer.status_code == status
        assert ("retry-after" in answer.headers) is waits
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        backend.error = None
        assert client.post("/v1/completions", json=ASKED).status_code == 200


def test_requests_above_the_rate_limit_are_429_with_retry_after() -> None:
    with served(Scripted(), ServiceSettings(per_minute=6)) as client:
        first, second = (client.post("/v1/completions", json=ASKED) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
    assert 1 <= int(second.headers["retry-after"]) <= 10


@pytest.mark.parametrize(("wait", "told"), [(0.0, "1"), (0.4, "1"), (7.2, "8")])
def test_a_full_queue_is_429_with_the_expected_wait_as_retry_after(wait: float, told: str) -> None:
    backend = Scripted()
    backend.error = Busy(wait)
    with served(backend) as client:
        answer = client.post("/v1/completions", json=ASKED)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, told)


def test_a_body_that_is_too_large_is_refused_by_its_header_or_by_its_bytes() -> None:
    with served(Scripted(), ServiceSettings(body_bytes=1000)) as client:
        for content in (b"x" * 1001, iter([b"x" * 600] * 2)):
            refused = client.post("/v1/completions", content=content, headers=JSON)
            assert refused.status_code == 413 and refused.headers["connection"] == "close"
        assert client.post("/v1/completions", json=ASKED).status_code == 200


def test_unknown_routes_are_404_and_unknown_methods_405() -> None:
    with served(Scripted()) as client:
        for answer, status in ((client.get("/v1/nothing"), 404), (client.get("/v1/completions"), 405)):
            assert answer.status_code == status
            assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_a_timeout_and_cancels_its_task(stream: bool) -> None:
    backend = Scripted(*STEPS)
    backend.go_on.clear()
    with served(backend, ServiceSettings(timeout_s=0.2)) as client:
        answer = client.post("/v1/completions", json=ASKED | {"stream": stream})
        assert backend.ended.wait(30)
    if stream:
        last = events(answer)[-1]
        assert isinstance(last, dict)
        assert last["error"]["code"] == "timeout"
    else:
        assert answer.status_code == 504


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_disconnects_cancels_its_task(stream: bool) -> None:
    backend = Scripted(*STEPS)
    backend.go_on.clear()
    with served(backend) as client:
        body = json.dumps(ASKED | {"stream": stream}).encode()
        fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        head = f"POST /v1/completions HTTP/1.1\r\n{fields}\r\n\r\n".encode()
        with socket.create_connection((client.base_url.host, client.base_url.port)) as gone:
            gone.sendall(head + body)
            assert backend.begun.wait(30)
        # The task ends although the backend was never allowed to continue.
        assert backend.ended.wait(30)
        backend.go_on.set()
        assert client.post("/v1/completions", json=ASKED).status_code == 200
        assert counted(client, "mercury_requests_cancelled_total") == 1


@pytest.mark.parametrize("sent", [0, 1, 2, 3])
async def test_a_stream_ends_at_once_when_its_client_disconnects(
    sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Call the application as a server does, because a socket cannot show how much was sent before the disconnect."""
    backend, gone, messages = Scripted(*STEPS), asyncio.Event(), list[Message]()
    app = application(backend, ServiceSettings())
    body = json.dumps(ASKED | {"stream": True}).encode()
    received: list[Message] = [{"type": "http.request", "body": body}]

    async def receive() -> Message:
        if received:
            return received.pop()
        if sent:
            await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)
        if len(messages) == sent:
            gone.set()
            # The application cancels this.
            await asyncio.sleep(60)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "path": "/v1/completions", "raw_path": b"/v1/completions", "query_string": b"", "root_path": "",
        "scheme": "http", "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    with caplog.at_level(logging.INFO, logger="mercury_lsp.access"):
        await asyncio.wait_for(app(scope, receive, send), 30)
    assert app.state.service.running == 0 and backend.ended.is_set()
    assert " 499 " in caplog.messages[0] and len(caplog.messages) == 1


def test_metrics_count_requests_and_tokens() -> None:
    with served(Scripted()) as client:
        for _ in range(2):
            client.post("/v1/completions", json=ASKED)
        client.post("/v1/completions", json={})
        assert counted(client, "mercury_requests_total") == 3
        assert counted(client, "mercury_request_seconds_count") == 3
        assert counted(client, "mercury_requests_running") == 0
        assert counted(client, "mercury_tokens_total") == 4
        assert counted(client, "mercury_prompt_tokens_total") == 20
        assert counted(client, "mercury_prompt_tokens_cached_total") == 8


def test_the_log_has_a_line_for_each_request_and_no_code(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    backend = Scripted(Update("secret_middle", 13, "stop", 10, 4, 2, 3))
    settings = ServiceSettings(tokens={"secret_token": "ann"})
    with served(backend, settings) as client:
        headers = {"Authorization": "Bearer secret_token", "X-Affinity-Key": "secret_key"}
        client.post("/v1/completions", json=ASKED, headers=headers)
        client.post("/v1/fim/completions", json=ASKED | {"stream": True}, headers=headers)
        client.post("/v1/fim/completions", content=b'{"secret', headers=headers | JSON)
        client.post("/v1/completions", json=ASKED)
        backend.error = ValueError("of the backend")
        client.post("/v1/completions", json=ASKED, headers=headers)
    ours = [record for record in caplog.records if record.name.startswith("mercury_lsp")]
    lines = [record.getMessage() for record in ours if record.name == "mercury_lsp.access"]
    assert len(lines) == 5
    assert lines[0].startswith("ann /v1/completions 200 ") and lines[0].endswith(" 2 tokens 3 passes")
    # The order is open: the line of a stream is written after its client has received everything.
    begun = {tuple(line.split()[:3]) for line in lines}
    assert {("ann", "/v1/fim/completions", "400"), ("-", "/v1/completions", "401")} < begun
    formatter = logging.Formatter()
    assert "secret" not in "\n".join(formatter.format(record) for record in ours)


def test_the_health_follows_the_backend_which_is_closed_at_the_end() -> None:
    backend = Scripted()
    with served(backend) as client:
        assert client.get("/health").status_code == 200
        backend.ready = False
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
    assert backend.closed
