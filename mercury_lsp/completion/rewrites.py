"""Asks a larger model, hosted or local, to rewrite the lines around the cursor, and keeps its answer.

A request waits for a pause in typing, and only one runs at a time. After the user accepts the first edit of an answer,
its other edits are offered without another request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Protocol

from mercury_lsp.completion.fitting.postprocess import HIDDEN
from mercury_lsp.completion.idle import POLL_SECONDS
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.edits.formats import Format
from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.region import (
    MAX_REGION_CHARACTERS,
    Change,
    Clean,
    Region,
    edit_candidates,
    lines_with_secret_remains,
    recent_changes,
    region_around,
)
from mercury_lsp.edits.search import Candidate, Dismissals
from mercury_lsp.engine.worker import Cancelled, NoResult
from mercury_lsp.errors import Failure
from mercury_lsp.syntax.document import Document

# The debounce of an automatic request.
DEBOUNCE_SECONDS = 0.25
# Converts the option `context_tokens` to characters of the prompt, and the region's characters to tokens.
CHARACTERS_PER_TOKEN = 3
# The number of tokens by which an answer may be longer than the region.
EXTRA_ANSWER_TOKENS = 192
# Longer answers are rejected, because their edits are computed on the event loop.
MAX_ANSWER_LINES, MAX_ANSWER_CHARACTERS = 300, 4 * MAX_REGION_CHARACTERS
# Characters that no edit may add: controls except the tab, hidden characters, and surrogates.
_FORBIDDEN_CHARACTERS = re.compile(f"[\0-\x08\x0a-\x1f\x7f\ud800-\udfff{HIDDEN}]")

log = logging.getLogger(__name__)


class EditModel(Protocol):
    """A model that rewrites lines. `here`: the model runs on this machine."""

    format: Format
    here: bool

    @property
    def clean(self) -> Clean | None:
        """Replaces lines that the model must not see by blanks; None if it may see all."""

    def path(self, document: Document) -> str:
        """Return the part of a document's path that the model may see."""

    def ask(
        self, prompt: str, region: Region, max_tokens: int, cancelled: Callable[[], bool]
    ) -> list[str] | None:
        """Return the region's new lines in the model's answer; None if it is incomplete or not in the format.

        Raises `NoResult`, `Cancelled`.
        """

    def close(self) -> None:
        """Release the model. May be called from another thread during a request."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer: the new lines of a region, whose document is that of the request, or after accepted edits of it."""

    region: Region
    lines: tuple[str, ...]
    changes: tuple[Change, ...]


class Rewrites:
    """The larger model of one client, made by `make` at the first request, and its last answer.

    `busy`: returns whether a completion needs the processor; then the model stops and starts again later. `ignored`:
    returns whether the project ignores the document of a URI, which may change after the snapshot was taken.
    """

    def __init__(
        self,
        make: Callable[[], EditModel],
        busy: Callable[[], bool] = lambda: False,
        ignored: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._make, self._busy, self._ignored = make, busy, ignored
        self.model: EditModel | None = None
        # The reason if the model cannot be made: it is not tried again, because loading may take seconds.
        self._failure: Failure | None = None
        self._last_answer: _Answer | None = None
        self._last_prompt = ""
        self._closed = Event()
        # Only one request runs at a time, in one thread; the others wait on the event loop.
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "mercury-edits")

    def close(self) -> None:
        """Stop the running request, which then returns None, and start no further one."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self.model is not None:
            self.model.close()

    async def find(
        self, snapshot: Snapshot, cursor: int, edits: Sequence[Edit], dismissals: Dismissals | None
    ) -> Candidate | None:
        """Return the next edit near the cursor, or None. Raises `NoResult`, and the errors of `make`."""
        same = self._last_answer is not None and self._last_answer.region.document == snapshot.document
        if (answer := self._valid_answer(snapshot.document)) is not None:
            left = edit_candidates(answer.region, answer.lines, answer.changes, dismissals)
            if left or (same and not snapshot.manual):
                return left[0] if left else None
        if not snapshot.manual:
            await asyncio.sleep(DEBOUNCE_SECONDS)
        answer = await self._ask_when_idle(snapshot, cursor, tuple(edits))
        if answer is None:
            return None
        self._last_answer = answer
        found = edit_candidates(answer.region, answer.lines, answer.changes, dismissals)
        return found[0] if found else None

    async def _ask_when_idle(
        self, snapshot: Snapshot, cursor: int, edits: tuple[Edit, ...]
    ) -> _Answer | None:
        """Return the model's answer, computed while no completion needs the processor."""
        request_cancelled = Event()

        def cancelled() -> bool:
            return request_cancelled.is_set() or self._closed.is_set() or self._busy()

        try:
            while not self._closed.is_set():
                if self._busy():
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                async with self._turn:
                    # These checks come directly before the request, which may have waited for an earlier one.
                    if self._closed.is_set():
                        return None
                    if self._ignored(snapshot.document.uri):
                        snapshot = replace(snapshot, ignored=True)
                    with suppress(Cancelled):
                        ask = partial(copy_context().run, self._ask, snapshot, cursor, edits, cancelled)
                        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)
            return None
        except NoResult:
            if self._closed.is_set():
                return None
            raise
        finally:
            request_cancelled.set()

    def _ask(
        self, snapshot: Snapshot, cursor: int, edits: tuple[Edit, ...], cancelled: Callable[[], bool]
    ) -> _Answer | None:
        """Ask the model for the lines around the cursor; runs in the thread `mercury-edits`."""
        if self.model is None:
            self.model = self._make_once()
        if cancelled():
            raise Cancelled
        model, document = self.model, snapshot.document
        if snapshot.ignored and not model.here:
            return None
        characters = CHARACTERS_PER_TOKEN * snapshot.config.context_tokens
        hidden = lines_with_secret_remains(document, edits) if model.clean is not None else ()
        region = region_around(document, cursor, characters, model.clean, hidden)
        changes = recent_changes(document, edits, model.clean)
        if region is None or not changes:
            return None
        prompt = model.format.prompt(model.path(document), region, changes)
        if prompt is None or prompt == self._last_prompt:
            return None
        tokens = (
            EXTRA_ANSWER_TOKENS + sum(len(line) + 1 for line in region.editable) * 2 // CHARACTERS_PER_TOKEN
        )
        lines = model.ask(prompt, region, tokens, cancelled)
        # The same prompt is not sent twice, even if its answer was of no use.
        self._last_prompt = prompt
        if lines is None or not _is_fit(lines, region):
            log.debug("The answer is not the lines, rewritten.")
            return None
        return _Answer(region, tuple(lines), tuple(changes))

    def _make_once(self) -> EditModel:
        """Make the model. Raises `Failure`, the same again if it has failed before."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._make()
        except Failure as error:
            self._failure = error
            raise

    def _valid_answer(self, document: Document) -> _Answer | None:
        """Return the kept answer if the document has not changed since, except by one of the answer's edits."""
        answer = self._last_answer
        if answer is None or answer.region.document.uri != document.uri:
            return None
        was = answer.region.document
        if document.text == was.text:
            return answer
        for one in edit_candidates(answer.region, answer.lines, answer.changes):
            if was.text[: one.start] + one.text + was.text[one.end :] == document.text:
                self._last_answer = replace(answer, region=_region_after_edit(answer.region, one, document))
                return self._last_answer
        self._last_answer = None
        return None


def _is_fit(lines: Sequence[str], region: Region) -> bool:
    """Return whether lines are within the size limits, and have no unfit character that is new to the region."""
    if len(lines) > MAX_ANSWER_LINES or sum(map(len, lines)) > MAX_ANSWER_CHARACTERS:
        return False
    return set(_FORBIDDEN_CHARACTERS.findall("".join(lines))) <= set(
        _FORBIDDEN_CHARACTERS.findall("".join(region.editable))
    )


def _region_after_edit(region: Region, taken: Candidate, document: Document) -> Region:
    """Return the region after one of its edits was accepted, with the cursor at the end of that edit."""
    more = document.line_count - region.document.line_count
    last = region.last + more
    lines = (
        *region.above,
        *(document.line(number) for number in range(region.first, last + 1)),
        *region.below,
    )
    line, character = document.position(taken.start + len(taken.text))
    line = min(max(line, region.first), last)
    return Region(document, region.top, lines, region.first, last, line, character)
