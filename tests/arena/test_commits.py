"""A user's edits from real git repositories."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from mercury_lsp.arena.commits import (
    ANY_AUTHOR,
    MAX_EDITS_PER_COMMIT,
    MAX_EDITS_PER_FILE,
    Repository,
    read_edits_by_author,
)
from mercury_lsp.arena.edits import Edit
from mercury_lsp.errors import Failure

ME, OTHER = "me@example.org", "someone+me@example.org"
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
CODE = "def area_{0}(width, height):\n    size = width * height * {0}\n    return size\n"


@dataclass(frozen=True)
class Repo:
    top: Path

    def git(self, *arguments: str, by: str = ME) -> str:
        who = {f"GIT_{role}_{what}": by for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            ["git", "-C", str(self.top), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **who},
        )
        return done.stdout

    def commit(self, by: str = ME, **files: str | bytes) -> None:
        """Write and commit files. In their names, __ stands for / and _dot_ for a dot."""
        for name, content in files.items():
            path = self.top / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "-qm", "a change", by=by)

    def edits(
        self, author: str = ME, limit: int = 100, seed: int = 0, folder: str = "."
    ) -> tuple[list[Edit], Counter[str]]:
        out = Counter[str]()
        return read_edits_by_author(Repository(self.top / folder), author, limit, seed, out), out


def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """Create an empty repository of `ME`, independent of git's global configuration."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    made = Repo(folder)
    made.top.mkdir()
    made.git("init", "-q", "-b", "main")
    made.git("config", "user.email", ME)
    return made


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    return make(tmp_path / "project", monkeypatch)


def test_only_commits_of_the_author_are_read(repo: Repo) -> None:
    repo.commit(by=OTHER, lib__a_dot_py=CODE.format(1))
    repo.commit(lib__b_dot_py=CODE.format(2))
    edits, _ = repo.edits(Repository(repo.top).user_email)
    assert {edit.path for edit in edits} == {"lib/b.py"}
    assert {edit.path for edit in repo.edits(OTHER)[0]} == {"lib/a.py"}
    assert {edit.path for edit in repo.edits(ANY_AUTHOR)[0]} == {"lib/a.py", "lib/b.py"}
    assert all(edit.language == "python" and "\n" + edit.full_text == "\n" + edit.prefix + edit.middle + edit.suffix
               for edit in edits)  # fmt: skip
    assert edits[0].full_text == CODE.format(2)


def test_the_authors_address_is_not_a_pattern(repo: Repo) -> None:
    """As a pattern, `ME` would match both other addresses: as the end of one, and because of its dots."""
    repo.commit(by=OTHER, a_dot_py=CODE.format(1))
    repo.commit(by="me@exampleXorg", b_dot_py=CODE.format(1))
    assert repo.edits()[0] == []


def test_the_newest_edits_come_first_and_a_limit_gives_a_prefix(repo: Repo) -> None:
    for i in range(4):
        repo.commit(**{f"a{i}_dot_py": CODE.format(i)})
    every = repo.edits()[0]
    assert [edit.path for edit in every] == ["a3.py", "a2.py", "a1.py", "a0.py"]
    assert repo.edits(limit=2)[0] == every[:2]
    assert repo.edits()[0] == every
    assert any(repo.edits(seed=seed)[0] != every for seed in range(1, 5))


def test_private_and_ignored_files_and_secrets_are_left_out(repo: Repo) -> None:
    repo.commit(
        _dot_gitignore="ignored.py\n",
        _dot_mercuryignore="mine/\n",
        fine_dot_py=CODE.format(1),
        mine__b_dot_py=CODE.format(2),
        _dot_ssh__c_dot_py=CODE.format(3),
        node_modules__d_dot_js="export const size = compute(3);\n",
        token_dot_py=f"def ask():\n    token = '{TOKEN}'\n    return token\n",
        secrets_dot_yaml="password: hunter2\n",
    )
    (repo.top / "ignored.py").write_text(CODE.format(4))
    repo.git("add", "-f", "ignored.py")
    repo.git("commit", "-qm", "forced")
    edits, out = repo.edits()
    assert {edit.path for edit in edits} == {"fine.py"}
    assert out == {"files: private or ignored": 3, "files: secrets": 1, "files: hidden, or of tools": 1}
    assert not any(TOKEN in edit.full_text for edit in edits)


def test_generated_binary_and_large_files_and_large_commits_are_left_out(repo: Repo) -> None:
    repo.commit(
        latin_dot_py="naïve = compute(1)\n".encode("latin-1"),
        nul_dot_py=b"value = compute(1)\n\0",
        big_dot_py="value = compute(1)\n" * 20_000,
        made_dot_py="# Code generated by a tool. DO NOT EDIT.\nvalue = compute(1)\n",
        min_dot_js="x=" + "f(1);" * 3_000,
        notes_dot_txt="value = compute(1)\n",
    )
    edits, out = repo.edits()
    assert edits == []
    assert out == {"files: large, generated, or no text": 5}
    repo.commit(**{f"file{i}_dot_py": CODE.format(i) for i in range(41)})
    edits, out = repo.edits()
    assert edits == []
    assert out == {"files: large, generated, or no text": 5, "commits: many files": 1}


def test_renamed_files_and_moved_lines_give_no_edits(repo: Repo) -> None:
    body = "".join(CODE.format(i) for i in range(10))
    repo.commit(by=OTHER, old_dot_py=body, from_dot_py=CODE.format(77) + "x = 1\n")
    repo.git("mv", "old.py", "new.py")
    repo.commit(new_dot_py=body + "total = area_1(2, 3)\n")
    repo.commit(from_dot_py="x = 1\n", to_dot_py=CODE.format(77))
    edits, _ = repo.edits()
    assert [edit.path for edit in edits] == ["new.py"]
    assert edits[0].middle in "total = area_1(2, 3)"


def test_merge_commits_give_no_edits_but_merged_commits_do(repo: Repo) -> None:
    repo.commit(by=OTHER, a_dot_py="first = compute(1)\n")
    repo.git("checkout", "-qb", "side")
    repo.commit(b_dot_py="second = compute(2)\n")
    repo.git("checkout", "-q", "main")
    repo.commit(by=OTHER, c_dot_py="third = compute(3)\n")
    repo.git("merge", "-q", "--no-ff", "side")
    assert [edit.path for edit in repo.edits()[0]] == ["b.py"]
    assert len(repo.edits(ANY_AUTHOR)[0]) == 3


def test_in_a_file_with_crlf_only_changed_lines_give_edits(repo: Repo) -> None:
    before = CODE.format(1).replace("\n", "\r\n")
    repo.git("config", "core.autocrlf", "false")
    repo.commit(by=OTHER, a_dot_py=before)
    repo.commit(a_dot_py=before + "total = area_1(2, 3)\r\n")
    (edit,) = repo.edits()[0]
    assert edit.full_text == before + "total = area_1(2, 3)\r\n"
    assert edit.prefix.startswith(before) and edit.suffix == "\r\n"
    assert not edit.middle.endswith("\r")


def test_unusual_file_names_are_read(repo: Repo) -> None:
    for name in ("with space.py", "größe.py", ":colon.py", 'quo"te.py', "new\nline.py"):
        (repo.top / name).write_text(CODE.format(len(name)))
    repo.git("add", "-A")
    repo.git("commit", "-qm", "names")
    found = {edit.path for edit in repo.edits()[0]}
    assert found == {"with space.py", "größe.py", ":colon.py", 'quo"te.py', "new\nline.py"}


def test_edits_per_commit_and_per_file_are_limited(repo: Repo) -> None:
    spread = "".join(f"old_{i} = 1\n" for i in range(40))
    repo.commit(by=OTHER, **{f"f{i}_dot_py": spread for i in range(6)})
    changed = spread.replace("old_", "value = 2\nold_")
    repo.commit(**{f"f{i}_dot_py": changed for i in range(6)})
    edits, _ = repo.edits()
    assert len(edits) == MAX_EDITS_PER_COMMIT
    assert (
        max(sum(edit.path == path for edit in edits) for path in {edit.path for edit in edits})
        <= MAX_EDITS_PER_FILE
    )


def test_only_files_below_the_given_folder_are_read(repo: Repo) -> None:
    repo.commit(a_dot_py=CODE.format(1), lib__b_dot_py=CODE.format(2))
    assert [edit.path for edit in repo.edits(folder="lib")[0]] == ["lib/b.py"]


def test_the_oldest_commit_of_a_shallow_clone_gives_no_edits(repo: Repo, tmp_path: Path) -> None:
    for i in range(3):
        repo.commit(**{f"a{i}_dot_py": CODE.format(i)})
    repo.git("clone", "-q", "--depth", "2", repo.top.as_uri(), str(tmp_path / "clone"))
    assert [edit.path for edit in Repo(tmp_path / "clone").edits()[0]] == ["a2.py"]


def test_programs_in_the_repositorys_configuration_are_not_run(repo: Repo, tmp_path: Path) -> None:
    trap, sprung = tmp_path / "trap.sh", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\ncat\n")
    trap.chmod(0o755)
    for name in (
        "core.fsmonitor",
        "core.pager",
        "diff.external",
        "diff.x.textconv",
        "gpg.program",
        "filter.x.smudge",
    ):
        repo.git("config", name, str(trap))
    repo.git("config", "log.showSignature", "true")
    (repo.top / ".gitattributes").write_text("*.py diff=x\n")
    repo.git("-c", "core.fsmonitor=false", "add", ".gitattributes")
    repo.commit(a_dot_py=CODE.format(1))
    sprung.unlink(missing_ok=True)
    assert repo.edits()[0]
    assert not sprung.exists()


def test_a_folder_without_a_repository_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no git repository"):
        Repository(tmp_path)


def test_an_empty_repository_has_no_edits(repo: Repo) -> None:
    assert repo.edits()[0] == []
