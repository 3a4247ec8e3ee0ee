"""Sends previews to the editor while a suggestion is decoded.

It sends only previews of the document's current version, at most one for each turn of the event loop, the newest. Each
place that got a preview gets a final message. Previews come from the worker's thread, which never waits for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mercury_lsp.completion.cache import Place
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.lsp import convert
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Progress

DRAFT = "mercury/draft"


class Previews:
    """Sends the previews of one client.

    `current` returns the client's document of a URI, or None; `send` is called on the event loop.
    """

    def __init__(
        self,
        current: Callable[[str], Document | None],
        send: Callable[[dict[str, Any]], object],
        encoding: str,
    ) -> None:
        self._current, self._send, self._encoding = current, send, encoding
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        # The newest preview, not processed yet.
        self._newest: tuple[Place, Progress | None] | None = None
        # The place of the preview that the client shows.
        self._shown: Place | None = None
        # The forward passes of the shown preview.
        self._passes = 0

    def update(self, place: Place, draft: Progress | None) -> None:
        """Note a place's preview, or, for None, the end of the work there. May be called from any thread."""
        with self._lock:
            due, self._newest = self._newest is not None, (place, draft)
        if not due:
            # The loop is closed: the client has disconnected.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._send_newest)

    def _send_newest(self) -> None:
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return
        place, draft = newest
        fits = draft is not None and self._fits(place, draft)
        if self._shown is not None and not (fits and _is_same_place(self._shown, place)):
            self._notify(self._shown, "", "", self._passes, done=True)
            self._shown = None
        if fits and draft is not None:
            committed, rest = split_committed(draft)
            self._shown, self._passes = place, draft.forward_passes
            self._notify(place, committed, rest, self._passes, done=False)

    def _fits(self, place: Place, draft: Progress) -> bool:
        """Return whether a preview fits the client's current text and contains no secret."""
        document = place[0].document
        now = self._current(document.uri)
        same = now is not None and now.version == document.version and now.text == document.text
        return same and not is_secret(draft.text)

    def _notify(self, place: Place, committed: str, rest: str, passes: int, done: bool) -> None:
        document, offset = place[0].document, place[1]
        position = convert.position(document, offset, self._encoding)
        self._send(
            {
                "textDocument": {"uri": document.uri, "version": document.version},
                "position": {"line": position.line, "character": position.character},
                "committed": committed,
                "draft": rest,
                "pass": passes,
                "done": done,
            }
        )


def split_committed(draft: Progress) -> tuple[str, str]:
    """Split a preview's text into the committed part and the rest."""
    committed = draft.committed.text
    return (committed, draft.text[len(committed) :]) if draft.text.startswith(committed) else ("", draft.text)


def _is_same_place(one: Place, other: Place) -> bool:
    a, b = one[0].document, other[0].document
    return (a.uri, a.version, one[1]) == (b.uri, b.version, other[1])
