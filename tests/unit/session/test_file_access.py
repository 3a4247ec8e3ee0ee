"""Tests of file access on a real disk: links, ignore rules in each folder, and files that are not source code."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mercury_lsp.context import wildmatch
from mercury_lsp.context.gitignore import MAX_WILDCARDS, Rules
from mercury_lsp.session.file_access import MAX_FILE_BYTES, MAX_STYLE_BYTES, MAX_STYLES, FileAccess, Files
from mercury_lsp.syntax.indentation import Indentation

USABLE, OUTSIDE, IGNORED = FileAccess(False, True), FileAccess(False, False), FileAccess(True, True)


def put(path: Path, text: str = "x = 1\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def listed(files: Files, folder: Path) -> list[str]:
    """Return all files that a walk from the folder reads."""
    todo, paths = [str(folder)], []
    while todo:
        found, folders = files.list_folder(todo.pop())
        todo += folders
        paths += found
    return sorted(os.path.relpath(path, folder) for path in paths)


def test_a_walk_finds_only_source_files(tmp_path: Path) -> None:
    root, out = tmp_path / "w", tmp_path / "out"
    for name in (
        "a.py",
        "lib/b.ts",
        "lib/deep/c.go",
        "secrets.py",
        "README.md",
        "data.bin",
        ".env.py",
        "server.key",
    ):
        put(root / name)
    for name in (
        ".git/x.py",
        "node_modules/x.js",
        ".venv/x.py",
        "myenv/x.py",
        ".ssh/x.py",
        ".hidden/x.py",
        "no/x.py",
    ):
        put(root / name)
    put(root / "myenv/pyvenv.cfg")
    put(root / ".gitignore", "no/\n*_pb2.py\n")
    put(root / "lib/y_pb2.py")
    put(root / "lib/.mercuryignore", "private.ts\n")
    put(root / "lib/private.ts")
    put(out / "z.py")
    (root / "link.py").symlink_to(out / "z.py")
    (root / "inner.py").symlink_to(root / "a.py")
    (root / "linked").symlink_to(out)
    os.mkfifo(root / "pipe.py")
    files = Files([str(root)])
    assert listed(files, root) == ["a.py", "lib/b.ts", "lib/deep/c.go", "secrets.py"]
    assert files.read(str(root / "pipe.py")) is None and files.read(str(root / "link.py")) is None


@pytest.mark.parametrize(
    "content",
    [
        b"x = '\0'",
        b"\xff\xfe\x00",
        b"x = 1\n" * MAX_FILE_BYTES,
        b"var a=1;" * 1000,
        b"x\n" * 99 + b"y" * 6000,
        b"caf\xe9",
    ],
    ids=["binary", "UTF-16", "large", "minified", "a long line", "Latin-1"],
)
def test_binary_large_and_generated_files_are_not_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(content)
    assert Files([str(tmp_path)]).read(str(tmp_path / "a.py")) is None


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    files, path = Files([str(tmp_path)]), put(tmp_path / "a.py", "\ufeffx = 1\n")
    first = files.read(path)
    assert first is not None and first[1] == "x = 1\n"
    assert files.read(path, first[0]) == (first[0], "")
    put(tmp_path / "a.py", "x = 22\n")
    assert (files.read(path, first[0]) or first)[1] == "x = 22\n"
    assert files.read(str(tmp_path / "none.py")) is None


def test_the_rules_of_the_enclosing_repository_apply(tmp_path: Path) -> None:
    (tmp_path / ".git/info").mkdir(parents=True)
    put(tmp_path / ".gitignore", "generated/\n")
    put(tmp_path / ".git/info/exclude", "mine.py\n")
    root = tmp_path / "packages/one"
    files = Files([str(root)])
    assert files.access(str(root / "generated/a.py")) == IGNORED
    assert files.access(str(root / "mine.py")) == IGNORED
    assert files.access(str(root / "a.py")) == USABLE
    assert files.access(str(root / ".env")) == FileAccess(True, True, private=True)
    assert files.access(str(tmp_path / "packages/two/a.py")) == OUTSIDE
    assert files.access(str(tmp_path / "packages/two/mine.py")) == FileAccess(True, False)


def test_a_worktree_has_the_rules_of_its_repository(tmp_path: Path) -> None:
    put(tmp_path / "main/.git/info/exclude", "mine.py\n")
    put(tmp_path / "main/.git/worktrees/other/commondir", "../..\n")
    put(tmp_path / "other/.git", f"gitdir: {tmp_path}/main/.git/worktrees/other\n")
    assert Files([str(tmp_path / "other")]).access(str(tmp_path / "other/mine.py")) == IGNORED


def test_both_ends_of_a_link_must_be_allowed(tmp_path: Path) -> None:
    root = tmp_path / "w"
    put(root / "a.py")
    put(root / ".gitignore", "no.py\n")
    for name, end in (
        ("key.py", tmp_path / ".ssh/id"),
        ("no-link.py", root / "no.py"),
        ("out.py", tmp_path / "b.py"),
    ):
        put(end)
        (root / name).symlink_to(end)
    files = Files([str(root)])
    assert files.access(str(root / "key.py")).ignored
    assert files.access(str(root / "no-link.py")).ignored
    assert files.access(str(root / "out.py")) == OUTSIDE
    assert files.access(f"{root}/../b.py") == OUTSIDE


def test_a_workspace_folder_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "real/a.py")
    (tmp_path / "w").symlink_to(tmp_path / "real")
    files = Files([str(tmp_path / "w")])
    assert files.access(str(tmp_path / "w/a.py")) == USABLE
    assert listed(files, tmp_path / "w") == ["a.py"]


def test_changed_rules_are_read_again(tmp_path: Path) -> None:
    path, files = put(tmp_path / "lib/a.py"), Files([str(tmp_path)])
    assert files.access(path) == USABLE and not files.refresh()
    put(tmp_path / "lib/.mercuryignore", "*.py\n")
    assert files.refresh() and files.access(path) == IGNORED
    put(tmp_path / "lib/.mercuryignore", "*.rb  \n# nothing else\n")
    assert files.refresh() and files.access(path) == USABLE
    (tmp_path / "lib/.mercuryignore").unlink()
    assert files.refresh() and not files.refresh()


def test_rules_are_parsed_once_for_all_folders_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, parse = [], Rules.of
    monkeypatch.setattr(Rules, "of", lambda text, *more: texts.append(text) or parse(text, *more))
    for number in range(20):
        put(tmp_path / f"lib{number}/inner/a.py")
    put(tmp_path / ".gitignore", "lib3/\n")
    put(tmp_path / "lib4/.gitignore", "a.py\n")
    files = Files([str(tmp_path)])
    assert len(listed(files, tmp_path)) == 18
    assert sorted(texts) == ["a.py\n", "lib3/\n"]
    put(tmp_path / ".gitignore", "lib3/\nlib5/\n")
    assert files.refresh() and len(listed(files, tmp_path)) == 17


@pytest.mark.parametrize(("different", "read", "compiled"), [(False, 4, 1), (True, 2, 2)])
def test_a_bounded_number_of_patterns_is_compiled_in_all_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, different: bool, read: int, compiled: int
) -> None:
    texts: list[str] = []
    compile_ = lambda text, flags: texts.append(text) or re.compile(text, flags)  # noqa: E731
    monkeypatch.setattr("mercury_lsp.context.gitignore.MAX_PROJECT_WILDCARDS", 2 * MAX_WILDCARDS)
    monkeypatch.setattr(
        wildmatch, "re", SimpleNamespace(compile=compile_, escape=re.escape, DOTALL=re.DOTALL)
    )
    for folder in range(4):
        lines = (f"*[a-f]*{number}-{folder * different}*\n" for number in range(MAX_WILDCARDS))
        put(tmp_path / f"{folder}/.gitignore", "".join(lines))
        put(tmp_path / f"{folder}/a.py")
    assert len(listed(Files([str(tmp_path)]), tmp_path)) == read
    # Each of the two folders above the limit has one pattern, which ignores everything.
    assert len(texts) == compiled * MAX_WILDCARDS + (4 - read)


def test_unreadable_rules_ignore_all_files(tmp_path: Path) -> None:
    path = put(tmp_path / "a.py")
    os.mkfifo(tmp_path / ".gitignore")
    assert Files([str(tmp_path)]).access(path).ignored


def test_a_file_belongs_to_the_innermost_workspace_folder(tmp_path: Path) -> None:
    inner = tmp_path / "w/inner"
    put(inner / "a.py")
    put(tmp_path / "w/b.py")
    files = Files([str(tmp_path / "w"), f"{inner}/"])
    assert files.name(str(inner / "a.py")) == "a.py" and files.name(str(tmp_path / "w/b.py")) == "b.py"
    assert listed(files, tmp_path / "w") == ["b.py"]
    assert files.walk_reaches(str(inner)) and not files.walk_reaches(str(tmp_path))


def test_indentation_follows_the_editorconfig_files_up_to_the_root(tmp_path: Path) -> None:
    put(tmp_path / ".editorconfig", "[*]\nindent_size = 7\n")  # outside the repository
    (tmp_path / "w/.git").mkdir(parents=True)
    put(tmp_path / "w/.editorconfig", "[*]\nindent_style = tab\n[*.py]\nindent_size = 3\n")
    put(tmp_path / "w/lib/.editorconfig", "[/in/*.py]\nindent_size = 5\n")
    put(tmp_path / "w/own/.editorconfig", "root = true\n[*]\nindent_size = 6\n")
    files = Files([str(tmp_path / "w")])
    told = {
        name: files.access(str(tmp_path / "w" / name)).indentation
        for name in ("a.py", "a.js", "lib/in/a.py", "lib/a.py", "own/deep/a.py")
    }
    assert told == {
        "a.py": Indentation(True, 3),
        "a.js": Indentation(True, None),
        "lib/in/a.py": Indentation(True, 5),
        "lib/a.py": Indentation(True, 3),
        "own/deep/a.py": Indentation(None, 6),
    }
    put(tmp_path / "w/.editorconfig", "[*]\nindent_size = 2\n")
    assert files.refresh()
    assert files.indentation(str(tmp_path / "w/a.py")) == Indentation(None, 2)


def test_only_small_regular_editorconfig_files_are_read(tmp_path: Path) -> None:
    text = "[*]\nindent_size = 2\n"
    put(tmp_path / "elsewhere", text)
    for name in ("link", "pipe", "folder", "large", "latin"):
        (tmp_path / "w" / name).mkdir(parents=True)
    (tmp_path / "w/link/.editorconfig").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "w/pipe/.editorconfig")
    (tmp_path / "w/folder/.editorconfig").mkdir()
    put(tmp_path / "w/large/.editorconfig", text + "#" * MAX_STYLE_BYTES)
    (tmp_path / "w/latin/.editorconfig").write_bytes(b"# caf\xe9\n" + text.encode())
    files = Files([str(tmp_path / "w")])
    assert {
        name: files.indentation(str(tmp_path / "w" / name / "a.py")).width
        for name in ("link", "pipe", "folder", "large", "latin")
    } == {"link": None, "pipe": None, "folder": None, "large": None, "latin": 2}


def test_the_number_of_editorconfig_files_read_for_a_file_is_limited(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(MAX_STYLES + 4):
        put(folder / ".editorconfig", "[*]\nindent_style = tab\n")
        folder /= "d"
    put(tmp_path / ".editorconfig", "[*]\nindent_size = 2\n")
    assert Files([str(tmp_path)]).indentation(str(folder / "a.py")) == Indentation(True, None)
