"""Finds and ranks related text from more sources than the server uses, for training and the ablation.

The server shows only pieces of open documents (`ranking.opened`), because the weights do not gain from the other
sources yet, see docs/retrieval.md. Candidates are compared with the lines around the cursor's line, never with that
line itself. Several sources are combined by reciprocal rank fusion (Cormack, Clarke and Buettcher 2009).

The sources:
`signatures`  the heads of the definitions that enclose the cursor and begin above the window
`header`      the imports above the window that the code near the cursor uses
`definitions` the definitions in other files whose names are near the cursor or imported
`neighbors`   the files that belong to this file by their names, such as its test
`opened`      the server's source
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from mercury_lsp.context.retrieval.index import COMMON_WORDS, Library, words
from mercury_lsp.context.retrieval.ranking import (
    LINES_ABOVE,
    MAX_CANDIDATES,
    Candidate,
    Source,
    distinct,
    nearby,
    opened,
    similar,
)
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.syntax.document import Document, plain
from mercury_lsp.syntax.indentation import join_stripped, width
from mercury_lsp.syntax.languages import Language, for_document
from model.data.definitions import Definition, defining_files, definitions_of
from model.data.outlines import OUTLINES

# The constant of reciprocal rank fusion, as in the paper.
RANK = 60
# A name that is not imported is looked up only if at most this many files define it.
MAX_DEFINING_FILES = 3
# Characters above the window that are searched for imports.
SCANNED = 30_000
# Lines at most.
IMPORTS, METHODS = 10, 12

_WORD = re.compile(r"[A-Za-z_]\w+")
_TEST = re.compile(r"^(?:test[_-]|Test(?=[A-Z]))|(?:[_.-](?:test|tests|spec)|Tests?|Spec)$")
_ENTRANCES = frozenset(["__init__", "index", "mod", "lib", "main", "types", "conftest"])
_CONTROL = re.compile(
    r"[}\s]*(?:async\s+)?(?:if|elif|else|elsif|for|foreach|while|try|except|catch|finally|with|match|switch|case|default"
    r"|do|begin|rescue|ensure|when|unless|until|loop|select|return|unsafe|synchronized|go|defer)\b"
)
_NO_CODE = re.compile(r"\s*(?:#|//|/\*|\*|$)")
_FAMILIES = {"TypeScript": "JavaScript", "TSX": "JavaScript", "C++": "C"}


class OwnLines(Candidate):
    """Lines from several places of the edited document; only a candidate with the same text overlaps."""

    def overlaps(self, other: Candidate) -> bool:
        """Return whether both candidates are the same text of the same file."""
        return self.path == other.path and self.text == other.text


class Around:
    """The text around the cursor's line, and the text above the window."""

    def __init__(self, document: Document, offset: int, shown: Prompt) -> None:
        self.path = document.path
        self.language = for_document(document.language_id, document.path)
        before = plain(document.text[:offset])
        line = before.rfind("\n") + 1
        above = before[:line]
        self.hidden = before[: min(line, max(0, len(before) - len(shown.prefix)))]
        self.above = above[-4 * SCANNED :].split("\n")[:-1]
        # The first line of the window.
        self.covered = len(self.above) - above.count("\n", len(self.hidden))
        nearest = nearby(document, offset)
        # Names near the cursor, with their smallest distance in lines.
        self.names: dict[str, int] = {}
        for distance, text in enumerate(nearest):
            for name in _WORD.findall(text):
                self.names.setdefault(name, distance)
        self.words = words("\n".join(nearest))
        self.import_pattern = OUTLINES[self.language.name].imports if self.language else ""
        statements = self.imports(above[:SCANNED])
        self.imported = {name for statement in statements for name in _WORD.findall(statement)}

    def imports(self, text: str) -> list[str]:
        """Return the import statements of a text."""
        pattern = self.import_pattern
        return [match.group() for match in re.finditer(pattern, text, re.MULTILINE)] if pattern else []


def _family(path: str) -> str:
    """Return the language of a file; languages that share definitions, such as C and C++, are one."""
    language = for_document("", path)
    return _FAMILIES.get(language.name, language.name) if language else ""


def signatures(document: Document, offset: int, shown: Prompt, library: Library) -> list[Candidate]:
    """Return the heads of the definitions around the cursor, by indentation, since trees have errors at the cursor."""
    around = Around(document, offset, shown)
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
        if _opens(join_stripped(lines[first : i + 1]), around.language):
            level = column
            if i < around.covered and not _CONTROL.match(lines[first]):
                heads = [*lines[first : i + 1], *heads]
        elif level is None:
            level = column
    return [OwnLines(around.path, -1, "\n".join(heads))] if heads else []


def _opens(line: str, language: Language | None) -> bool:
    return bool(language and re.search(language.opener, line))


def _head(lines: Sequence[str], last: int) -> int:
    """Return the index of the line where the statement that ends at line ``last`` begins."""
    first = last
    if lines[last].strip() == "{" and last > 0:
        first = last - 1
    if lines[first].lstrip().startswith((")", "]", "}")):
        column = width(lines[first])
        for i in range(first - 1, max(-1, first - LINES_ABOVE), -1):
            if lines[i].strip() and width(lines[i]) <= column and not lines[i].lstrip().startswith(")"):
                return i
    return first


def header(document: Document, offset: int, shown: Prompt, library: Library) -> list[Candidate]:
    """Return the imports above the window whose names are near the cursor."""
    around = Around(document, offset, shown)
    used = [
        " ".join(statement.split())
        for statement in around.imports(around.hidden[:SCANNED])
        if any(around.names.get(name, LINES_ABOVE) < LINES_ABOVE for name in words(statement))
    ]
    return [OwnLines(around.path, -1, "\n".join(used[-IMPORTS:]))] if used else []


def definitions(document: Document, offset: int, shown: Prompt, library: Library) -> list[Candidate]:
    """Return the definitions, in other files of the language, of names that are near the cursor or imported."""
    around = Around(document, offset, shown)
    folder = around.path.rpartition("/")[0]
    family = _FAMILIES.get(around.language.name, around.language.name) if around.language else ""
    scored: list[tuple[float, int, str, Definition]] = []
    names = [name for name in around.names if len(name) > 2 and name not in COMMON_WORDS]
    paths = defining_files(tuple(library.entries.values()))
    for name in [*names, *sorted(around.imported.difference(names))]:
        files = [path for path in paths.get(name, ()) if path != around.path and _family(path) == family]
        near = around.names.get(name)
        imported = name in around.imported
        for path in files:
            source = _stem(path) in around.imported
            if not (imported or source or len(files) <= MAX_DEFINING_FILES):
                continue
            for definition in definitions_of(library.entries[path]):
                if definition.name != name:
                    continue
                known = definition.owner and (
                    definition.owner in around.names or definition.owner in around.imported
                )
                if definition.owner and not known and not source:
                    continue
                score = 2.0 * (imported and not definition.owner) + source + bool(known)
                score += 0.5 * (path.rpartition("/")[0] == folder) + 1 / len(files)
                score += 0 if near is None else 2 / (1 + near / 4)
                scored.append((score, -len(scored), path, definition))
                break
    scored.sort(key=lambda one: one[:2], reverse=True)
    return [
        Candidate(path, definition.line, _with_methods(definitions_of(library.entries[path]), definition))
        for _, _, path, definition in scored[:MAX_CANDIDATES]
    ]


def _with_methods(every: Sequence[Definition], definition: Definition) -> str:
    """Return a definition's text; for a type, add the first lines of its methods."""
    if definition.kind != "type":
        return definition.text
    shown = distinct(definition.text)
    methods = [other.text.partition("\n")[0] for other in every if other.owner == definition.name]
    return "\n".join([definition.text, *[line for line in methods if line.strip() not in shown][:METHODS]])


def neighbors(document: Document, offset: int, shown: Prompt, library: Library) -> list[Candidate]:
    """Return the most similar piece of each file that belongs to the document by its name."""
    folder, own = document.path.rpartition("/")[0], _base(document.path)
    evidence = words("\n".join(nearby(document, offset)))
    found: list[tuple[int, str]] = []
    for path in library.entries:
        if path == document.path:
            continue
        here = path.rpartition("/")[0] == folder
        if _base(path) == own:
            found.append((0 if here else 1, path))
        elif here and _stem(path) in _ENTRANCES:
            found.append((2, path))
    pieces = (similar(evidence, library.entries[path].chunks) for _, path in sorted(found)[:MAX_CANDIDATES])
    return [
        Candidate(path, best[0][1].line, best[0][1].text)
        for (_, path), best in zip(sorted(found)[:MAX_CANDIDATES], pieces, strict=True)
        if best
    ]


@lru_cache(maxsize=65_536)
def _stem(path: str) -> str:
    """Return a file's name without any suffix."""
    return path.rpartition("/")[2].partition(".")[0]


@lru_cache(maxsize=65_536)
def _base(path: str) -> str:
    """Return the name that a file shares with its test: without suffix and test marker."""
    name, dot, _ = path.rpartition("/")[2].rpartition(".")
    base = _TEST.sub("", name) if dot else ""
    return path if not base or base in _ENTRANCES else base.lower()


# The source that the server uses.
SERVED = "opened"
SOURCES: dict[str, Source] = {
    "signatures": signatures,
    "header": header,
    "definitions": definitions,
    "neighbors": neighbors,
    "opened": opened,
}


def fused(names: Sequence[str]) -> Source:
    """Return a source that ranks the candidates of some `SOURCES` together.

    From each source, a candidate gets the reciprocal rank of the first candidate that overlaps it.
    """

    def source(document: Document, offset: int, shown: Prompt, library: Library) -> list[Candidate]:
        rankings = [own(document, offset, shown, library) for name, own in SOURCES.items() if name in names]

        def score(candidate: Candidate) -> float:
            ranks = (
                next((i for i, other in enumerate(ranking) if other.overlaps(candidate)), None)
                for ranking in rankings
            )
            return sum(1 / (RANK + rank) for rank in ranks if rank is not None)

        candidates = [candidate for ranking in rankings for candidate in ranking]
        return sorted(candidates, key=lambda candidate: -score(candidate))

    return source
