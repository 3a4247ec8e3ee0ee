"""Which model is used: what may name it, in which order, and the user's own file that names one.

Owns that file, `config.json`, in which `mercury-lsp models select` writes, and which may set any other option too.
Whatever is wrong with it costs one sentence and the default. Knows neither where a model of some name lies nor whether
there is one.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mercury_lsp import paths

AUTO = "auto"  # a setting that leaves the choice to the user's file
DEFAULT = "small"
VARIABLE = "MERCURY_MODEL"


class Unreadable(Exception):
    """The user's file cannot be used; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model by its name or folder, and what named it, in words. `problem`: a sentence where the user's file was to
    tell and cannot be used; or ""."""

    model: str
    by: str
    problem: str = ""


def chosen(setting: str = AUTO) -> Choice:
    """The model to use where the editor's settings, or a flag, say this. The environment comes first, then these, then
    what the user has selected. Never raises."""
    if model := os.environ.get(VARIABLE):
        return Choice(model, VARIABLE)
    if setting != AUTO:
        return Choice(setting, "the setting model")
    try:
        model = selected()
    except Unreadable as problem:
        return Choice(DEFAULT, "default", str(problem))
    return Choice(model, "mercury-lsp models select") if model else Choice(DEFAULT, "default")


def config_file() -> Path:
    """Where the user's choice is kept; it may not exist."""
    return paths.folder("config") / "config.json"


def selected() -> str | None:
    """The model that the user's file names; None where it names none. Raises `Unreadable`."""
    model = _read().get("model")
    if model is None or (isinstance(model, str) and model.strip()):
        return model
    raise Unreadable(f"The model in {config_file()} must be a name or a folder, not {model!r}.")


def own_settings() -> dict[str, object]:
    """The options that the user's file sets, by their names, but for the model, which is `selected`'s.

    Raises `Unreadable`.
    """
    return {name: value for name, value in _read().items() if name != "model"}


def select(model: str | None) -> None:
    """Name a model in the user's file, or none; what else is there stays. Raises `Unreadable`, or `OSError`."""
    values = _read()
    values.pop("model", None)
    if model is not None:
        values["model"] = model
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        new.replace(file)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _read() -> dict[str, object]:
    file = config_file()
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unreadable(f"{file} cannot be read: {error.strerror}; mend or delete it.") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{file} is not JSON; mend or delete it.") from error
    if not isinstance(values, dict):
        raise Unreadable(f"{file} must have an object; mend or delete it.")
    return values
