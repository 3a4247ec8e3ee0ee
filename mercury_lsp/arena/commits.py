"""Reads a user's own edits from the history of a git repository.

Git only reads: it runs no hook, filter, pager, signature check or external diff that the repository's settings name,
and fetches nothing. Files that `file_access` hides from the model are left out: private, ignored, hidden, large and
generated files, and folders of tools. Also left out are files with secrets, merges, and commits of more files than a
person writes at once. Lines that a commit only moved or indented, and renamed files, do not count as written.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from random import Random
from typing import IO, cast

from mercury_lsp.arena.edits import Edit, added_runs, removed_lines, sample_edits
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.errors import Failure
from mercury_lsp.session.file_access import MAX_FILE_BYTES, Files, looks_handwritten
from mercury_lsp.syntax.languages import for_document

ANY_AUTHOR = "all"
MAX_COMMITS = 5_000
MAX_FILES_PER_COMMIT = 40
MAX_EDITS_PER_FILE, MAX_EDITS_PER_COMMIT = 3, 12
_SAFE_OPTIONS = (
    "-c", "core.fsmonitor=false", "-c", "protocol.allow=never",
    "-c", "log.showSignature=false", "--no-pager",
)  # fmt: skip
_GIT_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
# Symbolic links and submodules have other modes.
_FILE_MODES = ("100644", "100755")
_GENERATED = re.compile(
    r"^\W*.*(?:@generated|do not edit|(?:auto|automatically )-?generated|code generated)",
    re.IGNORECASE | re.MULTILINE,
)
# A generated file says so at its start.
_HEADER_CHARACTERS = 600

ReadBlob = Callable[[str], bytes | None]
"""The content of a blob; None if it is missing or too large."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file of a commit: its path and the blobs before and after; `before` is "" for a new file."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that is not a merge. `is_root`: whether it has no parent in this repository."""

    id: str
    is_root: bool
    changes: list[Change]


class Repository:
    """The repository of a folder; only files below the folder count.

    Raises `Failure` if the folder is in no repository or git cannot run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        root = self._git_output("rev-parse", "--show-toplevel")
        if not root:
            raise Failure(f"{folder} is in no git repository with files.")
        self.root = Path(root).as_posix()
        self._shallow = self._git_output("rev-parse", "--is-shallow-repository") == "true"

    @property
    def user_email(self) -> str:
        """The user's address in git's settings; "" if there is none."""
        return self._git_output("config", "user.email")

    def commits(self, author: str) -> Generator[Commit]:
        """Yield the commits of an author, newest first; `author`: an address, or `ANY_AUTHOR`."""
        author_filter = () if author == ANY_AUTHOR else ("--fixed-strings", f"--author=<{author}>")
        command = self._git_command(
            "log", "-z", "--raw", "--no-abbrev", "--no-merges", "-M", "--no-ext-diff", "--no-textconv",
            "--no-show-signature", "--no-color", "--format=%x01%H %P", f"--max-count={MAX_COMMITS}",
            *author_filter, "--", ".",
        )  # fmt: skip
        with _run_program(command) as (_, output_pipe):
            commits = _parse_commits(_split_output(output_pipe.read1))
            yield from (commit for commit in commits if not (commit.is_root and self._shallow))

    @contextmanager
    def blobs(self) -> Iterator[ReadBlob]:
        """Yield a function that reads old versions of files during the block."""
        with _run_program(self._git_command("cat-file", "--batch")) as (input_pipe, output_pipe):

            def read(blob: str) -> bytes | None:
                input_pipe.write(f"{blob}\n".encode())
                input_pipe.flush()
                head = output_pipe.readline().split()
                if len(head) != 3 or not head[2].isdigit():
                    return None
                content = output_pipe.read(int(head[2]) + 1)[:-1]
                return content if len(content) <= MAX_FILE_BYTES else None

            yield read

    def _git_command(self, *arguments: str) -> list[str]:
        return ["git", "-C", str(self._folder), *_SAFE_OPTIONS, *arguments]

    def _git_output(self, *arguments: str) -> str:
        try:
            command, devnull = self._git_command(*arguments), subprocess.DEVNULL
            result = subprocess.run(
                command, capture_output=True, check=False, stdin=devnull, env=_git_environment()
            )
        except OSError as error:
            raise Failure(f"git cannot be run: {error.strerror}.") from error
        return os.fsdecode(result.stdout).strip() if result.returncode == 0 else ""


def read_edits_by_author(
    repository: Repository,
    author: str,
    limit: int,
    seed: int,
    left_out: Counter[str],
    on_progress: Callable[[int], None] = lambda count: None,
) -> list[Edit]:
    """Return at most ``limit`` edits of an author, most recent first; a larger limit only appends further edits.

    left_out: counts the left-out files and commits by reason. on_progress: called after each commit with the number of
    edits so far.
    """
    files = Files((repository.root,))
    edits: dict[str, Edit] = {}
    with repository.blobs() as read_blob, closing(repository.commits(author)) as commits:
        for commit in commits:
            if len(commit.changes) > MAX_FILES_PER_COMMIT:
                left_out["commits: many files"] += 1
                continue
            for edit in _sample_commit(commit, files, read_blob, seed, left_out):
                edits.setdefault(edit.key, edit)
            on_progress(len(edits))
            if len(edits) >= limit:
                break
    return list(edits.values())[:limit]


def _sample_commit(
    commit: Commit, files: Files, read_blob: ReadBlob, seed: int, left_out: Counter[str]
) -> list[Edit]:
    texts: list[tuple[str, str, str, str]] = []
    for change in commit.changes:
        if language := for_document("", change.path):
            match _read_versions(change, files, read_blob):
                case str(reason):
                    left_out[f"files: {reason}"] += 1
                case before, after:
                    texts.append((change.path, language.ids[0], before, after))
    moved = frozenset(line for _, _, before, after in texts for line in removed_lines(before, after))
    commit_seed, edits = f"{seed}/{commit.id}", list[Edit]()
    random = Random(commit_seed)
    for path, language_id, before, after in texts:
        file_edits = sample_edits(path, language_id, after, added_runs(before, after, moved), commit_seed)
        edits += (
            file_edits
            if len(file_edits) <= MAX_EDITS_PER_FILE
            else random.sample(file_edits, MAX_EDITS_PER_FILE)
        )
    return edits if len(edits) <= MAX_EDITS_PER_COMMIT else random.sample(edits, MAX_EDITS_PER_COMMIT)


def _read_versions(change: Change, files: Files, read_blob: ReadBlob) -> tuple[str, str] | str:
    """Return the texts of a file before and after a change, or the reason for leaving the file out."""
    path = f"{files.roots[0].rstrip('/')}/{change.path}"
    if files.access(path).ignored or not files.should_read(path):
        return "private or ignored"
    if not files.walk_reaches(path.rpartition("/")[0]):
        return "hidden, or of tools"
    after = _decode(read_blob(change.after))
    before = _decode(read_blob(change.before)) if change.before else ""
    if (
        after is None
        or before is None
        or not looks_handwritten(after)
        or _GENERATED.search(after[:_HEADER_CHARACTERS])
    ):
        return "large, generated, or no text"
    return "secrets" if is_secret(after) else (before, after)


def _decode(content: bytes | None) -> str | None:
    """Decode UTF-8; return None if the content is missing or not UTF-8."""
    try:
        return None if content is None else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _split_output(read: Callable[[int], bytes]) -> Iterator[str]:
    """Yield the output of a running program, split at each NUL."""
    incomplete = b""
    while chunk := read(1 << 16):
        *complete_fields, incomplete = (incomplete + chunk).split(b"\0")
        yield from map(os.fsdecode, complete_fields)


def _parse_commits(fields: Iterator[str]) -> Iterator[Commit]:
    """Parse `git log -z --raw`: for each commit a head, then for each file modes, blobs, status, one or two paths."""
    commit: Commit | None = None
    for text in fields:
        text = text.lstrip("\n")
        if text.startswith("\x01"):
            if commit is not None:
                yield commit
            id_, _, parents = text[1:].partition(" ")
            commit = Commit(id_, not parents.strip(), [])
        elif commit is not None and text.startswith(":"):
            _, mode, before, after, status = text.split()
            path = next(fields)
            if status[0] in "RC":
                path = next(fields)
            if mode in _FILE_MODES:
                commit.changes.append(Change(path, "" if set(before) == {"0"} else before, after))
    if commit is not None:
        yield commit


@contextmanager
def _run_program(command: list[str]) -> Iterator[tuple[IO[bytes], BufferedReader]]:
    """Run a program during the block, and yield its input and output pipes."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=_git_environment()
    ) as process:
        try:
            yield cast(IO[bytes], process.stdin), cast(BufferedReader, process.stdout)
        finally:
            process.kill()


def _git_environment() -> dict[str, str]:
    return {**os.environ, **_GIT_ENVIRONMENT}
