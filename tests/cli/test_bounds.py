"""No line takes for ever: what one completion costs beside the model, for lines of brackets, quotes and the like."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from time import process_time
from typing import Any

import pytest
from support.fuzz_cases import cases

from mercury_lsp.completion.pipeline import complete, empty_completion
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.lsp.convert import completion_list
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import LANGUAGES

LENGTH = 20_000  # characters of a document
MOST = 2.0  # seconds of processor time for one answer
UNITS = [
    '(', '[', '{', '${', "f'{", 'f"{', '/*', '<', '"', "'", '`', '\\', 'a(', 'a[', 'a<', '<a', '{{', '$(',
    '"""', "'''", 'a.', '!', '*', '&', '-', 'a,', '1+', '?', ':', '@', 'x?', '`${', '<!--', 'r#"', '{-',
    '(*', '"#{', '%(', '$((', '=>', '#', '//', '--', ';', '](', ')(', ']]', '}}', ')]', '=>', '::', '->',
    ' ', '\t', 'if ', 'else ', 'not ', 'lambda:', 'b=', '=begin\n', '<<A\n', '\r', '\x0c', 'é', '\u2028',
    'then ',
]  # fmt: skip
"""What a line is made of: alone, and one after the other."""
ANSWERS = (
    "x",
    ")",
    "(((((((((((((((((",
    "a b " * 300,
    " " * 900,
    "\n" * 300,
    '"' * 500,
    "}\n" * 200,
    "a" * 4_000,
)
LANGUAGE_IDS = [
    *(language.ids[0] for language in LANGUAGES),
    "plaintext",
    "haskell",
    "markdown",
    "yaml",
    "vue",
]


class Scripted:
    """A model that writes what it is told to."""

    name, device, threads = "scripted", "cpu", 1
    vocabulary = None

    def __init__(self, text: str) -> None:
        self.text = text

    def count(self, text: str) -> int:
        return len(text) // 4 + 1

    def stem_start(self, text: str) -> int:
        return len(text)

    def prefill(self, *_: object) -> int:
        return 0

    def infill(self, *_: object) -> Any:
        return replace(empty_completion(0, "").infill, text=self.text, tokens=9, confidence=1.0)

    def alternatives(self, *_: object) -> Iterator[Any]:
        return iter(())


def documents(dice: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Documents, and where in them a suggestion is asked for."""
    cases = [(unit, language) for unit in UNITS for language in LANGUAGE_IDS]
    for unit, language in dice.sample(cases, min(count, len(cases))):
        units = [unit] if dice.random() < 0.6 else [unit, *dice.sample(UNITS, dice.choice((1, 2)))]
        length = LENGTH // 2 if dice.random() < 0.3 else LENGTH
        ends = dice.choice(("", "", "\n", "\nx = 1\n" * 50))
        body = ("".join(units) * length)[:length]
        if dice.random() < 0.25:
            body = "\n".join(body[i : i + 7] for i in range(0, len(body), 7))
        text = dice.choice(("", "x = ", "def f():\n    ")) + body + ends
        offset = dice.choice((len(text) - len(ends), len(text) // 2, 3, len(text)))
        yield {"language": language, "text": text, "offset": offset, "invoked": dice.random() < 0.5,
               "answer": dice.choice(ANSWERS)}  # fmt: skip


def worst(seed: int, count: int) -> tuple[float, dict[str, Any]]:
    """The dearest of some documents: seconds, and which it was."""
    found: tuple[float, dict[str, Any]] = (0.0, {})
    config = Config(show_likelihood=0)
    for case in documents(random.Random(seed), count):
        document = Document("file:///w/a", "a", case["language"], 1, case["text"])
        began = process_time()
        made = complete(
            Snapshot(document, config, manual=case["invoked"]),
            case["offset"],
            Scripted(case["answer"]),  # type: ignore[arg-type]
        )
        if made is not None:
            completion_list(made, document, "utf-16")
        took = process_time() - began
        case["text"] = f"{case['text'][:60]!r} and so on"
        found = max(found, (took, case), key=lambda one: one[0])
    return found


def test_no_document_costs_more_than_its_bound() -> None:
    """MERCURY_SEED chooses the documents."""
    count, seed = str(cases(60)), os.environ.get("MERCURY_SEED", "20")
    code = "import json, sys, test_bounds; print(json.dumps(test_bounds.worst(*map(int, sys.argv[1:]))))"
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code, seed, count],
        capture_output=True,
        text=True,
        timeout=60 + 8 * MOST * int(count),
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    seconds, case = json.loads(done.stdout)
    assert seconds < MOST, case


@pytest.mark.parametrize("unit", ["(", "[", "{", "${", "f'{", "/*"])
@pytest.mark.parametrize("language", ["python", "javascript", "rust", "plaintext"])
def test_a_line_of_one_sign_is_answered(unit: str, language: str) -> None:
    text = (unit * LENGTH)[:LENGTH]
    document = Document("file:///w/a", "a", language, 1, text)
    for invoked in (False, True):
        began = process_time()
        complete(Snapshot(document, Config(), manual=invoked), len(text), Scripted(")"))  # type: ignore[arg-type]
        assert process_time() - began < MOST
