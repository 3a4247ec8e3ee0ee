"""The solved examples are complete, correct, and not part of any suite."""

from __future__ import annotations

import pytest

from model.data.clean import Evaluation, tokens
from model.evaluation.suites.execute import run
from model.evaluation.suites.functions import LANGUAGES
from model.evaluation.suites.shots import EXAMPLES, MOST, examples
from model.evaluation.suites.suite import FOLDER

USES = (
    "assert (clamp(12, 0, 9), clamp(-1, 0, 9), clamp(5, 0, 9)) == (9, 0, 5)\n"
    "assert (longest_gap([3, 4, 9]), longest_gap([7])) == (5, 0)\n"
    "assert initials('ada king lovelace') == 'A.K.L.'\n"
)


def test_each_language_has_the_maximum_number_of_examples() -> None:
    assert set(EXAMPLES) == set(LANGUAGES)
    for language, texts in EXAMPLES.items():
        assert len(set(texts)) == MOST
        assert examples(language, 0) == ""
        assert examples(language, 2).count("12, 0, 9") == 1
    assert all(" : " in text and "const" in text for text in EXAMPLES["typescript"])


def test_the_python_examples_are_correct() -> None:
    assert run(examples("python", MOST) + USES).error == ""


def test_no_suite_contains_the_examples() -> None:
    if not FOLDER.exists():
        pytest.skip(f"the evaluation data is not at {FOLDER}")
    suites = Evaluation.load(FOLDER)
    assert suites.shares(tokens("def has_close_elements(numbers: List[float], threshold: float) -> bool:"))
    for language in EXAMPLES:
        assert not suites.shares(tokens(examples(language, MOST))), language
