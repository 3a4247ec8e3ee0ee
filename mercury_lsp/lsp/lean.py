"""The classes of lsprotocol, made in less time: most of the server's start is spent on them.

There are over five hundred, each with methods that attrs writes and compiles when the module is imported. Nobody
prints or compares them here, and the methods for that are most of the work. Knows nothing of what the classes mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import attrs


@contextmanager
def imports() -> Iterator[None]:
    """Import lsprotocol, and all that imports it, in here."""
    define = attrs.define
    attrs.define = partial(define, repr=False, eq=False)
    try:
        yield
    finally:
        attrs.define = define
