"""Reads changes: files in two consecutive versions, and the edits from one version to the other.

The packages are permissively licensed, and either held out in `model/data/manifest.toml` or not in it. Each is fetched
by its name and two pinned versions.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path, PurePosixPath

from mercury_lsp.edits.tokens import compared
from model.data.fetch import fetch, members

MAX_LINES = 3_000
MAX_EDITS = 60
# If more lines differ, the file was rewritten.
MAX_CHANGED = 0.5
LANGUAGES = {
    ".py": "python", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascript",
    ".ts": "typescript", ".tsx": "typescriptreact",
}  # fmt: skip
_GENERATED = re.compile(
    r"(?:^|/)(?:dist|build|lib/(?:commonjs|module|typescript)|node_modules|esm|cjs|umd)/|\.min\.|\.d\.ts$"
)
REPOSITORY = Path(__file__).parents[3]
# The range of this repository's commits in each part. Limits were chosen on all of them.
HISTORY = {
    "tune": ("2026-11-01T00:00:00Z", "2026-11-29T04:00:00Z"),
    "report": ("2026-11-29T04:00:00Z", "2026-11-29T04:16:20Z"),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions of a package. `kind`: the registry. `part`: "tune" or "report"."""

    kind: str
    name: str
    old: str
    new: str
    license: str
    part: str


PAIRS = (
    Pair("pypi", "luigi", "3.8.0", "3.8.1", "Apache-2.0", "tune"),
    Pair("pypi", "httpx", "0.27.2", "0.28.1", "BSD-3-Clause", "tune"),
    Pair("pypi", "click", "8.1.8", "8.2.0", "BSD-3-Clause", "tune"),
    Pair("pypi", "starlette", "1.0.0", "1.6.0", "BSD-3-Clause", "tune"),
    Pair("npm", "axios", "1.18.1", "1.20.0", "MIT", "tune"),
    Pair("npm", "express", "4.21.2", "5.1.0", "MIT", "tune"),
    Pair("npm", "rxjs", "7.5.7", "7.8.2", "Apache-2.0", "tune"),
    Pair("npm", "@tanstack/query-core", "5.90.2", "5.108.4", "MIT", "tune"),
    Pair("pypi", "textual", "8.0.2", "8.2.0", "MIT", "tune"),
    Pair("pypi", "glom", "24.11.0", "25.12.0", "BSD-3-Clause", "tune"),
    Pair("pypi", "pyrsistent", "0.19.3", "0.20.0", "MIT", "tune"),
    Pair("pypi", "flask", "2.2.5", "3.0.0", "BSD-3-Clause", "tune"),
    Pair("pypi", "marshmallow", "3.26.1", "4.0.0", "MIT", "tune"),
    Pair("pypi", "requests", "2.31.0", "2.32.5", "Apache-2.0", "tune"),
    Pair("pypi", "structlog", "24.4.0", "25.5.0", "MIT OR Apache-2.0", "tune"),
    Pair("npm", "mongoose", "9.11.1", "9.12.1", "MIT", "tune"),
    Pair("npm", "koa", "3.0.0", "3.3.0", "MIT", "tune"),
    Pair("npm", "fastify", "5.10.0", "5.12.8", "MIT", "tune"),
    Pair("npm", "commander", "14.0.1", "15.1.0", "MIT", "tune"),
    Pair("npm", "react-native-paper", "5.14.0", "5.15.3", "MIT", "tune"),
    Pair("npm", "@tanstack/router-core", "1.150.0", "1.171.39", "MIT", "tune"),
    Pair("pypi", "attrs", "23.1.0", "24.2.0", "MIT", "report"),
    Pair("pypi", "cattrs", "23.2.3", "24.1.0", "MIT", "report"),
    Pair("pypi", "uvicorn", "0.30.6", "0.34.0", "BSD-3-Clause", "report"),
    Pair("pypi", "websockets", "12.0", "14.0", "BSD-3-Clause", "report"),
    Pair("pypi", "typer", "0.12.5", "0.16.0", "MIT", "report"),
    Pair("pypi", "tomlkit", "0.12.0", "0.13.2", "MIT", "report"),
    Pair("pypi", "prompt-toolkit", "3.0.36", "3.0.48", "BSD-3-Clause", "report"),
    Pair("pypi", "arrow", "1.2.3", "1.3.0", "Apache-2.0", "report"),
    Pair("pypi", "redis", "5.0.8", "5.2.0", "MIT", "report"),
    Pair("npm", "preact", "10.19.0", "10.24.0", "MIT", "report"),
    Pair("npm", "svelte", "5.0.0", "5.10.0", "MIT", "report"),
    Pair("npm", "knex", "2.5.1", "3.1.0", "MIT", "report"),
    Pair("npm", "pino", "8.16.0", "9.5.0", "MIT", "report"),
    Pair("npm", "nodemailer", "6.9.7", "6.9.16", "MIT-0", "report"),
    Pair("npm", "@tanstack/table-core", "8.10.7", "8.20.5", "MIT", "report"),
    Pair("npm", "@tanstack/form-core", "0.30.0", "0.40.0", "MIT", "report"),
    Pair("npm", "@tanstack/react-router", "1.70.0", "1.90.0", "MIT", "report"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One edit of a change: replaces `before`, at `start` in the old text, by `after`; `old`, `new`: their tokens."""

    start: int
    before: str
    after: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def end(self) -> int:
        """The end of the replaced text."""
        return self.start + len(self.before)

    @property
    def key(self) -> tuple[tuple[str | int, ...], tuple[str | int, ...]] | None:
        """The edit without the words that both sides have; None if too little is left to be repeated.

        Two edits with the same key are instances of one general edit: they differ only in words that the new side
        reuses.
        """
        common = [token for token in dict.fromkeys(self.old) if token in self.new and token[0].isalpha()]
        if not any(
            token[0].isalnum() or token[0] == "_" for token in (*self.old, *self.new) if token not in common
        ):
            return None
        if len(self.old) + len(self.new) > 40 or self.old == self.new:
            return None

        def without(tokens: tuple[str, ...]) -> tuple[str | int, ...]:
            return tuple(common.index(token) if token in common else token for token in tokens)

        return without(self.old), without(self.new)


@dataclass(frozen=True, slots=True)
class Change:
    """A file's old text, and its edits in order, with offsets in the old text."""

    source: str
    path: str
    language: str
    text: str
    steps: tuple[Step, ...]

    @property
    def lines(self) -> list[tuple[Step, ...]]:
        """The edits grouped by line, since a person makes all edits of a line before leaving it."""
        groups: list[list[Step]] = []
        for step in self.steps:
            if groups and "\n" not in self.text[groups[-1][-1].end : step.start]:
                groups[-1].append(step)
            else:
                groups.append([step])
        return [tuple(group) for group in groups]


def steps(old: str, new: str) -> tuple[Step, ...]:
    """Return the edits between two texts: the differing tokens of differing lines."""
    one, other = old.splitlines(keepends=True), new.splitlines(keepends=True)
    starts = [0]
    for line in one:
        starts.append(starts[-1] + len(line))
    made: list[Step] = []
    for tag, low, high, first, last in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        before, after = "".join(one[low:high]), "".join(other[first:last])
        for hunk in compared(before, after):
            made.append(
                Step(starts[low] + hunk.was, hunk.before_text, hunk.after_text, hunk.before, hunk.after)
            )
    return tuple(made)


def apply_steps(text: str, done: tuple[Step, ...]) -> str:
    """Return the text after some steps."""
    pieces, at = [], 0
    for step in sorted(done, key=lambda step: step.start):
        pieces += [text[at : step.start], step.after]
        at = step.end
    return "".join([*pieces, text[at:]])


def change(source: str, path: str, old: str, new: str) -> Change | None:
    """Return the change of a file; None if there is none that a person would have typed."""
    language = LANGUAGES.get(PurePosixPath(path).suffix)
    if language is None or old == new or _GENERATED.search(path):
        return None
    old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    lines = old.count("\n") + 1
    if lines > MAX_LINES or len(old) > 80 * MAX_LINES or max(map(len, old.split("\n"))) > 400:
        return None
    found = steps(old, new)
    changed = sum(step.before.count("\n") + 1 for step in found)
    if not 1 <= len(found) <= MAX_EDITS or changed > MAX_CHANGED * lines or apply_steps(old, found) != new:
        return None
    return Change(source, path, language, old, found)


def package_changes(pair: Pair, downloads: Path) -> Iterator[Change]:
    """Yield the changes between two versions of a package. Raises `FetchError`."""
    texts: list[dict[str, str]] = []
    for version in (pair.old, pair.new):
        files: dict[str, str] = {}
        for archive in fetch(pair.kind, pair.name, version, downloads):
            for path, content in members(archive):
                if PurePosixPath(path).suffix in LANGUAGES and not _GENERATED.search(path):
                    files[path] = content.decode("utf-8", "replace")
        texts.append(files)
    for path in sorted(texts[0].keys() & texts[1].keys()):
        if (found := change(pair.name, path, texts[0][path], texts[1][path])) is not None:
            yield found


def repository_changes(part: str, repository: Path = REPOSITORY) -> Iterator[Change]:
    """Yield the changes of this repository's commits in a part's range of `HISTORY`."""
    since, until = HISTORY[part]
    log = _git(
        repository, "log", "--no-merges", "--format=%H", f"--since={since}", f"--until={until}"
    ).split()
    for commit in log:
        for line in _git(
            repository, "diff-tree", "-r", "--no-commit-id", "--diff-filter=M", commit
        ).splitlines():
            meta, _, path = line.partition("\t")
            _, _, old, new, _ = meta.split()
            if PurePosixPath(path).suffix in LANGUAGES:
                texts = [_git(repository, "cat-file", "blob", blob) for blob in (old, new)]
                if (found := change("this repository", path, *texts)) is not None:
                    yield found


def _git(repository: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), *arguments],
        capture_output=True,
        text=True,
        check=True,
        errors="replace",
    ).stdout
