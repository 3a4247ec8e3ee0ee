"""Asks a hosted model for the next edit: sends one message, and returns the answer's text.

It has a connection and a circuit breaker of its own, because a server may know the one path and not the other.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from contextlib import closing

from mercury_lsp.config import Config
from mercury_lsp.engine.worker import Unanswered
from mercury_lsp.remote.address import Address
from mercury_lsp.remote.breaker import Breaker, RemoteBacked, RemoteStatus
from mercury_lsp.remote.key import Key
from mercury_lsp.remote.link import Link, RequestFailed
from mercury_lsp.remote.shapes import LIMIT_REASONS, edit_body

ANSWER_SECONDS = 4.0

log = logging.getLogger(__name__)


class HostedEdits(RemoteBacked):
    """One hosted model that predicts edits; for one thread at a time."""

    def __init__(self, address: Address, key: Key, model: str, seconds: float = ANSWER_SECONDS) -> None:
        self._link, self._model, self._seconds = Link(address, key), model, seconds
        self._breaker, self._trouble = Breaker(), ""
        # Told to the server, which may keep a session's requests together: it says nothing of the document.
        self._affinity = secrets.token_hex(8)

    @classmethod
    def of(cls, config: Config) -> HostedEdits:
        """Make it of the options, without a request. Raises `RemoteError`."""
        key = Key(config.remote_key_env, config.remote_key_command)
        return cls(Address.of(config.remote_url).of_edits, key, config.remote_model)

    @property
    def remote_status(self) -> RemoteStatus:
        """The status of the server."""
        return RemoteStatus(self._link.address.host, self._breaker.state(time.monotonic()), self._trouble)

    def close(self) -> None:
        """Close the connection; otherwise it is closed when the object is collected."""
        self._link.close()

    def ask(self, content: str, max_tokens: int, cancelled: Callable[[], bool]) -> str | None:
        """The answer to a message; None if a limit cut it off.

        Raises `Unanswered`, and `Cancelled` soon after ``cancelled()`` turns true.
        """
        host = self._link.address.host
        if pause := self._breaker.left(time.monotonic()):
            last = self._trouble.rstrip(".") or "it asked for that"
            raise Unanswered(f"{host} is left alone for another {math.ceil(pause)} s: {last}")
        text, finish = "", ""
        body = edit_body(self._model, content, max_tokens)
        try:
            pieces = self._link.ask(body, self._affinity, self._seconds, cancelled)
            with closing(pieces):
                for piece in pieces:
                    text += piece.text
                    finish = piece.finish or finish
        except RequestFailed as failed:
            self._breaker.failure(time.monotonic(), failed.wish)
            trouble = f"{host} {failed}."
            log.log(logging.DEBUG if trouble == self._trouble else logging.WARNING, "%s", trouble)
            self._trouble = trouble
            raise Unanswered(f"{host} {failed}") from None
        self._breaker.succeeded()
        self._trouble = ""
        return None if finish in LIMIT_REASONS else text
