"""What is chosen to be shown beside the window: by likeness, within the budget, and always the same while typing."""

from __future__ import annotations

from dataclasses import replace

from support.related_text_rules import RelatedTextRules
from support.shop import LIBRARY, USES, document

from mercury_lsp.context import prompt
from mercury_lsp.context.retrieval import ranking
from mercury_lsp.context.retrieval.index import EMPTY, Library
from mercury_lsp.context.retrieval.ranking import (
    KEEP_LINES,
    KEEP_STILL_LINES,
    Related,
    SnippetCache,
    choose_snippets,
)
from mercury_lsp.engine.tokenizer import Prompt, Snippet, Tokenizer, encode_prompt

BUDGET = 200
RELATED = Related(BUDGET)


def chosen(
    text: str,
    offset: int,
    library: Library,
    tokenizer: Tokenizer,
    budget: int = BUDGET,
    path: str = "shop/main.py",
    window: int = 512,
) -> tuple[Snippet, ...]:
    shown = prompt.build(path, text[:offset], text[offset:], tokenizer.count, window)
    return choose_snippets(document(text, path), offset, shown, library, tokenizer.count, Related(budget))


def test_pieces_of_open_documents_are_the_most_similar_ones(tokenizer: Tokenizer) -> None:
    text = "def count(store):\n    store.add_stock(product, amount)\n    stock = store.lowest_stock()\n    \n"
    library = Library(LIBRARY.entries, ("ui.py", "shop/inventory.py"))
    found = chosen(text, len(text) - 1, library, tokenizer)
    assert found and {snippet.path for snippet in found} == {"shop/inventory.py"}
    assert "def add_stock" in found[-1].text  # the most relevant comes last
    assert chosen(text, len(text) - 1, LIBRARY, tokenizer) == ()


class TestTheRulesOfServing(RelatedTextRules):
    chosen = staticmethod(chosen)


class Typist:
    """Types into a document, and asks for the prompt at each key, with a memory of what was chosen."""

    def __init__(self, tokenizer: Tokenizer, library: Library) -> None:
        self.tokenizer, self.library, self.memory = tokenizer, library, SnippetCache()

    def ids(self, text: str, offset: int) -> tuple[int, ...]:
        count = self.tokenizer.count
        shown = prompt.build("shop/main.py", text[:offset], text[offset:], count)
        found = self.memory.choose_snippets(document(text), offset, shown, self.library, count, RELATED)
        return encode_prompt(replace(shown, related=found), self.tokenizer)


NEW = "canvas = paint(store, 1)\n    product = store.lowest_stock()\n    " * (KEEP_LINES // 2)


def test_while_lines_are_typed_the_tokens_before_them_stay_the_same(tokenizer: Tokenizer) -> None:
    """So the cache holds: what is before the cursor's line is never read again."""
    typist = Typist(tokenizer, Library(LIBRARY.entries, ("shop/inventory.py", "ui.py")))
    rest = "\n\n\ndef other():\n    return 1\n"
    before = USES[:-1]
    first = typist.ids(before + rest, len(before))
    assert tokenizer.specials.file_sep in first
    stable = len(first) - len(encode_prompt(Prompt("", "    ", "", ""), tokenizer)) - 1
    typed = 0
    for end in range(1, len(NEW) - 4):
        text = before + NEW[:end]
        assert typist.ids(text + rest, len(text))[:stable] == first[:stable]
        typed = NEW[:end].count("\n")
    assert typed == KEEP_LINES - 1


def test_without_the_memory_it_would_not_be_so(tokenizer: Tokenizer) -> None:
    library = Library(LIBRARY.entries, ("shop/inventory.py", "ui.py"))
    text = USES[:-1] + NEW
    assert chosen(text, len(text), library, tokenizer) != chosen(USES, len(USES) - 1, library, tokenizer)


def test_a_choice_is_left_when_it_no_longer_fits(tokenizer: Tokenizer) -> None:
    library = Library(LIBRARY.entries, ("shop/inventory.py",))
    typist = Typist(tokenizer, library)
    text = USES + "# more\n" * 40
    near = typist.ids(text, len(USES) - 1)

    def beside(ids: tuple[int, ...]) -> tuple[int, ...]:
        return ids[: ids.index(tokenizer.specials.fim_suffix)]

    def at(line: int) -> int:
        return document(text).span(line)[0]

    first = document(text).position(len(USES) - 1)[0]
    assert beside(typist.ids(text, at(first + KEEP_STILL_LINES - 1))) == beside(near) != ()
    assert beside(typist.ids(text, at(first + KEEP_STILL_LINES))) != beside(near)  # far below
    typist.ids(text, len(USES) - 1)
    typist.library = EMPTY  # it was deleted, or is ignored now
    assert beside(typist.ids(text, len(USES) - 1)) == ()


def test_a_choice_is_left_sooner_when_the_window_has_moved(tokenizer: Tokenizer) -> None:
    memory = SnippetCache()
    text = USES + "".join(f"    more_{i} = {i}\n" for i in range(40))
    library = Library(LIBRARY.entries, ("shop/inventory.py",))
    first = document(text).position(len(USES) - 1)[0]

    def at(line: int, window: int) -> tuple[Snippet, ...]:
        offset = document(text).span(line)[0]
        shown = prompt.build("shop/main.py", text[:offset], text[offset:], tokenizer.count, window)
        return memory.choose_snippets(document(text), offset, shown, library, tokenizer.count, RELATED)

    near = at(first, 512)
    assert at(first + KEEP_LINES - 1, 32) == near != ()
    assert at(first + KEEP_LINES + 12, 512) == near
    assert at(first + KEEP_LINES + 12, 32) != near


def test_what_was_empty_is_chosen_anew_when_the_index_is_there(tokenizer: Tokenizer) -> None:
    typist = Typist(tokenizer, EMPTY)
    assert tokenizer.specials.file_sep not in typist.ids(USES, len(USES) - 1)
    typist.library = Library(LIBRARY.entries, ("shop/inventory.py",))
    assert tokenizer.specials.file_sep in typist.ids(USES, len(USES) - 1)


def test_only_so_many_choices_are_kept(tokenizer: Tokenizer) -> None:
    memory = SnippetCache()
    shown = prompt.build("", "", "", tokenizer.count)
    for i in range(3 * ranking.MAX_CACHED_DOCUMENTS):
        memory.choose_snippets(document("", f"{i}.py"), 0, shown, EMPTY, tokenizer.count)
    assert len(memory._choices) == ranking.MAX_CACHED_DOCUMENTS
