"""Notebooks: all cells form one document, in their order."""

from __future__ import annotations

from typing import Any

from .conftest import WORD, Client, at, change

Message = dict[str, Any]
BOOK = "file:///w/book.ipynb"


def uri(name: str) -> str:
    return f"vscode-notebook-cell:/w/book.ipynb#{name}"


def text(name: str, content: str, language: str = "plaintext") -> Message:
    return {"uri": uri(name), "languageId": language, "version": 1, "text": content}


def cells(*names: str) -> list[Message]:
    return [{"kind": 2, "document": uri(name)} for name in names]


def open_book(client: Client, *documents: Message) -> None:
    names = [document["uri"].partition("#")[2] for document in documents]
    notebook = {"uri": BOOK, "notebookType": "jupyter-notebook", "version": 1, "cells": cells(*names)}
    client.notify(
        "notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": list(documents)}
    )


def change_book(client: Client, **parts: object) -> None:
    notebook = {"uri": BOOK, "version": 2}
    client.notify("notebookDocument/didChange", {"notebookDocument": notebook, "change": {"cells": parts}})


def close_book(client: Client, *names: str) -> None:
    documents = [{"uri": uri(name)} for name in names]
    client.notify(
        "notebookDocument/didClose", {"notebookDocument": {"uri": BOOK}, "cellTextDocuments": documents}
    )


def characters(client: Client, name: str) -> int | None:
    answer = client.ask("mercury/documentDigest", {"textDocument": {"uri": uri(name)}})["result"]
    return answer and answer["characters"]


def test_a_suggestion_in_a_cell_is_placed_in_that_cell(client: Client) -> None:
    open_book(
        client, text("a", "import os\n"), text("m", "# Title", "markdown"), text("b", "some words and ")
    )
    (item,) = client.complete(uri("b"), 0, 15)
    assert item["insertText"] == WORD
    assert item["range"] == {"start": {"line": 0, "character": 15}, "end": {"line": 0, "character": 15}}
    (item,) = client.complete(uri("a"), 1, 0)
    assert item["range"]["start"] == {"line": 1, "character": 0}
    close_book(client, "a", "m", "b")
    assert client.complete(uri("b"), 0, 15) == []


def test_cells_can_be_added_removed_and_changed(client: Client) -> None:
    open_book(client, text("a", "x = 1"), text("b", "y = 2"))
    array = {"start": 1, "deleteCount": 1, "cells": cells("c", "d")}
    opened = [text("c", "some words and "), text("d", "")]
    change_book(client, structure={"array": array, "didOpen": opened, "didClose": [{"uri": uri("b")}]})
    assert characters(client, "b") is None and characters(client, "c") == 15
    content = change(uri("c"), 2, "more ", (0, 0), (0, 0))["params"]
    change_book(
        client, textContent=[{"document": content["textDocument"], "changes": content["contentChanges"]}]
    )
    assert characters(client, "c") == 20
    assert client.complete(uri("c"), 0, 20)[0]["range"]["start"] == {"line": 0, "character": 20}
    # A range outside of the notebook is tolerated.
    change_book(client, structure={"array": {"start": 7, "deleteCount": 9}})
    change_book(client, data=cells("a"))
    # This closes all other cells, too.
    close_book(client, "a")
    assert [characters(client, name) for name in "acd"] == [None, None, None]
    assert client.is_served()


def test_notebook_synchronization_is_a_server_capability(launch: Any) -> None:
    capabilities = {"notebookDocument": {"synchronization": {}}, "textDocument": {"inlineCompletion": {}}}
    offered = launch().client.initialize(capabilities)
    assert offered["notebookDocumentSync"]["notebookSelector"] == [
        {"notebook": "*", "cells": [{"language": "*"}]}
    ]


def test_explain_works_in_a_cell_of_a_notebook(client: Client) -> None:
    open_book(client, text("a", "x = 1"), text("b", "some words and "))
    place = at(uri("b"), 0, 15)
    params = {"command": "mercury.explain", "arguments": [place["textDocument"]["uri"], place["position"]]}
    assert client.ask("workspace/executeCommand", params)["result"].startswith("Something is suggested")
    close_book(client, "a", "b")
