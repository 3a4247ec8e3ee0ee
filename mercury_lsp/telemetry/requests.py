"""Keeps the facts of each request for a suggestion, from its start to its outcome, and writes them to the history.

Runs on the event loop.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from mercury_lsp.completion.types import Cause, Completion, Reply, Snapshot
from mercury_lsp.syntax.document import Document
from mercury_lsp.telemetry.acceptance import AcceptanceTracker, Item, replaced_range
from mercury_lsp.telemetry.store import MAX_NAME_CHARACTERS, Event, History


@dataclass(slots=True)
class Request:
    """A request during and after its answer. `cause` is `Cause.NONE` if a suggestion was sent."""

    snapshot: Snapshot
    offset: int
    # The client's document; the snapshot's may have a menu item inserted.
    document: Document
    cursor: int
    cause: Cause = Cause.CANCELLED
    reason: str = ""
    recalled: bool = False
    completions: tuple[Completion, ...] = ()
    ids: tuple[str, ...] = ()
    model: str = ""
    moment: float = field(default_factory=time.time)
    began: float = field(default_factory=time.perf_counter)
    ms: float = 0.0

    def record_reply(self, reply: Reply) -> Completion | None:
        """Note the reply, and return its completion if there is text to show."""
        self.cause, self.recalled = reply.cause, reply.from_cache
        if reply.completion is None:
            return None
        self.completions, self.reason = (reply.completion,), reply.completion.reason or ""
        return reply.completion if reply.completion.shown is not None else None

    @property
    def shown_length(self) -> int:
        """The number of characters of the first shown text."""
        return len(self.completions[0].shown or "") if self.completions else 0

    def record_nothing(self, cause: Cause, reason: str = "") -> None:
        """Note that nothing is sent."""
        self.cause, self.reason = cause, reason


class RequestLog(AcceptanceTracker[Request]):
    """The requests of one client; their outcomes are written to the history. `editor`: the client's name."""

    def __init__(self, history: History) -> None:
        super().__init__(
            lambda outcome: self._write(outcome.facts, outcome.kind, outcome.shown, outcome.accepted)
        )
        self.last: Request | None = None
        self.editor = ""
        self._history = history
        self._numbers = itertools.count(1)

    def start(self, request: Request) -> None:
        """Note a request."""
        self.on_request(request.document.uri, request.cursor)

    def assign_ids(self, request: Request, completions: Sequence[Completion]) -> None:
        """Assign an id to each completion that will be sent."""
        request.completions = tuple(completions)
        request.ids = tuple(str(next(self._numbers)) for _ in completions)

    def finish(self, request: Request, document: Document | None) -> None:
        """Note the answer to a request. `document`: the client's current document, or None if it was closed."""
        self.last = request
        request.ms = (time.perf_counter() - request.began) * 1e3
        if request.cause is Cause.DECLINED:
            # Files that must not be read leave no record.
            return
        if not request.ids:
            self._write(request, "nothing")
        elif document is None or document.text != request.document.text:
            self._write(request, "unseen", request.shown_length)
        else:
            items = [
                Item(
                    id_,
                    completion.start,
                    document.text[completion.start : completion.end],
                    completion.shown or "",
                )
                for id_, completion in zip(request.ids, request.completions, strict=True)
            ]
            start, end = replaced_range(items)
            start, end = min(start, request.cursor), max(end, request.cursor)
            region = document.text[start:end]
            if not self.on_suggestion(document.uri, request.cursor, items, region, request):
                self._write(request, "continued")

    def _write(self, request: Request, outcome: str, shown: int = 0, accepted: int = 0) -> None:
        infill = request.completions[0].infill if request.completions else None
        event = Event(
            moment=request.moment,
            language=_clean_name(request.document.language_id),
            editor=_clean_name(self.editor),
            model=_clean_name(PurePath(request.model).name),
            invoked=request.snapshot.manual,
            outcome=outcome,
            cause=request.cause,
            latency_ms=round(request.ms, 2),
            shown=shown,
            accepted=accepted,
            tokens=infill.tokens if infill else 0,
            passes=infill.forward_passes if infill else 0,
            recalled=request.recalled,
        )
        self._history.add([event])


def _clean_name(text: str) -> str:
    """Shorten a foreign name, and replace characters that cannot be encoded."""
    return text.encode(errors="replace").decode()[:MAX_NAME_CHARACTERS]
