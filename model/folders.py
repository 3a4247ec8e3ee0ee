"""Where the workshop keeps what it makes: the user's cache folder, outside the checkout."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """``$XDG_CACHE_HOME/mercury-lsp``, by default ``~/.cache/mercury-lsp``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mercury-lsp"
