"""Why nothing is suggested, as sentences for the user.

Owns the sentences. They tell of rules, times and the model, never of what stands in a document.
"""

from __future__ import annotations

from datetime import datetime

from mercury_lsp.journal import Request
from mercury_lsp.session import Session

_SENTENCES = {
    "declined": "Nothing is suggested in this document: {reason}.",
    "snoozed": "Suggestions are snoozed until {until}; one that you ask for by hand is answered.",
    "cancelled": "The editor withdrew its request before it was answered.",
    "superseded": "A newer request came before this one was answered.",
    "loading": "The model is still loading.",
    "failed": "The model could not be loaded; mercury-lsp doctor tells what is wrong.",
    "deadline": "The deadline came before the model was done{reason}. The option deadline_ms moves it.",
    "withheld": "Nothing is shown there: {reason}.",
    "error": "Something unexpected went wrong; the log tells what.",
}


def explained(session: Session, request: Request) -> str:
    """What became of a request, for its user."""
    if not request.cause:
        return f"Something is suggested there: a text of {request.length} characters."
    until = f"{clock(session.snoozed_until):%H:%M}" if session.snoozed else "a moment ago"
    reason = request.reason
    if request.cause == "deadline" and reason:
        reason = f", and of what it had by then, {reason}"
    return _SENTENCES[request.cause].format(reason=reason, until=until)


def clock(moment: float) -> datetime:
    """The time where the user is, from seconds since 1970."""
    return datetime.fromtimestamp(moment).astimezone()
