"""The fast import: the classes are made as ever, but for two methods, and nothing is left changed."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest

from mercury_lsp.lsp import fast_import

MADE = """
from mercury_lsp.lsp import fast_import
with fast_import.skip_generated_methods():
    from lsprotocol import types
a, b, c = (types.TextDocumentIdentifier(uri) for uri in "aab")
assert a != b and c.uri == "b"
assert type(a).__repr__ is object.__repr__
try:
    types.Position(-1, 0)
except ValueError:
    print("made")
"""


def test_classes_have_their_values_and_their_checks() -> None:
    done = subprocess.run([sys.executable, "-c", MADE], capture_output=True, text=True, check=True)
    assert done.stdout == "made\n"


def test_all_is_as_before_behind_it_whatever_happens() -> None:
    define = attrs.define

    def fail() -> None:
        with fast_import.skip_generated_methods():
            assert attrs.define is not define
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert attrs.define is define
