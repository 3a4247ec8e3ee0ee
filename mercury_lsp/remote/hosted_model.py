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
from mercury_lsp.remote.key import Key
from mercury_lsp.remote.link import Link, RequestFailed

log = logging.getLogger(__name__)


class HostedModel(RemoteBacked):
    """A hosted model; for one thread at a time."""

    def __init__(self, address: Address, key: Key, model: str) -> None:
        self._link, self._model = Link(address, key), model
        self._breaker, self._trouble = Breaker(), ""

    @property
    def remote_status(self) -> RemoteStatus:
        """The status of the server."""
        return RemoteStatus(self._link.address.host, self._breaker.state(time.monotonic()), self._trouble)

    def close(self) -> None:
        """Close the connection; otherwise it is closed when the object is collected."""
        self._link.close()

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Enclose one request, and note its success or failure. Raises `NoResult` if it fails, or during a pause."""
        host = self._link.address.host
        if pause := self._breaker.left(time.monotonic()):
            last = self._trouble.rstrip(".") or "it asked for that"
            raise NoResult(f"{host} is left alone for another {math.ceil(pause)} s: {last}")
        try:
            yield
        except RequestFailed as failed:
            self._breaker.failure(time.monotonic(), failed.wish)
            trouble = f"{host} {failed}."
            log.log(logging.DEBUG if trouble == self._trouble else logging.WARNING, "%s", trouble)
            self._trouble = trouble
            raise NoResult(f"{host} {failed}") from None
        self._breaker.succeeded()
        self._trouble = ""
