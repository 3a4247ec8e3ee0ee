"""One completion, from a snapshot to what is shown; read it from top to bottom.

Owns the order of the steps and nothing of what they do. Knows neither torch nor editors, and runs in the worker's
thread, where parsing and tokenising a large file hold nobody up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mercury_lsp.completion import manual, postprocess, triggers
from mercury_lsp.completion.cutoff import worth_showing
from mercury_lsp.config import Config
from mercury_lsp.context import prompt
from mercury_lsp.context.private_files import is_private
from mercury_lsp.context.retrieval import ranking
from mercury_lsp.context.retrieval.index import EMPTY, Library
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.engine.api import Engine, Infill, Progress, Sampling
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation
from mercury_lsp.syntax.tree import LINE_END, Syntax

if TYPE_CHECKING:
    from mercury_lsp.context.memory.project import DocumentMemory, ProjectMemory
    from mercury_lsp.context.memory.tokens import Reader
    from mercury_lsp.engine.tokenizer import Hint, Prompt

PATIENCE = 0.25  # seconds that who asked waits at most for further suggestions when the first is there
MUCH = 64  # tokens to be read, above which a place where nothing is shown is read for the places near it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a completion may depend on. `roots` are the workspace folders' paths.

    `invoked`: the user asked for a suggestion; otherwise the editor did, as it does at each key. `library` may be shown
    beside the document; it changes all the time, and what was suggested with an earlier one still holds. `ignored`: by
    the project's own rules, or it is not known yet whether it is: nothing of it leaves this machine. `private`: what
    its file links to holds secrets. `several`: the client lets the user step through several suggestions, though the
    user did not ask. `memory`: of the project's files, as far as they are indexed by now; like the `library`.
    `indentation`: as the project says. `related`: what is shown beside the window.
    """

    document: Document
    config: Config
    roots: tuple[str, ...] = ()
    invoked: bool = False
    library: Library = field(default=EMPTY, compare=False)
    ignored: bool = False
    private: bool = False
    several: bool = False
    memory: ProjectMemory | None = field(default=None, compare=False)
    indentation: Indentation = NO_INDENTATION
    related: ranking.Related = ranking.USUAL

    @property
    def candidates(self) -> int:
        """How many suggestions there may be."""
        return self.config.candidates if self.invoked or self.several else 1


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


@dataclass(frozen=True, slots=True)
class Completion:
    """A suggestion for the characters from `start`, the cursor, to `end`, which is in the same line.

    `text` is what the model wrote, `shown` what is worth showing of it, or None; then `reason` says why, as a clause
    for the user. `infill` is what was judged: the whole text, or its first lines, where these alone are likely enough.
    `others` are further suggestions for who asked, the likeliest first; they have none themselves.
    """

    text: str
    shown: str | None
    start: int
    end: int
    infill: Infill
    reason: str | None = None
    others: tuple[Completion, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """What the model has written at an offset by some time, and what is needed to judge it."""

    snapshot: Snapshot
    offset: int
    syntax: Syntax
    single_line: bool
    infill: Infill

    @property
    def text(self) -> str:
        """What the model wrote."""
        return self.infill.text

    def judged(self) -> Completion:
        """What of it is worth showing, as if no more came.

        Who did not ask sees as much as has the highest expected gain, see `cutoff`; the whole text with a
        `show_likelihood` of 0.
        """
        found = self.fitting(self.infill)
        least = self.snapshot.config.show_likelihood
        if found is None:
            secret = is_secret(self.text)
            return self._nothing(
                "it looks like a secret" if secret else "nothing of what the model wrote fits there"
            )
        if self.snapshot.invoked or not least:
            return found
        document = self.snapshot.document
        line, column = document.position(self.offset)
        rest = document.line(line)[column:]
        part = worth_showing(
            self.infill, found, self.fitting, least, eol=document.eol, rest=rest, sound=self.sound
        )
        if part is not None:
            return part
        sure = _likelihood(found.infill)
        return self._nothing(f"the model is not sure enough of how it begins; all of it has {sure:.2g}")

    def unasked(self) -> Completion:
        """The same for who has not asked."""
        return replace(self, snapshot=replace(self.snapshot, invoked=False)).judged()

    def sound(self, text: str) -> bool:
        """Whether the syntax has no more errors with a text at the cursor than without; so it is in huge documents."""
        if len(self.snapshot.document.text) > postprocess.LARGEST:
            return True
        return self.syntax.replaced(self.offset, self.offset, text).errors() <= self.syntax.errors()

    def fitting(self, infill: Infill) -> Completion | None:
        """What fits of a text, with as many of its lines as are shown of it; None where nothing does."""
        shown = postprocess.shown(
            infill.text,
            self.snapshot.document,
            self.offset,
            self.syntax,
            self.single_line,
            infill.finished,
            self.snapshot.indentation,
        )
        if shown is None:
            return None
        judged = infill.first(len(LINE_END.split(shown.text)))
        return Completion(self.infill.text, shown.text, self.offset, shown.end, judged)

    def _nothing(self, reason: str) -> Completion:
        return Completion(self.infill.text, None, self.offset, self.offset, self.infill, reason)


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


def likelihood(confidence: float, tokens: int) -> float:
    """The probability that the model gives to all of a suggestion's tokens and its end, together.

    `confidence` and `tokens` are `Infill`'s. Of an exact model this is the chance that the user would have written
    just that. A mean over the tokens tells less: a long text is right only where each token is. For the first lines of
    a longer text, what begins the next line counts as their end: it is the chance that the user would have written
    these lines and then gone on to another, whatever that is.
    """
    return confidence**tokens


def _likelihood(infill: Infill) -> float:
    return likelihood(infill.confidence, infill.tokens)


def one_line(config: Config, syntax: Syntax, offset: int) -> bool:
    """Whether a suggestion at an offset has to end with its line."""
    return config.multiline == "never" or (config.multiline == "auto" and not syntax.multiline(offset))


def complete(
    snapshot: Snapshot,
    offset: int,
    engine: Engine,
    cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] | None = None,
    hint: Hint | None = None,
    tell: Callable[[Committed], None] = lambda committed: None,
    others: int = 0,
    kept: Kept | None = None,
    judge: Callable[[Committed], Completion] = Committed.judged,
    patience: float | None = None,
) -> Completion | None:
    """What to suggest at an offset of a document; None where nothing may be.

    `on_progress` sees each draft, `tell` is told what is committed by then; `hint` may save passes, what is `kept`
    readings; `others` is how many other suggestions are wanted, of which there may be fewer; `judge` tells what is
    shown of what the model wrote; `patience` is how many seconds each way of finding something else may take, if not
    as many as usual, infinite where no clock may decide. Raises `Cancelled` soon after `cancelled()` is true, and
    `Unanswered` where a hosted model alone was to answer, and has not."""
    if declined(snapshot):
        return None
    config = snapshot.config
    syntax = Syntax.of(snapshot.document)
    refused = None
    if not snapshot.invoked:
        refused = triggers.refused(syntax, offset, config.in_strings_and_comments)
    if (
        refused is not None
    ):  # and nobody need wait for what the next place will need of the model, if it is little
        engine.prefill(question(snapshot, offset, engine, kept), cancelled, MUCH)
        return nothing(offset, refused)
    single_line = one_line(config, syntax, offset)
    sampling = Sampling(
        mode=config.mode,
        max_tokens=config.max_tokens,
        single_line=single_line,
        here=snapshot.ignored,
    )

    def seen(draft: Progress) -> None:
        tell(Committed(snapshot, offset, syntax, single_line, draft.committed))
        if on_progress is not None:
            on_progress(draft)

    asked = question(snapshot, offset, engine, kept)
    memory = None if kept is None else kept.memory(snapshot, offset, len(asked.stem), engine)
    infill = engine.infill(asked, sampling, cancelled, seen, hint, memory)
    first = Committed(snapshot, offset, syntax, single_line, infill)
    found = judge(first)
    if found.shown is None and snapshot.invoked:
        return manual.found(
            first,
            lambda late: engine.alternatives(asked, sampling, infill, late, memory),
            partial(_middles, engine, replace(sampling, single_line=True, here=True), cancelled, kept),
            cancelled,
            manual.PATIENCE if patience is None else patience,
        )
    if not others or found.shown is None:
        return found
    tell(first)
    until = time.monotonic() + (PATIENCE if patience is None else patience)

    def late() -> bool:
        return cancelled() or time.monotonic() > until

    alternatives = engine.alternatives(asked, sampling, first.infill, late, memory)
    found = replace(found, others=_others(found, first, alternatives, others))
    if cancelled():
        raise Cancelled
    return found


def _middles(
    engine: Engine,
    sampling: Sampling,
    cancelled: Callable[[], bool],
    kept: Kept | None,
    snapshot: Snapshot,
    offset: int,
    late: Callable[[], bool],
) -> Iterator[Infill]:
    """What the model here writes at another place, and its alternatives; a hosted one is not asked twice."""
    if snapshot.config.remote != "always":
        asked = question(snapshot, offset, engine, kept)
        memory = None if kept is None else kept.memory(snapshot, offset, len(asked.stem), engine)
        yield (infill := engine.infill(asked, sampling, cancelled, None, None, memory))
        yield from engine.alternatives(asked, sampling, infill, late, memory)


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
    return tuple(sorted(list(distinct.values())[1:], key=lambda other: -_likelihood(other.infill)))


def _bare(completion: Completion) -> str:
    """What is the same for texts that a user would take to be: without blanks."""
    return "".join((completion.shown or "").split())


def prepare(
    snapshot: Snapshot,
    offset: int,
    engine: Engine,
    cancelled: Callable[[], bool] = lambda: False,
    kept: Kept | None = None,
) -> None:
    """Parse a document and read it, so that a completion near an offset finds that done. Raises `Cancelled`."""
    Syntax.of(snapshot.document)
    asked = question(snapshot, offset, engine, kept)
    if kept is not None:
        kept.memory(snapshot, offset, len(asked.stem), engine)
    engine.prefill(asked, cancelled)


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
    beside = ranking.choose if kept is None else kept.related.related
    related = snapshot.related
    snippets = beside(
        document, offset, shown, snapshot.library, engine.count, related.tokens, related.sources
    )
    return replace(shown, related=snippets)
