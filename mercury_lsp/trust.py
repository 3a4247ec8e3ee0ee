"""Decides which settings of a client apply at once, and which need the user's consent first.

An editor passes on settings from a repository's files (`.dir-locals.el`, `.vscode/settings.json`, an `exrc`), so a
client's settings may not come from the user. Settings that run a program, name a host or an environment variable, or
load a model from the workspace apply if they come from the user's own file or the command line. From a client, they
apply after the user has allowed exactly these values. The answers are stored in `allowed.json` in the user's state
folder.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mercury_lsp import paths
from mercury_lsp.config import NEXT_EDIT_KEYWORDS, OPTIONS, Option
from mercury_lsp.models import downloads
from mercury_lsp.models.registry import find_known

# A longer claim cannot be shown in full, so the user is not asked.
MAX_CLAIM_CHARACTERS = 2_000
MAX_STORED_ANSWERS = 500
# The options that name a model; `next_edit` may also be one of `NEXT_EDIT_KEYWORDS`.
MODEL_OPTIONS = ("model", "next_edit")
GUARDED_OPTIONS = {option.name: option for option in OPTIONS if option.guarded}


@dataclass(frozen=True, slots=True)
class Claim:
    """Settings of a client that the user has to allow: a JSON object by option name, sorted, in ASCII."""

    text: str

    @property
    def fits_prompt(self) -> bool:
        """Whether the claim is short enough to be shown in full."""
        return len(self.text) <= MAX_CLAIM_CHARACTERS

    def describe(self) -> str:
        """Return the settings as text for the user, with all values escaped, so that nothing can be hidden in them."""
        values = json.loads(self.text)
        return "; ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def settings_needing_consent(
    client_settings: Mapping[str, object], user_settings: Mapping[str, object], roots: Sequence[str]
) -> Claim | None:
    """Return the client's settings that need the user's consent, or None if none of them does.

    user_settings: the user's own settings, which need no consent. roots: the workspace's folders.
    """
    user_values = {
        name: _effective_value(option, user_settings.get(name)) for name, option in GUARDED_OPTIONS.items()
    }
    effective = user_values | {
        name: _effective_value(option, client_settings[name])
        for name, option in GUARDED_OPTIONS.items()
        if client_settings.get(name) is not None
    }
    claimed: dict[str, object] = {}
    sending_options = {name for name in GUARDED_OPTIONS if name not in MODEL_OPTIONS}
    if effective["next_edit"] == "hosted":
        sending_options.add("next_edit")
    # The options of the hosted model matter only if a hosted model is asked.
    if (effective["remote"] != "off" or "next_edit" in sending_options) and any(
        effective[name] != user_values[name] for name in sending_options
    ):
        claimed = {name: value for name, value in effective.items() if name in sending_options}
    for name in MODEL_OPTIONS:
        model = str(effective[name])
        is_new_model = model != user_values[name] and not (
            name == "next_edit" and model in NEXT_EDIT_KEYWORDS
        )
        if is_new_model and comes_from_workspace(model, roots):
            claimed[name] = model
    return Claim(json.dumps(claimed, sort_keys=True)) if claimed else None


def without_claim(client_settings: Mapping[str, object], claim: Claim | None) -> dict[str, object]:
    """Return a client's settings without those in a claim."""
    claimed = json.loads(claim.text) if claim else {}
    return {name: value for name, value in client_settings.items() if name not in claimed}


def comes_from_workspace(model: str, roots: Sequence[str]) -> bool:
    """Return whether a model's name can stand for a folder of the workspace or of another host.

    A plain name is looked up among the user's own models only, and an absolute folder outside the workspace was put
    there by the user.
    """
    if model.startswith(("\\\\", "//")):
        return True
    if find_known(model) or downloads.find_download(model):
        return False
    expanded = os.path.expanduser(model)
    if not os.path.isabs(expanded):
        return any(separator in model for separator in ("/", "\\", ":")) or model.startswith((".", "~"))
    real = os.path.realpath(expanded)
    folders = {os.path.realpath(root) for root in roots if root}
    # The folder where the server was started may have been deleted.
    with suppress(OSError):
        folders.add(os.getcwd())
    # A workspace that is the user's whole home or the whole disk was not written by others.
    return any(
        _lies_in(real, folder) for folder in folders - {os.path.realpath(os.path.expanduser("~")), "/"}
    )


def _lies_in(path: str, folder: str) -> bool:
    return os.path.normcase(path).startswith(os.path.normcase(folder).rstrip("/\\") + os.sep)


class ConsentStore:
    """The user's answers to claims, stored on this machine."""

    def __init__(self) -> None:
        self.file = paths.folder("state") / "allowed.json"

    def lookup(self, claim: Claim) -> bool | None:
        """Return the user's answer to exactly this claim, or None if there is none or the file cannot be used."""
        return self._read_answers().get(claim.text)

    def save(self, claim: Claim, allowed: bool) -> None:
        """Store an answer. Raises `OSError` if the file cannot be written."""
        answers = self._read_answers()
        answers.pop(claim.text, None)
        answers[claim.text] = allowed
        entries = [
            {"settings": json.loads(text), "allowed": answer}
            for text, answer in list(answers.items())[-MAX_STORED_ANSWERS:]
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp creates the file with mode 0600: only the user can read and write it.
        descriptor, name = tempfile.mkstemp(dir=self.file.parent, prefix=f".{self.file.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as temporary_file:
                temporary_file.write(json.dumps(entries, indent=2) + "\n")
            os.replace(name, self.file)
        finally:
            with suppress(OSError):
                os.unlink(name)

    def _read_answers(self) -> dict[str, bool]:
        try:
            entries = json.loads(self.file.read_text(encoding="utf-8"))
            return {
                json.dumps(entry["settings"], sort_keys=True): entry["allowed"]
                for entry in entries
                if isinstance(entry["allowed"], bool)
            }
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return {}


def _effective_value(option: Option, value: object) -> object:
    """Return the value that would apply, in JSON's types: a wrong value is replaced by the option's default."""
    try:
        parsed = option.default if value is None else option.parse(value)
    except (ValueError, OverflowError):
        parsed = option.default
    return list(parsed) if isinstance(parsed, tuple) else parsed
