"""How it stands with a hosted model, for who tells the user. Imports nothing that speaks HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mercury_lsp.remote.breaker import State


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """``host``: where text is sent to; ``breaker``: whether anything is sent now; ``trouble``: why the last request
    was in vain, as a sentence, or ""."""

    host: str
    breaker: State = "closed"
    trouble: str = ""


class RemoteBacked(ABC):
    """An infiller that asks a hosted model, always or at times."""

    @property
    @abstractmethod
    def remote_status(self) -> RemoteStatus:
        """How it stands. May be asked from any thread."""
