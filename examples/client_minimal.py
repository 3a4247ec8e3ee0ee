"""Prints one suggestion of mercury-lsp: a whole LSP client over stdio, in the standard library alone.

python client_minimal.py [COMMAND ...]        # by default: mercury-lsp --stdio
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

TEXT = "import threading\n\nlock = threading."
URI = "untitled:example.py"


class Client:
    """Speaks JSON-RPC with a language server in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.last_id = 0

    def send(self, message: dict[str, Any]) -> None:
        """Write one message with its header."""
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.server.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Read one message."""
        length = 0
        while line := self.server.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise EOFError("the server has ended")
        return json.loads(self.server.stdout.read(length))

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification, which has no answer."""
        self.send({"method": method, "params": params})

    def request(self, method: str, params: dict[str, Any] | None) -> Any:
        """Send a request and return its result; answer the server's own requests meanwhile with null."""
        self.last_id += 1
        self.send({"id": self.last_id, "method": method, "params": params})
        while True:
            message = self.receive()
            if "method" in message:
                if "id" in message:
                    self.send({"id": message["id"], "result": None})
            elif message["id"] == self.last_id:
                if "error" in message:
                    raise RuntimeError(message["error"]["message"])
                return message["result"]


def suggestion(command: list[str]) -> str | None:
    """The server's suggestion at the end of `TEXT`; None where it has none."""
    client = Client(command)
    client.request(
        "initialize",
        {
            "processId": None,
            "rootUri": None,
            "capabilities": {"textDocument": {"inlineCompletion": {}}},
        },
    )
    client.notify("initialized", {})
    document = {"uri": URI, "languageId": "python", "version": 1, "text": TEXT}
    client.notify("textDocument/didOpen", {"textDocument": document})
    while client.request("mercury/status", None)["state"] == "loading":
        time.sleep(0.05)
    lines = TEXT.split("\n")
    result = client.request(
        "textDocument/inlineCompletion",
        {
            "textDocument": {"uri": URI},
            "position": {"line": len(lines) - 1, "character": len(lines[-1])},
            "context": {"triggerKind": 1},  # 1: the user asked; 2: automatic, as after each key
        },
    )
    client.request("shutdown", None)
    client.notify("exit", {})
    client.server.wait()
    return result["items"][0]["insertText"] if result["items"] else None


if __name__ == "__main__":
    print(suggestion(sys.argv[1:] or ["mercury-lsp", "--stdio"]))
