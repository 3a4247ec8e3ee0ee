"""Explains in a sentence why nothing is suggested, and what is sent to a hosted model.

The sentences tell of rules, times and the model, never of the text of a document.
"""

from __future__ import annotations

from datetime import datetime

from mercury_lsp.remote.remote_status import RemoteStatus
from mercury_lsp.session.session import Session
from mercury_lsp.telemetry.requests import Request


def explained(session: Session, request: Request) -> str:
    """What became of a request, for its user."""
    if not request.cause:
        source = request.completions[0].infill.source if request.completions else ""
        told = f" It comes mostly from {source}." if source else ""
        return f"Something is suggested there: a text of {request.length} characters.{told}"
    until = f"{clock(session.snoozed_until):%H:%M}" if session.snoozed else "a moment ago"
    return request.cause.message(request.reason, until)


def sent(mode: str, remote_status: RemoteStatus) -> str:
    """What is sent to whom, by the option `remote`, and whether that is so now."""
    if not remote_status.host:
        return f"Nothing is sent to a hosted model. {remote_status.trouble}".rstrip()
    text = f"the text around the cursor is sent to {remote_status.host}."
    told = f"Where the local suggestion is unlikely, {text}" if mode == "fallback" else f"T{text[1:]}"
    if remote_status.breaker == "open":
        told += f" For now nothing is: {remote_status.host} is left alone for a while."
    if remote_status.trouble:
        told += f" The last request was in vain: {remote_status.trouble}"
    return told


def clock(moment: float) -> datetime:
    """The time where the user is, from seconds since 1970."""
    return datetime.fromtimestamp(moment).astimezone()
