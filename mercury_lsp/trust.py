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
from mercury_lsp.config import NEXT_EDITS, OPTIONS, Option
from mercury_lsp.models import downloads
from mercury_lsp.models.registry import known

# A longer claim cannot be shown in full, so the user is not asked.
MAX_CLAIM_CHARACTERS = 2_000
MAX_ANSWERS = 500
# The options that name a model; `next_edit` may also be one of `NEXT_EDITS`.
MODELS = ("model", "next_edit")
GUARDED = {option.name: option for option in OPTIONS if option.guarded}


@dataclass(frozen=True, slots=True)
class Claim:
    """Settings of a client that the user has to allow: a JSON object by option name, sorted, in ASCII."""

    text: str

    @property
    def askable(self) -> bool:
        """Whether the claim is short enough to be shown in full."""
        return len(self.text) <= MAX_CLAIM_CHARACTERS

    def readable(self) -> str:
        """Return the settings as text for the user, with all values escaped, so that nothing can be hidden in them."""
        values = json.loads(self.text)
        return "; ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def claim_of(given: Mapping[str, object], own: Mapping[str, object], roots: Sequence[str]) -> Claim | None:
    """Return the client's settings that need the user's consent, or None if none of them does.

    given: the client's settings. own: the user's own settings, which need no consent. roots: the workspace's folders.
    """
    values = {name: _read(option, own.get(name)) for name, option in GUARDED.items()}
    asked = values | {
        name: _read(option, given[name]) for name, option in GUARDED.items() if given.get(name) is not None
    }
    claimed: dict[str, object] = {}
    sends = {name for name in GUARDED if name not in MODELS}
    if asked["next_edit"] == "hosted":
        sends.add("next_edit")
    # The options of the hosted model matter only if a hosted model is asked.
    if (asked["remote"] != "off" or "next_edit" in sends) and any(
        asked[name] != values[name] for name in sends
    ):
        claimed = {name: value for name, value in asked.items() if name in sends}
    for name in MODELS:
        model = str(asked[name])
        chosen = model != values[name] and not (name == "next_edit" and model in NEXT_EDITS)
        if chosen and comes_from_workspace(model, roots):
            claimed[name] = model
    return Claim(json.dumps(claimed, sort_keys=True)) if claimed else None


def harmless(given: Mapping[str, object], claim: Claim | None) -> dict[str, object]:
    """Return a client's settings without those in a claim."""
    claimed = json.loads(claim.text) if claim else {}
    return {name: value for name, value in given.items() if name not in claimed}


def comes_from_workspace(model: str, roots: Sequence[str]) -> bool:
    """Return whether a model's name can stand for a folder of the workspace or of another host.

    A plain name is looked up among the user's own models only, and an absolute folder outside the workspace was put
    there by the user.
    """
    if model.startswith(("\\\\", "//")):
        return True
    if known(model) or downloads.find_download(model):
        return False
    expanded = os.path.expanduser(model)
    if not os.path.isabs(expanded):
        return any(sign in model for sign in ("/", "\\", ":")) or model.startswith((".", "~"))
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


class Answers:
    """The user's answers to claims, stored on this machine."""

    def __init__(self) -> None:
        self.file = paths.folder("state") / "allowed.json"

    def allowed(self, claim: Claim) -> bool | None:
        """Return the user's answer to exactly this claim, or None if there is none or the file cannot be used."""
        return self._read().get(claim.text)

    def remember(self, claim: Claim, allowed: bool) -> None:
        """Store an answer. Raises `OSError` if the file cannot be written."""
        answers = self._read()
        answers.pop(claim.text, None)
        answers[claim.text] = allowed
        kept = [
            {"settings": json.loads(text), "allowed": answer}
            for text, answer in list(answers.items())[-MAX_ANSWERS:]
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp creates the file with mode 0600: only the user can read and write it.
        descriptor, name = tempfile.mkstemp(dir=self.file.parent, prefix=f".{self.file.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as new:
                new.write(json.dumps(kept, indent=2) + "\n")
            os.replace(name, self.file)
        finally:
            with suppress(OSError):
                os.unlink(name)

    def _read(self) -> dict[str, bool]:
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            return {
                json.dumps(entry["settings"], sort_keys=True): entry["allowed"]
                for entry in kept
                if isinstance(entry["allowed"], bool)
            }
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return {}


def _read(option: Option, value: object) -> object:
    """Return the value that would apply, in JSON's types: a wrong value is replaced by the option's default."""
    try:
        read = option.default if value is None else option.read(value)
    except (ValueError, OverflowError):
        read = option.default
    return list(read) if isinstance(read, tuple) else read
