"""What is chosen to be shown beside the window: by each source, within the budget, and always the same while typing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mercury_lsp.context import prompt
from mercury_lsp.context.retrieval import ranking, sources
from mercury_lsp.context.retrieval.index import EMPTY, Library, read
from mercury_lsp.context.retrieval.ranking import KEEP_LINES, KEEP_STILL_LINES, SOURCES, Memory, choose
from mercury_lsp.engine.tokenizer import Prompt, Snippet, Tokenizer, encode_prompt
from mercury_lsp.syntax.document import Document

BUDGET = 200
INVENTORY = '''"""Stocks of goods."""

import json


class Inventory:
    """How much there is of what."""

    def add_stock(self, product: str, amount: int) -> None:
        """Put goods into the store."""
        self.stock[product] += amount

    def lowest_stock(self) -> str:
        """The product that runs out first."""
        return min(self.stock, key=self.stock.get)


def load_inventory(path: str) -> Inventory:
    """Read an inventory from a file of JSON."""
    return Inventory(**json.loads(path))
'''
OTHER = '''"""Unrelated."""


def paint(canvas, color):
    """Fill a canvas."""
    canvas.fill(color)
'''
LIBRARY = Library(
    {path: read(path, text) for path, text in (("shop/inventory.py", INVENTORY), ("ui.py", OTHER))}
)
USES = (
    "from shop.inventory import Inventory, load_inventory\n\n\n"
    "def main():\n    store = load_inventory('x.json')\n    \n"
)


def document(text: str, path: str = "shop/main.py") -> Document:
    return Document(f"file:///w/{path}", path, "", 1, text)


def chosen(
    text: str,
    offset: int,
    library: Library,
    tokenizer: Tokenizer,
    sources: tuple[str, ...] = SOURCES,
    budget: int = BUDGET,
    path: str = "shop/main.py",
    window: int = 512,
) -> tuple[Snippet, ...]:
    shown = prompt.build(path, text[:offset], text[offset:], tokenizer.count, window)
    return choose(document(text, path), offset, shown, library, tokenizer.count, budget, sources)


def test_each_source_has_its_ranking() -> None:
    assert tuple(sources.RANKED) == SOURCES


def test_definitions_of_imported_names_come_from_their_files(tokenizer: Tokenizer) -> None:
    found = chosen(USES, len(USES) - 1, LIBRARY, tokenizer, ("definitions",))
    assert {snippet.path for snippet in found} == {"shop/inventory.py"}
    text = "\n".join(snippet.text for snippet in found)
    assert "def load_inventory(path: str) -> Inventory:" in text
    assert "class Inventory:" in text and "def lowest_stock(self) -> str:" in text


def test_a_name_that_is_only_used_is_found_where_few_define_it(tokenizer: Tokenizer) -> None:
    text = "def show(canvas):\n    paint(canvas, 1)\n    \n"
    found = chosen(text, len(text) - 1, LIBRARY, tokenizer, ("definitions",))
    assert [snippet.path for snippet in found] == ["ui.py"]
    many = {f"ui{i}.py": read(f"ui{i}.py", OTHER) for i in range(sources.ELSEWHERE + 1)}
    assert chosen(text, len(text) - 1, Library(many), tokenizer, ("definitions",)) == ()


def test_definitions_are_of_the_same_language(tokenizer: Tokenizer) -> None:
    text = "func Show() {\n\tpaint(canvas, 1)\n\t\n}\n"
    assert chosen(text, len(text) - 3, LIBRARY, tokenizer, path="show.go") == ()


def test_pieces_of_open_documents_are_the_most_similar_ones(tokenizer: Tokenizer) -> None:
    text = "def count(store):\n    store.add_stock(product, amount)\n    stock = store.lowest_stock()\n    \n"
    library = LIBRARY.changed(opened=("ui.py", "shop/inventory.py"))
    found = chosen(text, len(text) - 1, library, tokenizer, ("opened",))
    assert found and {snippet.path for snippet in found} == {"shop/inventory.py"}
    assert "def add_stock" in found[-1].text  # the most relevant comes last
    assert chosen(text, len(text) - 1, LIBRARY, tokenizer, ("opened",)) == ()


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("tests/test_inventory.py", "shop/inventory.py"),
        ("shop/inventory.py", "tests/test_inventory.py"),
        ("src/pool.c", "include/pool.h"),
        ("pool_test.go", "pool.go"),
        ("src/Pool.java", "test/PoolTest.java"),
        ("a/pool.spec.ts", "a/pool.ts"),
        ("shop/main.py", "shop/__init__.py"),
    ],
)
def test_neighbors_are_told_by_their_names(path: str, other: str, tokenizer: Tokenizer) -> None:
    lines = "alpha_count = beta_count + gamma_count\nprint(alpha_count, beta_count, gamma_count)\n"
    library = Library({name: read(name, lines) for name in (other, "elsewhere/other.py", "b/thing.go")})
    text = f"beta_count = gamma_count\nalpha_count = beta_count\n# {path}\n\n"
    found = chosen(text, len(text), library, tokenizer, ("neighbors",), path=path)
    assert [snippet.path for snippet in found] == [other]


def test_recent_edits_are_shown_the_newest_last(tokenizer: Tokenizer) -> None:
    edits = (("a.py", "renamed_first = 1\nrenamed_second = 2"), ("b.py", "other_edit = 3\nlast_edit = 4"))
    found = chosen("x = 1\n\n", 7, LIBRARY.changed(edits=edits), tokenizer, ("edits",))
    assert found == (Snippet(*edits[1]), Snippet(*edits[0]))


LONG = (
    "from shop.inventory import Inventory\nimport unused_module\n\n\nclass Shop:\n    def sell(\n        self,\n"
    "        product: str,\n    ) -> None:\n        if product:\n"
    + "".join(f"            line_{i} = store.find({i}, product)\n" for i in range(80))
    + "            stock: Inventory = self.find()\n            \n"
)


def test_the_own_header_and_signatures_are_shown_where_the_window_hides_them(tokenizer: Tokenizer) -> None:
    found = chosen(LONG, len(LONG) - 1, EMPTY, tokenizer, window=256)
    texts = {snippet.text for snippet in found}
    assert {snippet.path for snippet in found} == {"shop/main.py"}
    assert "from shop.inventory import Inventory" in texts
    assert (
        "class Shop:\n    def sell(\n        self,\n        product: str,\n    ) -> None:" in texts
    )  # and not the `if`
    assert chosen(LONG, len(LONG) - 1, EMPTY, tokenizer, window=4096) == ()


def test_of_the_header_only_what_is_used_near_the_cursor_is_shown(tokenizer: Tokenizer) -> None:
    """Another import near the cursor makes none used: `import` itself is no name."""
    text = LONG[:-1] + "from other import thing\n            \n"
    found = chosen(text, len(text) - 1, EMPTY, tokenizer, ("header",), window=256)
    assert [snippet.text for snippet in found] == ["from shop.inventory import Inventory"]


def test_braces_of_their_own_belong_to_the_line_above(tokenizer: Tokenizer) -> None:
    body = "".join(f"    total += step({i}, total);\n" for i in range(80))
    text = f"int\nsum_all(int total)\n{{\n{body}    \n}}\n"
    found = chosen(text, len(text) - 3, EMPTY, tokenizer, ("signatures",), path="sum.c", window=128)
    assert [snippet.text for snippet in found] == ["sum_all(int total)\n{"]


def test_the_budget_holds_and_is_used(tokenizer: Tokenizer) -> None:
    library = LIBRARY.changed(opened=tuple(LIBRARY.entries), edits=(("n.py", "an_edit = 1\n" * 50),))
    sizes = []
    for budget in (0, 8, 20, 40, 80, 160, 400):
        found = chosen(USES, len(USES) - 1, library, tokenizer, budget=budget)
        ids = encode_prompt(Prompt("", "", "", "", found), tokenizer)
        sizes.append(len(ids) - len(encode_prompt(Prompt("", "", "", ""), tokenizer)))
        assert sizes[-1] <= budget
    assert sizes == sorted(sizes) and sizes[1] == 0 < sizes[3]


def test_nothing_is_shown_twice(tokenizer: Tokenizer) -> None:
    same = Library(
        {"copy.py": read("copy.py", INVENTORY), "shop/inventory.py": read("shop/inventory.py", INVENTORY)}
    )
    same = same.changed(opened=("shop/inventory.py", "copy.py"))
    found = chosen(USES, len(USES) - 1, same, tokenizer, budget=2000)
    lines = [line for snippet in found for line in snippet.text.split("\n") if len(line.strip()) > 20]
    assert lines and len(lines) < 1.5 * len(set(lines))
    inside = USES + INVENTORY
    assert chosen(inside, len(USES) - 1, same, tokenizer, budget=2000) == ()  # all of it is in the window
    own = same.changed(entries={"shop/main.py": read("shop/main.py", INVENTORY)}, opened=("shop/main.py",))
    assert chosen(USES, len(USES) - 1, own, tokenizer) == ()


def test_the_cursors_own_line_is_no_evidence(tokenizer: Tokenizer) -> None:
    library = LIBRARY.changed(opened=("shop/inventory.py", "ui.py"))
    expected = chosen(USES, len(USES) - 1, library, tokenizer)
    for typed in ("s", "store.add_stock(", "paint(canvas", "import json", "}}} def class"):
        text = USES[:-1] + typed + "\n"
        assert chosen(text, len(text) - 1, library, tokenizer) == expected != ()


def test_carriage_returns_change_nothing(tokenizer: Tokenizer) -> None:
    text = LONG.replace("\n", "\r\n")
    assert chosen(text, len(text) - 2, LIBRARY, tokenizer, window=256) == chosen(
        LONG, len(LONG) - 1, LIBRARY, tokenizer, window=256
    )


def test_odd_places_are_no_error(tokenizer: Tokenizer) -> None:
    library = LIBRARY.changed(opened=tuple(LIBRARY.entries), edits=(("", "\n\n"), ("a.py", "")))
    for text in ("", "\n", "\r", "}" * 9, "def f(:\n" * 30, "\0", ")\n" * 40):
        for path in ("", "a", "a.py", "a.c", ".", "x/.py"):
            for offset in (0, len(text) // 2, len(text)):
                chosen(text, offset, library, tokenizer, path=path, window=16)


class Typist:
    """Types into a document, and asks for the prompt at each key, with a memory of what was chosen."""

    def __init__(self, tokenizer: Tokenizer, library: Library) -> None:
        self.tokenizer, self.library, self.memory = tokenizer, library, Memory()

    def ids(self, text: str, offset: int) -> tuple[int, ...]:
        count = self.tokenizer.count
        shown = prompt.build("shop/main.py", text[:offset], text[offset:], count)
        found = self.memory.related(document(text), offset, shown, self.library, count, BUDGET, SOURCES)
        return encode_prompt(replace(shown, related=found), self.tokenizer)


NEW = "canvas = paint(store, 1)\n    product = store.lowest_stock()\n    " * (KEEP_LINES // 2)


def test_while_lines_are_typed_the_tokens_before_them_stay_the_same(tokenizer: Tokenizer) -> None:
    """So the cache holds: what is before the cursor's line is never read again."""
    typist = Typist(tokenizer, LIBRARY.changed(opened=("shop/inventory.py", "ui.py")))
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
    library = LIBRARY.changed(opened=("shop/inventory.py", "ui.py"))
    text = USES[:-1] + NEW
    assert chosen(text, len(text), library, tokenizer) != chosen(USES, len(USES) - 1, library, tokenizer)


def test_a_choice_is_left_when_it_no_longer_fits(tokenizer: Tokenizer) -> None:
    library = LIBRARY.changed(opened=("shop/inventory.py",))
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
    memory = Memory()
    text = USES + "".join(f"    more_{i} = {i}\n" for i in range(40))
    library = LIBRARY.changed(opened=("shop/inventory.py",))
    first = document(text).position(len(USES) - 1)[0]

    def at(line: int, window: int) -> tuple[Snippet, ...]:
        offset = document(text).span(line)[0]
        shown = prompt.build("shop/main.py", text[:offset], text[offset:], tokenizer.count, window)
        return memory.related(document(text), offset, shown, library, tokenizer.count, BUDGET, ("opened",))

    near = at(first, 512)
    assert at(first + KEEP_LINES - 1, 32) == near != ()
    assert at(first + KEEP_LINES + 12, 512) == near
    assert at(first + KEEP_LINES + 12, 32) != near


def test_what_was_empty_is_chosen_anew_when_the_index_is_there(tokenizer: Tokenizer) -> None:
    typist = Typist(tokenizer, EMPTY)
    assert tokenizer.specials.file_sep not in typist.ids(USES, len(USES) - 1)
    typist.library = LIBRARY
    assert tokenizer.specials.file_sep in typist.ids(USES, len(USES) - 1)


def test_only_so_many_choices_are_kept(tokenizer: Tokenizer) -> None:
    memory = Memory()
    shown = prompt.build("", "", "", tokenizer.count)
    for i in range(3 * ranking.KEPT_DOCUMENTS):
        memory.related(document("", f"{i}.py"), 0, shown, EMPTY, tokenizer.count, BUDGET, SOURCES)
    assert len(memory._choices) == ranking.KEPT_DOCUMENTS
