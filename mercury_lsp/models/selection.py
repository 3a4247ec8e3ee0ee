"""Selects the model to use: by the environment, the setting, or the user's file `config.json`.

`mercury-lsp models select` writes that file, which may set other options, too. An invalid file is reported in one
message, and the default model is used.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mercury_lsp import paths

# The setting that leaves the choice to the user's file.
AUTO_MODEL = "auto"
DEFAULT_MODEL = "small"
MODEL_VARIABLE = "MERCURY_MODEL"


class UserConfigError(Exception):
    """The user's file is invalid; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model by its name or folder.

    `source`: the source of the choice, for messages. `problem`: a sentence if the user's file is invalid, or "".
    """

    model: str
    source: str
    problem: str = ""


def choose_model(setting: str = AUTO_MODEL) -> ModelChoice:
    """Return the model for a setting of the editor or a flag. Never raises.

    The environment variable has priority, then the setting, then the user's file.
    """
    if model := os.environ.get(MODEL_VARIABLE):
        return ModelChoice(model, MODEL_VARIABLE)
    if setting != AUTO_MODEL:
        return ModelChoice(setting, "the setting model")
    try:
        model = selected_model()
    except UserConfigError as problem:
        return ModelChoice(DEFAULT_MODEL, "default", str(problem))
    return ModelChoice(model, "mercury-lsp models select") if model else ModelChoice(DEFAULT_MODEL, "default")


def config_file() -> Path:
    """Return the user's file, which may not exist."""
    return paths.folder("config") / "config.json"


def selected_model() -> str | None:
    """Return the model in the user's file, or None if the file names no model. Raises `UserConfigError`."""
    model = _read_user_config().get("model")
    if model is None or (isinstance(model, str) and model.strip()):
        return model
    raise UserConfigError(f"The model in {config_file()} must be a name or a folder, not {model!r}.")


def user_settings() -> dict[str, object]:
    """Return the options in the user's file by name, without the model. Raises `UserConfigError`."""
    return {name: value for name, value in _read_user_config().items() if name != "model"}


def select_model(model: str | None) -> None:
    """Write a model to the user's file, or remove it for None; other options stay.

    Raises `UserConfigError` and `OSError`.
    """
    values = _read_user_config()
    values.pop("model", None)
    if model is not None:
        values["model"] = model
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary_file = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary_file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary_file.replace(file)
    finally:
        with suppress(OSError):
            temporary_file.unlink(missing_ok=True)


def _read_user_config() -> dict[str, object]:
    file = config_file()
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserConfigError(f"{file} cannot be read: {error.strerror}; fix or delete it.") from error
    except (ValueError, RecursionError) as error:
        raise UserConfigError(f"{file} is not JSON; fix or delete it.") from error
    if not isinstance(values, dict):
        raise UserConfigError(f"{file} must have an object; fix or delete it.")
    return values
