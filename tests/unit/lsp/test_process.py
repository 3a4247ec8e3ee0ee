"""Tests of the server's input and output streams."""

from __future__ import annotations

import io
import os

from mercury_lsp.lsp.process import Output, read_from


async def test_a_descriptor_is_read_to_its_end() -> None:
    out, into = os.pipe()
    os.write(into, b"one\ntwo")
    os.close(into)
    assert await read_from(out).read() == b"one\ntwo"
    os.close(out)


def test_output_to_a_disconnected_client_is_dropped() -> None:
    out, into = os.pipe()
    os.close(out)
    output = Output(os.fdopen(into, "wb"))
    output.write(b"lost")
    output.close()
    output.write(b"lost")
    kept = io.BytesIO()
    Output(kept).write(b"kept")
    assert kept.getvalue() == b"kept"
