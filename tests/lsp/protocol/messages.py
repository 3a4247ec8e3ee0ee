"""The random messages of the fuzz: valid ones, and many that no client should send, from a seed.

Defines the messages and the answers they must have; knows nothing of the server. Documents are of two kinds: `mirrors`
have valid edits only, so that the server's text can be compared; the others get everything else.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lsprotocol import types

from mercury_lsp.config import OPTIONS
from mercury_lsp.lsp.handlers import commands as actions
from mercury_lsp.lsp.handlers import workspace as handlers

from .mirror import PIECES, Mirror
from .values import Values

Message = dict[str, Any]
# The number of messages, on average, before a delayed message is sent.
LATER = 12
BUILTIN = ("$/cancelRequest", "$/setTrace", "window/workDoneProgress/cancel", "workspace/executeCommand")
METHODS = tuple(
    m
    for m in (*(m for m, *_ in handlers.FEATURES), *actions.NOTIFICATIONS, *actions.REQUESTS)
    if m not in ("initialize", "initialized", "shutdown", "exit")
)
UNKNOWN = (
    "mercury/unknown",
    "$/unknown",
    "textDocument/hover",
    "",
    "\ud800",
    "initialize ",
    "rpc.x",
    "é" * 99,
)
LANGUAGES = ("plaintext", "python", "c", "rust", "javascript", "php", "\ud800")


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes for the server, and the ids of the answers they must have; None stands for an answer whose id is null."""

    data: bytes
    expected: tuple[object, ...] = ()


def frame(body: bytes) -> bytes:
    """Return the body with its header."""
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def expected(body: bytes) -> tuple[object, ...]:
    """Return the ids of the answers that JSON-RPC requires for a body: one for each request, with its id if valid."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return (None,)
    if not isinstance(message, dict):
        return (None,)
    id_, sound = message.get("id"), message.get("jsonrpc") == "2.0"
    readable = isinstance(id_, (int, str)) and not isinstance(id_, bool)
    if "method" not in message:
        return () if sound and ("id" not in message or readable) else (None,)
    if "id" in message:
        return (id_ if readable else None,)
    return () if sound and isinstance(message["method"], str) else (None,)


class Messages:
    """A client's messages, one after the other. Equal seeds make equal messages.

    early: whether they are sent before `initialize`, which is then not among them.
    """

    def __init__(
        self, seed: object, encoding: str, commands: Sequence[str] = (), early: bool = False
    ) -> None:
        self._early = early
        self.dice = random.Random(f"{seed} {encoding}")
        self.values = Values(self.dice, commands)
        self.mirrors = {f"file:///w/mirror-{i}.py": Mirror(encoding, "") for i in range(3)}
        self.versions = dict.fromkeys(self.mirrors, 0)
        self._id = 0
        self._recent: list[object] = [0]
        self._late: list[Sent] = []
        self._shares: list[tuple[Callable[[], Sent], int]] = [
            (self._edit, 30), (self._complete, 26), (self._document, 6), (self._look, 6), (self._any, 8),
            (self._mutated, 8), (self._flipped, 4), (self._broken, 4), (self._cancel, 3), (self._twice, 2),
            (self._answer, 2), (self._unknown, 1),
        ]  # fmt: skip

    def next(self) -> Sent:
        """Return the next message, which may be a delayed one."""
        if self._late and self.dice.random() < 1 / LATER:
            return self._late.pop(self.dice.randrange(len(self._late)))
        if self.dice.random() < 0.002:
            return self._settings()
        (make,) = self.dice.choices([make for make, _ in self._shares], [share for _, share in self._shares])
        sent = make()
        if make != self._edit and self.dice.random() < 0.05:
            self._late.append(sent)
            return self.next()
        return sent

    def rest(self) -> list[Sent]:
        """Return the delayed messages, and forget them."""
        late, self._late = self._late, []
        return late

    def digests(self) -> dict[int, str]:
        """Return the mirrors' URIs, by new ids for requests of their digests."""
        return {self.new_id(): uri for uri in self.mirrors}

    def new_id(self) -> int:
        """Return an unused id."""
        self._id += 1
        return self._id

    def request(self, method: str, params: object, id_: object = None) -> Message:
        """Return a request, with a new id unless one is given."""
        if id_ is None:
            id_ = self.new_id()
            id_ = self.dice.choice((id_, id_, id_, f"id {id_}", f"é\ud83d{id_}"))
        self._recent = [id_, *self._recent[:7]]
        return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}

    def _send(self, message: object) -> Sent:
        body = json.dumps(message).encode()
        return Sent(frame(body), expected(body))

    def _notify(self, method: str, params: object) -> Message:
        return {"jsonrpc": "2.0", "method": method, "params": params}

    def _edit(self) -> Sent:
        """Change a mirror; sometimes open it again with a new text."""
        uri = self.dice.choice(list(self.mirrors))
        mirror = self.mirrors[uri]
        if not self.versions[uri] or self.dice.random() < 0.01:
            mirror.units = mirror.split("".join(self.dice.choices(PIECES, k=60)))
            self.versions[uri] += 1
            item = {"uri": uri, "languageId": "python", "version": self.versions[uri], "text": mirror.text}
            return self._send(self._notify("textDocument/didOpen", {"textDocument": item}))
        self.versions[uri] += 1
        changes = [mirror.edit(self.dice) for _ in range(self.dice.choice((1, 1, 1, 2, 3)))]
        item = {"uri": uri, "version": self.versions[uri]}
        return self._send(
            self._notify("textDocument/didChange", {"textDocument": item, "contentChanges": changes})
        )

    def _completion(self) -> Message:
        uri = self.dice.choice([*self.mirrors, *self.mirrors, self.values.uri()])
        where = {"textDocument": {"uri": uri}, "position": self.values.position(self.mirrors.get(uri))}
        if self.dice.random() < 0.1:
            return self.request("textDocument/completion", where)
        context: Message = {"triggerKind": self.dice.choice((1, 2, 2, 2))}
        if self.dice.random() < 0.05:
            context["selectedCompletionInfo"] = {"range": self.values.range(), "text": self.values.text(3)}
        return self.request("textDocument/inlineCompletion", {**where, "context": context})

    def _complete(self) -> Sent:
        return self._send(self._completion())

    def _change(self) -> Message:
        """Open, change or close a document whose text is not compared."""
        uri, version = self.values.uri(), self.dice.choice((0, 1, 7, -3, 2**31 - 1))
        kind = self.dice.random()
        if kind < 0.3:
            item = {
                "uri": uri,
                "languageId": self.dice.choice(LANGUAGES),
                "version": version,
                "text": self.values.text(),
            }
            return self._notify("textDocument/didOpen", {"textDocument": item})
        if kind < 0.4:
            return self._notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        changes: list[Message] = [
            {"range": self.values.range(), "text": self.values.text(5)}
            for _ in range(self.dice.randint(0, 3))
        ]
        if self.dice.random() < 0.2:
            changes.append({"text": self.values.text()})
        item = {"uri": uri, "version": version}
        return self._notify("textDocument/didChange", {"textDocument": item, "contentChanges": changes})

    def _document(self) -> Sent:
        return self._send(self._change())

    def _look(self) -> Sent:
        if self.dice.random() < 0.3:
            return self._send(self.request(actions.WORK, None))
        uri = self.dice.choice([*self.mirrors, self.values.uri()])
        return self._send(self.request(actions.DIGEST, {"textDocument": {"uri": uri}}))

    def _described(self) -> Message:
        """Return a message of any method of the server, valid by the protocol's types but with random values."""
        method = self.dice.choice((*METHODS, *BUILTIN))
        if method == "workspace/didChangeConfiguration":
            # Only `_settings` changes settings, because it also restores them.
            method = "$/setTrace"
        params = types.METHOD_TO_TYPES.get(method, (None, None, None))[2]
        made = self.values.made(params, 0) if params is not None else self.values.json(2)
        request = types.METHOD_TO_TYPES.get(method, (None, None))[1] is not None or method.startswith(
            "mercury/"
        )
        return self.request(method, made) if request else self._notify(method, made)

    def _any(self) -> Sent:
        return self._send(self._described())

    def _victim(self) -> Message:
        """Return a message about no mirror, which may be corrupted."""
        message = self.dice.choice((self._completion, self._change, self._change, self._described))()
        text = json.dumps(message)
        if "mirror" in text:
            return self._victim()
        return message

    def _mutated(self) -> Sent:
        """Return a message with some values removed or replaced."""
        message = copy.deepcopy(self._victim())
        for _ in range(self.dice.choice((1, 1, 2, 4))):
            spots: list[tuple[Any, Any]] = []
            todo: list[Any] = [message]
            while todo:
                node = todo.pop()
                keys = node if isinstance(node, dict) else range(len(node))
                spots += [(node, key) for key in keys]
                todo += [node[key] for key in keys if isinstance(node[key], (dict, list))]
            if not spots:
                break
            node, key = self.dice.choice(spots)
            if self.dice.random() < 0.3:
                del node[key]
            else:
                node[key] = self.values.json(1)
        return self._send(message)

    def _flipped(self) -> Sent:
        """Return a body with some bytes changed, removed or doubled."""
        body = bytearray(
            json.dumps(self._victim(), ensure_ascii=self.dice.random() < 0.5).encode(errors="replace")
        )
        for _ in range(self.dice.choice((1, 1, 2, 8))):
            at = self.dice.randrange(len(body))
            kind = self.dice.randrange(3)
            if kind == 0:
                body[at] = self.dice.randrange(256)
            else:
                body[at : at + self.dice.choice((1, 1, 9))] = body[at : at + 1] * (2 * (kind - 1))
        if b"mirror" in body or b"xit" in body or not body:
            return self._flipped()
        return Sent(frame(bytes(body)), expected(bytes(body)))

    def _broken(self) -> Sent:
        """Return an invalid or odd frame. The next frame begins right after it, or at the end of its last line."""
        body, dice = json.dumps(self._victim()).encode(), self.dice
        size, kind = len(body), dice.randrange(6)
        # A length that is too short: the rest of the body is skipped.
        if kind == 0:
            size = dice.randrange(size)
            return Sent(b"Content-Length: %d\r\n\r\n%s\r\n" % (size, body), expected(body[:size]))
        # A body that is too long.
        if kind == 1:
            more = dice.choice(
                (b"\r\n", b" " * 9, b"}", b"\r\n\r\n{}", b"Content-Length: 3\r\n\r\n{}", b"\0")
            )
            whole = body + more
            return Sent(b"Content-Length: %d\r\n\r\n%s" % (len(whole), whole), expected(whole))
        # No length, or an invalid one.
        if kind == 2:
            length = dice.choice(
                (b"abc", b"-5", b"", b"0x10", b"1e3", b"9" * 40, b"\xff", b"3;4", b" ", b"999999999999")
            )
            return Sent(b"Content-Length: %s\r\n\r\n%s\r\n" % (length, body))
        # Garbage before the header.
        if kind == 3:
            dirt = (b"Content-Len", b"Content-Length: 4", b"\r\n\r\n", b"\n", b":", b"\xff\r", b"\0" * 70_000)
            return Sent(dice.choice(dirt) + frame(body), expected(body))
        # An odd but valid header.
        if kind == 4:
            header = dice.choice(
                (
                    b"content-length:%d",
                    b"X: 1\r\nCONTENT-LENGTH: %d",
                    b"Content-Length: \t%d \nY:",
                    b"Content-Length: 7\r\nContent-Length: %d",
                )
            )
            return Sent(header % size + b"\r\n\r\n" + body, expected(body))
        odd = dice.choice(
            (
                b"",
                b"[]",
                b"17",
                b"null",
                b"[" * 3000,
                b'"x"',
                b"{}",
                b"\xef\xbb\xbf{}",
                b"9" * 5000,
                b"{" * 2000,
            )
        )
        return Sent(frame(odd), expected(odd))

    def _cancel(self) -> Sent:
        id_ = self.dice.choice((*self._recent, *self._recent, "never", -1, 2**40))
        return self._send(self._notify("$/cancelRequest", {"id": id_}))

    def _twice(self) -> Sent:
        """Return two requests, the second with the id of an earlier request, which may still be open."""
        message = self._completion()
        message["id"] = self._recent[self.dice.randrange(len(self._recent))]
        one, other = self._send(self._completion()), self._send(message)
        return Sent(one.data + other.data, one.expected + other.expected)

    def _answer(self) -> Sent:
        """Return an answer that the server does not expect, sometimes with the id of a request of the client."""
        body = self.dice.choice(
            ({"result": self.values.json(1)}, {"error": self.values.json(1)}, {"result": None}, {})
        )
        return self._send({"jsonrpc": "2.0", "id": self.dice.choice((*self._recent, "x", 2**70)), **body})

    def _unknown(self) -> Sent:
        """Return a message of an unknown method, or a second `initialize` or `initialized`."""
        if not self._early and self.dice.random() < 0.3:
            params: Message = {"processId": None, "rootUri": "file:///other", "capabilities": {}}
            again = self._notify("initialized", {}), self.request("initialize", params)
            return self._send(self.dice.choice(again))
        method, params = self.dice.choice(UNKNOWN), self.values.json(2)
        if self.dice.random() < 0.3:
            return self._send({"jsonrpc": "2.0", "id": self.request("x", None)["id"], "method": method})
        notify = self.dice.random() < 0.5
        return self._send(self._notify(method, params) if notify else self.request(method, params))

    def _settings(self) -> Sent:
        """Change settings to valid or invalid values, to be reset by a delayed message."""
        given: Message = {}
        for option in self.dice.sample(OPTIONS, self.dice.randint(0, 4)):
            right: dict[type, tuple[Any, ...]] = {
                bool: (True, False),
                int: (option.low, option.low + 1),
                float: (option.low, 0.5),
            }
            choices = (
                option.choices if option.name != "device" else ("auto", "cpu")
            )  # the others' torch takes 200 MB
            values = choices or right.get(type(option.default), ((), ["c"]))
            given[option.name] = self.dice.choice((*values, self.values.json(1)))
        settings = self.dice.choice(({"mercury": given}, given, self.values.json(1)))
        self._late.append(self._send(self._notify("workspace/didChangeConfiguration", {"settings": {}})))
        return self._send(self._notify("workspace/didChangeConfiguration", {"settings": settings}))
