"""Checks of the documents: links, commands, options, files, modules, the import order and the attention mask."""

from __future__ import annotations

import json
import re
import tomllib

import numpy as np
import pytest
from support import ROOT

from mercury_lsp import __version__
from mercury_lsp.cli.main import main
from mercury_lsp.config import OPTIONS
from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.lsp.handlers.commands import COMMANDS, NOTIFICATIONS, REQUESTS

README_BYTES = 8192
PATTERNS = ("*.md", "docs/*.md", "editors/*/README.md", "model/*.md", "mercury_lsp/weights/*/README.md")
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern))
COMMAND_NAMES = ["complete", "demo", "doctor", "bench", "models", "serve", "stats", "arena"]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(document: str, heading: str) -> str:
    """Return the text below a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings, in GitHub's form."""
    headings = re.findall(r"^#{1,6} (.*)$", FENCE.sub("", document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--help"}


def options_of(help_: str) -> set[str]:
    """Return the options that a help text describes; options it only mentions are not at the start of a line."""
    return set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", help_, re.MULTILINE)) - {"--help"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_point_to_existing_files_and_headings(name: str) -> None:
    document = FENCE.sub("", text_of(name))
    for path, anchor in LINK.findall(document):
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert target.exists(), path
        assert target.is_relative_to(ROOT), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_modules_targets_and_recipes_exist(name: str) -> None:
    document = text_of(name)
    for module in re.findall(r"python -m ((?:model|editors)(?:\.\w+)+)", document):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for path in re.findall(r"model/recipes/\S+?\.toml", document):
        assert (ROOT / path).exists(), path
    makefile = text_of("Makefile")
    for targets in re.findall(r"^ *make ([a-z-]+)|`make ([a-z-]+)", document, re.MULTILINE):
        target = "".join(targets)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.startswith(("docs/", "CONTRIBUTING"))])
def test_named_files_and_folders_exist(name: str) -> None:
    document = FENCE.sub("", text_of(name))
    roots = (ROOT, ROOT / "mercury_lsp")
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|toml|c|lua|el|jsonl?))`", document):
        assert any((root / path).exists() for root in roots), path
    for path in re.findall(r"`((?:mercury_lsp|model|tests|editors|docs)(?:/[\w.-]+)*)/?`", document):
        if path != "build/editors":
            assert (ROOT / path).exists(), path


def test_the_readme_is_short_and_links_to_every_document() -> None:
    readme = text_of("README.md")
    assert len(readme.encode()) <= README_BYTES
    linked = {path for path, _ in LINK.findall(readme)}
    documents = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert documents <= linked


def test_the_figures_in_the_readme_are_in_the_benchmarks() -> None:
    benchmarks = text_of("docs/benchmarks.md")
    begin, end = benchmarks.index("<!-- figures: begin"), benchmarks.index("<!-- figures: end -->")
    measured = benchmarks[begin:end]
    rows = re.findall(r"^\| [^|\n]* \| (\d[^|\n]*) \| `([^`\n]+)` \|$", text_of("README.md"), re.MULTILINE)
    assert len(rows) == 3
    assert all(figure in measured and command in measured for figure, command in rows), rows


def test_the_pre_commit_hooks_are_the_parts_of_make_check() -> None:
    parts = re.search(r"^check: ([a-z ]+?) *##", text_of("Makefile"), re.MULTILINE)
    assert parts is not None
    hooks = re.findall(r"entry: make ([a-z]+)$", text_of(".pre-commit-config.yaml"), re.MULTILINE)
    assert hooks == parts[1].split()


def test_the_options_in_the_readme_exist_with_their_defaults() -> None:
    table = section(text_of("README.md"), "Options")
    found = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \| ", table, re.MULTILINE))
    assert len(found) == 8
    defaults = {option.name: json.dumps(option.default) for option in OPTIONS}
    assert found == {name: defaults.get(name) for name in found}


def test_each_command_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"^    ([a-z]+) ", help_of(capsys), re.MULTILINE)
    assert commands == COMMAND_NAMES
    document = text_of("docs/cli.md")
    for command in (*commands, "--stdio", "--socket", "--tcp"):
        assert f"| `mercury-lsp {command}" in section(document, "Overview"), command


def test_the_options_of_the_language_server_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert options_in(section(text_of("docs/cli.md"), "Language server")) == options_of(help_of(capsys))


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_the_options_of_each_command_are_documented(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    help_ = help_of(capsys, command)
    actions = ("list", "download", "select", "remove") if command == "models" else ()
    options = options_of(help_).union(*(options_of(help_of(capsys, command, action)) for action in actions))
    assert all(f"    {action} " in help_ for action in actions)
    assert options_in(section(text_of("docs/cli.md"), command)) == options


def test_the_servers_own_messages_are_documented() -> None:
    document = text_of("docs/protocol.md")
    assert set(re.findall(r"^\| `(mercury\.\w+)` \|", document, re.MULTILINE)) == set(COMMANDS)
    for method in (*NOTIFICATIONS, *REQUESTS, "mercury/draft"):
        assert f'"method": "{method}"' in document, method


def test_the_architecture_lists_each_folder() -> None:
    table = section(text_of("docs/architecture.md"), "Folders")
    packages = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("mercury_lsp/**/__init__.py")}
    missing = {name for name in packages if f"`{name}`" not in table and f"`{name[12:]}`" not in table}
    assert missing == {"mercury_lsp"}


def test_the_documented_import_order_is_that_of_the_contract() -> None:
    block = FENCE.search(section(text_of("docs/architecture.md"), "Import order"))
    assert block is not None
    contract = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    assert block[0].splitlines()[1:-1] == [line.replace("mercury_lsp.", "") for line in contract["layers"]]


def test_the_documented_threads_exist() -> None:
    table = section(text_of("docs/architecture.md"), "Threads and state")
    names = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) + re.findall(
        r"`(mercury-\w+)` threads?", table
    )
    assert len(names) > 6
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("mercury_lsp/**/*.py"))
    assert [name for name in names if f'"{name}"' not in sources] == []


def test_the_documented_attention_mask_is_the_real_one() -> None:
    drawn = re.findall(r"^[kdam]\d +(\d+) +((?:[x.] *)+)$", text_of("docs/architecture.md"), re.MULTILINE)
    rows = TokenLayout.join(TokenLayout.clean(10, 3), TokenLayout.block(12, 2))
    keys = TokenLayout.join(TokenLayout.clean(0, 10), rows)
    mask = attention_mask(rows, keys)
    assert [int(position) for position, _ in drawn] == rows.position.tolist()
    shown = np.array([[mark == "x" for mark in marks.split()] for _, marks in drawn])
    assert (shown[:, 0] == mask[:, :10].all(axis=1)).all()
    assert (shown[:, 1:] == mask[:, 10:]).all()


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"\n## {__version__}" in text_of("CHANGELOG.md")
