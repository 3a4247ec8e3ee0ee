"""Reads JSON files of a checkpoint, of bounded size, and checks the types of their values.

A checkpoint is untrusted input. Each defect raises a ``ValueError`` whose message is a clause for the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Four times the size of the largest tokenizer.json of an open model.
MAX_FILE_BYTES = 64 << 20
MAX_NUMBER = 1 << 30


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file. Raises ``OSError`` or ``ValueError``."""
    if path.exists() and not path.is_file():
        raise ValueError(f"its {path.name} is no regular file")
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"its {path.name} has more than {MAX_FILE_BYTES >> 20} MiB")
    try:
        values = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"its {path.name} is not UTF-8") from None
    except RecursionError:
        raise ValueError(f"its {path.name} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"its {path.name} is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"its {path.name} has no object")
    return values


def whole_number(values: Mapping[str, Any], name: str, maximum: int = MAX_NUMBER) -> int:
    """Return the whole number ``name``, at most ``maximum``. Raises ``KeyError`` if missing, or ``ValueError``."""
    value = values[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= maximum:
        raise ValueError(f"its {name} must be a whole number from 1 to {maximum:,}")
    return value


def positive_number(values: Mapping[str, Any], name: str, default: float) -> float:
    """Return the finite number ``name`` above 0; ``default`` if it is missing or null. Raises ``ValueError``."""
    value = values.get(name)
    if value is None:
        return default
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= MAX_NUMBER**2:
        raise ValueError(f"its {name} must be a number above 0")
    return float(value)


def token_id(value: object, name: str) -> int:
    """Return a value that must be a token id. Raises ``ValueError``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_NUMBER:
        raise ValueError(f"its {name} is no id of a token")
    return value


def object_field(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object ``name`` in an object; empty if it is missing or null. Raises ``ValueError``."""
    value = values.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"its {name} is no object")
    return value
