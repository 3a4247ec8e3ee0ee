"""What a user who asked is shown where nothing of the first text is: other middles, a beginning, a line of its own."""

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
    """Writes what a function of the text before the cursor says; `asked` are these texts, and who must stay here."""

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


def made(engine: Scripted, snapshot: Snapshot, offset: int) -> tuple[str | None, str]:
    """What is shown, and the document with it."""
    found = complete(snapshot, offset, engine)  # type: ignore[arg-type]
    assert isinstance(found, Completion)
    text = snapshot.document.text
    return found.shown, text[: found.start] + (found.shown or "") + text[found.end :]


def test_the_first_other_middle_that_shows_something_counts() -> None:
    engine = Scripted(lambda _: "))", ")", "width", "height")
    assert made(engine, *at("total = ¦\n"))[0] == "width" and engine.looked == 2


def test_of_no_more_than_a_few_it_is_looked_what_fits() -> None:
    engine = Scripted(lambda _: "))", *[")"] * 20)
    assert made(engine, *at("total = ¦\n"))[0] is None
    assert (
        engine.looked == 2 * MAX_TRIES - 1
    )  # of the cursor's place and, behind the first, of the line below


def test_who_did_not_ask_waits_for_nothing_else() -> None:
    engine = Scripted(lambda _: "))", "width")
    assert made(engine, *at("total = ¦\n", manual=False))[0] is None and len(engine.asked) == 1


def test_the_first_words_that_fit_are_shown() -> None:
    engine = Scripted(lambda _: "width = = =")
    assert made(engine, *at("total(¦)\n"))[0] == "width"


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_blank_lines_may_stand_before_the_one_line(eol: str) -> None:
    engine = Scripted(lambda _: "\n\n    b = 2\n    c = 3")
    text = "def f(x):\n    a = [\n        x\n    ]¦\n".replace("\n", eol)
    shown, whole = made(engine, *at(text))
    assert shown == f"{eol}{eol}    b = 2" and whole == text.replace("¦", shown) and len(engine.asked) == 1
    assert made(engine, *at(text, multiline="never"))[0] is None


def test_the_line_below_may_come_after_a_blank_one() -> None:
    engine = Scripted(lambda before: "\n    b = 2\n    c = 3" if before.endswith("\n") else "")
    assert made(engine, *at("def f():\n    a = 1¦\n"))[0] == "\n\n    b = 2"


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_behind_a_finished_statement_a_next_line_is_offered(eol: str) -> None:
    engine = Scripted(lambda before: "    b = 2" if before.endswith("\n") else "")
    text = "def f():\n    a = 1¦\n    return a\n".replace("\n", eol)
    shown, whole = made(engine, *at(text))
    assert shown == f"{eol}    b = 2"
    assert whole == "def f():\n    a = 1\n    b = 2\n    return a\n".replace("\n", eol)
    assert engine.asked[-1][1]  # by the model here alone


@pytest.mark.parametrize(("marked", "shown"), [("a = 1¦\n", "\nb = 2"), ("a = f¦oo\n", "oo\nb = 2")])
def test_no_line_is_added_where_suggestions_never_have_several(marked: str, shown: str) -> None:
    engine = Scripted(lambda before: "b = 2" if before.endswith("\n") else "")
    assert made(engine, *at(marked))[0] == shown
    assert made(engine, *at(marked, multiline="never"))[0] is None


def test_before_a_rest_that_is_foreseen_the_next_line_comes_behind_it() -> None:
    engine = Scripted(lambda before: "    b = 2" if before.endswith("\n") else "idth")
    shown, whole = made(engine, *at("def f():\n    a = w¦idth\n    return a\n"))
    assert shown == "idth\n    b = 2" and whole == "def f():\n    a = width\n    b = 2\n    return a\n"


def test_below_an_empty_block_that_the_cursor_is_in_nothing_is_offered() -> None:
    """A function below would leave it empty."""
    snapshot, offset = at("int add(int a, int b) {¦}\n")
    document = Document("file:///w/a.c", "a.c", "c", 1, snapshot.document.text)
    engine = Scripted(lambda before: "int sub(int a, int b) {}" if before.endswith("\n") else "")
    shown, _ = made(engine, replace(snapshot, document=document), offset)
    assert shown is None


def test_in_an_indentation_a_line_above_is_offered() -> None:
    texts = iter(["return a", "    return a", "b = 2"])
    engine = Scripted(lambda _: next(texts))
    shown, whole = made(engine, *at("def f():\n    a = 1\n    ¦return a\n"))
    assert shown == "b = 2\n    " and whole == "def f():\n    a = 1\n    b = 2\n    return a\n"


def test_a_hosted_model_is_asked_once() -> None:
    engine = Scripted(lambda _: "")
    assert made(engine, *at("a = 1¦\n", remote="always"))[0] is None and len(engine.asked) == 1


def test_no_beginning_of_a_secret_is_shown() -> None:
    engine = Scripted(lambda _: '"ghp_a1B2c3D4a1B2c3D4a1B2c3D4a1B2c3D4a1B2"')
    assert made(engine, *at("token = ¦\n"))[0] is None


def test_who_is_not_wanted_any_more_stops() -> None:
    snapshot, offset = at("total = ¦\n")
    with pytest.raises(Cancelled):
        complete(snapshot, offset, Scripted(lambda _: "))"), Job(lambda: True))  # type: ignore[arg-type]


def test_beginnings_end_with_words_and_most_comes_first() -> None:
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
