"""After thousands of edits client and server have the same text, in each position encoding."""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.lsp.client import LanguageClient

from ..conftest import COMMAND, INLINE, Process, frame
from .mirror import ENCODINGS, Mirror

URI = "file:///w/edited.py"
PIECES = [
    "x", " = ", "foo(bar)", "\n", "\r\n", "\r", "    ", "\t", "é", "ß", "€", "漢字", "😀", "👩‍👩‍👧", "e\u0301",
    "\x0c", "\x0b", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff", "def f():\n", "'''", "#", "",
]  # fmt: skip
UNITS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def position(text: str, offset: int, encoding: str) -> types.Position:
    """Return the position of an offset as an editor counts it, independent of the server's implementation."""
    lines = re.split("\r\n|\n|\r", text[:offset])
    codec, size = UNITS[encoding]
    return types.Position(len(lines) - 1, len(lines[-1].encode(codec)) // size)


def place(text: str, dice: random.Random) -> int:
    """Return a random offset in a text, but not between CR and LF, where no cursor can be."""
    offset = dice.randint(0, len(text))
    return offset - 1 if text[max(0, offset - 1) : offset + 1] == "\r\n" else offset


async def digest(client: LanguageClient) -> tuple[int, str]:
    answer: Any = await client.protocol.send_request_async(
        "mercury/documentDigest", {"textDocument": {"uri": URI}}
    )
    return answer.version, answer.sha256


@pytest.mark.parametrize("encoding", UNITS)
async def test_200_random_edits_with_a_completion_after_each(encoding: str, model: Path) -> None:
    dice = random.Random(encoding)
    client = LanguageClient("test", "1")
    await client.start_io(*COMMAND, env={**os.environ, "MERCURY_MODEL": str(model)})
    capabilities = types.ClientCapabilities(
        general=types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind(encoding)]),
        text_document=types.TextDocumentClientCapabilities(
            inline_completion=types.InlineCompletionClientCapabilities()
        ),
    )
    options = {
        "max_tokens": 4,
        "threads": 1,
        "context_tokens": 48,
        "deadline_ms": 60_000,
    }
    started = await client.initialize_async(
        types.InitializeParams(capabilities, process_id=os.getpid(), initialization_options=options)
    )
    assert started.capabilities.position_encoding == encoding
    client.initialized(types.InitializedParams())
    text, shown = "import os\r\n\r\ndef main():\n    print('😀')\n", 0
    client.text_document_did_open(
        types.DidOpenTextDocumentParams(types.TextDocumentItem(URI, "plaintext", 0, text))
    )
    for version in range(1, 201):
        changes: list[types.TextDocumentContentChangeEvent] = []
        for _ in range(dice.choice([1, 1, 1, 2, 3])):
            start, end = sorted((place(text, dice), place(text, dice)))
            end = min(end, start + dice.choice([0, 0, 0, 1, 5, 40]))
            end -= text[max(0, end - 1) : end + 1] == "\r\n" and end > start
            new = "".join(dice.choices(PIECES, k=dice.randint(0, 4)))
            span = types.Range(position(text, start, encoding), position(text, end, encoding))
            changes.append(types.TextDocumentContentChangePartial(span, new))
            text = text[:start] + new + text[end:]
        if dice.random() < 0.02:
            text = "".join(dice.choices(PIECES, k=60))
            changes.append(types.TextDocumentContentChangeWholeDocument(text))
        client.text_document_did_change(
            types.DidChangeTextDocumentParams(types.VersionedTextDocumentIdentifier(version, URI), changes)
        )
        cursor = position(text, place(text, dice), encoding)
        answer = await client.text_document_inline_completion_async(
            types.InlineCompletionParams(
                types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
                types.TextDocumentIdentifier(URI),
                cursor,
            )
        )
        assert isinstance(answer, types.InlineCompletionList)
        for item in answer.items:
            shown += 1
            assert (
                item.range is not None and item.range.start == cursor and item.range.end.line == cursor.line
            )
        assert await digest(client) == (version, hashlib.sha256(text.encode()).hexdigest())
    # The model was loaded and used.
    assert shown > 20
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_10000_random_edits(encoding: str, launch: Callable[..., Process]) -> None:
    """The other side is written apart from ours: it knows code units only. Positions may be out of range."""
    dice, edits, sent = random.Random(encoding), 0, 0
    client = launch().client
    capabilities = {**INLINE, "general": {"positionEncodings": [encoding]}}
    assert client.initialize(capabilities, {"enabled": False})["positionEncoding"] == encoding
    mirror = Mirror(encoding, "first\r\n\u2028 \x0c😀\0e\u0301\ttext\rlast")
    client.open(mirror.text, URI)
    while edits < 10_000:
        messages = []
        for _ in range(50):
            changes = [mirror.edit(dice) for _ in range(dice.choice((1, 1, 1, 2, 3, 5)))]
            if dice.random() < 0.005:
                mirror.units = mirror.split("\0" + mirror.text[:100])
                changes.append({"text": mirror.text})
            edits, sent = edits + len(changes), sent + 1
            item = {"uri": URI, "version": sent}
            params = {"textDocument": item, "contentChanges": changes}
            messages.append({"method": "textDocument/didChange", "params": params})
        client.write(frame(*messages))
        told = client.ask("mercury/documentDigest", {"textDocument": {"uri": URI}})["result"]
        assert told == {"version": sent, "characters": len(mirror.text), "sha256": mirror.sha256}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_mirror_counts_units_and_lines_correctly(encoding: str) -> None:
    mirror = Mirror(encoding, "a😀é\r\nb\rc\x0c\u2028d")
    assert mirror.text == "a😀é\r\nb\rc\x0c\u2028d"
    ends = {"utf-8": (7, 5), "utf-16": (4, 4), "utf-32": (3, 4)}[encoding]
    assert [end - start for start, end in mirror.lines()] == [ends[0], 1, ends[1] + (encoding == "utf-8")]
    assert mirror.offset(0, 99) == ends[0]
    assert mirror.offset(9, 0) == len(mirror.units)
    inside = {"utf-8": 3, "utf-16": 2, "utf-32": 1}[encoding]
    assert mirror.offset(0, inside) == 1
