"""Defines the input and output of a completion: snapshot, completion, and reply with its cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from mercury_lsp.config import Config
from mercury_lsp.context.retrieval import ranking
from mercury_lsp.context.retrieval.index import EMPTY, Library
from mercury_lsp.engine.api import Infill
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import NO_INDENTATION, Indentation

if TYPE_CHECKING:
    from mercury_lsp.context.memory.project import ProjectMemory

# The number of suggestions for a manual request. More take longer, and users rarely step further.
MAX_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a completion may depend on.

    `roots`: the paths of the workspace folders. `manual`: whether the request is manual. `library`: the files for
    related text; a change of it does not make earlier completions invalid. `ignored`: the project ignores the document,
    or that is not known yet; then no text of it leaves this machine. `private`: the file, or that to which it links,
    has a name of secrets. `wants_alternatives`: the client can step through several suggestions for an automatic
    request. `memory`: the project memory as far as it is indexed; compared like `library`. `indentation`: the project's
    own setting. `related`: the choice of related text. `mode`: one of `engine.api.MODES`.
    """

    document: Document
    config: Config
    roots: tuple[str, ...] = ()
    manual: bool = False
    library: Library = field(default=EMPTY, compare=False)
    ignored: bool = False
    private: bool = False
    wants_alternatives: bool = False
    memory: ProjectMemory | None = field(default=None, compare=False)
    indentation: Indentation = NO_INDENTATION
    related: ranking.Related = ranking.DEFAULT_RELATED
    mode: str = "diffusion"

    @property
    def max_suggestions(self) -> int:
        """The largest number of suggestions."""
        return MAX_SUGGESTIONS if self.manual or self.wants_alternatives else 1


@dataclass(frozen=True, slots=True)
class Completion:
    """A suggestion that replaces the characters from `start`, the cursor, to `end` in the same line.

    `text`: the model's text. `shown`: the part of it that is worth showing, or None. `reason`: why nothing is shown,
    as a clause for the user. `infill`: the judged text, which is the model's whole text or its beginning.
    `alternatives`: further suggestions, the likeliest first, which have no alternatives themselves.
    """

    text: str
    shown: str | None
    start: int
    end: int
    infill: Infill
    reason: str | None = None
    alternatives: tuple[Completion, ...] = ()


class Cause(StrEnum):
    """Why a request shows nothing. The values are stored in the history and sent in the protocol."""

    NONE = ""
    DECLINED = "declined"
    SNOOZED = "snoozed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    LOADING = "loading"
    FAILED = "failed"
    DEADLINE = "deadline"
    UNANSWERED = "unanswered"
    WITHHELD = "withheld"
    ERROR = "error"

    def message(self, reason: str, until: str) -> str:
        """Return a sentence for the user. ``reason``: `Completion.reason`; ``until``: the end of a snooze."""
        if self is Cause.DEADLINE and reason:
            reason = f", and of what it had by then, {reason}"
        return _MESSAGES[self].format(reason=reason, until=until)

    @property
    def fix(self) -> str:
        """Advice for the user if this cause is frequent; empty if there is none."""
        return _FIXES.get(self, "")


_MESSAGES = {
    Cause.NONE: "Something is suggested there.",
    Cause.DECLINED: "Nothing is suggested in this document: {reason}.",
    Cause.SNOOZED: "Suggestions are snoozed until {until}; a manual request is answered.",
    Cause.CANCELLED: "The editor withdrew its request before it was answered.",
    Cause.SUPERSEDED: "A newer request came before this one was answered.",
    Cause.LOADING: "The model is still loading.",
    Cause.FAILED: "The model could not be loaded; run mercury-lsp doctor for the reason.",
    Cause.DEADLINE: "The deadline came before the model was done{reason}. The option deadline_ms sets the deadline.",
    Cause.UNANSWERED: "The hosted model gave no answer: {reason}.",
    Cause.WITHHELD: "Nothing is shown there: {reason}.",
    Cause.ERROR: "An unexpected error occurred; the log has the details.",
}
_FIXES = {
    Cause.DECLINED: "run mercury.explain in the editor: the file, its language or a setting prevents suggestions",
    Cause.SNOOZED: "run mercury.resume in the editor",
    Cause.DEADLINE: "raise the option deadline_ms, or threads",
    Cause.UNANSWERED: "run mercury-lsp doctor --settings with the editor's settings, which tests the hosted model",
    Cause.WITHHELD: "lower the option show_likelihood, or request a suggestion manually",
    Cause.ERROR: "read the server's log in the editor",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request: a completion, or the ``cause`` if there is none in time.

    If the completion shows nothing, `Completion.reason` says why, and ``cause`` is withheld, deadline or unanswered.
    ``from_cache``: an earlier result gave the answer without a pass.
    """

    completion: Completion | None = None
    cause: Cause = Cause.NONE
    from_cache: bool = False
