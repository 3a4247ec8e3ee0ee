"""Makes one completion, from a snapshot to what is shown; read it from top to bottom.

It runs in the worker's thread, where parsing and tokenizing a large file delay no message.
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

# How long a manual request waits for further suggestions once the first is there.
ALTERNATIVES_SECONDS = 0.25
# A place where nothing is shown is prefilled for the places near it if it has more tokens to read.
PREFETCH_MIN_TOKENS = 64


class Kept:
    """What is kept from one completion to the next, by the worker's thread alone: `related` texts, read documents."""

    def __init__(self) -> None:
        self.related = ranking.Memory()
        self._reader: Reader | None = None

    def memory(self, snapshot: Snapshot, offset: int, stem: int, engine: Engine) -> DocumentMemory | None:
        """The project memory beside a document, with the prompt's stem of so many characters before the offset.

        None where the engine, or the user, has none.
        """
        if snapshot.memory is None or engine.vocabulary is None:
            return None
        if self._reader is None or self._reader.vocabulary is not engine.vocabulary:
            from mercury_lsp.context.memory.tokens import Reader  # imports numpy

            self._reader = Reader(engine.vocabulary)
        return self._reader.beside(snapshot.memory, snapshot.document, offset, stem)


def declined(snapshot: Snapshot) -> str | None:
    """Why nothing is suggested in this document, for the log; None where there is no such reason."""
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
    """Why an ignored document is not completed; None where it is, by the local model."""
    if not config.complete_ignored:
        return "the option complete_ignored is off"
    return "what is ignored is not sent to a hosted model" if config.remote == "always" else None


def nothing(offset: int, reason: str) -> Completion:
    """What is suggested where the model was not asked, or has not answered, and why."""
    infill = Infill("", 0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0.0, True)
    return Completion("", None, offset, offset, infill, reason)


@dataclass(frozen=True, slots=True)
class Job:
    """How one completion is computed.

    ``cancelled``: asked often. ``on_progress``: receives each draft. ``commit``: receives the committed text, pass by
    pass. ``hint``: may save passes, as ``kept`` may save prefills. ``others``: the number of further suggestions that
    are wanted; there may be fewer. ``judge``: chooses what is shown of a text. ``patience``: seconds that each way of
    finding another text may take, if not the usual ones; infinite for evaluations, in which no clock may decide.
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
    """What to suggest at an offset of a document; None if nothing may be suggested.

    Raises `Cancelled` soon after ``job.cancelled()`` is true, and `Unanswered` if a hosted model alone was to answer,
    and has not.
    """
    if declined(snapshot):
        return None
    config = snapshot.config
    syntax = Syntax.of(snapshot.document)
    refused = None
    if not snapshot.invoked:
        refused = triggers.refused(syntax, offset, config.in_strings_and_comments)
    if refused is not None:
        # No one waits for what the next place will need of the model, if it is little.
        engine.prefill(question(snapshot, offset, engine, job.kept), job.cancelled, PREFETCH_MIN_TOKENS)
        return nothing(offset, refused)
    single_line = one_line(config, syntax, offset)
    sampling = Sampling(
        snapshot.mode, max_tokens=config.max_tokens, single_line=single_line, here=snapshot.ignored
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
            partial(_middles, engine, replace(sampling, single_line=True, here=True), job),
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
    """What the model here writes at another place, and its alternatives; a hosted one is not asked twice."""
    if snapshot.config.remote != "always":
        asked, memory = _asked(snapshot, offset, engine, job.kept)
        yield (infill := engine.infill(asked, sampling, Run(job.cancelled, memory=memory)))
        yield from engine.alternatives(asked, sampling, infill, Run(late, memory=memory))


def _others(
    found: Completion, first: Committed, alternatives: Iterator[Infill], most: int
) -> tuple[Completion, ...]:
    """The first others, at most so many, that show something else than what was found, and than one another.

    The likeliest comes first. What is not there when the time is over is left out.
    """
    distinct = {_bare(found): found}
    asked = replace(first, snapshot=replace(first.snapshot, invoked=True))  # by who steps on to them
    with suppress(Cancelled):
        for infill in alternatives:
            if (other := replace(asked, infill=infill).judged()).shown is not None:
                distinct.setdefault(_bare(other), other)
            if len(distinct) > most:
                break
    return tuple(sorted(list(distinct.values())[1:], key=lambda other: -likelihood_of(other.infill)))


def _bare(completion: Completion) -> str:
    """What is the same for texts that a user would take to be: without blanks."""
    return "".join((completion.shown or "").split())


def prepare(
    snapshot: Snapshot, offset: int, engine: Engine, cancelled: Callable[[], bool], kept: Kept | None
) -> None:
    """Parse a document and read it, so that a completion near an offset finds that done. Raises `Cancelled`."""
    Syntax.of(snapshot.document)
    asked, _ = _asked(snapshot, offset, engine, kept)
    engine.prefill(asked, cancelled)


def _asked(
    snapshot: Snapshot, offset: int, engine: Engine, kept: Kept | None
) -> tuple[Prompt, DocumentMemory | None]:
    """What the model is shown, and the project memory beside it."""
    asked = question(snapshot, offset, engine, kept)
    return asked, None if kept is None else kept.memory(snapshot, offset, len(asked.stem), engine)


def question(snapshot: Snapshot, offset: int, engine: Engine, kept: Kept | None = None) -> Prompt:
    """What the model is shown of a document around an offset, and beside it; `kept` has the latter as it was."""
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
    if config.project_files == "none" or config.remote == "always":  # nothing of other files is sent anywhere
        return shown
    choose = ranking.choose if kept is None else kept.related.choose
    snippets = choose(document, offset, shown, snapshot.library, engine.count, snapshot.related)
    return replace(shown, related=snippets)
