"""Reads the token and settings files that several commands take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mercury_lsp.config import SECTION, Config, parse_settings
from mercury_lsp.errors import BadUsage
from mercury_lsp.tokens import TOKENS_VARIABLE, read_tokens


def load_tokens(file: Path | None) -> dict[str, str]:
    """Read client names by token from a file or the environment; see `read_tokens`. Raises `BadUsage`."""
    try:
        return read_tokens(file)
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        source = str(file) if file is not None else f"the variable {TOKENS_VARIABLE}"
        raise BadUsage(f"Cannot read tokens from {source}: {reason}.") from error


def read_settings(file: Path | None) -> Config:
    """Read the configuration from a file, see `read_options`; None gives the defaults. Raises `BadUsage`."""
    return Config() if file is None else parse_settings(read_options(file))[0]


def read_options(file: Path) -> Mapping[str, object]:
    """Read options from a JSON file: by their names, in a section `mercury`, or as VS Code writes them.

    Raises `BadUsage` if the file cannot be read or an option in it is wrong.
    """
    try:
        options = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadUsage(f"Cannot read settings from {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadUsage(f"Cannot read settings from {file}: it is not UTF-8 text.") from error
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"Cannot read settings from {file}: it is not JSON ({error}).") from error
    if isinstance(options, Mapping):
        dotted = {
            name.removeprefix(f"{SECTION}."): value
            for name, value in options.items()
            if name.startswith(f"{SECTION}.") and name.count(".") == 1
        }
        options = dotted or options.get(SECTION, options)
    _, problems = parse_settings(options, strict=True)
    if problems:
        raise BadUsage(" ".join(problems))
    return dict(options)
