"""Ranks candidates for the text beside the window, each source by evidence of its own.

The evidence is the lines around the cursor's, never the cursor's own line. `ranking` chooses among all candidates.

The sources, in the order of `ranking.SOURCES`:
`signatures`  the heads of the definitions around the cursor that lie above the window
`header`      the imports above the window that the code near the cursor uses
`definitions` what is defined in other files and named near the cursor or imported
`edits`       the lines around recent edits
`neighbors`   the files that belong to this one by their names, such as a test
`opened`      the most similar pieces of open documents, by Jaccard's index of their words
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mercury_lsp.context.retrieval.index import COMMON, Chunk, Definition, Entry, Library, words
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.syntax.document import Document, plain
from mercury_lsp.syntax.indentation import joined, width
from mercury_lsp.syntax.languages import Language, for_document

ABOVE, BELOW = 20, 5  # lines around the cursor's whose words are the evidence
EACH = 6  # candidates of a source at most
LIKE = 0.06  # Jaccard's index below which a piece of a file has nothing to do with the cursor
ELSEWHERE = 3  # files that may define a name which is not imported
OPENED = 8  # documents, the last used, whose pieces are compared
SCANNED = 30_000  # characters above the window in which imports are looked for
IMPORTS, METHODS = 10, 12  # lines at most

_WORD = re.compile(r"[A-Za-z_]\w+")
_TEST = re.compile(r"^(?:test[_-]|Test(?=[A-Z]))|(?:[_.-](?:test|tests|spec)|Tests?|Spec)$")
_ENTRANCES = frozenset(["__init__", "index", "mod", "lib", "main", "types", "conftest"])
_CONTROL = re.compile(
    r"[}\s]*(?:async\s+)?(?:if|elif|else|elsif|for|foreach|while|try|except|catch|finally|with|match|switch|case|default"
    r"|do|begin|rescue|ensure|when|unless|until|loop|select|return|unsafe|synchronized|go|defer)\b"
)
_NO_CODE = re.compile(r"\s*(?:#|//|/\*|\*|$)")
_FAMILIES = {"TypeScript": "JavaScript", "TSX": "JavaScript", "C++": "C"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Lines of a file that may be shown, from line ``line`` on; of an edit and of the own file the line is -1."""

    path: str
    line: int
    text: str

    def overlaps(self, other: Candidate) -> bool:
        """Whether both show some line of the same file."""
        if self.path != other.path or self.line < 0 or other.line < 0:
            return self.path == other.path and self.text == other.text
        return self.line <= other._last and other.line <= self._last

    @property
    def _last(self) -> int:
        return self.line + self.text.count("\n")


class Around:
    """The evidence: what stands around the cursor's line, and what the window hides."""

    def __init__(self, document: Document, offset: int, shown: Prompt) -> None:
        self.path = document.path
        self.language = for_document(document.language_id, document.path)
        before, after = plain(document.text[:offset]), plain(document.text[offset:])
        line = before.rfind("\n") + 1
        above, below = before[:line], after.partition("\n")[2]
        self.hidden = before[: min(line, max(0, len(before) - len(shown.prefix)))]
        self.above = above[-4 * SCANNED :].split("\n")[:-1]
        self.covered = len(self.above) - above.count(
            "\n", len(self.hidden)
        )  # the first of them that the window has
        nearest = [*reversed(self.above[-ABOVE:]), *below[: 200 * BELOW].split("\n")[:BELOW]]
        self.names: dict[str, int] = {}  # near the cursor, and how many lines away they stand at least
        for distance, text in enumerate(nearest):
            for name in _WORD.findall(text):
                self.names.setdefault(name, distance)
        self.words = words("\n".join(nearest))
        pattern = self.language.imports if self.language else ""
        self.imports = re.findall(pattern, above[:SCANNED], re.MULTILINE) if pattern else []
        self.imported = {name for statement in self.imports for name in _WORD.findall(statement)}


def distinct(text: str) -> set[str]:
    """The lines of a text by which repetition is told: not those of brackets and short words."""
    return {line for line in map(str.strip, text.split("\n")) if len(line) > 3}


def _family(name: str) -> str:
    return _FAMILIES.get(name, name)


def _signatures(around: Around, library: Library) -> list[Candidate]:
    """The heads of what encloses the cursor, told by indentation, since the tree is broken where one types."""
    if not around.hidden:
        return []
    lines = around.above
    heads: list[str] = []
    level: int | None = None
    for i in range(len(lines) - 1, -1, -1):
        if level == 0:
            break
        line = lines[i]
        if _NO_CODE.match(line):
            continue
        column = width(line)
        if level is not None and column >= level:
            continue
        first = _head(lines, i)
        if _opens(joined(lines[first : i + 1]), around.language):
            level = column
            if i < around.covered and not _CONTROL.match(lines[first]):
                heads = [*lines[first : i + 1], *heads]
        elif level is None:
            level = column
    return [Candidate(around.path, -1, "\n".join(heads))] if heads else []


def _opens(line: str, language: Language | None) -> bool:
    return bool(language and re.search(language.opener, line))


def _head(lines: Sequence[str], last: int) -> int:
    """Where the statement begins that ends with a line: above a bracket alone, and above its broken parameters."""
    first = last
    if lines[last].strip() == "{" and last > 0:
        first = last - 1
    if lines[first].lstrip().startswith((")", "]", "}")):
        column = width(lines[first])
        for i in range(first - 1, max(-1, first - ABOVE), -1):
            if lines[i].strip() and width(lines[i]) <= column and not lines[i].lstrip().startswith(")"):
                return i
    return first


def _header(around: Around, library: Library) -> list[Candidate]:
    """The hidden imports, those first whose names stand near the cursor; the others are left out."""
    pattern = around.language.imports if around.language else ""
    if not pattern or not around.hidden:
        return []
    statements = [
        (
            " ".join(match.group().split()),
            min((around.names.get(name, ABOVE) for name in names), default=ABOVE),
        )
        for match in re.finditer(pattern, around.hidden[:SCANNED], re.MULTILINE)
        if (names := words(match.group()))
    ]
    used = [statement for statement, distance in statements if distance < ABOVE]
    return [Candidate(around.path, -1, "\n".join(used[-IMPORTS:]))] if used else []


def _definitions(around: Around, library: Library) -> list[Candidate]:
    """Of the names near the cursor, and those imported, what other files of the language define."""
    folder = around.path.rpartition("/")[0]
    family = _family(around.language.name) if around.language else ""
    scored: list[tuple[float, int, Entry, Definition]] = []
    names = [name for name in around.names if len(name) > 2 and name not in COMMON]
    for name, paths in library.defined([*names, *sorted(around.imported.difference(names))]).items():
        files = [
            entry
            for path in paths
            if path != around.path and _family((entry := library.entries[path]).language) == family
        ]
        near = around.names.get(name)
        imported = name in around.imported
        for entry in files:
            source = _stem(entry.path) in around.imported
            if not (imported or source or len(files) <= ELSEWHERE):
                continue
            for definition in entry.definitions:
                if definition.name != name:
                    continue
                known = definition.owner and (
                    definition.owner in around.names or definition.owner in around.imported
                )
                if definition.owner and not known and not source:
                    continue
                score = 2.0 * (imported and not definition.owner) + source + bool(known)
                score += 0.5 * (entry.path.rpartition("/")[0] == folder) + 1 / len(files)
                score += 0 if near is None else 2 / (1 + near / 4)
                scored.append((score, -len(scored), entry, definition))
                break
    scored.sort(key=lambda one: one[:2], reverse=True)
    return [
        Candidate(entry.path, definition.line, _with_methods(entry, definition))
        for _, _, entry, definition in scored[:EACH]
    ]


def _with_methods(entry: Entry, definition: Definition) -> str:
    """A definition's text; of a type, with its methods' first lines."""
    if definition.kind != "type":
        return definition.text
    shown = distinct(definition.text)
    methods = [other.text.partition("\n")[0] for other in entry.definitions if other.owner == definition.name]
    return "\n".join([definition.text, *[line for line in methods if line.strip() not in shown][:METHODS]])


def _edits(around: Around, library: Library) -> list[Candidate]:
    """The newest edits, of this document as well where the window hides them."""
    return [Candidate(path, -1, plain(text).strip("\n")) for path, text in library.edits[:EACH]]


def _neighbors(around: Around, library: Library) -> list[Candidate]:
    """The most similar piece of each file that belongs to this one by its name."""
    folder, own = around.path.rpartition("/")[0], _base(around.path)
    found: list[tuple[int, str]] = []
    for path in library.entries:
        if path == around.path:
            continue
        here = path.rpartition("/")[0] == folder
        if _base(path) == own:
            found.append((0 if here else 1, path))
        elif here and _stem(path) in _ENTRANCES:
            found.append((2, path))
    pieces = (_similar(around, library.entries[path].chunks) for _, path in sorted(found)[:EACH])
    return [
        Candidate(path, best[0][1].line, best[0][1].text)
        for (_, path), best in zip(sorted(found)[:EACH], pieces, strict=True)
        if best
    ]


def _opened(around: Around, library: Library) -> list[Candidate]:
    """The most similar pieces of the documents that are open beside this one."""
    others = [path for path in library.opened if path != around.path and path in library.entries]
    found = [
        (likeness, path, chunk)
        for path in others[:OPENED]
        for likeness, chunk in _similar(around, library.entries[path].chunks)
    ]
    found.sort(key=lambda one: -one[0])
    taken: list[Candidate] = []
    for _, path, chunk in found:
        candidate = Candidate(path, chunk.line, chunk.text)
        if not any(candidate.overlaps(other) for other in taken):
            taken.append(candidate)
            if len(taken) == EACH:
                break
    return taken


def _similar(around: Around, chunks: Iterable[Chunk]) -> list[tuple[float, Chunk]]:
    """The pieces that are like the cursor's surroundings, the most similar first."""
    ours = around.words
    found = []
    for chunk in chunks:
        shared = len(ours & chunk.words)
        if shared > 1 and (likeness := shared / (len(ours) + len(chunk.words) - shared)) >= LIKE:
            found.append((likeness, chunk))
    return sorted(found, key=lambda one: -one[0])[:EACH]


@lru_cache(maxsize=65_536)
def _stem(path: str) -> str:
    """A file's name without any suffix."""
    return path.rpartition("/")[2].partition(".")[0]


@lru_cache(maxsize=65_536)
def _base(path: str) -> str:
    """What a file and its test have in common: the name without suffix and without what marks a test."""
    name, dot, _ = path.rpartition("/")[2].rpartition(".")
    base = _TEST.sub("", name) if dot else ""
    return path if not base or base in _ENTRANCES else base.lower()


RANKED: dict[str, Callable[[Around, Library], list[Candidate]]] = {
    "signatures": _signatures,
    "header": _header,
    "definitions": _definitions,
    "edits": _edits,
    "neighbors": _neighbors,
    "opened": _opened,
}
