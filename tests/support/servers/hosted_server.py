"""A test server of a hosted model on a real socket: it gives prepared answers and records all requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Seconds after which a test counts as stuck.
WAIT = 30.0
Answer = Callable[["Exchange"], None]


@dataclass
class Hosted:
    """The recorded requests and the prepared answers; the last of `answers` is repeated.

    `seen`: path, headers, body and raw body of each request. `left`: set when a client has closed a running stream.
    `go`: an event for which answers may wait.
    """

    answers: list[Answer]
    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    connections: set[int] = field(default_factory=set)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [one["body"] for one in self.seen]


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hosted: Hosted

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        seen = {"path": self.path, "headers": dict(self.headers), "body": body, "raw": raw.decode()}
        self.hosted.seen.append(seen)
        self.hosted.connections.add(self.client_address[1])
        answers = self.hosted.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.hosted.asked.set()
        with suppress(ConnectionError):
            answer(self)

    def reply(self, status: int, content: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, value: object) -> None:
        data = value if isinstance(value, str) else json.dumps(value)
        chunk = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.flush()

    def end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def wait_for_end(self) -> None:
        """Wait until the client has closed the connection."""
        self.connection.settimeout(WAIT)
        with suppress(ConnectionError):
            if self.connection.recv(1) == b"":
                self.hosted.left.set()
                return
        self.hosted.left.set()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hosting(*answers: Answer) -> Iterator[Hosted]:
    hosted = Hosted(list(answers))
    handler = type("Handler", (Exchange,), {"hosted": hosted})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hosted.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield hosted
    finally:
        hosted.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def whole(text: str, finish: str = "stop", key: str = "message", **more: object) -> Answer:
    """Answer with one JSON object in Mistral's form, or with the key `text` in OpenAI's."""
    content = {"text": text} if key == "text" else {key: {"role": "assistant", "content": text}}
    choice = {"index": 0, "finish_reason": finish, **content, **more}
    return lambda exchange: exchange.reply(200, json.dumps({"choices": [choice]}).encode())


def streamed(*texts: str, finish: str = "stop", key: str = "delta", done: bool = True) -> Answer:
    """Answer with a stream of events, each with a text."""

    def answer(exchange: Exchange) -> None:
        exchange.begin()
        for text in texts:
            part = {"text": text} if key == "text" else {key: {"content": text}}
            exchange.event({"choices": [{"index": 0, "finish_reason": None, **part}]})
        if finish:
            last = {"text": ""} if key == "text" else {key: {}}
            exchange.event({"choices": [{"index": 0, "finish_reason": finish, **last}]})
        if done:
            exchange.event("[DONE]")
        exchange.end()

    return answer


def goes_on(*texts: str) -> Answer:
    """Answer with a stream of events, and then wait until the client has closed the connection."""

    def answer(exchange: Exchange) -> None:
        exchange.begin()
        for text in texts:
            exchange.event({"choices": [{"delta": {"content": text}}]})
        exchange.wait_for_end()

    return answer


def cut(*texts: str) -> Answer:
    """Answer with a stream of events, and then close the connection within the stream."""

    def answer(exchange: Exchange) -> None:
        exchange.begin()
        for text in texts:
            exchange.event({"choices": [{"delta": {"content": text}}]})
        exchange.close_connection = True
        exchange.connection.shutdown(socket.SHUT_RDWR)

    return answer


def refuse(status: int, content: bytes = b"{}", **headers: str) -> Answer:
    return lambda exchange: exchange.reply(status, content, **headers)


def silent(exchange: Exchange) -> None:
    exchange.wait_for_end()
