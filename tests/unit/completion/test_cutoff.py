"""How much of a text is shown: what is worth most, by hand and against all the ways in which it may turn out."""

from __future__ import annotations

import math
from random import Random

import pytest

from mercury_lsp.completion.fitting.cutoff import READING_KEYS, TYPICAL_KEYS, choose_cut, rank_cuts
from mercury_lsp.completion.types import Completion
from mercury_lsp.engine.api import Infill, ScoredToken


def pieces(text: str, *probabilities: float) -> tuple[ScoredToken, ...]:
    """One for each word of a text that is divided by bars, and the text without these."""
    ends, at = [], 0
    for part in text.split("|"):
        at += len(part)
        ends.append(at)
    return tuple(ScoredToken(end, math.log(p)) for end, p in zip(ends, probabilities, strict=True))


def test_what_is_sure_is_shown_whole() -> None:
    text = "foo|(bar|)"
    assert rank_cuts("foo(bar)", pieces(text, 0.99, 0.99, 0.99), 0.25)[0].end == 8


def test_a_doubtful_end_is_cut_off_and_nothing_is_shown_where_the_first_word_is() -> None:
    words = "return| x|, y"
    assert rank_cuts("return x, y", pieces(words, 0.9, 0.1, 0.1), 0.25)[0].end == 6
    assert rank_cuts("return x, y", pieces(words, 0.05, 0.9, 0.9), 0.25) == []


def test_without_probabilities_all_is_shown() -> None:
    assert [cut.end for cut in rank_cuts("foo(bar)", (), 0.9)] == [8]


def test_a_word_of_the_typical_length_breaks_even_at_the_option() -> None:
    word = "x" * int(TYPICAL_KEYS + 1)
    for least in (0.1, 0.25, 0.5, 0.9):
        assert rank_cuts(word, pieces(word, least * 1.02), least)
        assert not rank_cuts(word, pieces(word, least * 0.98), least)


def test_a_word_that_a_token_ends_within_is_as_sure_as_all_its_tokens() -> None:
    text = "comp|ute|(x"
    first = rank_cuts("compute(x", pieces(text, 0.9, 0.5, 0.01), 0.1)[0]
    assert first.end == 7
    # 0.45 of 6 keys less the cost of looking in vain
    cost = TYPICAL_KEYS * 0.1 / 0.9
    assert first.gain == pytest.approx(0.45 * 6 - cost * 0.55, rel=1e-3)


def test_the_gain_is_the_mean_over_all_that_may_come() -> None:
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
            assert shown not in found  # what is cut leaves no bracket open
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
def test_what_is_cut_leaves_no_bracket_and_no_quote_open(text: str, kept: list[str]) -> None:
    whole = text.replace("|", "")
    ends = sorted(cut.end for cut in rank_cuts(whole, pieces(text, *[0.99] * (text.count("|") + 1)), 0.5))
    assert [whole[:end] for end in ends] == [*kept, whole]


def test_a_line_that_opens_a_block_is_shown_without_the_block() -> None:
    text = "if (a) {|\n|    b();|\n}"
    ends = [cut.end for cut in rank_cuts(text.replace("|", ""), pieces(text, *[0.99] * 4), 0.5)]
    assert len("if (a) {") in ends and len("if (a) {\n    b") not in ends


def test_a_beginning_that_breaks_the_syntax_is_not_shown() -> None:
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
    assert shown(" area(width)") == text  # which fits: that was looked at before
