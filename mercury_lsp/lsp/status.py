"""Describes the state of the server for an editor's status line, and explains replies in sentences.

The state is sent at each change and after each answer. The sentences name rules, times and the model, never the text of
a document.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Cause
from mercury_lsp.config import Config
from mercury_lsp.remote.address import host
from mercury_lsp.remote.breaker import RemoteStatus
from mercury_lsp.session.session import Session
from mercury_lsp.telemetry.requests import Request

STATUS = "mercury/status"
# The number of recent answers whose median time is reported.
MEDIAN_ANSWERS = 100
# The smallest progress of loading that is reported as a change.
FRACTION_STEP = 0.05

Value = dict[str, Any]


class Status:
    """The status of one client; `send` sends each new one, unless it is None.

    `edits` returns the status of the hosted model for next edits, or None.
    """

    def __init__(
        self,
        session: Session,
        scheduler: CompletionScheduler,
        edits_status: Callable[[Config], RemoteStatus | None] = lambda config: None,
    ) -> None:
        self._edits_status = edits_status
        self.send: Callable[[Value], object] | None = None
        self._session, self._scheduler = session, scheduler
        # In milliseconds.
        self._times: deque[float] = deque(maxlen=MEDIAN_ANSWERS)
        self._last: Value | None = None
        self._last_sent: Value | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        # Fires when the snooze ends.
        self._snooze_timer: asyncio.TimerHandle | None = None

    @property
    def value(self) -> Value:
        """The current status, in the form of the notification."""
        config, state = self._session.config, self._scheduler.state
        status: Value = {
            "state": "loading" if state.kind == "idle" else state.kind,
            "model": self._scheduler.model or self._session.model,
            "device": self._scheduler.device or ("remote" if config.remote == "always" else config.device),
            "median_ms": round(statistics.median(self._times), 2) if self._times else None,
            "last": self._last,
        }
        edits_status = self._edits_status(config)
        completions_status = None
        if config.remote != "off":
            completions_status = self._scheduler.remote_status or RemoteStatus(host(config.remote_url))
        if (remote_status := completions_status or edits_status) is not None:
            sentences = (
                [] if completions_status is None else [describe_sent(config.remote, completions_status)]
            )
            sentences += [] if edits_status is None else [describe_edits_sent(edits_status)]
            status["remote"] = {
                "host": remote_status.host,
                "mode": config.remote,
                "breaker": remote_status.breaker,
                "told": " ".join(sentences),
            }
        if not config.enabled:
            status["state"] = "off"
        elif state.kind == "failed":
            status["message"] = state.detail.partition("\n")[0] or "The model cannot be loaded."
        elif self._session.snoozed:
            status |= {
                "state": "snoozed",
                "until": local_time(self._session.snoozed_until).isoformat(timespec="seconds"),
            }
        elif state.kind != "ready":
            status["fraction"] = round(int(state.fraction / FRACTION_STEP) * FRACTION_STEP, 2)
        return status

    def answered(self, request: Request) -> None:
        """Note a request that is about to be answered, unless the client did not wait for the answer."""
        if request.cause in (Cause.CANCELLED, Cause.SUPERSEDED):
            return
        shown = not request.cause
        if shown:
            self._times.append(request.ms)
        reason = None if shown else explain_outcome(self._session, request)
        ms = round(request.ms, 2)
        self._last = {"ms": ms, "shown": shown, "recalled": request.recalled, "reason": reason}
        # An answer is reported even if it equals the last one.
        self._last_sent = None
        self.changed()

    def changed(self) -> None:
        """Schedule a report of the status, after work that is due now, above all answers."""
        if self.send is not None and self._send_timer is None:
            # Even a timer of zero seconds fires after the callback that sends an answer.
            self._send_timer = asyncio.get_running_loop().call_later(0, self._send_changed)

    def close(self) -> None:
        """Stop all reports."""
        self.send = None
        for timer in (self._send_timer, self._snooze_timer):
            if timer is not None:
                timer.cancel()

    def _send_changed(self) -> None:
        self._send_timer = None
        value = self.value
        if self.send is None or value == self._last_sent:
            return
        self._last_sent = value
        self.send(value)
        if self._snooze_timer is not None:
            self._snooze_timer.cancel()
            self._snooze_timer = None
        if value["state"] == "snoozed":
            left = max(0.0, self._session.snoozed_until - time.time())
            self._snooze_timer = asyncio.get_running_loop().call_later(left + 0.01, self.changed)


def explain_outcome(session: Session, request: Request) -> str:
    """Explain the outcome of a request to the user."""
    if not request.cause:
        source = request.completions[0].infill.source if request.completions else ""
        origin = f" It comes mostly from {source}." if source else ""
        return f"Something is suggested there: a text of {request.shown_length} characters.{origin}"
    until = f"{local_time(session.snoozed_until):%H:%M}" if session.snoozed else "a moment ago"
    return request.cause.message(request.reason, until)


def describe_sent(mode: str, remote_status: RemoteStatus) -> str:
    """Describe what is sent to which host by the option `remote`, and whether that is so now."""
    if not remote_status.host:
        return f"Nothing is sent to a hosted model. {remote_status.last_error}".rstrip()
    text = f"the text around the cursor is sent to {remote_status.host}."
    sentence = f"Where the local suggestion is unlikely, {text}" if mode == "fallback" else f"T{text[1:]}"
    return sentence + _describe_failures(remote_status)


def describe_edits_sent(remote_status: RemoteStatus) -> str:
    """Describe what is sent to which host for the next edit, and whether that is so now."""
    if not remote_status.host:
        return f"No hosted model is asked for the next edit. {remote_status.last_error}".rstrip()
    sentence = (
        f"For the next edit, recent edits and the lines around the cursor are sent to {remote_status.host}."
    )
    return sentence + _describe_failures(remote_status)


def _describe_failures(remote_status: RemoteStatus) -> str:
    """Return sentences on an open circuit breaker and on the reason of the last failure, or ""."""
    sentences = ""
    if remote_status.breaker == "open":
        sentences += f" For now nothing is: {remote_status.host} is left alone for a while."
    if remote_status.last_error:
        sentences += f" The last request was in vain: {remote_status.last_error}"
    return sentences


def local_time(moment: float) -> datetime:
    """Return the local time of a moment in seconds since 1970."""
    return datetime.fromtimestamp(moment).astimezone()
