"""Random places: which are drawn, and which answers count as repeated or late."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from mercury_lsp.syntax.document import Document
from model.data.corpus import Source
from model.evaluation.heldout.random_places import Asked, drawn, places, rows
from model.evaluation.heldout.soundness import repeats_left

ASKED = Asked("python", "p", "a.py", 3, "manual", True, "x", 9.0, False, False, False, False)


def test_places_are_in_nonblank_lines_and_depend_on_the_seed() -> None:
    text = "\n\n    a = 1\n\nb\n"
    found = places(text, 99, Random(1))
    assert sorted(found) == [6, 7, 8, 9, 10, 11, 13, 14]
    assert places(text, 3, Random(2)) == places(text, 3, Random(2))


def test_languages_and_packages_alternate_and_longer_draws_extend_shorter_ones() -> None:
    sources = [
        Source(language, f"{language}{package}", "1", "MIT", f"{number}", "x = 1\n")
        for language in ("go", "python")
        for package in range(2)
        for number in range(3)
    ]
    four = drawn(sources, 4, 0)
    assert [source.language for source in four] == ["go", "python"] * 2
    assert len({source.package for source in four}) == 4
    assert drawn(sources, 8, 0)[:4] == four


def test_a_suggestion_that_repeats_the_text_left_of_the_cursor_is_detected() -> None:
    document = Document("file:///a", "a", "markdown", 1, "or agreed to in\n")
    assert repeats_left(document, 15, "agreed to in writing")
    assert not repeats_left(document, 15, " writing") and not repeats_left(document, 15, "to in")


def test_the_report_has_shares_of_requests_and_of_answers() -> None:
    silent = replace(ASKED, shown="", late=True)
    row = next(row for row in rows([ASKED, silent, silent, replace(ASKED, worse=True)]) if row[0] == "manual")
    assert row[2] == "4" and row[3].startswith("2 = 50.0%") and row[4].startswith("2 = 50.0%")
    assert row[5].startswith("1 = 50.0%") and row[6].startswith("0 = 0.0%")
