"""Defines the status of a hosted model, without importing an HTTP client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mercury_lsp.remote.breaker import BreakerState


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """The status of a hosted model.

    ``host``: receives the text. ``breaker``: whether requests are sent now. ``trouble``: why the last request failed,
    as a sentence, or "".
    """

    host: str
    breaker: BreakerState = "closed"
    trouble: str = ""


class RemoteBacked(ABC):
    """An engine that asks a hosted model, always or sometimes."""

    @property
    @abstractmethod
    def remote_status(self) -> RemoteStatus:
        """The status; may be read from any thread."""
