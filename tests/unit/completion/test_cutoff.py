"""Tests of the cutoff: fixed examples, and a simulation of all outcomes."""

from __future__ import annotations

import math
from random import Random

import pytest

from mercury_lsp.completion.fitting.cutoff import READING_KEYS, TYPICAL_KEYS, choose_cut, rank_cuts
from mercury_lsp.completion.types import Completion
from mercury_lsp.engine.api import Infill, ScoredToken


def pieces(text: str, *probabilities: float) -> tuple[ScoredToken, ...]:
    """Return a scored token for each part of a text that is divided by bars."""
    ends, at = [], 0
    for part in text.split("|"):
        at += len(part)
        ends.append(at)
    return tuple(ScoredToken(end, math.log(p)) for end, p in zip(ends, probabilities, strict=True))


def test_a_likely_text_is_shown_whole() -> None:
    text = "foo|(bar|)"
    assert rank_cuts("foo(bar)", pieces(text, 0.99, 0.99, 0.99), 0.25)[0].end == 8


def test_an_unlikely_end_is_cut_off_and_an_unlikely_first_word_hides_the_whole_text() -> None:
    words = "return| x|, y"
    assert rank_cuts("return x, y", pieces(words, 0.9, 0.1, 0.1), 0.25)[0].end == 6
    assert rank_cuts("return x, y", pieces(words, 0.05, 0.9, 0.9), 0.25) == []


def test_the_whole_text_is_shown_if_probabilities_are_unknown() -> None:
    assert [cut.end for cut in rank_cuts("foo(bar)", (), 0.9)] == [8]


def test_a_word_of_typical_length_breaks_even_at_the_likelihood_threshold() -> None:
    word = "x" * int(TYPICAL_KEYS + 1)
    for least in (0.1, 0.25, 0.5, 0.9):
        assert rank_cuts(word, pieces(word, least * 1.02), least)
        assert not rank_cuts(word, pieces(word, least * 0.98), least)


def test_the_likelihood_of_a_word_is_the_product_over_its_tokens() -> None:
    text = "comp|ute|(x"
    first = rank_cuts("compute(x", pieces(text, 0.9, 0.5, 0.01), 0.1)[0]
    assert first.end == 7
    # The expected gain: 6 keys with probability 0.45, minus the cost of an unwanted suggestion.
    cost = TYPICAL_KEYS * 0.1 / 0.9
    assert first.gain == pytest.approx(0.45 * 6 - cost * 0.55, rel=1e-3)


def test_the_gain_is_the_mean_over_all_outcomes() -> None:
    random = Random(0)
    words = ["return", " compute", "(", "values", ")"]
    text = "".join(words)
    chances = [0.9, 0.7, 0.8, 0.3, 0.6]
    found = {cut.end: cut.gain for cut in rank_cuts(text, pieces("|".join(words), *chances), 0.2)}
    cost = TYPICAL_KEYS * 0.2 / 0.8 - READING_KEYS
    for k in range(1, len(words) + 1):
        shown = len("".join(words[:k]))
        total = 0.0
        for _ in range(20_000):
            right = next((i for i, p in enumerate(chances) if random.random() > p), len(words))
            total -= READING_KEYS * max(0, k - right)
            if right >= k:
                total += shown - 1
            elif right == 0:
                total -= cost
            else:
                total += max(0, len("".join(words[:right])) - right)
        if "(" in text[:shown] and ")" not in text[:shown]:
            assert shown not in found  # a cut text leaves no bracket open
            continue
        assert found.get(shown, 0.0) == pytest.approx(max(0.0, total / 20_000), abs=0.15)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("f(|x|, y|) + 1", ["f(x, y)", "f(x, y) +"]),
        ("a[|i]| + b[|j]", ["a[i]", "a[i] +", "a[i] + b"]),
        ('say(|"it (|is")| or', ["say", 'say("it (is")']),
        ("'a\\'|b'| + c", ["'a\\'b'", "'a\\'b' +"]),
        ("don't| do| this", ["don", "don'", "don't", "don't do"]),
        (") +| x| + y", [") +", ") + x", ") + x +"]),
    ],
)
def test_a_cut_text_leaves_no_bracket_and_no_quote_open(text: str, kept: list[str]) -> None:
    whole = text.replace("|", "")
    ends = sorted(cut.end for cut in rank_cuts(whole, pieces(text, *[0.99] * (text.count("|") + 1)), 0.5))
    assert [whole[:end] for end in ends] == [*kept, whole]


def test_a_line_that_opens_a_block_may_be_shown_without_the_block() -> None:
    text = "if (a) {|\n|    b();|\n}"
    ends = [cut.end for cut in rank_cuts(text.replace("|", ""), pieces(text, *[0.99] * 4), 0.5)]
    assert len("if (a) {") in ends and len("if (a) {\n    b") not in ends


def test_a_cut_that_breaks_the_syntax_is_not_shown() -> None:
    text = " area(width) {"
    ends = [5, 6, 11, 12, 14]
    pieces = [
        ScoredToken(end, math.log(chance))
        for end, chance in zip(ends, [0.9, 0.9, 0.9, 0.9, 0.2], strict=True)
    ]
    infill = Infill(text, 5, 1, 1, 1.0, 0.0, 1.0, 0, 1, 0.6, True, scored=tuple(pieces))
    found = Completion(text, text, 0, 0, infill)

    def shown(*broken: str) -> str | None:
        part = choose_cut(infill, found, lambda _: None, 0.5, is_sound=lambda text: text not in broken)
        return part and part.shown

    assert shown() == " area(width)"
    # The whole text was already checked to fit.
    assert shown(" area(width)") == text
