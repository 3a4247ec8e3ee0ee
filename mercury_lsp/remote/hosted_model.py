"""Keeps the connection and the circuit breaker of one hosted model, and the reason of its last failure."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mercury_lsp.engine.worker import NoResult
from mercury_lsp.remote.address import Address
from mercury_lsp.remote.breaker import Breaker, RemoteBacked, RemoteStatus
from mercury_lsp.remote.connection import Connection, RequestFailed
from mercury_lsp.remote.key import Key

log = logging.getLogger(__name__)


class HostedModel(RemoteBacked):
    """A hosted model; for one thread at a time."""

    def __init__(self, address: Address, key: Key, model: str) -> None:
        self._connection, self._model = Connection(address, key), model
        self._breaker, self._last_error = Breaker(), ""

    @property
    def remote_status(self) -> RemoteStatus:
        """The status of the server."""
        return RemoteStatus(
            self._connection.address.host, self._breaker.state(time.monotonic()), self._last_error
        )

    def close(self) -> None:
        """Close the connection; otherwise it is closed when the object is collected."""
        self._connection.close()

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Enclose one request, and note its success or failure. Raises `NoResult` if it fails, or during a pause."""
        host = self._connection.address.host
        if pause := self._breaker.pause_left(time.monotonic()):
            last = self._last_error.rstrip(".") or "it asked for that"
            raise NoResult(f"{host} is left alone for another {math.ceil(pause)} s: {last}")
        try:
            yield
        except RequestFailed as failed:
            self._breaker.record_failure(time.monotonic(), failed.requested_pause)
            last_error = f"{host} {failed}."
            log.log(logging.DEBUG if last_error == self._last_error else logging.WARNING, "%s", last_error)
            self._last_error = last_error
            raise NoResult(f"{host} {failed}") from None
        self._breaker.record_success()
        self._last_error = ""
