"""A language server with scripted suggestions: its argument is a JSON object of suggestions by the text before them.

It supports the part of the protocol that `mercury_lsp.bench.editor.Editor` needs. The key of a suggestion is the text
before the cursor in its line, without indentation; a manual request adds a `!` before the key. If a second argument
names a file, each opened document is logged there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

texts: dict[str, list[str]] = {}
suggestions: dict[str, str] = json.loads(sys.argv[1])


def send(message: dict[str, Any]) -> None:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    sys.stdout.buffer.flush()


def progress(kind: str) -> None:
    value = {"kind": kind, **({"title": "Loading the model"} if kind == "begin" else {})}
    send({"method": "$/progress", "params": {"token": "1", "value": value}})


def change(params: dict[str, Any]) -> None:
    (part,) = params["contentChanges"]
    lines = texts[params["textDocument"]["uri"]]
    start, end = part["range"]["start"], part["range"]["end"]
    before = [*lines[: start["line"]], lines[start["line"]][: start["character"]]]
    after = [lines[end["line"]][end["character"] :], *lines[end["line"] + 1 :]]
    whole = "\n".join(before) + part["text"] + "\n".join(after)
    texts[params["textDocument"]["uri"]] = whole.split("\n")


def suggest(params: dict[str, Any]) -> dict[str, Any]:
    place = params["position"]
    left = texts[params["textDocument"]["uri"]][place["line"]][: place["character"]].lstrip()
    found = suggestions.get("!" + left if params["context"]["triggerKind"] == 1 else left)
    if found is None:
        return {"items": []}
    return {"items": [{"insertText": found, "range": {"start": place, "end": place}}]}


while header := sys.stdin.buffer.readline():
    sys.stdin.buffer.readline()
    message = json.loads(sys.stdin.buffer.read(int(header.split(b":")[1])))
    params = message.get("params")
    result: Any = None
    match message["method"]:
        case "initialize":
            result = {"capabilities": {"positionEncoding": "utf-32"}}
        case "initialized":
            progress("begin")
            progress("end")
        case "textDocument/didOpen":
            item = params["textDocument"]
            texts[item["uri"]] = item["text"].split("\n")
            if len(sys.argv) > 2 and item["uri"].startswith("file:"):
                folder = Path(item["uri"].removeprefix("file://")).parent
                disk = {path.name: path.read_text() for path in folder.iterdir()}
                with Path(sys.argv[2]).open("a") as log:
                    log.write(json.dumps({"text": item["text"], "disk": disk}) + "\n")
        case "textDocument/didChange":
            change(params)
        case "textDocument/inlineCompletion":
            result = suggest(params)
        case "mercury/work":
            result = {"busy": False}
        case "mercury/status":
            result = {"model": "scripted"}
        case "exit":
            break
    if "id" in message:
        send({"id": message["id"], "result": result})
