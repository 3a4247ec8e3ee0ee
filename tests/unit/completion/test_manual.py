"""Tests of manual requests whose first text does not fit: alternatives, beginnings, and a line of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mercury_lsp.completion.manual import MAX_TRIES, beginnings
from mercury_lsp.completion.pipeline import Job, complete, empty_completion
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill, Sampling
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.document import Document


def infill(text: str) -> Infill:
    return replace(empty_completion(0, "").infill, text=text, tokens=3, confidence=1.0)


class Scripted:
    """An engine that writes `writes(prefix)`; `asked` has each prefix and if only the local model ran."""

    name, device, threads, vocabulary = "scripted", "cpu", 1, None

    def __init__(self, writes: Callable[[str], str], *others: str) -> None:
        self.writes, self.others = writes, others
        self.asked: list[tuple[str, bool]] = []
        self.looked = 0

    def count(self, text: str) -> int:
        return len(text) // 4 + 1

    def stem_start(self, text: str) -> int:
        return len(text)

    def infill(self, prompt: Prompt, sampling: Sampling, *_: object) -> Infill:
        self.asked.append((prompt.prefix, sampling.local_only))
        return infill(self.writes(prompt.prefix))

    def alternatives(self, *_: object) -> Iterator[Infill]:
        for text in self.others:
            self.looked += 1
            yield infill(text)


def at(text: str, manual: bool = True, **options: Any) -> tuple[Snapshot, int]:
    """A Python document with its cursor at `¦`."""
    before, _, after = text.partition("¦")
    document = Document("file:///w/a.py", "a.py", "python", 1, before + after)
    return Snapshot(document, Config(show_likelihood=0, **options), manual=manual), len(before)


def accept(engine: Scripted, snapshot: Snapshot, offset: int) -> tuple[str | None, str]:
    """Return the shown text, and the document after accepting it."""
    found = complete(snapshot, offset, engine)  # type: ignore[arg-type]
    assert isinstance(found, Completion)
    text = snapshot.document.text
    return found.shown, text[: found.start] + (found.shown or "") + text[found.end :]


def test_the_first_alternative_that_fits_is_shown() -> None:
    engine = Scripted(lambda _: "))", ")", "width", "height")
    assert accept(engine, *at("total = ¦\n"))[0] == "width" and engine.looked == 2


def test_the_number_of_tried_alternatives_is_limited() -> None:
    engine = Scripted(lambda _: "))", *[")"] * 20)
    assert accept(engine, *at("total = ¦\n"))[0] is None
    # Tries at the cursor and, after the first, on the line below.
    assert engine.looked == 2 * MAX_TRIES - 1


def test_automatic_requests_try_no_alternatives() -> None:
    engine = Scripted(lambda _: "))", "width")
    assert accept(engine, *at("total = ¦\n", manual=False))[0] is None and len(engine.asked) == 1


def test_the_first_words_are_shown_if_the_whole_text_does_not_fit() -> None:
    engine = Scripted(lambda _: "width = = =")
    assert accept(engine, *at("total(¦)\n"))[0] == "width"


def test_the_first_words_are_not_joined_with_a_word_after_the_cursor() -> None:
    engine = Scripted(lambda _: "def add(a, b):")
    assert accept(engine, *at("¦x = 1\n", multiline="never"))[0] is None


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_blank_lines_may_precede_the_suggested_line(eol: str) -> None:
    engine = Scripted(lambda _: "\n\n    b = 2\n    c = 3")
    text = "def f(x):\n    a = [\n        x\n    ]¦\n".replace("\n", eol)
    shown, whole = accept(engine, *at(text))
    assert shown == f"{eol}{eol}    b = 2" and whole == text.replace("¦", shown) and len(engine.asked) == 1
    assert accept(engine, *at(text, multiline="never"))[0] is None


def test_the_line_below_may_follow_a_blank_line() -> None:
    engine = Scripted(lambda before: "\n    b = 2\n    c = 3" if before.endswith("\n") else "")
    assert accept(engine, *at("def f():\n    a = 1¦\n"))[0] == "\n\n    b = 2"


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_the_next_line_is_suggested_after_a_finished_statement(eol: str) -> None:
    engine = Scripted(lambda before: "    b = 2" if before.endswith("\n") else "")
    text = "def f():\n    a = 1¦\n    return a\n".replace("\n", eol)
    shown, whole = accept(engine, *at(text))
    assert shown == f"{eol}    b = 2"
    assert whole == "def f():\n    a = 1\n    b = 2\n    return a\n".replace("\n", eol)
    # Only the local model is asked.
    assert engine.asked[-1][1]


@pytest.mark.parametrize(("marked", "shown"), [("a = 1¦\n", "\nb = 2"), ("a = f¦oo\n", "oo\nb = 2")])
def test_no_line_is_added_if_multiline_is_never(marked: str, shown: str) -> None:
    engine = Scripted(lambda before: "b = 2" if before.endswith("\n") else "")
    assert accept(engine, *at(marked))[0] == shown
    assert accept(engine, *at(marked, multiline="never"))[0] is None


def test_if_the_model_predicts_the_rest_of_the_line_the_next_line_is_added() -> None:
    engine = Scripted(lambda before: "    b = 2" if before.endswith("\n") else "idth")
    shown, whole = accept(engine, *at("def f():\n    a = w¦idth\n    return a\n"))
    assert shown == "idth\n    b = 2" and whole == "def f():\n    a = width\n    b = 2\n    return a\n"


@pytest.mark.parametrize(
    ("language", "marked", "below", "suggested"),
    [
        ("c", "int add(int a, int b) {¦}\n", "int sub(int a, int b) {}", False),
        ("html", "<ul>\n  <li>¦</li>\n</ul>\n", "  <li>One</li>", False),
        ("html", '<p class="a">¦</p>\n', "<p>One</p>", False),
        ("html", "<ul>\n  <li>One¦</li>\n</ul>\n", "  <li>Two</li>", True),
        ("html", "<p>One</p>¦</div>\n", "<p>Two</p>", True),
    ],
)
def test_no_line_is_suggested_below_an_empty_block_or_element_around_the_cursor(
    language: str, marked: str, below: str, suggested: bool
) -> None:
    """A line below would leave the block empty."""
    snapshot, offset = at(marked)
    document = Document(f"file:///w/a.{language}", f"a.{language}", language, 1, snapshot.document.text)
    engine = Scripted(lambda before: below if before.endswith("\n") else "")
    shown, _ = accept(engine, replace(snapshot, document=document), offset)
    assert (shown is not None and below in shown) == suggested


def test_a_line_above_is_suggested_if_the_cursor_is_in_the_indentation() -> None:
    texts = iter(["return a", "    return a", "b = 2"])
    engine = Scripted(lambda _: next(texts))
    shown, whole = accept(engine, *at("def f():\n    a = 1\n    ¦return a\n"))
    assert shown == "b = 2\n    " and whole == "def f():\n    a = 1\n    b = 2\n    return a\n"


def test_a_hosted_model_is_asked_once() -> None:
    engine = Scripted(lambda _: "")
    assert accept(engine, *at("a = 1¦\n", remote="always"))[0] is None and len(engine.asked) == 1


def test_the_beginning_of_a_secret_is_not_shown() -> None:
    engine = Scripted(lambda _: '"ghp_a1B2c3D4a1B2c3D4a1B2c3D4a1B2c3D4a1B2"')
    assert accept(engine, *at("token = ¦\n"))[0] is None


def test_a_cancelled_job_stops() -> None:
    snapshot, offset = at("total = ¦\n")
    with pytest.raises(Cancelled):
        complete(snapshot, offset, Scripted(lambda _: "))"), Job(lambda: True))  # type: ignore[arg-type]


def test_beginnings_end_at_word_ends_and_the_longest_comes_first() -> None:
    assert [part.text for part in beginnings(infill("a.b(c)\nd"))] == [
        "a.b(c)",
        "a.b(c",
        "a.b(",
        "a.b",
        "a.",
        "a",
    ]
    assert [part.text for part in beginnings(infill("a b"))] == ["a"]
    assert not list(beginnings(infill("")))
    assert len(list(beginnings(infill("a " * 50)))) == MAX_TRIES
