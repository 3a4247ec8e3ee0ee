"""Inputs from a review of 0.1.0, completed by a real server with a shipped model.

The model's texts may change; the tests assert properties that each text must have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mercury_lsp.engine.checkpoints.checkpoint import SHIPPED

from .conftest import INLINE, Client, Process, at, change

MODEL = Path("small")
AUTOMATIC, MANUAL = 2, 1
pytestmark = pytest.mark.skipif(not (SHIPPED / MODEL / "config.json").is_file(), reason="no weights here")


class Place:
    """A text with its cursor ¦, and the suggestions there.

    ``first``: the text that the first suggestion inserts. ``after``: the whole text with it.
    """

    def __init__(self, client: Client, marked: str, language: str, uri: str, trigger: int = MANUAL) -> None:
        before, _, rest = marked.partition("¦")
        self.before, text = before, before + rest
        client.open(text, uri, language)
        line, character = before.count("\n"), len(before.rpartition("\n")[2])
        params = {**at(uri, line, character), "context": {"triggerKind": trigger}}
        items = client.ask("textDocument/inlineCompletion", params)["result"]["items"]
        client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        self.texts: list[str] = [item["insertText"] for item in items]
        self.first, self.after = "", text
        if items:
            start, end = (_offset(text, items[0]["range"][name]) for name in ("start", "end"))
            self.first = items[0]["insertText"].removeprefix(text[start : len(before)])
            self.after = text[:start] + items[0]["insertText"] + text[end:]

    @property
    def line(self) -> str:
        """The cursor's line after the suggestion is accepted."""
        return self.after.split("\n")[self.before.count("\n")]


def _offset(text: str, position: dict[str, int]) -> int:
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: position["line"]]) + position["character"]


Ask = Callable[..., Place]


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    """Start one server with a shipped model for all inputs."""
    process = Process(MODEL)
    process.client.start(options={"max_tokens": 48})
    yield process
    assert process.end() == 0


@pytest.fixture
def ask(server: Process, request: pytest.FixtureRequest) -> Ask:
    """Return a function that requests suggestions at the cursor ¦ of a text, by its language and file extension."""

    def asked(marked: str, language: str, ending: str, trigger: int = MANUAL) -> Place:
        return Place(server.client, marked, language, f"file:///w/input.{ending}", trigger)

    return asked


CALLS = "f(1, // one\n);\nf(2, // two\n);\n"
COMMENTED = [
    (f"void main() {{\n{CALLS}f(¦);\n}}\n", "dart", "dart", "//"),
    (f"class A {{ void M() {{\n{CALLS}f(¦);\n}} }}\n", "csharp", "cs", "//"),
    (f"{CALLS.replace(';', '')}f(¦)\n", "swift", "swift", "//"),
    (f"fun main() {{\n{CALLS.replace(';', '')}f(¦)\n}}\n", "kotlin", "kt", "//"),
    ("a = [1, # one\n]\nb = [2, # two\n]\nc = [¦]\n", "toml", "toml", "#"),
    ("a: [1, # one\n]\nb: [2, # two\n]\nc: [¦]\n", "yaml", "yaml", "#"),
]


@pytest.mark.parametrize("trigger", [AUTOMATIC, MANUAL])
@pytest.mark.parametrize(
    ("marked", "language", "ending", "sign"), COMMENTED, ids=[one[2] for one in COMMENTED]
)
def test_no_comment_contains_a_closing_bracket(
    marked: str, language: str, ending: str, sign: str, trigger: int, ask: Ask
) -> None:
    line = ask(marked, language, ending, trigger).line
    comment = line.partition(sign)[2]
    assert not re.search(r"[)\]]", comment), line


BODIES = [
    ("func sub(a int, b int) int {\n\treturn a - b\n}\n\nfunc add(a int, b int) int {¦}\n", "go", "go"),
    ("fn sub(a: i32, b: i32) -> i32 {\n    a - b\n}\n\nfn add(a: i32, b: i32) -> i32 {¦}\n", "rust", "rs"),
    ("int sub(int a, int b) {\n    return a - b;\n}\n\nint add(int a, int b) {¦}\n", "c", "c"),
    ("function sub(a, b) {\n    return a - b;\n}\n\nfunction add(a, b) {¦}\n", "javascript", "js"),
    ("class A {\n  int sub(int a, int b) {\n    return a - b;\n  }\n\n  int add(int a, int b) {¦}\n}\n",
     "java", "java"),
]  # fmt: skip


@pytest.mark.parametrize(("marked", "language", "ending"), BODIES, ids=[one[2] for one in BODIES])
def test_the_closing_brace_of_a_body_is_on_a_line_of_its_own(
    marked: str, language: str, ending: str, ask: Ask
) -> None:
    shown = ask(marked, language, ending).first
    *_, last = shown.rpartition("\n")
    assert not last.strip() or "\n" not in shown, shown
    assert not shown.lstrip().startswith("}"), shown


LISTS = [
    ("hosts:\n" + "".join(f"  - web{i}.example.com\n" for i in range(8)), "  - ", "yaml", "yaml"),
    ("- apples\n- pears\n- cherries\n- plums\n", "", "markdown", "md"),
    ("- [ ] write\n- [ ] test\n- [x] release\n", "- [ ] ", "markdown", "md"),
    ("numpy\nscipy\npandas\nrequests\n", "", "pip-requirements", "txt"),
    ("FROM python\nRUN pip install numpy\nRUN pip install scipy\n", "RUN ", "dockerfile", "dockerfile"),
]


@pytest.mark.parametrize(
    ("text", "marker", "language", "ending"), LISTS, ids=[one[2] + one[1] for one in LISTS]
)
def test_a_list_is_continued_without_repeating_an_item(
    text: str, marker: str, language: str, ending: str, ask: Ask
) -> None:
    """Accept the suggestion and press Enter, four times."""
    for _ in range(4):
        place = ask(f"{text}{marker}¦\n", language, ending)
        if not place.first or "\n" in place.first:
            # The list is complete.
            return
        new = place.after.rstrip("\n")[len(text.rstrip("\n")) :].strip("\n").split("\n")
        old = {line.strip() for line in text.split("\n")}
        assert not old.intersection(filter(None, (line.strip() for line in new))), place.first
        assert len(set(new)) == len(new)
        text = place.after.rstrip("\n") + "\n"


LEFTS = [
    ("# Unless required by applicable law or agreed to in¦\n", "python", "py"),
    ("The quick brown fox jumps over the lazy dog. The quick brown fox jumps ov¦\n", "markdown", "md"),
    ("const message = getMessageFor(user);\nconst message2 = getMessage¦\n", "javascript", "js"),
    ("    result = compute_the_result(first)\n    result = compute_the_res¦\n", "python", "py"),
    ('printf("The result of the computation is¦");\n', "c", "c"),
]


@pytest.mark.parametrize("trigger", [AUTOMATIC, MANUAL])
@pytest.mark.parametrize(("marked", "language", "ending"), LEFTS)
def test_the_text_left_of_the_cursor_is_not_repeated(
    marked: str, language: str, ending: str, trigger: int, ask: Ask
) -> None:
    place = ask(marked, language, ending, trigger)
    left = place.before.rpartition("\n")[2]
    for length in range(5, len(place.first) + 1):
        assert not left.endswith(place.first[:length]), place.first


QUOTES = [
    ('(global-set-key (kbd "C-c l") ¦)\n(global-set-key (kbd "C-c m") \'magit-status)\n', "elisp", "el"),
    ("f' x = x + 1\n\ng' y = f' ¦\n", "haskell", "hs"),
    ("(setq a '(1 2 3))\n(setq b '(4 5 6))\n(setq c ¦)\n", "elisp", "el"),
    ("Use it:\n\n```python\nimport os\n```\n\nThe following is the next ¦\n", "markdown", "md"),
    ("The '90s were good. The '80s were ¦\n", "markdown", "md"),
    ("fn f<'a>(x: &'a str) -> &'a str {\n    ¦\n}\n", "rust", "rs"),
]


@pytest.mark.parametrize(("marked", "language", "ending"), QUOTES)
def test_quotes_that_do_not_delimit_strings_do_not_prevent_a_suggestion(
    marked: str, language: str, ending: str, ask: Ask
) -> None:
    assert ask(marked, language, ending).first.strip()


@pytest.mark.parametrize(
    ("marked", "fragment"),
    [
        ("1) Install the program\n2) Start the server\n3) Open the editor\n¦", r"\A\d+\Z"),
        ("Thanks for the help :)\n\nThanks for the review :¦", r"\A\Z"),
        ("Let $x \\in [0, 1)$ and $y \\in [0, 1)$. Let $z \\in [0, ¦", r"\[\Z"),
    ],
)
def test_unbalanced_brackets_in_prose_do_not_cut_a_suggestion(marked: str, fragment: str, ask: Ask) -> None:
    assert not re.search(fragment, ask(marked, "markdown", "md").first)


DELIMITERS = [
    ("#include <stdio.h>\n#include <¦>\n\nint main(void) { return 0; }\n", "c", "c", r"#include <[^<>]*>"),
    ("#include <string>\n#include <¦>\n", "cpp", "cpp", r"#include <[^<>]*>"),
    ("<ul>\n  <li>One</li>\n  <li>¦</li>\n</ul>\n", "html", "html", r"\s*<li>((?!</?li).)*</li>"),
    ("<template>\n  <p>One</p>\n  <p>¦</p>\n</template>\n", "vue", "vue", r"\s*<p>((?!</?p\b).)*(</p>)?"),
    ("<p>Some text</p>\n<!-- ¦ -->\n", "html", "html", r"<!--((?!-->|<!--).)*-->"),
    ("#[derive(¦)]\nstruct A {\n    x: i32,\n}\n", "rust", "rs", r"#\[derive\([^()\[\]]*\)\]"),
    ("a {\n  color: rgb(¦);\n}\n", "css", "css", r"\s*color: rgb\([^()]*\);"),
    ('{\n  "name": "¦"\n}\n', "json", "json", r'\s*"name": "[^"]*"'),
    ('x = f("¦")\n', "python", "py", r'x = f\("[^"]*"\)'),
    ("SELECT count(¦) FROM users;\n", "sql", "sql", r"SELECT count\([^()]*\) FROM users;"),
    ("var names = new List<¦>();\n", "csharp", "cs", r"var names = new List<[^<>]*(<[^<>]*>)?[^<>]*>\(\);"),
    ("let xs: Vec<¦> = Vec::new();\n", "rust", "rs", r"let xs: Vec<[^<>]*(<[^<>]*>)?[^<>]*> = Vec::new\(\);"),
]  # fmt: skip


@pytest.mark.parametrize("trigger", [AUTOMATIC, MANUAL])
@pytest.mark.parametrize(("marked", "language", "ending", "whole"), DELIMITERS)
def test_delimiters_are_balanced_with_the_text_after_the_cursor(
    marked: str, language: str, ending: str, whole: str, trigger: int, ask: Ask
) -> None:
    place = ask(marked, language, ending, trigger)
    assert re.fullmatch(whole, place.line), place.line
    # A tag may be closed on a later line.
    for tag in re.findall(r"<(\w+)>¦</", marked):
        assert place.after.count(f"<{tag}>") == place.after.count(f"</{tag}>")


def test_a_suggestion_does_not_join_two_python_statements_on_one_line(ask: Ask) -> None:
    for marked in ("def f(x):\n    if x:\n        return 1\n¦    return 2\n", "x = 1\n¦y = 2\n"):
        for trigger in (AUTOMATIC, MANUAL):
            after = ask(marked, "python", "py", trigger).after
            assert marked.partition("¦")[2].strip() in [line.strip() for line in after.split("\n")], after


@pytest.mark.parametrize(
    ("marked", "language"),
    [
        ("CREATE TABLE a (\n  id INT,\n  name TEXT\n);\n\nCREATE TABLE b (\n  ¦\n);\n", "sql"),
        ('{\n  "a": 1,\n  "b": 2,\n  ¦\n}\n', "json"),
    ],
)
def test_the_last_item_of_a_list_has_no_trailing_comma(marked: str, language: str, ask: Ask) -> None:
    for trigger in (AUTOMATIC, MANUAL):
        assert not ask(marked, language, language, trigger).first.rstrip().endswith(",")


@pytest.mark.parametrize(
    ("marked", "whole"),
    [
        ("def f(node, scope):\n    return g(no¦", r"node\b"),
        ("def f(node, scope):\n    return g(no¦)\n", r"node\b"),
        ("import dataclasses\n\n@data¦\nclass A:\n    x: int\n", r"dataclass"),
        ("def total(values: dict) -> d¦:\n    return values\n", r"d(ict)?\b(?!ict)"),
        ("const element = document.getEl¦;\n", r"getElement"),
    ],
)
def test_a_partial_word_is_completed_to_a_word(marked: str, whole: str, ask: Ask) -> None:
    for trigger in (AUTOMATIC, MANUAL):
        place = ask(marked, "javascript" if "const" in marked else "python", "x", trigger)
        begun = re.search(r"\w*\Z", place.before)
        assert begun is not None
        if place.first:
            assert re.match(whole, begun.group() + place.first), place.first


def test_each_menu_entry_has_a_label() -> None:
    process = Process(MODEL)
    client = process.client
    capabilities = {"window": {"workDoneProgress": True}, "textDocument": {"completion": {}}}
    client.start(capabilities, {"show_likelihood": 0})
    uri = client.open("class Point:\n    def __init__(self):", "file:///w/menu.py", "python")
    params = {"textDocument": {"uri": uri}, "position": {"line": 1, "character": 23}}
    result: Any = client.ask("textDocument/completion", params)["result"]
    items = result["items"] if isinstance(result, dict) else result
    assert items and all(item["label"].strip() for item in items)
    assert process.end() == 0


def test_an_ignored_file_is_completed(server: Process, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("build/\n")
    (tmp_path / "build").mkdir()
    (tmp_path / ".git").mkdir()
    place = Place(
        server.client, "def add(a, b):\n    return ¦\n", "python", (tmp_path / "build" / "a.py").as_uri()
    )
    assert place.first.strip()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
@pytest.mark.parametrize("rules", ["stars", "fifo", "device"])
def test_hostile_ignore_files_of_a_workspace_do_not_block_suggestions(rules: str, tmp_path: Path) -> None:
    file = tmp_path / ".gitignore"
    if rules == "stars":
        file.write_text("*a*a*a*a*a*a*a*a*b\n")
    elif rules == "fifo":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    (tmp_path / ".git").mkdir()
    process = Process(MODEL)
    process.client.start(INLINE, root=tmp_path.as_uri())
    place = Place(
        process.client,
        "def add(a, b):\n    return ¦\n",
        "python",
        (tmp_path / f"{'a' * 100}.py").as_uri(),
    )
    assert place.first.strip()
    assert process.end() == 0


@pytest.mark.parametrize(
    "name",
    [".env~", ".env.bak", "id_rsa_work", "id_ed25519_sk", ".npmrc~", "pip.conf", "auth.json", "kube_config",
     "admin.conf", "token.txt", "server.pem.bak", "wp-config.php.bak", ".git/config"],
)  # fmt: skip
def test_private_files_and_their_backups_have_no_suggestions(name: str, server: Process) -> None:
    assert not Place(server.client, "def add(a, b):\n    return ¦\n", "python", f"file:///w/{name}").texts


@pytest.mark.parametrize("version", [None, 2])
@pytest.mark.parametrize("whole", [False, True])
def test_a_change_after_one_without_version_or_range_applies_to_the_right_text(
    version: int | None, whole: bool, server: Process
) -> None:
    client = server.client
    uri = client.open("def one(a):\n    pass\n", "file:///w/versions.py", "python")
    edit = change(uri, 2, "two", (0, 4), (0, 7))
    edit["params"]["textDocument"]["version"] = version
    if whole:
        edit["params"]["contentChanges"] = [{"range": None, "text": "def two(a):\n    pass\n"}]
    client.notify(edit["method"], edit["params"])
    later = change(uri, 3, "three", (0, 4), (0, 7))
    client.notify(later["method"], later["params"])
    told = client.ask("mercury/documentDigest", {"textDocument": {"uri": uri}})["result"]
    assert told["characters"] == len("def three(a):\n    pass\n")
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})


def test_cells_of_a_notebook_are_context_for_each_other(server: Process) -> None:
    client = server.client
    names = ("first", "second")
    texts = ("def sort_all_values(values):\n    return sorted(values)\n", "print(sort_all_")
    uris = [f"vscode-notebook-cell:/w/findings.ipynb#{name}" for name in names]
    documents = [
        {"uri": uri, "languageId": "python", "version": 1, "text": text}
        for uri, text in zip(uris, texts, strict=True)
    ]
    book = {"uri": "file:///w/findings.ipynb", "notebookType": "jupyter-notebook", "version": 1,
            "cells": [{"kind": 2, "document": uri} for uri in uris]}  # fmt: skip
    client.notify("notebookDocument/didOpen", {"notebookDocument": book, "cellTextDocuments": documents})
    (item,) = client.complete(uris[1], 0, len(texts[1]))
    assert item["insertText"].removeprefix("sort_all_").startswith("values")
    told = [{"uri": uri} for uri in uris]
    client.notify(
        "notebookDocument/didClose",
        {"notebookDocument": {"uri": book["uri"]}, "cellTextDocuments": told},
    )
