"""The lines that a model rewrites, and the edits in what it writes."""

from __future__ import annotations

import random

import pytest

from mercury_lsp.edits.history import DocumentEdits, Edit
from mercury_lsp.edits.region import (
    MAX_CANDIDATE_LINES,
    REGION_LINES,
    Region,
    edit_candidates,
    lines_with_secret_remains,
    recent_changes,
    region_around,
)
from mercury_lsp.edits.search import Candidate, Dismissals
from mercury_lsp.syntax.document import Document

LINES = ("def f(a):", "    x = a", "    return x", "", "", "y = f(1)")


def document(text: str) -> Document:
    return Document("file:///a.py", "a.py", "python", 1, text)


def region(*lines: str, eol: str = "\n", cursor: int = 0) -> Region:
    found = region_around(document(eol.join(lines)), cursor, 1_000)
    assert found is not None
    return found


def made(one: Candidate, of: Region) -> str:
    text = of.document.text
    return text[: one.start] + one.text + text[one.end :]


def edited(text: str, *changes: tuple[str, str]) -> tuple[Document, tuple[Edit, ...]]:
    """A document after changes, and its recent edits."""
    edits = DocumentEdits()
    for old, new in changes:
        start = text.index(old)
        edits.change(start, old, new)
        text = text[:start] + new + text[start + len(old) :]
    return document(text), edits.edits


def test_the_region_is_around_the_cursor() -> None:
    text = "\n".join(f"line {number}" for number in range(100))
    found = region_around(document(text), text.index("line 50") + 3, 300)
    assert found is not None
    assert (found.first, found.last) == (50 - REGION_LINES, 50 + REGION_LINES)
    assert (found.line, found.character) == (50, 3)
    assert found.above[-1] == "line 39" and found.below[0] == "line 61" and found.editable[0] == "line 40"
    assert sum(len(line) + 1 for line in found.lines) <= 300 and len(found.above) > len(found.below)
    assert found.with_mark("|")[REGION_LINES] == "lin|e 50"


def test_a_line_that_must_not_be_shown_ends_the_region_and_stays_blank() -> None:
    text = "a\nhidden\nb\nc\nhidden\nd"

    def clean(shown: str) -> str:
        return shown.replace("hidden", "      ")

    found = region_around(document(text), text.index("b"), 1_000, clean)
    assert found is not None
    assert found.editable == ("b", "c") and found.above == ("a", "      ") and found.below == ("      ", "d")
    assert region_around(document(text), text.index("hidden") + 1, 1_000, clean) is None


def test_no_region_in_a_line_without_end() -> None:
    assert region_around(document("x" * 10_000), 3, 100) is None
    assert region_around(document("x" * 101), 3, 100) is None
    found = region_around(document("x" * 100 + "\n" + "y" * 100), 3, 100)
    assert found is not None and found.lines == ("x" * 100,)
    found = region_around(document("x" * 10_000 + "\ny\n" + "z" * 10_000), 10_001, 1_000)
    assert found is not None and found.editable == ("y",)


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("new", "texts"),
    [
        (("def f(a):", "    x = b", *LINES[2:]), ["b"]),
        (("def f(a, b):", *LINES[1:]), [", b"]),
        ((LINES[0], *LINES[2:]), [""]),
        ((LINES[0], "    z = 2", *LINES[1:]), ["\n    z = 2"]),
        (("import re", *LINES), ["import re\n"]),
        ((*LINES, "z = 2"), ["\nz = 2"]),
        (LINES[:-1], []),
        (("def f(a):", "    value = a", "    return value", *LINES[3:]), ["value", "value"]),
        (LINES, []),
        (("def f( a ):", *LINES[1:]), [" a "]),
        (tuple(f"{line}  " for line in LINES), []),
        ((*LINES, "", "", ""), []),
    ],
)
def test_what_differs_is_offered(new: tuple[str, ...], texts: list[str], eol: str) -> None:
    of = region(*LINES, eol=eol, cursor=1)
    found = edit_candidates(of, new)
    if new == LINES[:-1]:
        # What is blank at the end is the document's.
        texts = [""]
    assert [one.text for one in found] == [text.replace("\n", eol) for text in texts]
    text = of.document.text
    for one in sorted(found, key=lambda one: -one.start):
        text = text[: one.start] + one.text + text[one.end :]
    assert "\r" not in text.replace(eol, "")
    if texts and new != LINES[:-1]:
        assert text == eol.join(new)


def test_the_nearest_comes_first() -> None:
    text = "\n".join(LINES)
    of = region_around(document(text), len(text), 1_000)
    assert of is not None
    found = edit_candidates(of, ("def g(a):", *LINES[1:5], "y = g(1)"))
    assert [one.start for one in found] == [text.rindex("f"), text.index("f(")]


def test_positions_count_code_points() -> None:
    of = region("a = '🐍é'", "print('🐍', a)")
    (one,) = edit_candidates(of, ("a = '🐍é'", "print('🐍', a, 1)"))
    assert made(one, of) == "a = '🐍é'\nprint('🐍', a, 1)" and one.text == ", 1"


def test_what_was_just_done_is_not_taken_back() -> None:
    now, edits = edited("a = old\nb = old\n", ("old", "new"))
    of = region_around(now, 5, 1_000)
    changes = recent_changes(now, edits)
    assert of is not None
    assert edit_candidates(of, ("a = old", "b = old"), changes) == []
    assert [one.text for one in edit_candidates(of, ("a = old", "b = new"), changes)] == ["new"]
    now, edits = edited("a = 1\n", ("a = 1\n", "a = 1\nb = 2\n"))
    of = region_around(now, 9, 1_000)
    assert of is not None and edit_candidates(of, ("a = 1",), recent_changes(now, edits)) == []


def test_text_at_the_cursor_is_left_to_completion() -> None:
    of = region("x = ", "y", cursor=4)
    assert edit_candidates(of, ("x = 1", "y")) == []
    assert [one.text for one in edit_candidates(of, ("x = ", "y = 1"))] == [" = 1"]


def test_large_rewritings_secrets_and_dismissed_edits_are_not_offered() -> None:
    of = region("x", "y")
    assert edit_candidates(of, ("x", "y", *(f"z{number}" for number in range(MAX_CANDIDATE_LINES + 1)))) == []
    assert edit_candidates(of, ("x", 'password = "hunter2-xk42-Wq9z"')) == []
    dismissals = Dismissals()
    (one,) = edit_candidates(of, ("x", "z"), (), dismissals)
    dismissals.add(one)
    assert edit_candidates(of, ("x", "z"), (), dismissals) == []


def test_changes_are_whole_lines_the_newest_last() -> None:
    now, edits = edited("a = old\nb = 2\nc = old\n", ("old", "new"), ("c = old\n", "c = old\nd = 4\n"))
    first, last = recent_changes(now, edits)
    assert (first.first, first.old, first.new) == (0, ("a = old",), ("a = new",))
    assert last.first == 3 and last.old == ("",) and last.new == ("d = 4", "")


def test_changes_with_something_hidden_on_either_side_are_left_out() -> None:
    def clean(shown: str) -> str:
        return shown.replace("hidden", "      ")

    now, edits = edited("a = hidden\nb = 2\nc = 3\n", ("hidden", "x"), ("2", "hidden"), ("3", "4"))
    assert [change.new for change in recent_changes(now, edits, clean)] == [("c = 4",)]
    assert len(recent_changes(now, edits)) == 3


def test_any_rewriting_is_edits_that_make_it() -> None:
    """Drawn at random: all edits together give the lines, and each one is inside of the region."""
    draw = random.Random(5)
    words = ("a", "bc = 1", "  d(e)", "", "if x:", "    return f", "é🐍", "a")
    for _ in range(400):
        eol = draw.choice(("\n", "\r\n"))
        old = ["the cursor", *(draw.choice(words) for _ in range(draw.randint(0, 9)))]
        new = list(old)
        for _ in range(draw.randint(0, 4)):
            at = draw.randint(1, len(new))
            new[at : at + draw.randint(0, 2)] = [draw.choice(words) for _ in range(draw.randint(0, 2))]
        above, below = draw.choice(([], ["above"])), draw.choice((["end"], ["below", "end"]))
        text = eol.join([*above, *old, *below])
        of = region_around(document(text), text.index("cursor"), 1_000)
        assert of is not None
        whole = [*above, *new, *below]
        lines = whole[of.first : len(whole) - (of.document.line_count - of.last - 1)]
        found = edit_candidates(of, lines)
        low, high = of.document.span(of.first)[0], of.document.span(of.last)[1]
        made = text
        for one in sorted(found, key=lambda one: (-one.start, -one.end)):
            assert low - len(eol) <= one.start <= one.end <= high + len(eol)
            made = made[: one.start] + one.text + made[one.end :]
        assert "\r" not in made.replace("\r\n", "") and (eol == "\n" or "\n" not in made.replace("\r\n", ""))
        kept, expected = ([line.rstrip() for line in one.split(eol)] for one in (made, eol.join(whole)))
        assert [line for line in kept if line] == [line for line in expected if line]


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (("password", "name"), {1}),
        (("-Xy9", ""), {1}),
        (('"hun', '(\n"hun'), {1, 2}),
        (('"hunter2-Xy9Kq"', 'environ["P"]'), set()),
        (("f(a)", "g(a)"), set()),
        (("f(a)", "x" * 13_000), set()),
    ],
)
def test_the_lines_with_what_is_left_of_a_secret(change: tuple[str, str], lines: set[int]) -> None:
    now, edits = edited('a = 1\npassword = "hunter2-Xy9Kq"\nx = f(a)\n', change)
    assert lines_with_secret_remains(now, edits) == lines
    if lines:
        shown = region_around(now, len(now.text), 2_000, str, lines)
        assert shown is not None and "hun" not in "".join(shown.lines) and "a = 1" in shown.lines


def test_a_long_line_of_an_edit_is_not_gone_through() -> None:
    now, edits = edited("password = " + "q9Xk2Lm4Zp7R" * 50_000 + "\n", ("password", "name"))
    assert lines_with_secret_remains(now, edits) == {0}
