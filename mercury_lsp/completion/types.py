"""Defines what goes into a completion and what comes out: snapshot, completion, and a reply with its cause."""

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

# Suggestions for a manual request: more take longer, and users rarely step further.
MANUAL_CANDIDATES = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a completion may depend on. `roots` are the workspace folders' paths.

    `invoked`: the user asked for a suggestion; otherwise the editor did, as it does at each key. `library` may be shown
    beside the document; it changes all the time, and what was suggested with an earlier one still holds. `ignored`: by
    the project's own rules, or it is not known yet whether it is: nothing of it leaves this machine. `private`: what
    its file links to holds secrets. `several`: the client lets the user step through several suggestions, though the
    user did not ask. `memory`: of the project's files, as far as they are indexed by now; like the `library`.
    `indentation`: as the project says. `related`: what is shown beside the window. `mode`: one of `engine.api.MODES`.
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
    mode: str = "diffusion"

    @property
    def candidates(self) -> int:
        """The largest number of suggestions."""
        return MANUAL_CANDIDATES if self.invoked or self.several else 1


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


class Cause(StrEnum):
    """Why a request shows nothing. The values are in the history and in the protocol."""

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
        """A sentence for the user. ``reason``: `Completion.reason`, a clause; ``until``: the end of a snooze."""
        if self is Cause.DEADLINE and reason:
            reason = f", and of what it had by then, {reason}"
        return _MESSAGES[self].format(reason=reason, until=until)

    @property
    def fix(self) -> str:
        """What the user can do if this is the usual cause; empty if there is nothing to do."""
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
    """The answer to a request: a completion, if there is one in time, or else the ``cause`` of there being none.

    The completion may show nothing; then `Completion.reason` says why, and ``cause`` is withheld, deadline or
    unanswered. ``from_cache``: no pass of the model was needed.
    """

    completion: Completion | None = None
    cause: Cause = Cause.NONE
    from_cache: bool = False
