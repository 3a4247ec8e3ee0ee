"""What is shown in real code: random cuts of this repository's files, and texts that a model might write there.

The properties that users feel at once: nothing that is shown makes the syntax worse, repeats what stands behind it, or
leaves the block that the cursor is in.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from mercury_lsp.completion.fitting import postprocess
from mercury_lsp.completion.fitting.postprocess import Fitted
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import width
from mercury_lsp.syntax.tree import Syntax

SAMPLES = ROOT / "mercury_lsp/samples"
FILES = {
    "python": [
        *sorted(SAMPLES.glob("*.py")),
        ROOT / "tests/unit/completion/test_scheduler.py",
        Path(__file__),
    ],
    "typescript": [*sorted(SAMPLES.glob("*.ts")), ROOT / "editors/vscode/src/extension.ts"],
    "c": [*sorted(SAMPLES.glob("*.c")), ROOT / "mercury_lsp/engine/kernel/kernel.c"],
    "go": sorted(SAMPLES.glob("*.go")),
}
TEXTS = {language: [path.read_text(encoding="utf-8") for path in paths] for language, paths in FILES.items()}
SIZE = 3000  # characters of a document
TOKENS = [
    "(", ")", "[", "]", "{", "}", '"', "'", ":", ";", ",", ".", "=", " ", "\n", "\n    ", "\n        ", "#", "//", "x",
    "self", "return ", "if ", "else:", "} else {", "def f(a):", "function f() {", "pass", "0", "é", '"""', "`", "\t",
]  # fmt: skip


@st.composite
def places(draw: st.DrawFn) -> tuple[str, str, int, str, str]:
    """A language, a document with a hole, the cursor in it, what a model might write there, and a line ending."""
    language = draw(st.sampled_from(sorted(TEXTS)))
    lines = draw(st.sampled_from(TEXTS[language])).splitlines(keepends=True)
    piece = "".join(lines[draw(st.integers(0, max(0, len(lines) - 60))) :])[:SIZE]
    piece = piece[: piece.rindex("\n") + 1]
    start = draw(st.integers(0, len(piece) - 1))
    end = min(len(piece), start + draw(st.sampled_from([0, 1, 5, 20, 80, 200])))
    if draw(st.booleans()):  # to the end of a line, as when typing
        end = max(piece.find("\n", end), start)
    near = draw(st.integers(max(0, start - 200), min(len(piece) - 1, end + 200)))
    written = [
        st.just(piece[start:end]),
        st.just(piece[start : end + 60]),
        st.just(piece[near : near + 120]),
        st.lists(st.sampled_from(TOKENS), max_size=8).map("".join),
    ]
    text = "".join(draw(st.lists(st.one_of(written), min_size=1, max_size=2)))
    eol = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    before, after = piece[:start].replace("\n", eol), piece[end:].replace("\n", eol)
    return language, before + after, len(before), text, eol


@settings(deadline=None, max_examples=300)
@given(places(), st.booleans(), st.booleans())
def test_in_real_code(place: tuple[str, str, int, str, str], single_line: bool, finished: bool) -> None:
    language, text, offset, written, eol = place
    document = Document("file:///a", "a", language, 1, text)
    syntax = Syntax.of(document)
    found = postprocess.fit(written, document, offset, syntax, single_line, finished)
    if found is None:
        return
    after = document.replace(offset, found.end, found.text, 2)
    assert Syntax.of(after).error_count() <= syntax.error_count()
    assert "\n" not in found.text.replace(document.eol, "")
    number, column = document.position(offset)
    left, rest = document.line(number)[:column], document.line(number)[column:]
    assert not repeats_rest(found, offset, rest.strip())
    assert not repeats_below(document, number, left, found.text, rest[found.end - offset :])
    assert syntax.in_string_or_comment(offset) or not leaves(left, found.text.split(eol))


def says(text: str) -> bool:
    return any(character.isalnum() for character in text)


def repeats_rest(found: Fitted, offset: int, rest: str) -> bool:
    """Whether the rest of the line, if it says anything, stands at the text's end already."""
    at = len(found.text) - len(rest)
    splits_word = at > 0 and found.text[at - 1 : at + 1].replace("_", "a").isalnum()
    one_word = re.search(r"\w\W+\w", rest) is None
    return found.end == offset and says(rest) and found.text.endswith(rest) and not (splits_word and one_word)


def repeats_below(document: Document, number: int, left: str, shown: str, rest: str) -> bool:
    """Whether the last lines that there are now are those that follow."""

    def told(lines: list[str]) -> list[tuple[int, str]]:
        return [(width(line), "".join(line.split())) for line in lines if line.strip()]

    lines = told((left + shown + rest).replace("\r\n", "\n").split("\n"))
    below = told([document.line(i) for i in range(number + 1, document.line_count)])[:8]
    return any(
        lines[-size:] == below[:size] and any(says(line) for _, line in below[:size])
        for size in range(1, min(len(lines), len(below)) + 1)
    )


def leaves(left: str, lines: list[str]) -> bool:
    """Whether a definition begins to the left of the block in which the cursor is."""
    begins = ("def ", "class ", "function ", "export ", "func ", "static ")
    return not left.strip() and any(
        width(line) < width(left + ".") and line.lstrip().startswith(begins) for line in lines[1:]
    )


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_what_stood_there_is_mostly_shown(language: str) -> None:
    """The filters do not pass by showing nothing: rests of lines of code come back."""
    shown = total = 0
    for text in TEXTS[language]:
        syntax = Syntax.of(Document("file:///a", "a", language, 1, text))
        at = 0
        for number, line in enumerate(text.split("\n")):
            start, end = at + len(line) // 2, at + len(line)
            at = end + 1
            if number % 7 or len(line.strip()) < 12 or syntax.in_string_or_comment(start):
                continue
            document = Document("file:///a", "a", language, 1, text[:start] + text[end:])
            found = postprocess.fit(text[start:end], document, start, Syntax.of(document), True)
            total += 1
            shown += found is not None and found.text.strip() == text[start:end].strip()
    assert total > 5 and shown / total > 0.9
