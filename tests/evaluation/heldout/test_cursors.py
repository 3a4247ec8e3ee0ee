"""Drawing places in held-out files: reproducible, balanced, and of the named kinds."""

from __future__ import annotations

from collections import Counter

from model.data.corpus import Source
from model.evaluation.heldout.cursors import KINDS, TRIGGERS, Cursor, draw

LICENCE = "# Copyright somebody, and a long text of comment that nobody has to complete.\n"


def source(package: str, path: str, language: str = "python", text: str | None = None) -> Source:
    functions = "".join(
        f"def area_{i}(width, height):\n    if width > height:\n        return scale(width, {i})\n    return 0\n\n\n"
        for i in range(6)
    )
    return Source(language, package, "1", "MIT", path, text or LICENCE + functions)


SOURCES = [
    *(source("large", f"{i}.py") for i in range(9)),
    source("small", "one.py"),
    source("plain", "none.py", text=LICENCE * 3),
    source("scripts", "a.go", "go", "package a\n\nfunc f(a int) int {\n\treturn g(a, a)\n}\n"),
]


def drawn(per_language: int, seed: int = 0, kinds: tuple[str, ...] = KINDS) -> list[list[Cursor]]:
    return draw(SOURCES, ("python", "go"), per_language, seed, kinds)


def test_a_draw_depends_only_on_the_seed_and_longer_draws_extend_shorter_ones() -> None:
    places = drawn(8)
    assert draw(reversed(SOURCES), ("python", "go"), 8, 0) == places
    assert drawn(3) == places[:6]
    assert drawn(8, seed=1) != places
    one_kind = [[cursor for cursor in place if cursor.kind == "next"] for place in places]
    assert drawn(8, kinds=("next",)) == one_kind


def test_languages_packages_and_files_alternate() -> None:
    places = drawn(8)
    assert [place[0].source.language for place in places] == ["python", "go"] * 8
    python = [place[0].source for place in places[::2]]
    assert Counter(one.package for one in python) == {"large": 4, "small": 4}
    assert max(Counter(one.path for one in python if one.package == "large").values()) == 1


def test_files_without_code_have_no_places() -> None:
    assert draw(SOURCES[-2:-1], ("python",), 5, 0) == []
    assert draw([], ("python",), 5, 0) == []


def test_cursors_of_each_kind_match_its_definition() -> None:
    cursors = [cursor for place in drawn(30) for cursor in place]
    assert {cursor.kind for cursor in cursors} == set(KINDS)
    for cursor in cursors:
        text = cursor.source.text
        before, after = text[: cursor.start], text[cursor.end :]
        document = cursor.document()
        assert document.text == before + after and cursor.hole.strip()
        assert "Copyright" not in cursor.hole
        left, rest = before.rpartition("\n")[2], after.partition("\n")[0]
        assert cursor.fresh == (not left.strip())
        if cursor.kind == "rest":
            assert left.strip() and not rest and "\n" not in cursor.hole
        elif cursor.kind == "next":
            assert not left.strip() and not rest and cursor.hole == cursor.hole.strip()
        elif cursor.kind == "line":
            assert not left and not rest and cursor.hole[0].isspace()
        elif cursor.kind == "lines":
            assert 1 <= cursor.hole.count("\n") <= 5 and not rest and cursor.hole[0].strip()
        elif cursor.kind == "node":
            assert (
                cursor.hole == cursor.hole.strip() and cursor.hole[0] not in "([{" and cursor.hole[-1] != ":"
            )


def test_cursors_of_trigger_kinds_are_in_strings_comments_and_words() -> None:
    text = (
        LICENCE + "def area(name='of a wall'):\n    raise ValueError(f'no such {name} here')  # nor there\n"
    )
    places = draw([source("p", "a.py", text=text)], ("python",), 40, 0, TRIGGERS)
    cursors = [cursor for place in places for cursor in place]
    assert {cursor.kind for cursor in cursors} == set(TRIGGERS)
    for cursor in cursors:
        before, after = text[: cursor.start], text[cursor.end :]
        if cursor.kind == "string":
            assert after[0] == "'" and before.count("'") % 2 == 1
        elif cursor.kind == "comment":
            assert "#" in before.rpartition("\n")[2] and after[0] == "\n"
        else:
            assert before[-1].isidentifier() and after[0].isalnum() and 1 <= len(cursor.hole) <= 2


def test_the_cursors_of_a_place_are_sorted_from_the_end_of_the_file() -> None:
    for place in drawn(5):
        starts = [cursor.start for cursor in place]
        assert starts == sorted(starts, reverse=True)
