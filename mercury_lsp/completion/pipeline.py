"""Computes one completion, from a snapshot to the shown text; read the module from top to bottom.

It runs in the worker's thread, so that parsing and tokenizing a large file delay no message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mercury_lsp.completion import manual, triggers
from mercury_lsp.completion.committed import Committed, likelihood_of, one_line
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context import prompt
from mercury_lsp.context.private_files import is_private
from mercury_lsp.context.retrieval import ranking
from mercury_lsp.engine.api import Engine, Infill, Progress, Run, Sampling, never_cancelled
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.tree import Syntax

if TYPE_CHECKING:
    from mercury_lsp.context.memory.project import DocumentMemory
    from mercury_lsp.context.memory.tokens import Reader
    from mercury_lsp.engine.tokenizer import Hint, Prompt

# The time for further suggestions after the first one of a manual request.
ALTERNATIVES_SECONDS = 0.25
# If a trigger rule refuses a place, its prompt is prefilled for places nearby if the cache lacks at least these tokens.
PREFETCH_MIN_TOKENS = 64


class Kept:
    """State that the worker's thread keeps between completions: related text, and token indexes of documents."""

    def __init__(self) -> None:
        self.related = ranking.Memory()
        self._reader: Reader | None = None

    def memory(self, snapshot: Snapshot, offset: int, stem: int, engine: Engine) -> DocumentMemory | None:
        """Return the project memory for a document at an offset; None if the engine or the snapshot has none.

        `stem`: the length of the prompt's stem before the offset, in characters.
        """
        if snapshot.memory is None or engine.vocabulary is None:
            return None
        if self._reader is None or self._reader.vocabulary is not engine.vocabulary:
            # Imports numpy.
            from mercury_lsp.context.memory.tokens import Reader

            self._reader = Reader(engine.vocabulary)
        return self._reader.beside(snapshot.memory, snapshot.document, offset, stem)


def declined(snapshot: Snapshot) -> str | None:
    """Return the reason why nothing is suggested in a document, as a clause for the user; None if there is none."""
    document, config = snapshot.document, snapshot.config
    if not config.enabled:
        return "suggestions are switched off"
    if document.language_id in config.disabled_languages:
        return f"suggestions are switched off for {document.language_id}"
    # The URI names the folders as well.
    if snapshot.private or is_private(document.path) or is_private(unquote(document.uri)):
        return "files of this name hold secrets"
    if snapshot.ignored and (why := _kept_out(config)):
        return f"it is ignored by .gitignore or .mercuryignore, or that is not known yet, and {why}"
    if "\0" in document.text:
        return "it is a binary file"
    return None


def _kept_out(config: Config) -> str | None:
    """Return the reason why an ignored document is not completed; None if the local model completes it."""
    if not config.complete_ignored:
        return "the option complete_ignored is off"
    return "what is ignored is not sent to a hosted model" if config.remote == "always" else None


def nothing(offset: int, reason: str) -> Completion:
    """Return an empty completion with a reason, for a model that was not asked or has not answered."""
    infill = Infill("", 0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0.0, True)
    return Completion("", None, offset, offset, infill, reason)


@dataclass(frozen=True, slots=True)
class Job:
    """How one completion is computed.

    ``cancelled``: called between passes and prefill chunks. ``on_progress``: receives each draft. ``commit``: receives
    the committed text after each pass. ``hint``: an earlier text, which may save passes. ``others``: the largest number
    of further suggestions. ``kept``: state of earlier completions, which may save prefills. ``judge``: chooses the
    shown part of a text. ``patience``: the time limit in seconds of each search for another text, None for the default;
    infinite in evaluations, whose results must not depend on a clock.
    """

    cancelled: Callable[[], bool] = never_cancelled
    on_progress: Callable[[Progress], None] | None = None
    commit: Callable[[Committed], None] = lambda committed: None
    hint: Hint | None = None
    others: int = 0
    kept: Kept | None = None
    judge: Callable[[Committed], Completion] = Committed.judged
    patience: float | None = None


PLAIN = Job()


def complete(snapshot: Snapshot, offset: int, engine: Engine, job: Job = PLAIN) -> Completion | None:
    """Complete a document at an offset; return None if the document is declined.

    Raises `Cancelled` soon after ``job.cancelled()`` is true, and `NoResult` if the engine is a hosted model that
    does not answer.
    """
    if declined(snapshot):
        return None
    config = snapshot.config
    syntax = Syntax.of(snapshot.document)
    refused = None
    if not snapshot.invoked:
        refused = triggers.refused(syntax, offset, config.in_strings_and_comments)
    if refused is not None:
        # A short prefill is left to the next request.
        engine.prefill(question(snapshot, offset, engine, job.kept), job.cancelled, PREFETCH_MIN_TOKENS)
        return nothing(offset, refused)
    single_line = one_line(config, syntax, offset)
    sampling = Sampling(
        snapshot.mode, max_tokens=config.max_tokens, single_line=single_line, local_only=snapshot.ignored
    )

    def on_progress(draft: Progress) -> None:
        job.commit(Committed(snapshot, offset, syntax, single_line, draft.committed))
        if job.on_progress is not None:
            job.on_progress(draft)

    asked, memory = _asked(snapshot, offset, engine, job.kept)
    infill = engine.infill(asked, sampling, Run(job.cancelled, on_progress, job.hint, memory))
    first = Committed(snapshot, offset, syntax, single_line, infill)
    found = job.judge(first)
    if found.shown is None and snapshot.invoked:
        return manual.found(
            first,
            lambda late: engine.alternatives(asked, sampling, infill, Run(late, memory=memory)),
            partial(_middles, engine, replace(sampling, single_line=True, local_only=True), job),
            job.cancelled,
            manual.WAY_SECONDS if job.patience is None else job.patience,
        )
    if not job.others or found.shown is None:
        return found
    job.commit(first)
    until = time.monotonic() + (ALTERNATIVES_SECONDS if job.patience is None else job.patience)

    def late() -> bool:
        return job.cancelled() or time.monotonic() > until

    alternatives = engine.alternatives(asked, sampling, first.infill, Run(late, memory=memory))
    found = replace(found, others=_others(found, first, alternatives, job.others))
    if job.cancelled():
        raise Cancelled
    return found


def _middles(
    engine: Engine, sampling: Sampling, job: Job, snapshot: Snapshot, offset: int, late: Callable[[], bool]
) -> Iterator[Infill]:
    """Yield the infill at another place, and its alternatives; none with `remote` "always", to avoid more requests."""
    if snapshot.config.remote != "always":
        asked, memory = _asked(snapshot, offset, engine, job.kept)
        yield (infill := engine.infill(asked, sampling, Run(job.cancelled, memory=memory)))
        yield from engine.alternatives(asked, sampling, infill, Run(late, memory=memory))


def _others(
    found: Completion, first: Committed, alternatives: Iterator[Infill], most: int
) -> tuple[Completion, ...]:
    """Return at most `most` further completions that differ from `found` and from each other, the likeliest first.

    Alternatives that are not ready when the time is up are left out.
    """
    distinct = {_bare(found): found}
    # A user who steps to another suggestion has asked for it.
    asked = replace(first, snapshot=replace(first.snapshot, invoked=True))
    with suppress(Cancelled):
        for infill in alternatives:
            if (other := replace(asked, infill=infill).judged()).shown is not None:
                distinct.setdefault(_bare(other), other)
            if len(distinct) > most:
                break
    return tuple(sorted(list(distinct.values())[1:], key=lambda other: -likelihood_of(other.infill)))


def _bare(completion: Completion) -> str:
    """Return the shown text without whitespace, which makes no difference to a user."""
    return "".join((completion.shown or "").split())


def prepare(
    snapshot: Snapshot, offset: int, engine: Engine, cancelled: Callable[[], bool], kept: Kept | None
) -> None:
    """Parse a document and prefill its prompt for completions near an offset. Raises `Cancelled`."""
    Syntax.of(snapshot.document)
    asked, _ = _asked(snapshot, offset, engine, kept)
    engine.prefill(asked, cancelled)


def _asked(
    snapshot: Snapshot, offset: int, engine: Engine, kept: Kept | None
) -> tuple[Prompt, DocumentMemory | None]:
    """Return the prompt and the project memory for it."""
    asked = question(snapshot, offset, engine, kept)
    return asked, None if kept is None else kept.memory(snapshot, offset, len(asked.stem), engine)


def question(snapshot: Snapshot, offset: int, engine: Engine, kept: Kept | None = None) -> Prompt:
    """Build the prompt at an offset, with related text; `kept` repeats earlier snippets as long as they hold."""
    document, config = snapshot.document, snapshot.config
    shown = prompt.build(
        document.path,
        document.text[:offset],
        document.text[offset:],
        engine.count,
        config.prefix_tokens,
        config.following_tokens,
        stem_start=engine.stem_start,
    )
    # No other file is sent to a hosted model.
    if config.project_files == "none" or config.remote == "always":
        return shown
    choose = ranking.choose if kept is None else kept.related.choose
    snippets = choose(document, offset, shown, snapshot.library, engine.count, snapshot.related)
    return replace(shown, related=snippets)
