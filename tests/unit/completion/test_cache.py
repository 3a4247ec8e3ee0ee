"""What is remembered of completions: the property is that accepting the rest gives the text that was promised."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercury_lsp.completion.cache import Place, draft_hint, lookup
from mercury_lsp.completion.committed import CommittedText
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill
from mercury_lsp.engine.tokenizer import Hint
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.indentation import Indentation
from mercury_lsp.syntax.tree import Syntax

INFILL = Infill("", 1, 1, 1, 1.0, 1.0, 0.0, 0, 1, 1.0, True)
BEFORE, AFTER = "def f(x):\n    y = ", "\n    return y\n"


def snapshot(text: str, **options: object) -> Snapshot:
    return Snapshot(Document("file:///w/a.py", "a.py", "python", 1, text), Config(**options), ("/w",))  # type: ignore[arg-type]


def made(
    shown: str | None, before: str = BEFORE, after: str = AFTER, replaced: int = 0, **options: object
) -> tuple[Place, Completion]:
    """A remembered completion between two texts."""
    place = len(before)
    completion = Completion(shown or "", shown, place, place + replaced, INFILL)
    return (snapshot(before + after, **options), place), completion


def accepted(text: str, completion: Completion) -> str:
    assert completion.shown is not None
    return text[: completion.start] + completion.shown + text[completion.end :]


LETTERS = st.sampled_from("ab( )[]\"'\n=é😀")
texts = st.text(LETTERS, max_size=12)


@given(before=texts, shown=st.text(LETTERS, min_size=1, max_size=12), after=texts, drawn=st.data())
@settings(deadline=None, max_examples=300)
def test_what_is_left_of_a_suggestion_gives_the_text_that_it_gave(
    before: str, shown: str, after: str, drawn: st.DataObject
) -> None:
    typed = drawn.draw(st.integers(0, len(shown) - 1), "typed")
    replaced = drawn.draw(st.integers(0, min(3, len(after))), "replaced")
    place, completion = made(shown, before, after, replaced)
    text = before + shown[:typed] + after
    found = lookup([(place, completion)], snapshot(text), len(before) + typed)
    assert found is not None
    assert found.start == len(before) + typed
    assert accepted(text, found) == accepted(before + after, completion)


@given(before=texts, shown=texts, after=texts, new=texts, drawn=st.data())
@settings(deadline=None, max_examples=300)
def test_whatever_is_answered_gives_the_text_that_was_promised(
    before: str, shown: str, after: str, new: str, drawn: st.DataObject
) -> None:
    offset = drawn.draw(st.integers(0, len(before + new + after)), "offset")
    replaced = drawn.draw(st.integers(0, min(3, len(after))), "replaced")
    place, completion = made(shown, before, after, replaced)
    text = before + new + after
    found = lookup([(place, completion)], snapshot(text), offset)
    if found is not None:
        assert found.shown
        assert found.start == offset <= found.end
        assert accepted(text, found) == accepted(before + after, completion)


@pytest.mark.parametrize(
    ("shown", "typed", "added", "left", "overwritten"),
    [
        ("compute(a, b)", "compute(", ")", "a, b", ""),
        ("compute(a, b)", "compute(a", ")", ", b", ""),
        ("compute(a, b)", "compute(a, b)", "", None, ""),  # all of it
        ("compute(a, b) + 1", "compute(", ")", "a, b) + 1", ")"),
        ("f(g(x))", "f(g(", "))", "x", ""),
        ("f(g(x), 1)", "f(g(", "))", "x), 1)", "))"),
        ('"a" + b', '"', '"', 'a" + b', '"'),
        ("compute(a", "compute(", ")", None, ""),  # nothing tells that the bracket belongs to it
        ("compute(a)", "compu", ")", None, ""),  # the bracket was not the editor's
        ("compute()", "compute(", ")", ")", ")"),
        ("compute(a, b)", "compute[", "", None, ""),
        ("compute(a, b)", "compute(", "]", None, ""),
    ],
)
def test_a_bracket_that_the_editor_adds(
    shown: str, typed: str, added: str, left: str | None, overwritten: str
) -> None:
    place, completion = made(shown)
    text, offset = BEFORE + typed + added + AFTER, len(BEFORE + typed)
    found = lookup([(place, completion)], snapshot(text), offset)
    assert (found and found.shown) == left
    if found is not None:
        assert text[found.start : found.end] == overwritten
        assert accepted(text, found) == BEFORE + shown + AFTER


def test_a_key_taken_back_finds_the_suggestion_before_it() -> None:
    first = made("compute(a, b)")
    other = made("x * 2", BEFORE + "x")
    assert lookup([other, first], snapshot(BEFORE + AFTER), len(BEFORE)) == first[1]


def test_nothing_shown_is_remembered_for_the_very_same_request() -> None:
    (there, place), completion = made(None)
    remembered = [((there, place), completion)]
    assert (
        lookup(remembered, replace(there, document=replace_version(there.document, 7)), place) is completion
    )
    assert lookup(remembered, replace(there, manual=True), place) is None
    assert lookup(remembered, snapshot(BEFORE + "x" + AFTER), place + 1) is None


def replace_version(document: Document, version: int) -> Document:
    return document.replace(0, 0, "", version)


def test_who_asks_for_several_is_told_only_by_what_was_made_for_that() -> None:
    (there, place), completion = made("compute(a, b)")
    asking = replace(there, manual=True)
    others = (made("compare(a)")[1], made("total")[1])
    several = replace(completion, alternatives=others)
    assert lookup([((there, place), completion)], asking, place) is None
    assert lookup([((asking, place), several)], asking, place) == several
    assert lookup([((asking, place), several)], there, place) == completion  # unasked there is one
    typed = snapshot(BEFORE + "comp" + AFTER)
    found = lookup([((asking, place), several)], replace(typed, manual=True), place + 4)
    assert found is not None and found.shown == "ute(a, b)"
    assert [(other.shown, other.start) for other in found.alternatives] == [("are(a)", place + 4)]


@pytest.mark.parametrize(
    "other",
    [
        snapshot(BEFORE + AFTER, max_tokens=8),
        replace(snapshot(BEFORE + AFTER), roots=()),
        Snapshot(Document("file:///w/b.py", "a.py", "python", 1, BEFORE + AFTER), Config(), ("/w",)),
        Snapshot(Document("file:///w/a.py", "b.py", "python", 1, BEFORE + AFTER), Config(), ("/w",)),
        Snapshot(Document("file:///w/a.py", "a.py", "go", 1, BEFORE + AFTER), Config(), ("/w",)),
        snapshot(BEFORE + AFTER + "z = 1\n"),
        snapshot("#" + BEFORE[1:] + AFTER),
    ],
)
def test_another_state_asks_the_model(other: Snapshot) -> None:
    assert lookup([made("compute(a, b)")], snapshot(BEFORE + AFTER), len(BEFORE)) is not None
    assert lookup([made("compute(a, b)")], other, len(BEFORE)) is None


def test_a_hint_is_what_was_expected_a_little_before() -> None:
    place, completion = made("compute(a, b)")
    remembered = [(place, completion)]
    text = BEFORE + "comp\r\nx" + AFTER
    assert draft_hint(remembered, snapshot(text), len(BEFORE) + 7) == Hint("compute(a, b)", "comp\nx")
    assert draft_hint(remembered, snapshot(BEFORE + ")" + AFTER), len(BEFORE)) == Hint("compute(a, b)", "")
    assert draft_hint(remembered, snapshot("#" + text), len(BEFORE) + 8) is None
    assert draft_hint(remembered, snapshot(text), len(BEFORE) - 1) is None
    assert draft_hint(remembered, snapshot(BEFORE + "x" * 300 + AFTER), len(BEFORE) + 300) is None
    assert draft_hint([], snapshot(text), len(BEFORE)) is None


def test_of_several_hints_the_one_with_most_to_come_is_taken() -> None:
    there, at = snapshot(BEFORE + "co" + AFTER), len(BEFORE) + 2
    begun = (
        (there, at),
        CommittedText(there, at, Syntax.of(there.document), True, replace(INFILL, text="mpu")),
    )
    whole, other = made("compute(a, b)"), made("convert(a, b) + 1")
    text = BEFORE + "comp" + AFTER
    assert draft_hint([begun, other, whole], snapshot(text), len(BEFORE) + 4) == Hint("compute(a, b)", "comp")
    assert draft_hint([begun, other], snapshot(text), len(BEFORE) + 4) == Hint("mpu", "mp")
    assert draft_hint([other, begun], snapshot(BEFORE + "cox" + AFTER), len(BEFORE) + 3) == Hint(
        "convert(a, b) + 1", "cox"
    )


def test_what_was_indented_otherwise_is_not_remembered() -> None:
    (place, completion) = made("z")
    text = place[0].document.text
    assert lookup([(place, completion)], snapshot(text), len(BEFORE)) is not None
    other = replace(snapshot(text), indentation=Indentation(None, 2))
    assert lookup([(place, completion)], other, len(BEFORE)) is None
