"""Framing: whatever stands between the messages, the messages are found."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercury_lsp.lsp.protocol import MAX_MESSAGE_BYTES, FramingError, frames, strict_frames


def encode_message(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


async def bodies(*pieces: bytes) -> list[bytes]:
    reader = asyncio.StreamReader()

    async def feed() -> None:
        for piece in pieces:
            reader.feed_data(piece)
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.create_task(feed())
    found = [body async for body in frames(reader)]
    await feeding
    return found


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=30), max_size=4), st.integers(1, 17))
def test_messages_are_found_however_they_are_cut(sent: list[bytes], size: int) -> None:
    stream = b"".join(encode_message(body) for body in sent)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert asyncio.run(bodies(*pieces)) == sent


@pytest.mark.parametrize(
    "garbage",
    [
        b"Content-Len\r\n\r\n",
        b"Content-Length: 9",
        b"Content-Length: nine\r\n\r\n{some body}",
        b"Content-Length: -9\r\n\r\n{some body}",
        b"Content-Length: 9\r\n",
        b"Content-Length: %d\r\n\r\n{}" % (MAX_MESSAGE_BYTES + 1),
        b"\r\n\r\n",
        b"\x00\xff\xfe\r\n",
        b"x" * 200_000 + b"\r\n",
        b"{no header at all}",
        b"x" * 200_000,
    ],
)
async def test_a_message_after_garbage_is_found(garbage: bytes) -> None:
    assert await bodies(garbage + encode_message(b"good")) == [b"good"]


@pytest.mark.parametrize(
    "header",
    [
        b"content-length:4\r\n\r\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 4\r\n\r\n",
        b"Content-Length: 4\r\nContent-Type: x\r\n\r\n",
        b"Content-Length: 4\n\n",
    ],
)
async def test_headers_come_in_several_forms(header: bytes) -> None:
    assert await bodies(header + b"good") == [b"good"]


@pytest.mark.parametrize(
    "end", [b"", b"Content-Le", b"Content-Length: 4\r\n", b"Content-Length: 4\r\n\r\ngo"]
)
async def test_a_stream_may_end_anywhere(end: bytes) -> None:
    assert await bodies(encode_message(b"good"), end) == [b"good"]


async def strictly(stream: bytes) -> list[bytes]:
    reader = asyncio.StreamReader()
    reader.feed_data(stream)
    reader.feed_eof()
    return [body async for body in strict_frames(reader, 1000)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nReferer: http://x/?Content-Length: 4\r\n\r\n",
        b"Referer: Content-Length: 4\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n",
        b"\r\n",
        b"Content-Len\r\n\r\n",
        b"Content-Length: 9",
        b"Content-Length: nine\r\n\r\n",
        b"Content-Length: -9\r\n\r\n",
        b"Content-Length: +4\r\n\r\ngood",
        b"Content-Length: 4, 4\r\n\r\ngood",
        b"Content-Length: \xd9\xa4\r\n\r\ngood",
        b"Content-Length : 4\r\n\r\ngood",
        b" Content-Length: 4\r\n\r\ngood",
        b"Content-Length: 4\r\n Content-Type: x\r\n\r\ngood",
        b"Content-Length: 4\r\ncontent-length: 5\r\n\r\ngood",
        b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        b"Content-Length: 99999999999999\r\n\r\n",
        b"Content-Type: utf-8\r\n\r\n",
        b"Content-Type: " + b"x" * 200 + b"\r\nContent-Length: 4\r\n\r\ngood",
        b"x" * 200_000,
        b"x: y\r\n" * 100_000,
    ],
)
async def test_garbage_on_a_socket_is_never_read_past(garbage: bytes) -> None:
    with pytest.raises(FramingError):
        await strictly(garbage + encode_message(b"evil"))
    with pytest.raises(FramingError):
        await strictly(encode_message(b"good") + garbage + encode_message(b"evil"))


@pytest.mark.parametrize("end", [b"", b"Content-Le", b"Content-Length: 4\r\n\r\ngo"])
async def test_a_sockets_messages_come_until_its_end(end: bytes) -> None:
    header = b"content-type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length:4\r\n\r\n"
    assert await strictly(encode_message(b"one") + header + b"good" + encode_message(b"") + end) == [
        b"one",
        b"good",
        b"",
    ]


@given(st.binary(max_size=60).filter(lambda start: b"content-" not in start.lower()))
async def test_what_begins_with_anything_else_is_never_a_message(start: bytes) -> None:
    if start and not b"content-length".startswith(start.lower()):
        with suppress(FramingError):
            assert await strictly(start + encode_message(b"evil")) == []
