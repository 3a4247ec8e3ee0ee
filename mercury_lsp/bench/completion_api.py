"""Sends requests to a server with llama.cpp's completion API, and times the answers.

A text ends by the engine's own rule: at a stop token or, for a single line, at the first newline token after the first
token. Every failure of the server is a `Failure` with one sentence.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mercury_lsp.errors import BadUsage, Failure

ANSWER_SECONDS = 120.0
PATH = "/completion"


@dataclass(frozen=True, slots=True)
class ServerReply:
    """The server's tokens without the stop token.

    `finished`: a stop token, not a limit, has ended the text. `ms`: the time from the request to the last byte of the
    answer.
    """

    tokens: tuple[int, ...]
    finished: bool
    ms: float


class CompletionServer:
    """A server at `url`.

    `ends`: the ids of the stop tokens. `newlines`: the ids of the tokens with a newline. `forbidden`: the ids that the
    server must not choose. Raises `BadUsage` for an invalid address.
    """

    def __init__(
        self, url: str, ends: Collection[int], newlines: Collection[int] = (), forbidden: Sequence[int] = ()
    ) -> None:
        address = urlsplit(url)
        try:
            port = address.port
        except ValueError:
            port = 0
        if address.scheme not in ("http", "https") or not address.hostname or port == 0:
            raise BadUsage(f"A server's address is like http://127.0.0.1:8080, not {url!r}.")
        self.url = url
        self._secure, self._host, self._port = address.scheme == "https", address.hostname, port
        self._base_path = address.path.rstrip("/")
        self._ends, self._newlines = frozenset(ends), frozenset(newlines)
        self._bias = [[token, False] for token in forbidden]

    def model(self) -> str:
        """Return the file name of the server's model, or an empty text if the server does not tell it."""
        try:
            answer, _ = self._request_json("GET", "/props", None)
        except Failure:
            return ""
        name = str(answer.get("model_path") or "") if isinstance(answer, dict) else ""
        return name.replace("\\", "/").rpartition("/")[2]

    def prefill(self, ids: Sequence[int]) -> float:
        """Let the server prefill a prompt into its KV cache, and return the milliseconds."""
        _, ms = self._request_tokens(ids, 1, False)
        return ms

    def complete(self, ids: Sequence[int], max_tokens: int, single_line: bool) -> ServerReply:
        """Return the greedy continuation of at most ``max_tokens`` tokens."""
        tokens, ms = self._request_tokens(ids, max_tokens, single_line)
        if single_line and len(tokens) == 1 < max_tokens and tokens[0] in self._newlines:
            # The server stops at any newline, but a newline in the first token does not end the text.
            more, ms_more = self._request_tokens([*ids, *tokens], max_tokens - 1, True)
            tokens, ms = tokens + more, ms + ms_more
        for index, token in enumerate(tokens):
            if token in self._ends or (single_line and index and token in self._newlines):
                return ServerReply(tuple(tokens[:index]), True, ms)
        return ServerReply(tuple(tokens), False, ms)

    def _request_tokens(
        self, ids: Sequence[int], max_tokens: int, single_line: bool
    ) -> tuple[list[int], float]:
        """Request a continuation; return its tokens, including the token that ended it, and the milliseconds."""
        request: dict[str, object] = {
            "prompt": list(ids),
            "n_predict": max_tokens,
            "temperature": 0,
            "cache_prompt": True,
            "return_tokens": True,
            "logit_bias": self._bias,
        }
        if single_line:
            request["stop"] = ["\n"]
        answer, ms = self._request_json("POST", PATH, json.dumps(request).encode())
        tokens = answer.get("tokens") if isinstance(answer, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise Failure(f"The server at {self.url} answers without token ids, which llama.cpp's has.")
        if not tokens and answer.get("content"):
            raise Failure(f"The server at {self.url} does not return tokens; it may be too old.")
        return tokens, ms

    def _request_json(self, method: str, path: str, body: bytes | None) -> tuple[Any, float]:
        """Return the JSON of an answer, and the milliseconds from the request to its end, without connecting."""
        connection_type = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = connection_type(self._host, self._port, timeout=ANSWER_SECONDS)
        try:
            connection.connect()
            began = time.perf_counter()
            connection.request(method, self._base_path + path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            ms = (time.perf_counter() - began) * 1e3
        except TimeoutError:
            raise Failure(
                f"The server at {self.url} has not answered within {ANSWER_SECONDS:.0f} s."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failure(f"The server at {self.url} cannot be asked: {reason}.") from error
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            raise Failure(f"The server at {self.url} has no {path}, so it is none with llama.cpp's API.")
        try:
            parsed = json.loads(content)
        except ValueError as error:
            raise Failure(f"The server at {self.url} answered something that is no JSON.") from error
        if answer.status != http.HTTPStatus.OK:
            raise Failure(f"The server at {self.url} refused: {_error_message(parsed) or answer.reason}.")
        return parsed, ms


def _error_message(value: Any) -> str:
    """Return the message of an error on one line."""
    error = value.get("error") if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(message or "").split()).rstrip(".")
