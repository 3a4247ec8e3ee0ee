"""The ideal typist: what the editor closes, how suggestions are judged, and what is pressed for a whole line."""

from __future__ import annotations

import pytest

from model.evaluation.typing.ideal_typist import (
    Answer,
    Judgement,
    Key,
    Line,
    LineState,
    Suggestion,
    judge,
    press,
    type_line,
    type_manually,
)


@pytest.mark.parametrize(
    ("typed", "closers"),
    [
        ("f(", ")"),
        ("f(a[", "])"),
        ("f(a[0]", ")"),
        ("f(a[0])", ""),
        ('f("', '")'),
        ('f("a(', '")'),  # in a string a quote follows, before which nothing is closed
        ('f("a"', ")"),
        ("don't", ""),
        ('s = "it', '"'),
        ("s = \"it's", '"'),
        ('"""', ""),
        ("f(a, {", "})"),
        ("a = b]", ""),
    ],
)
def test_the_editor_closes_brackets_and_quotes_and_lets_them_be_typed_over(typed: str, closers: str) -> None:
    assert type_manually(LineState(), typed) == LineState(typed, closers)
    assert type_manually(LineState(), typed, closing=False) == LineState(typed, "")


def test_a_key_is_an_edit() -> None:
    assert press(LineState("f"), "(") == (LineState("f(", ")"), 0, "()")
    assert press(LineState("f(", ")"), ")") == (LineState("f()", ""), 1, ")")
    assert press(LineState("f(", ")"), "a") == (LineState("f(a", ")"), 0, "a")


LINE = Line("total = add(first, second)")


@pytest.mark.parametrize(
    ("left", "closers", "text", "replaced", "judgment"),
    [
        ("", "", "total = add(first, second)", 0, Judgement("right")),
        ("total =", "", " add(first", 0, Judgement("right")),  # cut short is right as far as it goes
        ("total = add(", ")", "first, second", 0, Judgement("right")),
        ("total = add(", ")", "first, second)", 1, Judgement("right")),
        # The closer would stand there twice, but what stands before it is right.
        (
            "total = add(",
            ")",
            "first, second)",
            0,
            Judgement("begins", ("first", ",", " second", ")")),
        ),
        ("total = ", "", "add(first, third)", 0, Judgement("begins", ("add", "(", "first", ","))),
        ("tot", "", "als = add(first, second)", 0, Judgement("wrong")),
        ("tot", "", "al = sum(first)", 0, Judgement("begins", ("al", " ="))),
        ("total =", "", "add(first, second)", 0, Judgement("wrong")),  # the blank is missing
        ("total = ", "", "add(first, second)\nreturn total", 0, None),  # that line stands below already
    ],
)
def test_a_suggestion_is_judged_against_the_line(
    left: str, closers: str, text: str, replaced: int, judgment: Judgement | None
) -> None:
    found = judge(LINE, LineState(left, closers), Suggestion(text, replaced))
    if judgment is None:
        assert found.verdict == "begins"
    else:
        assert found == judgment


def test_further_lines_are_right_only_where_the_author_goes_on_so() -> None:
    line = Line("if ready:", "\n    start()\n    stop()\n")
    assert judge(line, LineState("if"), Suggestion(" ready:\n    start()")).verdict == "right"
    assert judge(line, LineState("if"), Suggestion(" ready:\n    stop()")).verdict == "begins"
    assert judge(line, LineState("if"), None) == Judgement("")


def test_a_closer_that_the_line_never_reaches_is_nobodys_fault() -> None:
    line = Line("call(first, function() {")
    assert judge(line, LineState("call(", ")"), Suggestion("first, function() {")).verdict == "right"


class Scripted:
    """A screen on which suggestions come by the text left of the cursor."""

    def __init__(self, suggestions: dict[str, Suggestion]) -> None:
        self.suggestions = suggestions
        self.text, self.cursor = "", 0

    async def ask(self) -> Answer:
        return Answer(self.suggestions.get(self.text[: self.cursor]), 5.0)

    def edit(self, replaced: int, text: str, forward: int) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor + replaced :]
        self.cursor += forward


async def typed(line: Line, suggestions: dict[str, str]) -> tuple[Scripted, list[Key]]:
    screen = Scripted({left: Suggestion(text) for left, text in suggestions.items()})
    return screen, await type_line(screen, line)


async def test_without_suggestions_each_character_is_a_key() -> None:
    screen, keys = await typed(LINE, {})
    assert screen.text == LINE.text
    assert [(key.did, key.keys, key.shown) for key in keys] == [("typed", 1, None)] * len(LINE.text)


async def test_a_whole_suggestion_takes_one_key() -> None:
    screen, keys = await typed(LINE, {"t": "otal = add(", "total = add(": "first, second)"})
    assert screen.text == LINE.text
    assert [key.did for key in keys] == ["typed", "whole", "whole"]
    assert [key.verdict for key in keys] == ["", "right", "right"]


async def test_right_first_words_are_accepted_one_by_one_if_that_spares_two_keys() -> None:
    screen, keys = await typed(LINE, {"": "total = sum(all)", "total = ": "add(one)"})
    assert screen.text == LINE.text
    assert (keys[0].did, keys[0].keys) == ("words", 2)
    assert (keys[1].at, keys[1].shown) == (7, None)
    assert (keys[2].at, keys[2].did, keys[2].keys) == (8, "words", 2)  # `add`, `(`
    screen, keys = await typed(Line("a = b + c"), {"": "a = 1"})
    assert screen.text == "a = b + c" and keys[0].did == "typed"  # one key spared is not worth it


async def test_one_character_is_typed() -> None:
    _, keys = await typed(Line("ab"), {"a": "b"})
    assert [(key.did, key.verdict) for key in keys] == [("typed", ""), ("typed", "right")]


async def test_what_is_left_of_a_suggestion_is_not_a_new_one() -> None:
    suggestions = {"": "tot.a", "t": "ot.a", "to": "t.b"}
    _, keys = await typed(LINE, suggestions)
    assert [key.fresh for key in keys[:3]] == [True, False, True]
    assert [key.held for key in keys[:5]] == [None, True, False, False, None]
    assert [key.verdict for key in keys[:3]] == ["wrong"] * 3


async def test_a_closer_from_the_editor_does_not_make_a_suggestion_new() -> None:
    # Typing the bracket adds its closer, with which the shorter text says the same.
    suggestions = {"f": "(x)", "f(": "x"}
    _, keys = await typed(Line("f(y)"), suggestions)
    assert (keys[1].verdict, keys[2].held, keys[2].fresh) == ("begins", True, False)


async def test_a_word_that_has_been_begun_is_completed_or_not() -> None:
    line = Line("x1 = value")
    _, keys = await typed(line, {"x1 = v": "alues", "x1 = va": "lue"})
    assert [key.word for key in keys] == [None, False, None, None, None, None, False, True]


async def test_a_text_that_goes_on_below_ends_the_line() -> None:
    screen, keys = await typed(Line("go()", "\nstop()\n"), {"g": "o()\nstop()"})
    assert screen.text == "go()\nstop()" and keys[-1].did == "whole"
