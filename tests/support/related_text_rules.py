"""Tests of related text from any source: the test file of each source derives a class from `RelatedTextRules`."""

from __future__ import annotations

from collections.abc import Callable

from mercury_lsp.context.retrieval.index import Library, read
from mercury_lsp.engine.tokenizer import Prompt, Snippet, Tokenizer, encode_prompt
from support.shop import INVENTORY, LIBRARY, USES


class RelatedTextRules:
    """Tests that hold for related text from any source.

    chosen: returns the related text for a text and an offset in it, from a library, like `test_retrieval.chosen`.
    """

    chosen: Callable[..., tuple[Snippet, ...]]

    def test_the_budget_holds_and_is_used(self, tokenizer: Tokenizer) -> None:
        library = Library(LIBRARY.entries, tuple(LIBRARY.entries))
        sizes = []
        for budget in (0, 8, 20, 40, 80, 160, 400):
            found = self.chosen(USES, len(USES) - 1, library, tokenizer, budget=budget)
            ids = encode_prompt(Prompt("", "", "", "", found), tokenizer)
            sizes.append(len(ids) - len(encode_prompt(Prompt("", "", "", ""), tokenizer)))
            assert sizes[-1] <= budget
        assert sizes == sorted(sizes) and sizes[1] == 0 < sizes[3]

    def test_nothing_is_shown_twice(self, tokenizer: Tokenizer) -> None:
        same = Library(
            {"copy.py": read("copy.py", INVENTORY), "shop/inventory.py": read("shop/inventory.py", INVENTORY)}
        )
        same = Library(same.entries, ("shop/inventory.py", "copy.py"))
        found = self.chosen(USES, len(USES) - 1, same, tokenizer, budget=2000)
        lines = [line for snippet in found for line in snippet.text.split("\n") if len(line.strip()) > 20]
        assert lines and len(lines) < 1.5 * len(set(lines))
        inside = USES + INVENTORY
        assert (
            self.chosen(inside, len(USES) - 1, same, tokenizer, budget=2000) == ()
        )  # all of it is in the window
        own = Library({"shop/main.py": read("shop/main.py", INVENTORY)}, ("shop/main.py",))
        assert self.chosen(USES, len(USES) - 1, own, tokenizer) == ()

    def test_the_cursors_own_line_is_no_evidence(self, tokenizer: Tokenizer) -> None:
        library = Library(LIBRARY.entries, ("shop/inventory.py", "ui.py"))
        expected = self.chosen(USES, len(USES) - 1, library, tokenizer)
        for typed in ("s", "store.add_stock(", "paint(canvas", "import json", "}}} def class"):
            text = USES[:-1] + typed + "\n"
            assert self.chosen(text, len(text) - 1, library, tokenizer) == expected != ()

    def test_odd_places_are_no_error(self, tokenizer: Tokenizer) -> None:
        library = Library(LIBRARY.entries, tuple(LIBRARY.entries))
        for text in ("", "\n", "\r", "}" * 9, "def f(:\n" * 30, "\0", ")\n" * 40):
            for path in ("", "a", "a.py", "a.c", ".", "x/.py"):
                for offset in (0, len(text) // 2, len(text)):
                    self.chosen(text, offset, library, tokenizer, path=path, window=16)
