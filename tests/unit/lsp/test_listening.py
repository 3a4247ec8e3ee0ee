"""How long a connection may say nothing, and leave unread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from mercury_lsp.lsp import listening
from mercury_lsp.lsp.listening import ConnectionGate
from mercury_lsp.lsp.protocol import Writer, encode_message
from mercury_lsp.tokens import Tokens

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"initializationOptions": {"token": "t"}},
}


async def port_of(gate: ConnectionGate) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(gate.serve_connection, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("trickle", [b"", b"C", b"Content-Length: 500\r\n\r\n{"])
async def test_who_says_nothing_is_gone_in_time(trickle: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(messages: AsyncIterator[bytes], writer: Writer) -> None:
        raise AssertionError

    monkeypatch.setattr(listening, "INITIALIZE_SECONDS", 0.05)
    server, port = await port_of(ConnectionGate(Tokens({"t": "ann"}), never))
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(trickle)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 30)
        writer.close()


async def test_who_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def chatter(messages: AsyncIterator[bytes], writer: Writer) -> None:
        async for body in messages:
            assert b'"t"' not in body
            while not ended.is_set():
                writer.write(b"x" * 100_000)
                if writer._writer.is_closing():  # type: ignore[attr-defined]
                    ended.set()

    monkeypatch.setattr(listening, "MAX_UNREAD_BYTES", 1 << 20)
    server, port = await port_of(ConnectionGate(Tokens({"t": "ann"}), chatter))
    async with server:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(encode_message(INITIALIZE))
        await asyncio.wait_for(ended.wait(), 30)
        writer.close()
