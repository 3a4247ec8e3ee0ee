"""A user's own edits, from the history of a git repository.

Owns how git is asked, and which files and commits are left out. It only reads: no hook, filter, pager, signature or
external diff of the repository's settings is run, and nothing is fetched. What `file_access` would not show a model
of other files is left out here, too: what is private, ignored, hidden, of tools, large or written by machines; and so
are files that have something secret in them, merges, and commits of more files than a person writes at one go. Lines
that were only moved or indented anew within a commit were not written then, nor was a file that was renamed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from random import Random
from typing import IO, cast

from mercury_lsp.arena.edits import Edit, added, draw, removed
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.session.file_access import MAX_FILE_BYTES, Files, by_hand
from mercury_lsp.syntax.languages import for_document

ANYONE = "all"  # as an author
MOST_COMMITS = 5_000  # that are looked at
MOST_FILES = 40  # of a commit
PER_FILE, PER_COMMIT = 3, 12  # edits: so that they are spread over what the user did
_SAFE = (
    "-c", "core.fsmonitor=false", "-c", "protocol.allow=never",
    "-c", "log.showSignature=false", "--no-pager",
)  # fmt: skip
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_FILES = ("100644", "100755")  # modes; links and submodules have others
_GENERATED = re.compile(
    r"^\W*.*(?:@generated|do not edit|(?:auto|automatically )-?generated|code generated)",
    re.IGNORECASE | re.MULTILINE,
)
_HEAD = 600  # characters in which a file says that it is generated


class NoHistory(Exception):
    """There are no commits to read; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file of a commit: its path after it, and the blobs before and after. `before` is "" for a new file."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that is no merge."""

    id: str
    root: bool  # it has no parent, or none that is here
    changes: tuple[Change, ...]


@dataclass(slots=True)
class LeftOut:
    """What was not taken, by the reason: files of commits, and whole commits."""

    files: Counter[str] = field(default_factory=Counter)
    commits: Counter[str] = field(default_factory=Counter)


class Repository:
    """The repository around a folder; only what is below the folder counts. Raises `NoHistory`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        top = self._ask("rev-parse", "--show-toplevel")
        if not top:
            raise NoHistory(f"{folder} is in no git repository with files.")
        self.top = Path(top).as_posix()
        self._shallow = self._ask("rev-parse", "--is-shallow-repository") == "true"

    @property
    def user(self) -> str:
        """The address of who commits here; "" where git does not know it."""
        return self._ask("config", "user.email")

    def commits(self, author: str) -> Generator[Commit]:
        """What somebody has committed, the newest first; `author` is an address, or `ANYONE`."""
        by = () if author == ANYONE else ("--fixed-strings", f"--author=<{author}>")
        line = self._line(
            "log", "-z", "--raw", "--no-abbrev", "--no-merges", "-M", "--no-ext-diff", "--no-textconv",
            "--no-show-signature", "--no-color", "--format=%x01%H %P", f"--max-count={MOST_COMMITS}", *by, "--", ".",
        )  # fmt: skip
        with _running(line) as (_, answer):
            found = _commits(_fields(answer.read1))
            yield from (commit for commit in found if not (commit.root and self._shallow))

    @contextmanager
    def blobs(self) -> Iterator[Blobs]:
        """What gives files as they were, while it is open."""
        with _running(self._line("cat-file", "--batch")) as pipes:
            yield Blobs(*pipes)

    def _line(self, *arguments: str) -> list[str]:
        return ["git", "-C", str(self._folder), *_SAFE, *arguments]

    def _ask(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                self._line(*arguments),
                capture_output=True,
                check=False,
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        except OSError as error:
            raise NoHistory(f"git cannot be run: {error.strerror}.") from error
        return os.fsdecode(done.stdout).strip() if done.returncode == 0 else ""


class Blobs:
    """Files as they were, by their blobs, from the two pipes of `git cat-file --batch`."""

    def __init__(self, asking: IO[bytes], answer: BufferedReader) -> None:
        self._asking, self._answer = asking, answer

    def read(self, blob: str) -> bytes | None:
        """None where it is not here, or too large."""
        self._asking.write(f"{blob}\n".encode())
        self._asking.flush()
        head = self._answer.readline().split()
        if len(head) != 3 or not head[2].isdigit():
            return None
        content = self._answer.read(int(head[2]) + 1)[:-1]
        return content if len(content) <= MAX_FILE_BYTES else None


def written(
    repository: Repository,
    author: str,
    limit: int,
    seed: int,
    left_out: LeftOut,
    tell: Callable[[int], None] = lambda found: None,
) -> list[Edit]:
    """At most so many edits of an author, the most recent first; a longer draw begins with the shorter one.

    tell: called with how many there are so far, after each commit.
    """
    files = Files((repository.top,))
    edits: dict[str, Edit] = {}
    with repository.blobs() as blobs, closing(repository.commits(author)) as commits:
        for commit in commits:
            if len(commit.changes) > MOST_FILES:
                left_out.commits["many files"] += 1
                continue
            for edit in _of(commit, files, blobs, seed, left_out):
                edits.setdefault(edit.key, edit)
            tell(len(edits))
            if len(edits) >= limit:
                break
    return list(edits.values())[:limit]


def _of(commit: Commit, files: Files, blobs: Blobs, seed: int, left_out: LeftOut) -> list[Edit]:
    texts: list[tuple[str, str, str]] = []
    for change in commit.changes:
        if for_document("", change.path) is not None:
            match _versions(change, files, blobs):
                case str(reason):
                    left_out.files[reason] += 1
                case before, after:
                    texts.append((change.path, before, after))
    moved = frozenset(line for _, before, after in texts for line in removed(before, after))
    random, found = Random(f"{seed}/{commit.id}"), list[Edit]()
    for path, before, after in texts:
        language = for_document("", path)
        assert language is not None
        edits = draw(path, language.ids[0], after, added(before, after, moved), f"{seed}/{commit.id}")
        found += edits if len(edits) <= PER_FILE else random.sample(edits, PER_FILE)
    return found if len(found) <= PER_COMMIT else random.sample(found, PER_COMMIT)


def _versions(change: Change, files: Files, blobs: Blobs) -> tuple[str, str] | str:
    """The texts of a file before and after, or why they are not to be looked at."""
    if reason := _unfit(change.path, files):
        return reason
    after = _text(blobs.read(change.after))
    before = _text(blobs.read(change.before)) if change.before else ""
    if after is None or before is None or not by_hand(after) or _GENERATED.search(after[:_HEAD]):
        return "large, generated, or no text"
    return "secrets" if is_secret(after) else (before, after)


def _unfit(path: str, files: Files) -> str | None:
    """Why a file is not to be looked at; None where it is."""
    absolute = f"{files.roots[0].rstrip('/')}/{path}"
    folder = absolute.rpartition("/")[0]
    if files.access(absolute).ignored or not files.wants(absolute):
        return "private or ignored"
    return None if files.reaches(folder) else "hidden, or of tools"


def _text(content: bytes | None) -> str | None:
    """None where it is no text in UTF-8."""
    if content is None:
        return None
    with suppress(UnicodeDecodeError):
        return content.decode("utf-8-sig")
    return None


def _fields(read: Callable[[int], bytes]) -> Iterator[str]:
    """What a program writes, cut at each NUL, while it writes."""
    rest = b""
    while chunk := read(1 << 16):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from map(os.fsdecode, whole)


def _commits(fields: Iterator[str]) -> Iterator[Commit]:
    """The commits of `git log -z --raw`: a head, then of each file its modes, blobs and status, and its path or two."""
    head, changes = "", list[Change]()
    for text in fields:
        text = text.lstrip("\n")
        if text.startswith("\x01"):
            if head:
                yield _commit(head, changes)
            head, changes = text[1:], []
        elif text.startswith(":"):
            _, mode, before, after, status = text.split()
            path = next(fields)
            if status[0] in "RC":
                path = next(fields)
            if mode in _FILES:
                changes.append(Change(path, "" if set(before) == {"0"} else before, after))
    if head:
        yield _commit(head, changes)


def _commit(head: str, changes: list[Change]) -> Commit:
    id_, _, parents = head.partition(" ")
    return Commit(id_, not parents.strip(), tuple(changes))


@contextmanager
def _running(line: list[str]) -> Iterator[tuple[IO[bytes], BufferedReader]]:
    """A program's two pipes, to it and from it; it is ended with the block, however that ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=_environment()
    ) as process:
        try:
            yield cast(IO[bytes], process.stdin), cast(BufferedReader, process.stdout)
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    return {**os.environ, **_ENVIRONMENT}
