"""What the server reads from and writes to."""

from __future__ import annotations

import io
import os

from mercury_lsp.lsp.process import OutputWriter, stream_reader


async def test_a_descriptor_is_read_to_its_end() -> None:
    out, into = os.pipe()
    os.write(into, b"one\ntwo")
    os.close(into)
    assert await stream_reader(out).read() == b"one\ntwo"
    os.close(out)


def test_what_is_written_to_a_client_that_is_gone_is_dropped() -> None:
    out, into = os.pipe()
    os.close(out)
    output = OutputWriter(os.fdopen(into, "wb"))
    output.write(b"lost")
    output.close()
    output.write(b"lost")
    kept = io.BytesIO()
    OutputWriter(kept).write(b"kept")
    assert kept.getvalue() == b"kept"
