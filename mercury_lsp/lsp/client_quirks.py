"""Lists in one table the clients that need special treatment, by the names that they report.

Each difference was found in the client's own source, which its row names. A client that is not in the table, or that
lacks the capability that a row relies on, gets the cautious default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lsprotocol import types


@dataclass(frozen=True, slots=True)
class ClientQuirks:
    """The treatment of a client.

    `ghost_text`: the client draws inline completions; otherwise suggestions appear in its completion menu.
    `alternatives_delay`: seconds from the last change to the computation of alternatives, for a client that lets the
    user step through them but never reports a manual request; None: a single candidate. `as_is`: the client supports
    entries that are already indented.
    """

    ghost_text: bool = False
    alternatives_delay: float | None = None
    as_is: bool = False


DEFAULT = ClientQuirks()
ROWS = {
    # lsp-mode 10, lsp-inline-completion.el: sends a request after 2 s without a key, reports it as automatic, and steps
    # through the received items with C-n and C-p, without another request.
    "emacs": ClientQuirks(alternatives_delay=1.0),
}


def find_quirks(params: types.InitializeParams) -> ClientQuirks:
    """Return the table row of the client that sent `initialize`, combined with its capabilities."""
    row = ROWS.get(params.client_info.name, DEFAULT) if params.client_info else DEFAULT
    text = params.capabilities.text_document
    ghost_text = text is not None and text.inline_completion is not None
    item = text.completion.completion_item if text is not None and text.completion is not None else None
    modes = item.insert_text_mode_support.value_set if item and item.insert_text_mode_support else ()
    return replace(
        row,
        ghost_text=ghost_text,
        alternatives_delay=row.alternatives_delay if ghost_text else None,
        as_is=types.InsertTextMode.AsIs in modes,
    )
