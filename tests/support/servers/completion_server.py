"""A test server with llama.cpp's completion API on a real socket; the test gives the answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, object]]
"""Returns the status and the answer (JSON or bytes) for the body of a request."""


def writes(*tokens: int, newlines: frozenset[int] = frozenset(), end: int = 0) -> Answer:
    """Return an answer that continues any prompt by these tokens and the end; tokens at its end are not repeated."""

    def answer(body: dict[str, Any]) -> tuple[int, object]:
        written = [*tokens, end]
        prompt = body["prompt"]
        for done in range(len(tokens), 0, -1):
            if prompt[-done:] == written[:done]:
                written = written[done:]
                break
        made = []
        for token in written[: body["n_predict"]]:
            made.append(token)
            if token == end or ("stop" in body and token in newlines):
                break
        return 200, {"content": "", "tokens": made}

    return answer


@contextmanager
def serving(answer: Answer, model: str = "/models/tiny.gguf") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a server; yield its address and the bodies of its requests so far."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"model_path": model})

        def do_POST(self) -> None:
            if self.path != "/completion":
                return self._send(404, {"error": {"message": "File Not Found"}})
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            return self._send(*answer(seen[-1]))

        def _send(self, status: int, value: object) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
