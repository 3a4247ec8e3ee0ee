"""Lists in one table the clients that differ, by the names that they give themselves.

Each difference was found in the client's own source, which its row names. A client that is not in the table, or lacks
what a row is for, gets the cautious default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lsprotocol import types


@dataclass(frozen=True, slots=True)
class Client:
    """What is done for a client.

    `ghost`: it draws inline completions; else it gets the same in its menu. `further`: seconds after the last change,
    when the further candidates are worked out that it lets its user step through, though it never says that the user
    asked; None: such a client gets one. `as_is`: it may be told that a menu's entry is indented already.
    """

    ghost: bool = False
    further: float | None = None
    as_is: bool = False


DEFAULT = Client()
ROWS = {
    # lsp-mode 10, lsp-inline-completion.el: asks after 2 s without a key, says Automatic, and steps with C-n and C-p
    # through what it got, without asking again.
    "emacs": Client(further=1.0),
}


def client(params: types.InitializeParams) -> Client:
    """The row of who initializes the server, with what its capabilities say."""
    row = ROWS.get(params.client_info.name, DEFAULT) if params.client_info else DEFAULT
    text = params.capabilities.text_document
    ghost = text is not None and text.inline_completion is not None
    item = text.completion.completion_item if text is not None and text.completion is not None else None
    modes = item.insert_text_mode_support.value_set if item and item.insert_text_mode_support else ()
    return replace(
        row,
        ghost=ghost,
        further=row.further if ghost else None,
        as_is=types.InsertTextMode.AsIs in modes,
    )
