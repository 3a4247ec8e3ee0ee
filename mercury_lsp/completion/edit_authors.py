"""Makes the larger model that the option `next_edit` names: the hosted one, or an open next-edit model.

What computes, and the HTTP client, are imported only when a model is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mercury_lsp.completion.rewrites import Author
from mercury_lsp.config import Config
from mercury_lsp.edits.formats import MERCURY
from mercury_lsp.edits.region import Region
from mercury_lsp.remote.outgoing import anonymous, blanked
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.remote.edits import HostedEdits


def wanted(config: Config) -> tuple[object, ...] | None:
    """All of a configuration that a larger model depends on; None if none is wanted."""
    match config.next_edit:
        case "off" | "local":
            return None
        case "hosted":
            key = (config.remote_key_env, config.remote_key_command)
            return "hosted", config.remote_url, config.remote_model, key
        case name:
            return name, config.device, config.threads, config.quantization, config.nice


def make(config: Config) -> Author:
    """The model of a configuration that wants one. Raises `RemoteError`, `CheckpointError`."""
    from mercury_lsp.remote.edits import HostedEdits

    return HostedAuthor(HostedEdits.of(config))


class HostedAuthor(Author):
    """A hosted model in Mercury Edit's format. It is shown no secret, no path and no other file."""

    format = MERCURY
    here = False

    def __init__(self, model: HostedEdits) -> None:
        self.model = model

    def close(self) -> None:
        """See `Author`."""
        self.model.close()

    def clean(self, text: str) -> str:
        """See `Author`."""
        return blanked(text)

    def path(self, document: Document) -> str:
        """The ending of the document's name alone."""
        return anonymous(document.path)

    def ask(self, prompt: str, region: Region, max_tokens: int, cancelled: Callable[[], bool]) -> str | None:
        """See `Author.ask`."""
        return self.model.ask(prompt, max_tokens, cancelled)
