"""Rules of ignoring: what git itself says of the same files, and what `.mercuryignore` adds."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from time import thread_time

import pytest

from mercury_lsp.context.gitignore import MAX_PATTERNS, MAX_WILDCARDS, RULE_FAMILIES, IgnoreRules, Rules
from mercury_lsp.context.wildmatch import Wildmatch


def rules_of(texts: dict[str, str], fold: bool = False) -> IgnoreRules:
    """From the texts of rules files by their paths from the top folder, such as `lib/.gitignore`."""
    rules: dict[str, dict[str, Rules]] = {}
    names = [name for family in RULE_FAMILIES for name in family]
    for path, text in texts.items():
        name = next(name for name in names if f"/{path}".endswith(f"/{name}"))
        rules.setdefault(path[: -len(name)].rstrip("/"), {})[name] = Rules.of(text, fold)
    return IgnoreRules(rules, fold)


def ignored(path: str, fold: bool = False, **texts: str) -> bool:
    """By the rules of `.gitignore` files, whose folders are the keywords: `top`, `a` and so on."""
    names = {"top": ".gitignore", "mercury": ".mercuryignore"}
    return rules_of({names.get(key, f"{key}/.gitignore"): text for key, text in texts.items()}, fold)(path)


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("a.log", {"top": "*.log"}),
        ("a/b/c.log", {"top": "*.log"}),
        ("build/a.py", {"top": "build/"}),
        ("a/build/b/c.py", {"top": "build/"}),
        ("build/keep.py", {"top": "build/\n!build/keep.py"}),
        ("a/x.py", {"top": "/a/*\n!/a/keep.py"}),
        ("a/x.py", {"a": "x.py"}),
        ("a/b/x.py", {"a": "/b/"}),
        ("src/a.txt", {"top": "*\n!*/\n!*.py"}),
        ("a/b/x.txt", {"top": "*", "a": "!*/"}),
        ("a/x.py", {"top": "a/", "a": "!x.py"}),
        ("x.py", {"mercury": "x.py"}),
        ("x.py", {"top": "x.py", "mercury": "!x.py"}),
        ("x.py", {"top": "!x.py", "mercury": "x.py"}),
        ("x.py", {"top": "\ufeffx.py\r\n"}),
        ("#x.py", {"top": "\\#x.py"}),
        ("a/", {"top": "a/"}),
        ("doc/frotz/x", {"top": "doc/frotz"}),
        ("a/b/c/foo/x", {"top": "a/**/foo"}),
    ],
)
def test_ignored(path: str, texts: dict[str, str]) -> None:
    assert ignored(path, **texts)


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("a.py", {}),
        ("a.py", {"top": "# a.py\n\n"}),
        ("a.log.py", {"top": "*.log"}),
        ("keep.log", {"top": "*.log\n!keep.log"}),
        ("a/keep.py", {"top": "/a/*\n!/a/keep.py"}),
        ("a/keep.py", {"top": "*.py", "a": "!keep.py"}),
        ("a/keep.py", {"top": "a/**\n!a/keep.py"}),
        ("b/x.py", {"a": "x.py"}),
        ("build", {"top": "build/"}),
        ("b/a/x.py", {"top": "/a/"}),
        ("src/deep/a.py", {"top": "*\n!*/\n!*.py"}),
        ("foo/x.py", {"top": "*.py", "foo": "!foo", "mercury": "y"} | {"top": "y"}),
        ("X.PY", {"top": "x.py"}),
    ],
)
def test_not_ignored(path: str, texts: dict[str, str]) -> None:
    assert not ignored(path, **texts)


def test_case_may_be_the_same() -> None:
    assert ignored("Build/A.py", fold=True, top="build/") and ignored("a/x", fold=True, top="A/")


def test_the_repositorys_own_list_goes_behind_the_files() -> None:
    rules = rules_of({".git/info/exclude": "*.py", ".gitignore": "!a.py", "in/.git/info/exclude": "c"})
    assert rules("b.py") and not rules("a.py") and rules("in/c") and not rules("c")


WORDS = ("a", "b", "foo", "x.py", "y.txt")
PIECES = (
    *WORDS, "*", "*.py", "?", "[ab]", "**", "f*", "*o*", "***", "a**", "[!a-y]*", "[^/]", "\\a", "x\\",
    "[[:alpha:]]",
    "*.*", "[]a]", "[a", "f?o ", "b\\ ", "#", "[a-]", "[\\]a]", "*a*b*", "[[:alpha:]-z]*",
)  # fmt: skip


def pattern(random: random.Random) -> str:
    steps = "/".join(random.choice(PIECES) for _ in range(random.randint(1, 3)))
    ends = random.choice(["", "", "/"]), random.choice(["", "", "/"])
    return random.choice(["", "", "!"]) + ends[0] + steps + ends[1]


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_says_the_same(tmp_path: Path) -> None:
    """Of random rules in three folders, for all files of a tree."""
    dice = random.Random(5)
    folders = ["", "a/", "a/b/", "foo/", "a/foo/", "b/"]
    files = [folder + name for folder in folders for name in ("x.py", "y.txt", "c")]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    # No rules of the user's own, nor of a repository around.
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": "",
    }
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True, env=environment)
    for _ in range(150):
        places = ((".gitignore", 3), ("a/.gitignore", 2), ("foo/.gitignore", 1), (".git/info/exclude", 1))
        texts = {place: "\n".join(pattern(dice) for _ in range(count)) for place, count in places}
        for place, text in texts.items():
            (tmp_path / place).write_text(text)
        command = [*git, "check-ignore", "--no-index", "--stdin"]
        asked = subprocess.run(
            command, input="\n".join(files), capture_output=True, text=True, env=environment
        )
        assert asked.returncode in (0, 1), asked.stderr
        rules = rules_of(texts)
        assert [file for file in files if rules(file)] == asked.stdout.splitlines(), texts


@pytest.mark.parametrize(
    "text",
    ["*a*a*a*a*a*a*a*a*b", "**/" * 60 + "b", "*a/" * 30 + "b", "*?" * 40 + "b", "[a-z]*" * 40 + "[0-9]",
    "**a" * 50 + "b",
     "(a+)+$*" * 20, "*" * 5000 + "b", "a" * 100_000 + "*", "\n".join(["*a*a*a*b*c*"] * 400)],
)  # fmt: skip
def test_no_pattern_goes_back_and_back(text: str) -> None:
    rules = rules_of({".gitignore": text})
    began = thread_time()
    for path in ("a" * 100 + ".py", "a/" * 60 + "a.py", "a" * 4000):
        rules(path)
    assert thread_time() - began < 2


def test_the_last_pattern_that_fits_counts_whether_or_not_it_has_wildcards() -> None:
    dice = random.Random(7)
    paths = [f"{folder}{name}{end}" for folder in ("", "a/", "a/b/") for name in WORDS for end in ("", "/")]
    for _ in range(300):
        lines = [pattern(dice) for _ in range(8)]
        patterns = [one for line in lines if (one := Wildmatch.of(line)) is not None]
        rules = Rules.of("\n".join(lines))
        for path in paths:
            fitting = [one for one in patterns if one(path)]
            assert rules.verdict(path) == (not fitting[-1].negated if fitting else None), (lines, path)


@pytest.mark.parametrize("line", ["name{}", "/in/a{}.py", "*.ending{}", "folder{}/"])
def test_many_patterns_that_cannot_fit_are_not_tried(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules, tried, match = Rules.of("\n".join(line.format(i) for i in range(1_000))), [], Wildmatch.__call__
    monkeypatch.setattr(Wildmatch, "__call__", lambda one, path: tried.append(one) or match(one, path))
    assert rules.verdict("in/a.py") is None and rules.verdict("in/") is None
    assert tried == []


def test_a_file_with_too_many_patterns_ignores_all() -> None:
    lines = [f"name{i}" for i in range(MAX_PATTERNS)]
    assert not ignored("a.py", top="\n".join([*lines, "# no pattern"]))
    assert ignored("a.py", top="\n".join([*lines, "!a.py"]))


def test_files_with_too_many_wildcards_together_ignore_all_below() -> None:
    half = "\n".join(f"*{i}.go" for i in range(MAX_WILDCARDS // 2))
    rules = rules_of({".gitignore": half, "a/.mercuryignore": half})
    assert not rules("a/b.py")
    assert rules_of({".gitignore": half, "a/.mercuryignore": half, "a/b/.gitignore": "*.go"})("a/b/c.py")
