"""The set-ups of editors offer the options that there are, with their defaults and their limits."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from mercury_lsp import __version__
from mercury_lsp.config import EDITORS_OWN, OPTIONS, SECTION, Option, parse

EDITORS = Path(__file__).resolve().parent.parent / "editors"
VSCODE = json.loads((EDITORS / "vscode/package.json").read_text(encoding="utf-8"))
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}


def schema(option: Option) -> dict[str, object]:
    """What VS Code is told of an option."""
    told: dict[str, object] = {"type": TYPES[type(option.default)], "default": option.default}
    if isinstance(option.default, tuple):
        items = {"type": "string"} | ({"enum": list(option.choices)} if option.choices else {})
        told |= {"default": list(option.default), "items": items}
    elif option.choices:
        told["enum"] = list(option.choices)
    if type(option.default) in (int, float):
        told |= {"minimum": option.low, "maximum": option.high}
    return told | {"description": option.doc}


def test_the_settings_of_vs_code_are_those_of_the_configuration() -> None:
    told = VSCODE["contributes"]["configuration"]["properties"]
    own = {name for name in told if name.split(".")[1] in EDITORS_OWN}
    assert own == {f"{SECTION}.server.command", f"{SECTION}.trace.server"}
    expected = {f"{SECTION}.{option.name}": schema(option) for option in OPTIONS}
    assert {name: entry for name, entry in told.items() if name not in own} == expected


def test_the_extension_has_the_servers_version() -> None:
    lock = json.loads((EDITORS / "vscode/package-lock.json").read_text(encoding="utf-8"))
    assert VSCODE["version"] == lock["version"] == __version__


def test_the_examples_of_settings_are_right() -> None:
    helix = tomllib.loads((EDITORS / "helix/languages.toml").read_text(encoding="utf-8"))
    assert parse(helix["language-server"]["mercury"]["config"])[1] == ()
    neovim = (EDITORS / "neovim/README.md").read_text(encoding="utf-8")
    example = re.search(r"settings = \{(.*?)\}", neovim)
    assert example is not None
    names = re.findall(r"(\w+) =", example[1])
    assert names and set(names) <= {option.name for option in OPTIONS}
