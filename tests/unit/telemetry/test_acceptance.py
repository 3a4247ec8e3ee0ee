"""Tests of the outcomes of suggestions, inferred from scripted events as editors send them."""

from __future__ import annotations

import random

import pytest

from mercury_lsp.telemetry.acceptance import AcceptanceTracker, Item, SuggestionOutcome, replaced_range
from mercury_lsp.telemetry.text_edits import Edit, join_edits, single_edit

URI, OTHER = "file:///w/a.py", "file:///w/b.py"


class Client:
    """A client's document and its suggestions; `took` has the outcomes as (kind, facts, saved characters)."""

    def __init__(self, text: str, cursor: int | None = None, uri: str = URI) -> None:
        self.text, self.uri = text, uri
        self.cursor = len(text) if cursor is None else cursor
        self.tracker: AcceptanceTracker[str] = AcceptanceTracker(self.take)
        self.took: list[tuple[str, str, int]] = []
        self.fresh: list[bool] = []

    def take(self, outcome: SuggestionOutcome[str]) -> None:
        self.took.append((outcome.kind, outcome.facts, outcome.accepted))

    def suggest(
        self, facts: str, *texts: str, replaced: int = 0, back: int = 0, at: int | None = None
    ) -> None:
        """Send a request at the cursor, answered with candidates whose ids are `facts` and a number."""
        self.cursor = self.cursor if at is None else at
        self.tracker.on_request(self.uri, self.cursor)
        start, end = self.cursor - back, self.cursor + replaced
        items = [Item(f"{facts}{n}", start, self.text[start:end], text) for n, text in enumerate(texts)]
        around = self.text[start:end]
        self.fresh.append(self.tracker.on_suggestion(self.uri, self.cursor, items, around, facts))

    def ask(self, at: int | None = None) -> None:
        """Send a request that gets an empty answer."""
        self.tracker.on_request(self.uri, self.cursor if at is None else at)

    def edit(self, *edits: tuple[int, int, str], cursor: int | None = None) -> None:
        """Send one didChange; the cursor is then after the last text, or at `cursor`."""
        made = []
        for start, end, text in edits:
            made.append(Edit(start, self.text[start:end], text))
            self.text = self.text[:start] + text + self.text[end:]
            self.cursor = start + len(text)
        self.cursor = self.cursor if cursor is None else cursor
        self.tracker.on_change(self.uri, made)

    def type(self, text: str) -> None:
        """Send one didChange per key."""
        for key in text:
            self.edit((self.cursor, self.cursor, key))

    def insert(self, text: str) -> None:
        self.edit((self.cursor, self.cursor, text))

    def end(self) -> list[tuple[str, str, int]]:
        self.tracker.close()
        return self.took


def test_tab_in_vs_code_changes_the_document_and_then_runs_the_command() -> None:
    client = Client("x = ")
    client.suggest("a", "total + 1")
    client.insert("total + 1")
    client.tracker.on_acceptance("a0")
    client.ask()
    assert client.end() == [("accepted", "a", 9)]


def test_the_change_alone_and_the_command_alone_are_acceptances() -> None:
    client = Client("x = ")
    client.suggest("a", "total + 1")
    client.insert("total + 1")
    client.suggest("b", " + 2")
    client.tracker.on_acceptance("b0")
    assert client.end() == [("accepted", "a", 9), ("accepted", "b", 4)]


def test_neovim_may_run_the_command_before_it_sends_the_change() -> None:
    client = Client("x = ")
    client.suggest("a", "total")
    client.tracker.on_acceptance("a0")
    client.insert("total")
    client.type("\n")
    assert client.end() == [("accepted", "a", 5)]


def test_a_command_run_twice_or_of_an_unknown_item_counts_once() -> None:
    client = Client("x = ")
    client.suggest("a", "total")
    for id_ in ("a0", "a0", "z9", ""):
        client.tracker.on_acceptance(id_)
    assert client.end() == [("accepted", "a", 5)]


def test_a_suggestion_typed_to_its_end_is_neither_accepted_nor_rejected() -> None:
    client = Client("x = ")
    client.suggest("a", "abc")
    client.type("a")
    client.suggest("b", "bc")
    client.type("b")
    client.ask()
    client.type("c")
    client.type(" ")
    assert client.fresh == [True, False]
    assert client.end() == [("typed", "a", 0)]


def test_accepting_after_typing_a_part_saves_the_rest() -> None:
    client = Client("x = ")
    client.suggest("a", "total + 1")
    client.type("to")
    client.suggest("b", "tal + 1")
    client.insert("tal + 1")
    client.tracker.on_acceptance("b0")
    assert client.end() == [("accepted", "a", 7)]


def test_accepting_the_last_character_is_recognized_by_the_command() -> None:
    client = Client("x = ")
    client.suggest("a", "ab")
    client.type("ab")
    client.tracker.on_acceptance("a0")
    assert client.end() == [("accepted", "a", 1)]


def test_accepting_words_is_a_partial_acceptance_across_requests() -> None:
    client = Client("x = ")
    client.suggest("a", "total + rest")
    client.insert("total")
    client.suggest("b", " + rest")
    client.insert(" +")
    client.ask()
    client.type("!")
    assert client.fresh == [True, False]
    assert client.end() == [("partly", "a", 7)]


def test_accepting_all_words_is_a_full_acceptance() -> None:
    client = Client("x = ")
    client.suggest("a", "total + rest")
    for word in ("total", " +", " rest"):
        client.insert(word)
        client.ask()
    assert client.end() == [("accepted", "a", 12)]


def test_accepting_one_of_several_lines_is_a_partial_acceptance() -> None:
    client = Client("def f():\n    ")
    client.suggest("a", "x = 1\n    return x")
    client.insert("x = 1")
    client.edit((0, 0, "#"))
    client.edit((0, 1, ""), cursor=len(client.text))
    client.type("\n")
    client.type("z")
    assert client.end() == [("partly", "a", 5)]


def test_a_part_that_ends_within_a_word_is_not_counted() -> None:
    client = Client("x = ")
    client.suggest("a", "total + rest")
    client.insert("tot")
    client.type("z")
    assert client.end() == [("rejected", "a", 0)]


def test_typing_other_text_and_deleting_text_before_it_reject_a_suggestion() -> None:
    client = Client("x = ")
    client.suggest("a", "total")
    client.type("q")
    client.suggest("b", "uit")
    client.edit((4, 5, ""))
    assert client.end() == [("rejected", "a", 0), ("rejected", "b", 0)]


def test_deleting_a_typed_character_does_not_reject_a_suggestion() -> None:
    client = Client("x = ")
    client.suggest("a", "total")
    client.type("to")
    client.edit((5, 6, ""))
    client.suggest("b", "otal")
    client.insert("otal")
    assert client.end() == [("accepted", "a", 4)]


def test_a_request_elsewhere_rejects_a_suggestion_and_a_repeated_request_does_not() -> None:
    client = Client("x = \ny = \n", 4)
    client.suggest("a", "total")
    client.ask()
    client.suggest("b", "total")
    assert client.took == [] and client.fresh == [True, False]
    client.suggest("c", "total", at=9)
    client.suggest("d", "other")
    assert client.end() == [("rejected", "a", 0), ("replaced", "c", 0), ("rejected", "d", 0)]


def test_any_of_several_suggestions_may_be_accepted() -> None:
    client = Client("x = ")
    client.suggest("a", "total")
    client.suggest("b", "total", "tally()", "other")
    client.type("ta")
    client.insert("lly()")
    assert client.fresh == [True, False]
    assert client.end() == [("accepted", "a", 5)]


@pytest.mark.parametrize("pair", ["()", "[]", "{}", '""', "''", "``"])
def test_an_auto_closed_bracket_may_come_in_one_edit_or_in_two(pair: str) -> None:
    opening, closing = pair
    for at_once in (True, False):
        client = Client("f")
        client.suggest("a", f"{opening}x{closing}")
        if at_once:
            client.edit((1, 1, pair), cursor=2)
        else:
            client.edit((1, 1, opening), (2, 2, closing), cursor=2)
        client.suggest("b", f"x{closing}", replaced=1)
        assert client.took == [] and client.fresh == [True, False]
        client.edit((2, 3, f"x{closing}"))
        client.tracker.on_acceptance("b0")
        assert client.end() == [("accepted", "a", 1)]


def test_the_rest_may_be_suggested_without_the_auto_closed_bracket() -> None:
    client = Client("f")
    client.suggest("a", "(some, more)")
    client.edit((1, 1, "()"), cursor=2)
    client.suggest("b", "some, more")
    client.insert("some,")
    assert client.took == [] and client.fresh == [True, False]
    client.type(" more")
    client.type(";")
    assert client.end() == [("partly", "a", 5)]


def test_an_unmatched_closing_bracket_rejects_a_suggestion() -> None:
    client = Client("f")
    client.suggest("a", "(some, more)")
    client.type(")")
    assert client.took == [] and client.end() == [("rejected", "a", 0)]


def test_replaced_text_may_be_typed_over() -> None:
    client = Client("f()", 2)
    client.suggest("a", "x, y)", replaced=1)
    client.type("x")
    client.insert(", y")
    client.edit((6, 7, ")"))
    assert client.end() == [("accepted", "a", 3)]


def test_helix_replaces_the_word_at_the_cursor() -> None:
    client = Client("x = val")
    client.suggest("a", "ue + 1")
    client.type("u")
    client.edit((4, 8, "value + 1"))
    client.type("\n")
    assert client.end() == [("accepted", "a", 5)]


def test_helix_may_send_the_deletion_and_the_insertion_as_two_changes() -> None:
    client = Client("x = val")
    client.suggest("a", "ue + 1")
    client.edit((4, 4, "value + 1"), (13, 16, ""))
    assert client.end() == [("accepted", "a", 6)]


def test_a_suggestion_may_begin_with_the_item_of_the_menu_in_vs_code() -> None:
    client = Client("x = va")
    client.suggest("a", "value + 1", back=2)
    client.edit((4, 6, "value + 1"))
    client.tracker.on_acceptance("a0")
    assert client.end() == [("accepted", "a", 7)]


def test_line_endings_are_normalized_before_the_comparison() -> None:
    for ending in ("\r\n", "\n", "\r"):
        client = Client("if x:\r\n    ")
        client.suggest("a", "y = 1\r\n    z = 2")
        client.insert("y = 1")
        client.insert(f"{ending}    z = 2")
        assert client.end() == [("accepted", "a", 16 - 1)]


def test_enter_with_indentation_counts_as_typed() -> None:
    client = Client("if x:")
    client.suggest("a", "\r\n    y = 1")
    client.insert("\r\n    ")
    client.type("y = 1")
    client.type(";")
    assert client.end() == [("typed", "a", 0)]


def test_changes_before_and_after_a_suggestion_do_not_affect_it() -> None:
    client = Client("import a\n\nx = \nend\n", 14)
    client.suggest("a", "total")
    client.edit((8, 8, "\nimport b"), (26, 26, "!"), cursor=23)
    client.insert("total")
    assert client.text == "import a\nimport b\n\nx = total\nen!d\n"
    assert client.end() == [("accepted", "a", 5)]


def test_changes_in_other_documents_matter_only_after_a_request_or_a_focus_there() -> None:
    for event in ("asked", "focused"):
        client = Client("x = ")
        client.suggest("a", "total")
        client.tracker.on_change(OTHER, [Edit(0, "", "y")])
        client.tracker.on_close(OTHER)
        client.tracker.on_focus(URI)
        assert client.tracker.is_tracking(URI) and not client.tracker.is_tracking(OTHER)
        client.tracker.on_acceptance("none")
        assert client.took == []
        client.tracker.on_request(OTHER, 4) if event == "asked" else client.tracker.on_focus(OTHER)
        client.tracker.on_acceptance("none")
        assert client.end() == [("rejected", "a", 0)]


def test_closing_a_document_keeps_a_partial_acceptance() -> None:
    client = Client("x = ")
    client.suggest("a", "total + rest")
    client.insert("total")
    client.tracker.on_close(URI)
    assert client.end() == [("partly", "a", 5)]


def test_outcomes_are_reported_when_the_next_suggestion_ends() -> None:
    client = Client("x = ")
    client.suggest("a", "total")
    client.type("q")
    assert client.took == []
    client.tracker.on_acceptance("a0")  # an editor that showed the suggestion again
    client.suggest("b", "more")
    assert client.took == []
    client.type("z")
    assert client.took == [("accepted", "a", 5)]


def test_copilot_clients_report_the_shown_suggestions() -> None:
    client = Client("x = ")
    client.suggest("a", "total")
    client.tracker.on_shown("a0")
    client.type("q")
    client.suggest("b", "uit")
    client.type("z")
    client.suggest("c", "more + less")
    client.tracker.on_shown("c0")
    client.type("m")
    client.type("q")
    client.suggest("d", "uit")
    client.insert("uit")
    assert client.end() == [
        ("rejected", "a", 0),
        ("unseen", "b", 0),
        ("rejected", "c", 0),
        ("accepted", "d", 3),
    ]


def test_copilot_clients_report_the_total_accepted_length() -> None:
    client = Client("x = ")
    client.suggest("a", '"\U0001f600" + total')
    client.tracker.on_partial_acceptance("a0", 4)  # in UTF-16, the emoji has two units
    client.insert('"\U0001f600"')
    client.tracker.on_partial_acceptance("a0", 6)
    client.insert(" +")
    client.type("!")
    assert client.end() == [("partly", "a", 5)]


def test_a_partial_acceptance_reported_late_still_counts() -> None:
    client = Client("x = ")
    client.suggest("a", "total + 1")
    client.tracker.on_change(URI, [Edit(0, "x = ", "y")])
    client.tracker.on_partial_acceptance("a0", 5)
    client.tracker.on_partial_acceptance("never", 5)
    assert client.end() == [("partly", "a", 5)]


def test_a_new_whole_text_is_reduced_to_one_edit() -> None:
    generator = random.Random(6)
    for _ in range(500):
        old = "".join(generator.choices("ab\n", k=generator.randrange(9)))
        new = "".join(generator.choices("ab\n", k=generator.randrange(9)))
        edit = single_edit(old, new)
        assert old[: edit.start] + edit.text + old[edit.end :] == new
        assert old[edit.start : edit.end] == edit.removed
        assert edit.text[:1] != edit.removed[:1] or not edit.text[:1]
    assert single_edit("x = 1\n", "x = total\n") == Edit(4, "1", "total")


def test_outcomes_are_found_for_clients_that_send_whole_texts() -> None:
    client = Client("x = \ny = 1\n", 4)
    client.suggest("a", "total")
    for new in ("x = t\ny = 1\n", "x = total\ny = 1\n"):
        client.tracker.on_change(URI, [single_edit(client.text, new)])
        client.text = new
    assert client.end() == [("accepted", "a", 4)]


def test_the_replaced_range_covers_all_items() -> None:
    items = [Item("a", 3, "xy", ""), Item("b", 3, "", ""), Item("c", 2, "z", "")]
    assert replaced_range(items) == (2, 5)


def test_each_suggestion_has_exactly_one_outcome_for_random_events() -> None:
    """Random events may give wrong outcomes, but never a wrong number of them, nor too many saved characters."""
    for seed in range(300):
        generator = random.Random(seed)
        client, offered = Client("x = (y)\n" * 3, 4), 0
        for step in range(40):
            place = generator.randrange(len(client.text) + 1)
            match generator.randrange(8):
                case 0 | 1:
                    texts = generator.choices(["abc", "a(b)", "b\n    c", "ab cd"], k=generator.randint(1, 3))
                    client.suggest(f"s{step}-", *texts, at=place)
                    offered += client.fresh[-1]
                case 2:
                    client.type(generator.choice(["a", "b", "ab", "x"]))
                case 3:
                    client.insert(generator.choice(["abc", "ab", "a(b)", "bc", "()"]))
                case 4:
                    client.edit((place, min(place + generator.randrange(4), len(client.text)), "q"))
                case 5:
                    client.tracker.on_acceptance(f"s{step - 1}-0")
                case 6:
                    client.tracker.on_partial_acceptance(f"s{step - 1}-0", generator.randrange(1, 5))
                case 7 if place % 2:
                    client.tracker.on_shown(f"s{step - 1}-0")
                case 7:
                    client.ask(place)
        took = client.end()
        assert len(took) == offered == len({facts for _, facts, _ in took})
        assert all(spared >= 0 for _, _, spared in took)
        assert all(spared > 0 for kind, _, spared in took if kind == "partly")


def test_joined_edits_have_the_same_effect_as_separate_edits() -> None:
    generator = random.Random(7)
    for _ in range(500):
        old = text = "".join(generator.choices("abc", k=9))
        edits = []
        for _ in range(3):
            start = generator.randrange(len(text) + 1)
            end = min(len(text), start + generator.randrange(4))
            edits.append(
                Edit(start, text[start:end], "".join(generator.choices("xyz", k=generator.randrange(4))))
            )
            text = text[:start] + edits[-1].text + text[end:]
        for edit in join_edits(edits):
            assert old[edit.start : edit.end] == edit.removed
            old = old[: edit.start] + edit.text + old[edit.end :]
        assert old == text
