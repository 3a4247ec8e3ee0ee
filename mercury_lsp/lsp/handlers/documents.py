"""Handles the notifications that open, change and close documents, and guesses the cursor from a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lsprotocol import types

from mercury_lsp.lsp import convert
from mercury_lsp.lsp.handlers.commands import ServerContext
from mercury_lsp.lsp.protocol import NO_VERSION
from mercury_lsp.telemetry.text_edits import Edit, single_edit

# After a larger deletion the user reads before typing on.
MAX_DELETED_CHARACTERS = 1000


def did_open(ls: ServerContext, params: types.DidOpenTextDocumentParams) -> None:
    """Open a document."""
    document = params.text_document
    path = convert.document_path(document.uri, ls.session.roots)
    language_id = document.language_id
    # lsprotocol does not check the type.
    language_id = language_id if isinstance(language_id, str) else ""
    file = convert.absolute_path(document.uri)
    version = 0 if document.version == NO_VERSION else document.version
    ls.next_edits.forget(document.uri)
    ls.session.open(document.uri, path, language_id, version, document.text, file)
    if file:
        ls.ignore_check.opened(document.uri)
    elif snapshot := ls.session.snapshot(document.uri):
        ls.scheduler.on_open(snapshot)


def did_change(ls: ServerContext, params: types.DidChangeTextDocumentParams) -> None:
    """Apply changes, each to the result of the one before, and start work at the end of the last one."""
    uri, version = params.text_document.uri, params.text_document.version
    if version == NO_VERSION:
        version = ls.session.version(uri) + 1
    typed: tuple[int, str] | None = None
    edits: list[Edit] = []
    follows = ls.journal.is_tracking(uri)
    for change in params.content_changes:
        if isinstance(change, types.TextDocumentContentChangeWholeDocument):
            if (document := ls.session.stored_document(uri)) is None:
                # The old text is not kept: the places of earlier edits are unknown now.
                ls.next_edits.forget(uri)
            else:
                if follows:
                    edits.append(single_edit(document.text, change.text))
                ls.next_edits.rewritten(uri, document.text, change.text)
            ls.session.rewrite(uri, version, change.text)
            # A whole new text does not tell the position of the change.
            typed = None
        elif (document := ls.session.stored_document(uri)) is not None:
            start, end = convert.span(document, change.range, ls.encoding)
            if follows:
                edits.append(Edit(start, document.text[start:end], change.text))
            ls.next_edits.changed(uri, start, document.text[start:end], change.text)
            ls.session.replace(uri, version, start, end, change.text)
            typed = (start, change.text) if change.text or end - start < MAX_DELETED_CHARACTERS else None
    ls.journal.on_change(uri, edits)
    if typed is not None and (snapshot := ls.session.snapshot(uri)):
        cursor = convert.guess_cursor(snapshot.document, *typed)
        snapshot, start = ls.session.join_notebook(snapshot)
        ls.scheduler.on_change(snapshot, cursor + start)


def did_close(ls: ServerContext, params: types.DidCloseTextDocumentParams) -> None:
    """Close a document."""
    ls.session.close(params.text_document.uri)
    ls.next_edits.forget(params.text_document.uri)
    ls.journal.on_close(params.text_document.uri)


def did_open_notebook(ls: ServerContext, params: types.DidOpenNotebookDocumentParams) -> None:
    """Open a notebook and its cells."""
    notebook = params.notebook_document
    ls.session.notebooks.open(notebook.uri, [cell.document for cell in notebook.cells])
    _open(ls, params.cell_text_documents)


def did_change_notebook(ls: ServerContext, params: types.DidChangeNotebookDocumentParams) -> None:
    """Apply changes of a notebook's cells, of their order and of their texts."""
    cells = params.change.cells
    if cells is None:
        return
    if (structure := cells.structure) is not None:
        array = structure.array
        new = [cell.document for cell in array.cells or ()]
        ls.session.notebooks.change(params.notebook_document.uri, array.start, array.delete_count, new)
        _open(ls, structure.did_open or ())
        for document in structure.did_close or ():
            did_close(ls, types.DidCloseTextDocumentParams(document))
    for content in cells.text_content or ():
        did_change(ls, types.DidChangeTextDocumentParams(content.document, content.changes))


def did_close_notebook(ls: ServerContext, params: types.DidCloseNotebookDocumentParams) -> None:
    """Close a notebook and its cells."""
    left = ls.session.notebooks.close(params.notebook_document.uri)
    for uri in dict.fromkeys([*left, *(document.uri for document in params.cell_text_documents)]):
        did_close(ls, types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))


def _open(ls: ServerContext, documents: Iterable[types.TextDocumentItem]) -> None:
    for document in documents:
        did_open(ls, types.DidOpenTextDocumentParams(document))


NOTIFICATIONS: dict[str, Callable[..., Any]] = {
    types.TEXT_DOCUMENT_DID_OPEN: did_open,
    types.TEXT_DOCUMENT_DID_CHANGE: did_change,
    types.TEXT_DOCUMENT_DID_CLOSE: did_close,
    types.NOTEBOOK_DOCUMENT_DID_OPEN: did_open_notebook,
    types.NOTEBOOK_DOCUMENT_DID_CHANGE: did_change_notebook,
    types.NOTEBOOK_DOCUMENT_DID_CLOSE: did_close_notebook,
}
