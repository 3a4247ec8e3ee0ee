"""Documents just below the size limit: typing in them is answered within the default deadline."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mercury_lsp.engine.checkpoints.checkpoint import SHIPPED

from ..conftest import INLINE, Process, at, change

pytestmark = pytest.mark.skipif(not (SHIPPED / "small" / "config.json").is_file(), reason="no weights here")

UNIT = "def area_{0}(width, height):\n    return width * height * {0}\n\n\n"
CODE = "".join(UNIT.format(number) for number in range(14_300))
TEXTS = {
    "code": (CODE, "python", "py"),
    "one line": ("x = [" + "1, " * 310_000 + "\n", "python", "py"),
    "brackets": ("f(" * 470_000 + "\n", "javascript", "js"),
    "quotes": ("'\"" * 470_000 + "\n", "javascript", "js"),
    "comments": ("/* " * 310_000 + "\n", "c", "c"),
    "list": ("- item\n" * 134_000, "yaml", "yaml"),
    "templates": ("`${" * 310_000 + "\n", "typescript", "ts"),
    "markup": ("<a b='" * 155_000 + "\n", "html", "html"),
    "empty lines": ("\n" * 940_000, "go", "go"),
    "wide characters": ("é 漢 😀 = 1\n" * 60_000, "python", "py"),
}
UNASKED_SECONDS = 0.25


@pytest.mark.parametrize("kind", TEXTS)
def test_requests_in_large_documents_are_answered_in_time(kind: str) -> None:
    """Allow four times the deadline, for a busy machine; unbounded work takes far longer."""
    text, language, ending = TEXTS[kind]
    assert 800_000 < len(text.encode()) < 1_000_000
    process = Process(Path("small"))
    client = process.client
    try:
        client.start(INLINE, {"deadline_ms": 0})
        uri = client.open(
            text + "def area(width, height):\n    return ", f"file:///w/large.{ending}", language
        )
        line = text.count("\n") + 1
        times = []
        for version, typed in enumerate("widt", 2):
            edit = change(uri, version, typed, (line, 9 + version), (line, 9 + version))
            client.notify(edit["method"], edit["params"])
            params = at(uri, line, 10 + version) | {"context": {"triggerKind": 2}}
            began = time.monotonic()
            assert "result" in client.ask("textDocument/inlineCompletion", params)
            times.append(time.monotonic() - began)
        assert sorted(times)[2] < 4 * UNASKED_SECONDS, times
    finally:
        process.process.kill()
        process.process.wait()
