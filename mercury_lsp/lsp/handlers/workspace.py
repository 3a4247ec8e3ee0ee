"""Handles the messages about the start, the settings, the workspace folders and suggestions.

Notifications about documents are in `documents`; commands and our own requests are in `commands`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from mercury_lsp.config import SECTION
from mercury_lsp.lsp import client_quirks, convert
from mercury_lsp.lsp.handlers import commands, next_edit
from mercury_lsp.lsp.previews import DRAFT, Previews
from mercury_lsp.lsp.status import STATUS
from mercury_lsp.syntax.languages import LANGUAGES

if TYPE_CHECKING:
    from mercury_lsp.lsp.server import Server

SETTINGS_WAIT_SECONDS = 2.0
"""How long loading the model waits for the client's settings."""
# Clients ask at words anyway; a menu at each blank would be a nuisance.
TRIGGERS = tuple(".([{,=:")
SUFFIXES = ",".join(suffix[1:] for language in LANGUAGES if language.indexed for suffix in language.suffixes)
RULES = ("**/.gitignore", "**/.mercuryignore", "**/.git/info/exclude", "**/.editorconfig")
WATCHED = (f"**/*.{{{SUFFIXES}}}", *RULES)


def initialize(ls: Server, params: types.InitializeParams) -> None:
    """Note the client and its capabilities, which decide in which form suggestions are offered."""
    if ls.watch is not None and params.process_id is not None:
        ls.watch(params.process_id)
    if (root := ls.workspace.root_uri) and not ls.workspace.folders:
        # A folder as any other, which others may join, and which the client may take away.
        ls.workspace.add_folder(types.WorkspaceFolder(root, ""))
    ls.journal.editor = params.client_info.name if params.client_info else ""
    ls.configure(params.initialization_options, first=True)
    ls.quirks = client_quirks.find_quirks(params)
    ls.scheduler.alternatives_delay = ls.quirks.alternatives_delay
    next_edit.register_action(ls, params)
    if not ls.quirks.ghost_text:
        options = types.CompletionOptions(trigger_characters=TRIGGERS)
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, options)(completion)


def initialized(ls: Server, _: types.InitializedParams) -> None:
    """Start the work that needs requests to the client, which the protocol allows from now on."""
    declared = commands.declared_extensions(ls.client_capabilities)
    if "status" in declared:
        ls.status.send = partial(ls.protocol.notify, STATUS)
        ls.status.changed()
    if "drafts" in declared:
        send = partial(ls.protocol.notify, DRAFT)
        ls.scheduler.on_preview = Previews(ls.session.document, send, ls.encoding).update
    logging.getLogger("mercury_lsp").addHandler(ls.client_log)
    if ls.supports("workspace.did_change_configuration.dynamic_registration"):
        ls.register(
            types.WORKSPACE_DID_CHANGE_CONFIGURATION, types.DidChangeConfigurationRegistrationOptions(SECTION)
        )
    if ls.supports("workspace.did_change_watched_files.dynamic_registration"):
        watchers = [types.FileSystemWatcher(glob) for glob in WATCHED]
        ls.register(
            types.WORKSPACE_DID_CHANGE_WATCHED_FILES, types.DidChangeWatchedFilesRegistrationOptions(watchers)
        )
        ls.session.workspace.watched = True
    ls.ignore_check.start_reading()
    if ls.supports("workspace.configuration"):
        ls.request_settings()
        # In case the client never answers.
        ls.spawn(_load_later(ls))
    else:
        ls.load()


async def _load_later(ls: Server) -> None:
    """Load the model after `SETTINGS_WAIT_SECONDS`, even without the client's settings."""
    await asyncio.sleep(SETTINGS_WAIT_SECONDS)
    ls.load()


def did_change_configuration(ls: Server, params: types.DidChangeConfigurationParams) -> None:
    """Apply new settings; they are taken from the message if the client does not support `workspace/configuration`."""
    if ls.supports("workspace.configuration"):
        ls.request_settings()
    else:
        ls.configure(params.settings)
        ls.load()


def did_change_workspace_folders(ls: Server, params: types.DidChangeWorkspaceFoldersParams) -> None:
    """Apply the current workspace folders, on which the trust in settings depends."""
    # pygls adds first: a folder that the event removes and adds again, as under a new name, would be gone.
    for folder in params.event.added:
        ls.workspace.add_folder(folder)
    ls.apply_settings()
    # Without a worker, the first load is still to come.
    if ls.scheduler.worker is not None:
        ls.load()


def did_change_watched_files(ls: Server, params: types.DidChangeWatchedFilesParams) -> None:
    """Reread files that have changed on disk; if rules have changed, check all documents again."""
    paths = [convert.path(change.uri) for change in params.changes if convert.is_local(change.uri)]
    if ls.session.workspace.reread(paths):
        ls.ignore_check.check_all()


async def inline_completion(ls: Server, params: types.InlineCompletionParams) -> types.InlineCompletionList:
    """Return a suggestion as ghost text."""
    context = params.context
    invoked = context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    nothing = types.InlineCompletionList([])
    return await ls.suggest(
        params, context.selected_completion_info, convert.inline_completion_list, nothing, invoked
    )


async def completion(ls: Server, params: types.CompletionParams) -> types.CompletionList:
    """Return a suggestion as a menu entry, for clients without ghost text, which report each word as manual."""
    render = partial(convert.completion_list, as_is=ls.quirks.as_is)
    return await ls.suggest(params, None, render, types.CompletionList(True, []))


FEATURES: tuple[tuple[str, Callable[..., Any], object], ...] = (
    (types.INITIALIZE, initialize, None),
    (types.INITIALIZED, initialized, None),
    (types.WORKSPACE_DID_CHANGE_CONFIGURATION, did_change_configuration, None),
    (types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, did_change_workspace_folders, None),
    (types.WORKSPACE_DID_CHANGE_WATCHED_FILES, did_change_watched_files, None),
    (types.TEXT_DOCUMENT_INLINE_COMPLETION, inline_completion, types.InlineCompletionOptions()),
)
