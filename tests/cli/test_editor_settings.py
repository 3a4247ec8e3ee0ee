"""The editors' set-ups and the documentation offer exactly the existing options, with their defaults and limits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from support import ROOT

from mercury_lsp import __version__
from mercury_lsp.config import EDITOR_SETTINGS, OPTIONS, SECTION, parse_settings

EDITORS = ROOT / "editors"
VSCODE = json.loads((EDITORS / "vscode/package.json").read_text(encoding="utf-8"))
GENERATED = ("docs/configuration.md", "editors/vscode/package.json")


def generate(*arguments: str | Path) -> int:
    command = [sys.executable, "-m", "editors.settings", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def test_documentation_and_vs_code_have_all_options() -> None:
    assert generate("--check") == 0, "run make settings"
    told = VSCODE["contributes"]["configuration"]["properties"]
    own = {name for name in told if name.split(".")[1] in EDITOR_SETTINGS}
    assert own == {
        f"{SECTION}.{name}"
        for name in ("drafts", "server.command", "server.python", "server.package", "trace.server")
    }
    assert told.keys() - own == {f"{SECTION}.{option.name}" for option in OPTIONS}
    assert told[f"{SECTION}.threads"] == {
        "type": "integer", "default": 0, "minimum": 0, "maximum": 64,
        "description": "CPU threads; 0 takes the physical cores, but at most 4.",
    }  # fmt: skip
    assert told[f"{SECTION}.disabled_languages"] == {
        "type": "array", "default": [], "items": {"type": "string"},
        "description": "Language ids without suggestions.",
    }  # fmt: skip
    for (
        name,
        schema,
    ) in told.items():
        # A workspace cannot enable an option that sends text to a host, nor name a program.
        elsewhere = name.startswith((f"{SECTION}.remote", f"{SECTION}.next_edit"))
        assert schema.get("scope") == ("machine" if elsewhere else None) or name in own, name
    assert sum(name.startswith(f"{SECTION}.remote") for name in told) == 5
    document = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    row = '| `device` | `"auto"` | one of auto, cpu, cuda, mps | The device that runs the model. |'
    assert f"\n{row}\n" in document


def test_the_generator_restores_the_generated_parts_and_changes_nothing_else(tmp_path: Path) -> None:
    files = {name: (ROOT / name).read_text(encoding="utf-8") for name in GENERATED}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        wrong = re.sub(r"^\| `nice` .*\n", "", text, flags=re.MULTILINE)
        wrong = wrong.replace('"maximum": 64', '"maximum": 65').replace(
            '"mercury.multiline"', '"mercury.gone"'
        )
        assert wrong != text
        (tmp_path / name).write_text(wrong, encoding="utf-8")
    before = [(tmp_path / name).read_text(encoding="utf-8") for name in GENERATED]
    assert generate("--check", "--root", tmp_path) == 1
    assert [(tmp_path / name).read_text(encoding="utf-8") for name in GENERATED] == before
    assert generate("--root", tmp_path) == 0
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in GENERATED} == files
    assert generate("--check", "--root", tmp_path) == 0


def test_the_extension_has_the_servers_version() -> None:
    lock = json.loads((EDITORS / "vscode/package-lock.json").read_text(encoding="utf-8"))
    assert VSCODE["version"] == lock["version"] == __version__


def test_vs_code_offers_exactly_the_commands_of_the_extension() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (EDITORS / "vscode/src").glob("*.ts")}
    handlers = re.search(r"const handlers.*?\n  \};", sources[EDITORS / "vscode/src/commands.ts"], re.DOTALL)
    assert handlers is not None
    registered = set(re.findall(rf'"({SECTION}\.\w+)": ', handlers[0]))
    contributed = {command["command"] for command in VSCODE["contributes"]["commands"]}
    # Only the items of the server use the command `accepted`.
    assert contributed == registered - {f"{SECTION}.accepted"}
    mentioned = re.findall(rf"command:({SECTION}\.\w+)", json.dumps(VSCODE["contributes"]["walkthroughs"]))
    mentioned += re.findall(
        rf'entry\("[^"]+", [^)]*?"({SECTION}\.\w+)"\)', sources[EDITORS / "vscode/src/menu.ts"]
    )
    assert mentioned and set(mentioned) <= registered


def test_pictures_and_pages_of_the_extension_load_nothing_from_elsewhere() -> None:
    steps = [step for walk in VSCODE["contributes"]["walkthroughs"] for step in walk["steps"]]
    for step in steps:
        picture = (EDITORS / "vscode" / step["media"]["svg"]).read_text(encoding="utf-8")
        assert step["media"]["altText"] and not re.search(r"href|url\(|<script|<image|@import", picture)
    page = (EDITORS / "vscode/src/figures.ts").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and not re.search(r"https?:|<script|<img", page)


def test_the_examples_of_settings_for_helix_and_neovim_are_valid() -> None:
    helix = tomllib.loads((EDITORS / "helix/languages.toml").read_text(encoding="utf-8"))
    assert parse_settings(helix["language-server"]["mercury"]["config"])[1] == ()
    neovim = (EDITORS / "neovim/README.md").read_text(encoding="utf-8")
    example = re.search(r"settings = \{(.*?)\}", neovim)
    assert example is not None
    names = re.findall(r"(\w+) =", example[1])
    assert names and set(names) <= {option.name for option in OPTIONS}
