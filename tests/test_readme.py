"""What the README promises is there: each command, each folder; the options are `test_editors`'."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mercury_lsp import __version__
from mercury_lsp.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_each_command_is_there_and_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    help_ = capsys.readouterr().out
    commands = re.findall(r"^    ([a-z]+) ", help_, re.MULTILINE)
    assert commands == ["complete", "demo", "doctor", "bench", "models", "serve", "stats", "arena"]
    for command in (*commands, "--stdio", "--tcp"):
        assert f"`mercury-lsp {command}" in README, command


def test_the_options_of_commands_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command, rest in re.findall(r"^\| `mercury-lsp ([a-z]+)[^`]*` \| (.*) \|$", README, re.MULTILINE):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        help_ = capsys.readouterr().out
        for option in re.findall(r"--[a-z]+", rest):
            assert option in help_, f"{command} {option}"


def test_what_make_does_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", README, re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target


def test_links_and_modules_lead_somewhere() -> None:
    for path in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (model\.\w+)", README):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module
    for path in re.findall(r"model/recipes/\S+\.toml", README):
        assert (ROOT / path).exists(), path


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
