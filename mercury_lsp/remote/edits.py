"""Asks a hosted model for the next edit: sends one message, and returns the text of the answer.

It has its own connection and circuit breaker, because a server may support one of the paths and not the other.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing

from mercury_lsp.config import Config
from mercury_lsp.remote.address import Address
from mercury_lsp.remote.api_formats import LIMIT_REASONS, edit_body
from mercury_lsp.remote.hosted_model import HostedModel
from mercury_lsp.remote.key import Key

# Enough for an answer that rewrites about twenty lines.
EDIT_SECONDS = 4.0


class HostedEdits(HostedModel):
    """A hosted model that predicts edits; for one thread at a time."""

    def __init__(self, address: Address, key: Key, model: str, seconds: float = EDIT_SECONDS) -> None:
        super().__init__(address, key, model)
        self._seconds = seconds
        # Lets the server route a session's requests together; being random, it reveals nothing about the document.
        self._affinity = secrets.token_hex(8)

    @classmethod
    def of(cls, config: Config) -> HostedEdits:
        """Return the model of the options, without sending a request. Raises `RemoteError`."""
        key = Key(config.remote_key_env, config.remote_key_command)
        return cls(Address.of(config.remote_url).edit_address, key, config.remote_model)

    def ask(self, content: str, max_tokens: int, cancelled: Callable[[], bool]) -> str | None:
        """Return the answer to a message, or None if a limit cut it off.

        Raises `NoResult`, and `Cancelled` soon after ``cancelled()`` turns true.
        """
        text, finish = "", ""
        body = edit_body(self._model, content, max_tokens)
        with (
            self._request(),
            closing(self._connection.ask(body, self._affinity, self._seconds, cancelled)) as chunks,
        ):
            for chunk in chunks:
                text += chunk.text
                finish = chunk.finish or finish
        return None if finish in LIMIT_REASONS else text
