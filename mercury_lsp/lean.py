"""The classes of lsprotocol, made in less time: most of the server's start is spent on them.

There are over five hundred, each with methods that attrs writes and compiles when the module is imported. Nobody
reads their representations here, which are a third of that. Knows nothing of what the classes mean.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import attrs


@contextmanager
def imports() -> Iterator[None]:
    """Import lsprotocol, and all that imports it, in here. Whatever is made meanwhile is kept: it is not searched for
    garbage."""
    define, collects = attrs.define, gc.isenabled()
    gc.disable()
    attrs.define = partial(define, repr=False)
    try:
        yield
    finally:
        attrs.define = define
        if collects:
            gc.enable()
