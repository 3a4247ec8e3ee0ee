"""One completion, from a snapshot to what is shown; read it from top to bottom.

Owns the order of the steps and nothing of what they do. Knows neither torch nor editors, and runs in the worker's
thread, where parsing and tokenising a large file hold nobody up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mercury_lsp import postprocess
from mercury_lsp.config import Config
from mercury_lsp.context import prompt, related
from mercury_lsp.context.document import Document
from mercury_lsp.context.library import EMPTY, Library
from mercury_lsp.context.privacy import is_private
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.context.syntax import Syntax

if TYPE_CHECKING:
    from mercury_lsp.engine.canvas import Hint, Prompt
    from mercury_lsp.engine.infill import Draft, Engine, Infill


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a completion may depend on. `roots` are the workspace folders' paths.

    `invoked`: the user asked for a suggestion; otherwise the editor did, as it does at each key. `library` may be shown
    beside the document; it changes all the time, and what was suggested with an earlier one still holds. `ignored`: by
    the project's own rules, or it is not known yet whether it is.
    """

    document: Document
    config: Config
    roots: tuple[str, ...] = ()
    invoked: bool = False
    library: Library = field(default=EMPTY, compare=False)
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """A suggestion for the characters from `start`, the cursor, to `end`, which is in the same line.

    `text` is what the model wrote, `shown` what is worth showing of it, or None; then `reason` says why, for the log.
    """

    text: str
    shown: str | None
    start: int
    end: int
    infill: Infill
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
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
        """What of it is worth showing, as if no more came."""
        infill, offset = self.infill, self.offset
        document, config = self.snapshot.document, self.snapshot.config
        shown = postprocess.shown(
            infill.text, document, offset, self.syntax, self.single_line, infill.finished
        )
        if shown is None:
            secret = is_secret(infill.text)
            reason = "it looks like a secret" if secret else "nothing of what the model wrote fits there"
        elif (
            not self.snapshot.invoked
            and (found := likelihood(infill.confidence, infill.tokens)) < config.show_likelihood
        ):
            least = f"{config.show_likelihood:g} is the least that is shown unasked"
            reason = f"the model takes it to be too unlikely: {found:.2g}, and {least}"
        else:
            return Completion(infill.text, shown.text, offset, shown.end, infill)
        return Completion(infill.text, None, offset, offset, infill, reason)


def declined(snapshot: Snapshot) -> str | None:
    """Why nothing is suggested in this document, for the log; None where there is no such reason."""
    document, config = snapshot.document, snapshot.config
    if not config.enabled:
        return "suggestions are switched off"
    if document.language_id in config.disabled_languages:
        return f"suggestions are switched off for {document.language_id}"
    if is_private(document.path) or is_private(unquote(document.uri)):  # the URI names the folders as well
        return "files of this name hold secrets"
    if snapshot.ignored:
        return "the file is ignored, or it is not known yet whether it is"
    if "\0" in document.text:
        return "it is a binary file"
    return None


def likelihood(confidence: float, tokens: int) -> float:
    """The probability that the model gives to all of a suggestion's tokens and its end, together.

    `confidence` and `tokens` are `Infill`'s. Of an exact model this is the chance that the user would have written
    just that. A mean over the tokens tells less: a long text is right only where each token is.
    """
    return confidence**tokens


def one_line(config: Config, syntax: Syntax, offset: int) -> bool:
    """Whether a suggestion at an offset has to end with its line."""
    return config.multiline == "never" or (config.multiline == "auto" and not syntax.multiline(offset))


def complete(
    snapshot: Snapshot,
    offset: int,
    engine: Engine,
    cancelled: Callable[[], bool] = lambda: False,
    watch: Callable[[Draft], None] | None = None,
    hint: Hint | None = None,
    tell: Callable[[Settled], None] = lambda settled: None,
    memory: related.Memory | None = None,
) -> Completion | None:
    """What to suggest at an offset of a document; None where nothing may be.

    `watch` sees each draft, `tell` is told what is settled by then; `hint` may spare passes, and `memory` a reading.
    Raises `Cancelled` soon after `cancelled()` is true.
    """
    from mercury_lsp.engine.infill import Sampling  # imports numpy

    if declined(snapshot):
        return None
    config = snapshot.config
    syntax = Syntax.of(snapshot.document)
    single_line = one_line(config, syntax, offset)
    sampling = Sampling(
        mode=config.mode,
        verify=config.verify,
        max_tokens=config.max_tokens,
        max_passes=config.max_passes,
        draft_surety=config.draft_surety,
        draft_lookup=config.draft_lookup,
        draft_slack=config.draft_slack,
        draft_trust=config.draft_trust,
        entropy_bound=config.entropy_bound,
        single_line=single_line,
    )

    def seen(draft: Draft) -> None:
        tell(Settled(snapshot, offset, syntax, single_line, draft.settled))
        if watch is not None:
            watch(draft)

    infill = engine.infill(question(snapshot, offset, engine, memory), sampling, cancelled, seen, hint)
    return Settled(snapshot, offset, syntax, single_line, infill).judged()


def prepare(
    snapshot: Snapshot,
    offset: int,
    engine: Engine,
    cancelled: Callable[[], bool] = lambda: False,
    memory: related.Memory | None = None,
) -> None:
    """Parse a document and read it, so that a completion near an offset finds that done. Raises `Cancelled`."""
    Syntax.of(snapshot.document)
    engine.prefill(question(snapshot, offset, engine, memory), cancelled)


def question(snapshot: Snapshot, offset: int, engine: Engine, memory: related.Memory | None = None) -> Prompt:
    """What the model is shown of a document around an offset, and beside it; `memory` keeps the latter as it was."""
    document, config = snapshot.document, snapshot.config
    shown = prompt.build(
        document.path,
        document.text[:offset],
        document.text[offset:],
        engine.count,
        config.prefix_tokens,
        config.following_tokens,
    )
    if not config.related_tokens:
        return shown
    beside = related.choose if memory is None else memory.related
    snippets = beside(
        document, offset, shown, snapshot.library, engine.count, config.related_tokens, config.related_sources
    )
    return replace(shown, related=snippets)
