"""Finds the user's folders for configuration, data, state and cache, by each system's convention.

An environment variable counts only if it holds an absolute path, as the XDG Base Directory Specification says: a
relative path would name a folder in the workspace that the server was started in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

APP_NAME = "mercury-lsp"

Kind = Literal["config", "data", "state", "cache"]
_DEFAULT_FOLDERS: dict[str, dict[Kind, str]] = {
    "darwin": {
        "config": "~/Library/Application Support",
        "data": "~/Library/Application Support",
        "state": "~/Library/Application Support",
        "cache": "~/Library/Caches",
    },
    "win32": {
        "config": "~/AppData/Roaming",
        "data": "~/AppData/Local",
        "state": "~/AppData/Local",
        "cache": "~/AppData/Local",
    },
    "linux": {
        "config": "~/.config",
        "data": "~/.local/share",
        "state": "~/.local/state",
        "cache": "~/.cache",
    },
}


def folder(kind: Kind) -> Path:
    """Return the absolute path of this program's folder of a kind; the folder may not exist."""
    variables = [f"XDG_{kind.upper()}_HOME"]
    if sys.platform == "win32":
        variables.append("APPDATA" if kind == "config" else "LOCALAPPDATA")
    configured = (os.path.expanduser(os.environ.get(variable, "")) for variable in variables)
    base = next(filter(os.path.isabs, configured), None)
    return (
        Path(base or _expand_home(_DEFAULT_FOLDERS.get(sys.platform, _DEFAULT_FOLDERS["linux"])[kind]))
        / APP_NAME
    )


def cache_folder() -> Path:
    """Return this program's cache folder; the folder may not exist."""
    return folder("cache")


def _expand_home(path: str) -> str:
    """Expand a path below the user's home; without a home, return a folder that does not exist, so nothing is read."""
    expanded = os.path.expanduser(path)
    return expanded if os.path.isabs(expanded) else os.path.abspath("/nonexistent")
