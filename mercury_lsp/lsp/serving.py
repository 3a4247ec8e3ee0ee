"""Serves one client: passes its messages to a server, in order, until it exits or is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from mercury_lsp.lsp.protocol import Writer, frames
from mercury_lsp.lsp.server import Server, boundary


async def serve(
    reader: asyncio.StreamReader,
    writer: Writer,
    overrides: Mapping[str, object] | None = None,
    watch: Callable[[int], object] | None = None,
    ending: Callable[[int], None] = lambda status: None,
) -> int:
    """Serve one client until it exits or is gone; the exit status that the protocol asks for.

    `watch` is given the id of the client's process. `ending` is told the status once it is known, before all that still
    runs is ended.
    """
    return await serve_messages(frames(reader), writer, overrides, watch, ending)


async def serve_messages(
    messages: AsyncIterator[bytes],
    writer: Writer,
    overrides: Mapping[str, object] | None = None,
    watch: Callable[[int], object] | None = None,
    ending: Callable[[int], None] = lambda status: None,
) -> int:
    """As `serve`, given the bodies of the messages."""
    server = Server(overrides)
    server.watch = watch
    server.protocol.set_writer(writer)
    status = 1
    try:
        async for body in messages:
            with boundary("reading a message"):
                server.protocol.receive(body)
            if server.protocol.exit_code is not None:
                status = server.protocol.exit_code
                return status
            # The loop runs callbacks in order, so a handler runs to its first `await` before the next message is read:
            # a change that comes right after a request cannot get ahead of the request's snapshot.
            await asyncio.sleep(0)
        return status
    finally:
        ending(status)
        await server.close()
        writer.close()
