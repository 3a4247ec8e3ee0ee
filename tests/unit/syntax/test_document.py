"""Tests of documents: lines, offsets and positions."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercury_lsp.syntax.document import Document


def document(text: str) -> Document:
    return Document("file:///a.py", "a.py", "python", 1, text)


def lines(text: str) -> list[str]:
    found = document(text)
    return [found.line(i) for i in range(found.line_count)]


def test_lines_end_as_in_the_protocol() -> None:
    assert lines("a\nb\r\nc\rd") == ["a", "b", "c", "d"]
    assert lines("") == [""]
    assert lines("\n\r\r\n") == ["", "", "", ""]


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_other_separators_are_ordinary_characters(character: str) -> None:
    assert lines(f"a{character}b\nc") == [f"a{character}b", "c"]


def test_positions_count_code_points() -> None:
    found = document("é𐐷x\r\ny")
    assert found.offset(0, 2) == 2
    assert found.position(2) == (0, 2)
    assert found.offset(1, 1) == 6
    assert found.position(6) == (1, 1)


def test_positions_out_of_range_are_clamped() -> None:
    found = document("ab\r\ncd")
    assert found.offset(0, 99) == 2
    assert found.offset(99, 0) == 6
    assert found.offset(-1, 5) == 0
    assert found.offset(1, -3) == 4
    assert found.position(-1) == (0, 0)
    assert found.position(99) == (1, 2)
    assert found.position(3) == (0, 2)  # between \r and \n


@pytest.mark.parametrize("number", [-1, 2])
def test_a_line_out_of_range_raises_an_index_error(number: int) -> None:
    with pytest.raises(IndexError):
        document("a\nb").line(number)


@pytest.mark.parametrize(
    ("text", "eol"), [("a", "\n"), ("a\r\nb\n", "\r\n"), ("a\rb\n", "\r"), ("a\nb\r\n", "\n")]
)
def test_the_line_ending_is_that_of_the_first_line(text: str, eol: str) -> None:
    assert document(text).eol == eol


def test_replace_does_not_change_the_older_document() -> None:
    old = document("one\ntwo\n")
    new = old.replace(4, 7, "2\n3", 2)
    assert (new.text, new.version, new.line(2)) == ("one\n2\n3\n", 2, "3")
    assert (old.text, old.version, old.line_count) == ("one\ntwo\n", 1, 3)
    assert (new.uri, new.path, new.language_id) == (old.uri, old.path, old.language_id)
    with pytest.raises(dataclasses.FrozenInstanceError):
        new.text = ""  # type: ignore[misc]


def test_documents_with_equal_texts_are_equal() -> None:
    assert document("a\nb") == document("a\nb") != document("a\nc")
    assert len({document("a\nb"), document("a\nb")}) == 1


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="ab \n\ré𐐷\x0c\u2028", max_size=30))
def test_offsets_and_positions_convert_both_ways(text: str) -> None:
    found = document(text)
    for offset in range(len(text) + 1):
        inside = text[max(0, offset - 1) : offset + 1] == "\r\n"
        assert found.offset(*found.position(offset)) == offset - inside
    assert "".join(lines(text)) == text.replace("\r", "").replace("\n", "")


def test_equality_ignores_the_version() -> None:
    one, other = (Document("file:///w/a.py", "a.py", "python", version, "one\n") for version in (1, 2))
    assert one == other and hash(one) == hash(other)
    assert one != one.replace(0, 3, "two", 1)


ENDINGS = st.text(st.sampled_from("\r\n\r\nab"), max_size=12)


@settings(derandomize=True, max_examples=1000, deadline=None)
@given(ENDINGS, st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14), ENDINGS), max_size=4))
def test_a_changed_document_has_the_lines_of_its_text(text: str, edits: list[tuple[int, int, str]]) -> None:
    found = document(text)
    for version, (one, other, new) in enumerate(edits):
        start, end = (min(place, len(found.text)) for place in sorted((one, other)))
        wanted = found.text[:start] + new + found.text[end:]
        found = found.replace(start, end, new, version)
        assert found == document(wanted) and found.version == version
        assert [found.span(i) for i in range(found.line_count)] == [
            document(wanted).span(i) for i in range(document(wanted).line_count)
        ]


def test_dataclasses_replace_does_not_keep_the_old_lines() -> None:
    assert dataclasses.replace(document("a\nb"), text="x").line_count == 1
