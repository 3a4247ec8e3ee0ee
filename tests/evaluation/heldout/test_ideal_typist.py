"""The ideal typist: brackets closed by the editor, judgments of suggestions, and the keys pressed for a line."""

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
        # A quote follows the cursor in a string, so no bracket is closed there.
        ('f("a(', '")'),
        ('f("a"', ")"),
        ("don't", ""),
        ('s = "it', '"'),
        ("s = \"it's", '"'),
        ('"""', ""),
        ("f(a, {", "})"),
        ("a = b]", ""),
    ],
)
def test_the_editor_closes_brackets_and_quotes_and_typing_a_closer_steps_over_it(
    typed: str, closers: str
) -> None:
    assert type_manually(LineState(), typed) == LineState(typed, closers)
    assert type_manually(LineState(), typed, closing=False) == LineState(typed, "")


def test_a_key_press_returns_its_edit() -> None:
    assert press(LineState("f"), "(") == (LineState("f(", ")"), 0, "()")
    assert press(LineState("f(", ")"), ")") == (LineState("f()", ""), 1, ")")
    assert press(LineState("f(", ")"), "a") == (LineState("f(a", ")"), 0, "a")


LINE = Line("total = add(first, second)")


@pytest.mark.parametrize(
    ("left", "closers", "text", "replaced", "judgment"),
    [
        ("", "", "total = add(first, second)", 0, Judgement("right")),
        ("total =", "", " add(first", 0, Judgement("right")),  # a part of the line is right
        ("total = add(", ")", "first, second", 0, Judgement("right")),
        ("total = add(", ")", "first, second)", 1, Judgement("right")),
        # The closer would be there twice, but the text before it is right.
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
        ("total =", "", "add(first, second)", 0, Judgement("wrong")),  # the space is missing
        ("total = ", "", "add(first, second)\nreturn total", 0, None),  # the second line already follows
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


def test_further_lines_are_right_only_if_the_author_wrote_them() -> None:
    line = Line("if ready:", "\n    start()\n    stop()\n")
    assert judge(line, LineState("if"), Suggestion(" ready:\n    start()")).verdict == "right"
    assert judge(line, LineState("if"), Suggestion(" ready:\n    stop()")).verdict == "begins"
    assert judge(line, LineState("if"), None) == Judgement("")


def test_a_closer_that_the_line_never_reaches_is_not_held_against_a_suggestion() -> None:
    line = Line("call(first, function() {")
    assert judge(line, LineState("call(", ")"), Suggestion("first, function() {")).verdict == "right"


class ScriptedScreen:
    """A screen with suggestions by the text left of the cursor."""

    def __init__(self, suggestions: dict[str, Suggestion]) -> None:
        self.suggestions = suggestions
        self.text, self.cursor = "", 0

    async def ask(self) -> Answer:
        return Answer(self.suggestions.get(self.text[: self.cursor]), 5.0)

    def edit(self, replaced: int, text: str, forward: int) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor + replaced :]
        self.cursor += forward


async def type_with(line: Line, suggestions: dict[str, str]) -> tuple[ScriptedScreen, list[Key]]:
    screen = ScriptedScreen({left: Suggestion(text) for left, text in suggestions.items()})
    return screen, await type_line(screen, line)


async def test_without_suggestions_each_character_is_a_key() -> None:
    screen, keys = await type_with(LINE, {})
    assert screen.text == LINE.text
    assert [(key.did, key.keys, key.shown) for key in keys] == [("typed", 1, None)] * len(LINE.text)


async def test_a_whole_suggestion_takes_one_key() -> None:
    screen, keys = await type_with(LINE, {"t": "otal = add(", "total = add(": "first, second)"})
    assert screen.text == LINE.text
    assert [key.did for key in keys] == ["typed", "whole", "whole"]
    assert [key.verdict for key in keys] == ["", "right", "right"]


async def test_right_first_words_are_accepted_one_by_one_if_this_saves_two_keys() -> None:
    screen, keys = await type_with(LINE, {"": "total = sum(all)", "total = ": "add(one)"})
    assert screen.text == LINE.text
    assert (keys[0].did, keys[0].keys) == ("words", 2)
    assert (keys[1].at, keys[1].shown) == (7, None)
    assert (keys[2].at, keys[2].did, keys[2].keys) == (8, "words", 2)  # `add`, `(`
    screen, keys = await type_with(Line("a = b + c"), {"": "a = 1"})
    assert screen.text == "a = b + c" and keys[0].did == "typed"  # saving one key is not enough


async def test_a_suggestion_of_one_character_is_typed() -> None:
    _, keys = await type_with(Line("ab"), {"a": "b"})
    assert [(key.did, key.verdict) for key in keys] == [("typed", ""), ("typed", "right")]


async def test_the_rest_of_a_suggestion_is_not_a_new_suggestion() -> None:
    suggestions = {"": "tot.a", "t": "ot.a", "to": "t.b"}
    _, keys = await type_with(LINE, suggestions)
    assert [key.fresh for key in keys[:3]] == [True, False, True]
    assert [key.held for key in keys[:5]] == [None, True, False, False, None]
    assert [key.verdict for key in keys[:3]] == ["wrong"] * 3


async def test_a_closer_from_the_editor_does_not_make_a_suggestion_new() -> None:
    # Typing the bracket adds its closer, so the shorter text means the same.
    suggestions = {"f": "(x)", "f(": "x"}
    _, keys = await type_with(Line("f(y)"), suggestions)
    assert (keys[1].verdict, keys[2].held, keys[2].fresh) == ("begins", True, False)


async def test_suggestions_within_a_word_are_right_or_wrong_about_the_word() -> None:
    line = Line("x1 = value")
    _, keys = await type_with(line, {"x1 = v": "alues", "x1 = va": "lue"})
    assert [key.word for key in keys] == [None, False, None, None, None, None, False, True]


async def test_a_suggestion_of_further_lines_ends_the_line() -> None:
    screen, keys = await type_with(Line("go()", "\nstop()\n"), {"g": "o()\nstop()"})
    assert screen.text == "go()\nstop()" and keys[-1].did == "whole"
