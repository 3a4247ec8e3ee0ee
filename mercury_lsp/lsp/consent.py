"""Asks the user, once, whether settings that came from the editor may run a program, name a host or load a model.

Until the user answers, these settings have no effect. If the client cannot ask, or the user gives no answer, a message
tells how to allow them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from mercury_lsp.lsp.client import show_message
from mercury_lsp.models.selection import config_file
from mercury_lsp.session.session import Session
from mercury_lsp.trust import Claim

ALLOW, REFUSE = "Allow", "Don't allow"

log = logging.getLogger(__name__)


class Consent:
    """Asks for consent to the settings of one client.

    `spawn` runs a coroutine as a task; `changed` is called when settings take effect because the user has allowed them.
    """

    def __init__(
        self,
        server: LanguageServer,
        session: Session,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        on_allowed: Callable[[], None],
    ) -> None:
        self._server, self._session, self._spawn, self._on_allowed = server, session, spawn, on_allowed
        self._asked: set[Claim] = set()

    def ask_if_needed(self) -> None:
        """Ask for consent to the session's claim, unless it was already asked for."""
        claim = self._session.claim
        if claim is None or claim in self._asked:
            return
        self._asked.add(claim)
        if self._session.answers.lookup(claim) is False:
            log.warning("Not used, as you have answered: %s.", claim.describe())
        else:
            self._spawn(self._ask(claim))

    async def _ask(self, claim: Claim) -> None:
        answer = await self._answer(claim) if claim.fits_prompt else None
        if answer is None:
            what = claim.describe() if claim.fits_prompt else "Settings of the editor"
            show_message(
                self._server,
                types.MessageType.Warning,
                f"Not used until you allow it: {what}. A workspace may have set this. "
                f"If it is yours, write it into {config_file()}.",
            )
            return
        try:
            self._session.answers.save(claim, answer)
        except OSError as error:
            log.warning("The answer cannot be kept in %s: %s.", self._session.answers.file, error.strerror)
        if answer:
            self._session.allow(claim)
            self._on_allowed()

    async def _answer(self, claim: Claim) -> bool | None:
        """Return the user's answer, or None if the user gives none or the client cannot ask."""
        if not get_capability(self._server.client_capabilities, "window.show_message"):
            return None
        question = types.ShowMessageRequestParams(
            types.MessageType.Warning,
            "mercury: These settings run a program, send text around the cursor to a host, or load a model, and a "
            f"workspace may have set them: {claim.describe()}. Allow just this from now on? "
            f"(What stands in {config_file()} is never asked for.)",
            [types.MessageActionItem(ALLOW), types.MessageActionItem(REFUSE)],
        )
        try:
            chosen = await self._server.window_show_message_request_async(question)
        except JsonRpcException as error:
            log.warning("The client does not ask the user: %s", error)
            return None
        title = getattr(chosen, "title", None)
        return {ALLOW: True, REFUSE: False}.get(title or "")
