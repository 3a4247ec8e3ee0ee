"""The table of clients, by the names and capabilities that they send."""

from __future__ import annotations

import pytest
from lsprotocol import types

from mercury_lsp.lsp.client_quirks import ROWS, ClientQuirks, find_quirks

GHOST = types.InlineCompletionClientCapabilities()


def params(
    name: str | None, ghost_text: bool, modes: list[types.InsertTextMode] | None = None
) -> types.InitializeParams:
    support = types.ClientCompletionItemInsertTextModeOptions(value_set=modes) if modes is not None else None
    item = types.ClientCompletionItemOptions(insert_text_mode_support=support)
    text = types.TextDocumentClientCapabilities(
        inline_completion=GHOST if ghost_text else None,
        completion=types.CompletionClientCapabilities(completion_item=item),
    )
    info = None if name is None else types.ClientInfo(name=name)
    return types.InitializeParams(types.ClientCapabilities(text_document=text), client_info=info)


@pytest.mark.parametrize("name", [None, "", "Visual Studio Code", "Neovim", "helix", "Eglot", "another"])
@pytest.mark.parametrize("ghost_text", [False, True])
def test_who_is_not_in_the_table_has_the_default(name: str | None, ghost_text: bool) -> None:
    assert name not in ROWS
    assert find_quirks(params(name, ghost_text)) == ClientQuirks(ghost_text=ghost_text)


def test_lsp_mode_steps_through_what_it_did_not_ask_for_where_it_draws_it() -> None:
    assert find_quirks(params("emacs", True)) == ClientQuirks(
        ghost_text=True, alternatives_delay=ROWS["emacs"].alternatives_delay
    )
    assert (
        ROWS["emacs"].alternatives_delay is not None and ROWS["emacs"].alternatives_delay < 2
    )  # seconds, after which it asks
    assert find_quirks(params("emacs", False)) == ClientQuirks()


def test_who_knows_how_to_insert_is_told() -> None:
    modes = types.InsertTextMode
    assert find_quirks(params("x", False, [modes.AsIs, modes.AdjustIndentation])).as_is
    assert not find_quirks(params("x", False, [modes.AdjustIndentation])).as_is
    assert not find_quirks(params("x", False)).as_is


def test_a_client_that_tells_nothing_has_the_default() -> None:
    assert find_quirks(types.InitializeParams(types.ClientCapabilities())) == ClientQuirks()
