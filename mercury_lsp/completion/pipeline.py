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
from mercury_lsp.completion.committed import CommittedText, is_single_line, likelihood_of
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context import prompt as prompt_window
from mercury_lsp.context.private_files import is_private
from mercury_lsp.context.retrieval import ranking
from mercury_lsp.engine.api import Engine, Infill, Progress, Run, Sampling, never_cancelled
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.tree import Syntax

if TYPE_CHECKING:
    from mercury_lsp.context.memory.project import DocumentMemory
    from mercury_lsp.context.memory.tokens import MemoryReader
    from mercury_lsp.engine.tokenizer import Hint, Prompt

# The time for further suggestions after the first one of a manual request.
ALTERNATIVES_SECONDS = 0.25
# If a trigger rule refuses a place, its prompt is prefilled for places nearby if the cache lacks at least these tokens.
PREFETCH_MIN_TOKENS = 64


class PipelineCache:
    """State that the worker's thread keeps between completions: related text, and token indexes of documents."""

    def __init__(self) -> None:
        self.related = ranking.SnippetCache()
        self._memory_reader: MemoryReader | None = None

    def document_memory(
        self, snapshot: Snapshot, offset: int, stem: int, engine: Engine
    ) -> DocumentMemory | None:
        """Return the project memory for a document at an offset; None if the engine or the snapshot has none.

        `stem`: the length of the prompt's stem before the offset, in characters.
        """
        if snapshot.memory is None or engine.vocabulary is None:
            return None
        if self._memory_reader is None or self._memory_reader.vocabulary is not engine.vocabulary:
            # Imports numpy.
            from mercury_lsp.context.memory.tokens import MemoryReader

            self._memory_reader = MemoryReader(engine.vocabulary)
        return self._memory_reader.for_document(snapshot.memory, snapshot.document, offset, stem)


def decline_reason(snapshot: Snapshot) -> str | None:
    """Return the reason why nothing is suggested in a document, as a clause for the user; None if there is none."""
    document, config = snapshot.document, snapshot.config
    if not config.enabled:
        return "suggestions are switched off"
    if document.language_id in config.disabled_languages:
        return f"suggestions are switched off for {document.language_id}"
    # The URI names the folders as well.
    if snapshot.private or is_private(document.path) or is_private(unquote(document.uri)):
        return "files of this name hold secrets"
    if snapshot.ignored and (reason := _ignored_reason(config)):
        return f"it is ignored by .gitignore or .mercuryignore, or that is not known yet, and {reason}"
    if "\0" in document.text:
        return "it is a binary file"
    return None


def _ignored_reason(config: Config) -> str | None:
    """Return the reason why an ignored document is not completed; None if the local model completes it."""
    if not config.complete_ignored:
        return "the option complete_ignored is off"
    return "what is ignored is not sent to a hosted model" if config.remote == "always" else None


def empty_completion(offset: int, reason: str) -> Completion:
    """Return an empty completion with a reason, for a model that was not asked or has not answered."""
    infill = Infill("", 0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0.0, True)
    return Completion("", None, offset, offset, infill, reason)


@dataclass(frozen=True, slots=True)
class Job:
    """How one completion is computed.

    ``cancelled``: called between passes and prefill chunks. ``on_progress``: receives each draft. ``on_commit``:
    receives the committed text after each pass. ``hint``: an earlier text, which may save passes. ``max_alternatives``:
    the largest number of further suggestions. ``cache``: state of earlier completions, which may save prefills.
    ``judge``: chooses the shown part of a text. ``search_seconds``: the time limit of each search for another text,
    None for the default; infinite in evaluations, whose results must not depend on a clock.
    """

    cancelled: Callable[[], bool] = never_cancelled
    on_progress: Callable[[Progress], None] | None = None
    on_commit: Callable[[CommittedText], None] = lambda committed: None
    hint: Hint | None = None
    max_alternatives: int = 0
    cache: PipelineCache | None = None
    judge: Callable[[CommittedText], Completion] = CommittedText.judge
    search_seconds: float | None = None


DEFAULT_JOB = Job()


def complete(snapshot: Snapshot, offset: int, engine: Engine, job: Job = DEFAULT_JOB) -> Completion | None:
    """Complete a document at an offset; return None if the document is declined.

    Raises `Cancelled` soon after ``job.cancelled()`` is true, and `NoResult` if the engine is a hosted model that
    does not answer.
    """
    if decline_reason(snapshot):
        return None
    config = snapshot.config
    syntax = Syntax.of(snapshot.document)
    refusal = None
    if not snapshot.manual:
        refusal = triggers.refusal_reason(syntax, offset, config.in_strings_and_comments)
    if refusal is not None:
        # A short prefill is left to the next request.
        engine.prefill(build_prompt(snapshot, offset, engine, job.cache), job.cancelled, PREFETCH_MIN_TOKENS)
        return empty_completion(offset, refusal)
    single_line = is_single_line(config, syntax, offset)
    sampling = Sampling(
        snapshot.mode, max_tokens=config.max_tokens, single_line=single_line, local_only=snapshot.ignored
    )

    def on_progress(draft: Progress) -> None:
        job.on_commit(CommittedText(snapshot, offset, syntax, single_line, draft.committed))
        if job.on_progress is not None:
            job.on_progress(draft)

    prompt, memory = _prompt_and_memory(snapshot, offset, engine, job.cache)
    infill = engine.infill(prompt, sampling, Run(job.cancelled, on_progress, job.hint, memory))
    first = CommittedText(snapshot, offset, syntax, single_line, infill)
    completion = job.judge(first)
    if completion.shown is None and snapshot.manual:
        return manual.find_alternative(
            first,
            lambda should_stop: engine.alternatives(
                prompt, sampling, infill, Run(should_stop, memory=memory)
            ),
            partial(_infills_elsewhere, engine, replace(sampling, single_line=True, local_only=True), job),
            job.cancelled,
            manual.SEARCH_SECONDS if job.search_seconds is None else job.search_seconds,
        )
    if not job.max_alternatives or completion.shown is None:
        return completion
    job.on_commit(first)
    deadline = time.monotonic() + (ALTERNATIVES_SECONDS if job.search_seconds is None else job.search_seconds)

    def should_stop() -> bool:
        return job.cancelled() or time.monotonic() > deadline

    infills = engine.alternatives(prompt, sampling, infill, Run(should_stop, memory=memory))
    alternatives = _distinct_alternatives(completion, first, infills, job.max_alternatives)
    if job.cancelled():
        raise Cancelled
    return replace(completion, alternatives=alternatives)


def _infills_elsewhere(
    engine: Engine,
    sampling: Sampling,
    job: Job,
    snapshot: Snapshot,
    offset: int,
    should_stop: Callable[[], bool],
) -> Iterator[Infill]:
    """Yield the infill at another place, and its alternatives; none with `remote` "always", to avoid more requests."""
    if snapshot.config.remote != "always":
        prompt, memory = _prompt_and_memory(snapshot, offset, engine, job.cache)
        yield (infill := engine.infill(prompt, sampling, Run(job.cancelled, memory=memory)))
        yield from engine.alternatives(prompt, sampling, infill, Run(should_stop, memory=memory))


def _distinct_alternatives(
    completion: Completion, first: CommittedText, infills: Iterator[Infill], max_alternatives: int
) -> tuple[Completion, ...]:
    """Return further completions that differ from `completion` and from each other, the likeliest first.

    Those that are not ready when the time is up are left out.
    """
    distinct = {_without_whitespace(completion): completion}
    # A user who steps to another suggestion has asked for it.
    manual_text = replace(first, snapshot=replace(first.snapshot, manual=True))
    with suppress(Cancelled):
        for infill in infills:
            if (alternative := replace(manual_text, infill=infill).judge()).shown is not None:
                distinct.setdefault(_without_whitespace(alternative), alternative)
            if len(distinct) > max_alternatives:
                break
    alternatives = list(distinct.values())[1:]
    return tuple(sorted(alternatives, key=lambda alternative: -likelihood_of(alternative.infill)))


def _without_whitespace(completion: Completion) -> str:
    """Return the shown text without whitespace, which makes no difference to a user."""
    return "".join((completion.shown or "").split())


def prefill_document(
    snapshot: Snapshot,
    offset: int,
    engine: Engine,
    cancelled: Callable[[], bool],
    cache: PipelineCache | None,
) -> None:
    """Parse a document and prefill its prompt for completions near an offset. Raises `Cancelled`."""
    Syntax.of(snapshot.document)
    prompt, _ = _prompt_and_memory(snapshot, offset, engine, cache)
    engine.prefill(prompt, cancelled)


def _prompt_and_memory(
    snapshot: Snapshot, offset: int, engine: Engine, cache: PipelineCache | None
) -> tuple[Prompt, DocumentMemory | None]:
    """Return the prompt and the project memory for it."""
    prompt = build_prompt(snapshot, offset, engine, cache)
    return prompt, None if cache is None else cache.document_memory(
        snapshot, offset, len(prompt.stem), engine
    )


def build_prompt(
    snapshot: Snapshot, offset: int, engine: Engine, cache: PipelineCache | None = None
) -> Prompt:
    """Build the prompt at an offset, with related text; `cache` repeats earlier snippets as long as they hold."""
    document, config = snapshot.document, snapshot.config
    prompt = prompt_window.build(
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
        return prompt
    choose_snippets = ranking.choose_snippets if cache is None else cache.related.choose_snippets
    snippets = choose_snippets(document, offset, prompt, snapshot.library, engine.count, snapshot.related)
    return replace(prompt, related=snippets)
