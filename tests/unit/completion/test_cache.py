"""Tests of the completion cache. Invariant: accepting the rest of a cached suggestion gives the promised text."""

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


def cached(
    shown: str | None, before: str = BEFORE, after: str = AFTER, replaced: int = 0, **options: object
) -> tuple[Place, Completion]:
    """Return a place between two texts, and its cached completion."""
    place = len(before)
    completion = Completion(shown or "", shown, place, place + replaced, INFILL)
    return (snapshot(before + after, **options), place), completion


def accept(text: str, completion: Completion) -> str:
    assert completion.shown is not None
    return text[: completion.start] + completion.shown + text[completion.end :]


LETTERS = st.sampled_from("ab( )[]\"'\n=é😀")
texts = st.text(LETTERS, max_size=12)


@given(before=texts, shown=st.text(LETTERS, min_size=1, max_size=12), after=texts, drawn=st.data())
@settings(deadline=None, max_examples=300)
def test_accepting_the_rest_of_a_suggestion_gives_the_same_text(
    before: str, shown: str, after: str, drawn: st.DataObject
) -> None:
    typed = drawn.draw(st.integers(0, len(shown) - 1), "typed")
    replaced = drawn.draw(st.integers(0, min(3, len(after))), "replaced")
    place, completion = cached(shown, before, after, replaced)
    text = before + shown[:typed] + after
    found = lookup([(place, completion)], snapshot(text), len(before) + typed)
    assert found is not None
    assert found.start == len(before) + typed
    assert accept(text, found) == accept(before + after, completion)


@given(before=texts, shown=texts, after=texts, new=texts, drawn=st.data())
@settings(deadline=None, max_examples=300)
def test_every_answer_from_the_cache_gives_the_promised_text(
    before: str, shown: str, after: str, new: str, drawn: st.DataObject
) -> None:
    offset = drawn.draw(st.integers(0, len(before + new + after)), "offset")
    replaced = drawn.draw(st.integers(0, min(3, len(after))), "replaced")
    place, completion = cached(shown, before, after, replaced)
    text = before + new + after
    found = lookup([(place, completion)], snapshot(text), offset)
    if found is not None:
        assert found.shown
        assert found.start == offset <= found.end
        assert accept(text, found) == accept(before + after, completion)


@pytest.mark.parametrize(
    ("shown", "typed", "added", "left", "overwritten"),
    [
        ("compute(a, b)", "compute(", ")", "a, b", ""),
        ("compute(a, b)", "compute(a", ")", ", b", ""),
        ("compute(a, b)", "compute(a, b)", "", None, ""),  # typed completely
        ("compute(a, b) + 1", "compute(", ")", "a, b) + 1", ")"),
        ("f(g(x))", "f(g(", "))", "x", ""),
        ("f(g(x), 1)", "f(g(", "))", "x), 1)", "))"),
        ('"a" + b', '"', '"', 'a" + b', '"'),
        ("compute(a", "compute(", ")", None, ""),  # the bracket may belong to other text
        ("compute(a)", "compu", ")", None, ""),  # the editor did not add the bracket
        ("compute()", "compute(", ")", ")", ")"),
        ("compute(a, b)", "compute[", "", None, ""),
        ("compute(a, b)", "compute(", "]", None, ""),
    ],
)
def test_a_bracket_added_by_the_editor_counts_as_typed(
    shown: str, typed: str, added: str, left: str | None, overwritten: str
) -> None:
    place, completion = cached(shown)
    text, offset = BEFORE + typed + added + AFTER, len(BEFORE + typed)
    found = lookup([(place, completion)], snapshot(text), offset)
    assert (found and found.shown) == left
    if found is not None:
        assert text[found.start : found.end] == overwritten
        assert accept(text, found) == BEFORE + shown + AFTER


def test_deleting_a_character_finds_the_earlier_suggestion() -> None:
    first = cached("compute(a, b)")
    other = cached("x * 2", BEFORE + "x")
    assert lookup([other, first], snapshot(BEFORE + AFTER), len(BEFORE)) == first[1]


def test_an_empty_result_is_reused_only_for_the_same_request() -> None:
    (there, place), completion = cached(None)
    remembered = [((there, place), completion)]
    assert (
        lookup(remembered, replace(there, document=replace_version(there.document, 7)), place) is completion
    )
    assert lookup(remembered, replace(there, manual=True), place) is None
    assert lookup(remembered, snapshot(BEFORE + "x" + AFTER), place + 1) is None


def replace_version(document: Document, version: int) -> Document:
    return document.replace(0, 0, "", version)


def test_manual_requests_are_answered_only_by_results_of_manual_requests() -> None:
    (there, place), completion = cached("compute(a, b)")
    asking = replace(there, manual=True)
    others = (cached("compare(a)")[1], cached("total")[1])
    several = replace(completion, alternatives=others)
    assert lookup([((there, place), completion)], asking, place) is None
    assert lookup([((asking, place), several)], asking, place) == several
    assert lookup([((asking, place), several)], there, place) == completion  # automatic requests get one
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
def test_a_change_of_settings_or_document_is_a_cache_miss(other: Snapshot) -> None:
    assert lookup([cached("compute(a, b)")], snapshot(BEFORE + AFTER), len(BEFORE)) is not None
    assert lookup([cached("compute(a, b)")], other, len(BEFORE)) is None


def test_a_hint_is_the_text_suggested_shortly_before_the_cursor() -> None:
    place, completion = cached("compute(a, b)")
    remembered = [(place, completion)]
    text = BEFORE + "comp\r\nx" + AFTER
    assert draft_hint(remembered, snapshot(text), len(BEFORE) + 7) == Hint("compute(a, b)", "comp\nx")
    assert draft_hint(remembered, snapshot(BEFORE + ")" + AFTER), len(BEFORE)) == Hint("compute(a, b)", "")
    assert draft_hint(remembered, snapshot("#" + text), len(BEFORE) + 8) is None
    assert draft_hint(remembered, snapshot(text), len(BEFORE) - 1) is None
    assert draft_hint(remembered, snapshot(BEFORE + "x" * 300 + AFTER), len(BEFORE) + 300) is None
    assert draft_hint([], snapshot(text), len(BEFORE)) is None


def test_the_hint_with_the_longest_matching_rest_is_used() -> None:
    there, at = snapshot(BEFORE + "co" + AFTER), len(BEFORE) + 2
    begun = (
        (there, at),
        CommittedText(there, at, Syntax.of(there.document), True, replace(INFILL, text="mpu")),
    )
    whole, other = cached("compute(a, b)"), cached("convert(a, b) + 1")
    text = BEFORE + "comp" + AFTER
    assert draft_hint([begun, other, whole], snapshot(text), len(BEFORE) + 4) == Hint("compute(a, b)", "comp")
    assert draft_hint([begun, other], snapshot(text), len(BEFORE) + 4) == Hint("mpu", "mp")
    assert draft_hint([other, begun], snapshot(BEFORE + "cox" + AFTER), len(BEFORE) + 3) == Hint(
        "convert(a, b) + 1", "cox"
    )


def test_a_change_of_the_indentation_is_a_cache_miss() -> None:
    (place, completion) = cached("z")
    text = place[0].document.text
    assert lookup([(place, completion)], snapshot(text), len(BEFORE)) is not None
    other = replace(snapshot(text), indentation=Indentation(None, 2))
    assert lookup([(place, completion)], other, len(BEFORE)) is None
