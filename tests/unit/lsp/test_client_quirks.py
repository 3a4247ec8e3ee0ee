"""The table of clients, by the names and capabilities that they send."""

from __future__ import annotations

import pytest
from lsprotocol import types

from mercury_lsp.lsp.client_quirks import ROWS, Client, client

GHOST = types.InlineCompletionClientCapabilities()


def params(
    name: str | None, ghost: bool, modes: list[types.InsertTextMode] | None = None
) -> types.InitializeParams:
    support = types.ClientCompletionItemInsertTextModeOptions(value_set=modes) if modes is not None else None
    item = types.ClientCompletionItemOptions(insert_text_mode_support=support)
    text = types.TextDocumentClientCapabilities(
        inline_completion=GHOST if ghost else None,
        completion=types.CompletionClientCapabilities(completion_item=item),
    )
    info = None if name is None else types.ClientInfo(name=name)
    return types.InitializeParams(types.ClientCapabilities(text_document=text), client_info=info)


@pytest.mark.parametrize("name", [None, "", "Visual Studio Code", "Neovim", "helix", "Eglot", "another"])
@pytest.mark.parametrize("ghost", [False, True])
def test_who_is_not_in_the_table_has_the_default(name: str | None, ghost: bool) -> None:
    assert name not in ROWS
    assert client(params(name, ghost)) == Client(ghost=ghost)


def test_lsp_mode_steps_through_what_it_did_not_ask_for_where_it_draws_it() -> None:
    assert client(params("emacs", True)) == Client(ghost=True, further=ROWS["emacs"].further)
    assert ROWS["emacs"].further is not None and ROWS["emacs"].further < 2  # seconds, after which it asks
    assert client(params("emacs", False)) == Client()


def test_who_knows_how_to_insert_is_told() -> None:
    modes = types.InsertTextMode
    assert client(params("x", False, [modes.AsIs, modes.AdjustIndentation])).as_is
    assert not client(params("x", False, [modes.AdjustIndentation])).as_is
    assert not client(params("x", False)).as_is


def test_a_client_that_tells_nothing_has_the_default() -> None:
    assert client(types.InitializeParams(types.ClientCapabilities())) == Client()
