"""Manages the larger model that a client's settings select for the next edit, hosted or local.

The model is created on first use, and closed when the settings select another one or none.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mercury_lsp.completion import edit_models
from mercury_lsp.completion.rewrites import Rewrites
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.search import Candidate, Dismissals
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.errors import Failure
from mercury_lsp.remote.address import host
from mercury_lsp.remote.breaker import RemoteStatus

if TYPE_CHECKING:
    from mercury_lsp.lsp.server import Server

log = logging.getLogger(__name__)


class LargerModel:
    """The larger model, the options that it was created for, and the reason if it cannot be used."""

    def __init__(self) -> None:
        self._rewrites: Rewrites | None = None
        self._wanted: tuple[object, ...] | None = None
        self._last_error = ""

    async def find(
        self,
        ls: Server,
        snapshot: Snapshot,
        cursor: int,
        edits: Sequence[Edit],
        dismissed: Dismissals | None,
    ) -> Candidate | None:
        """Return the next edit by the larger model, or None if there is none or the settings select no such model.

        `hosted_status` tells why a request to a hosted model failed.
        """
        config = snapshot.config
        if (wanted := edit_models.relevant_settings(config)) != edit_models.relevant_settings(
            ls.session.config
        ):
            # The settings have changed since the request.
            return None
        if wanted != self._wanted:
            self.close()
            self._wanted = wanted
            if wanted is not None:
                self._rewrites = Rewrites(
                    lambda: edit_models.make(config), partial(_is_busy, ls, config), partial(_is_ignored, ls)
                )
        if self._rewrites is None:
            return None
        last_error = ""
        try:
            return await self._rewrites.find(snapshot, cursor, edits, dismissed)
        except (NoResult, Failure) as error:
            last_error = str(error)
            return None
        finally:
            if last_error != self._last_error:
                if last_error:
                    log.warning("No next edit by %s: %s", config.next_edit, last_error)
                self._last_error = last_error
                ls.status.changed()

    def configure(self, config: Config) -> None:
        """Close the model if the settings do not select it any more, to stop its requests and free its memory."""
        if edit_models.relevant_settings(config) != self._wanted:
            self.close()

    def hosted_status(self, config: Config) -> RemoteStatus | None:
        """Return the status of the hosted model for next edits, or None if the settings select none."""
        if config.next_edit != "hosted":
            return None
        author = self._rewrites.model if self._rewrites is not None else None
        if isinstance(author, edit_models.HostedEditModel):
            return author.model.remote_status
        return RemoteStatus(host(config.remote_url), last_error=self._last_error)

    def close(self) -> None:
        """Close the model, if there is one."""
        if self._rewrites is not None:
            self._rewrites.close()
        self._rewrites = self._wanted = None


def _is_ignored(ls: Server, uri: str) -> bool:
    """Return whether a document is ignored or closed."""
    snapshot = ls.session.snapshot(uri)
    return snapshot is None or snapshot.ignored


def _is_busy(ls: Server, config: Config) -> bool:
    """Return whether a completion needs the processor that a local model for next edits would use."""
    worker = ls.scheduler.worker
    return config.next_edit != "hosted" and worker is not None and worker.busy
