"""Further sources of related text, each alone and all together."""

from __future__ import annotations

import pytest
from support.related_text_rules import RelatedTextRules
from support.shop import LIBRARY, OTHER, USES, document

from mercury_lsp.context import prompt
from mercury_lsp.context.retrieval.index import EMPTY, Library, read
from mercury_lsp.context.retrieval.ranking import Related, choose_snippets
from mercury_lsp.engine.tokenizer import Snippet, Tokenizer
from model.data.sources import MAX_DEFINING_FILES, SOURCES, fused

BUDGET = 200


def chosen(
    text: str,
    offset: int,
    library: Library,
    tokenizer: Tokenizer,
    sources: tuple[str, ...] = tuple(SOURCES),
    budget: int = BUDGET,
    path: str = "shop/main.py",
    window: int = 512,
) -> tuple[Snippet, ...]:
    shown = prompt.build(path, text[:offset], text[offset:], tokenizer.count, window)
    related = Related(budget, fused(sources))
    return choose_snippets(document(text, path), offset, shown, library, tokenizer.count, related)


def test_definitions_of_imported_names_are_found_in_their_files(tokenizer: Tokenizer) -> None:
    found = chosen(USES, len(USES) - 1, LIBRARY, tokenizer, ("definitions",))
    assert {snippet.path for snippet in found} == {"shop/inventory.py"}
    text = "\n".join(snippet.text for snippet in found)
    assert "def load_inventory(path: str) -> Inventory:" in text
    assert "class Inventory:" in text and "def lowest_stock(self) -> str:" in text


def test_a_used_name_is_found_if_only_few_files_define_it(tokenizer: Tokenizer) -> None:
    text = "def show(canvas):\n    paint(canvas, 1)\n    \n"
    found = chosen(text, len(text) - 1, LIBRARY, tokenizer, ("definitions",))
    assert [snippet.path for snippet in found] == ["ui.py"]
    many = {f"ui{i}.py": read(f"ui{i}.py", OTHER) for i in range(MAX_DEFINING_FILES + 1)}
    assert chosen(text, len(text) - 1, Library(many), tokenizer, ("definitions",)) == ()


def test_definitions_are_of_the_same_language(tokenizer: Tokenizer) -> None:
    text = "func Show() {\n\tpaint(canvas, 1)\n\t\n}\n"
    assert chosen(text, len(text) - 3, LIBRARY, tokenizer, path="show.go") == ()


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
def test_neighbors_are_recognized_by_their_names(path: str, other: str, tokenizer: Tokenizer) -> None:
    lines = "alpha_count = beta_count + gamma_count\nprint(alpha_count, beta_count, gamma_count)\n"
    library = Library({name: read(name, lines) for name in (other, "elsewhere/other.py", "b/thing.go")})
    text = f"beta_count = gamma_count\nalpha_count = beta_count\n# {path}\n\n"
    found = chosen(text, len(text), library, tokenizer, ("neighbors",), path=path)
    assert [snippet.path for snippet in found] == [other]


LONG = (
    "from shop.inventory import Inventory\nimport unused_module\n\n\nclass Shop:\n    def sell(\n        self,\n"
    "        product: str,\n    ) -> None:\n        if product:\n"
    + "".join(f"            line_{i} = store.find({i}, product)\n" for i in range(80))
    + "            stock: Inventory = self.find()\n            \n"
)


def test_the_files_own_header_and_signatures_outside_the_window_are_shown(tokenizer: Tokenizer) -> None:
    found = chosen(LONG, len(LONG) - 1, EMPTY, tokenizer, window=256)
    texts = {snippet.text for snippet in found}
    assert {snippet.path for snippet in found} == {"shop/main.py"}
    assert "from shop.inventory import Inventory" in texts
    # The `if` is not part of it.
    assert "class Shop:\n    def sell(\n        self,\n        product: str,\n    ) -> None:" in texts
    assert chosen(LONG, len(LONG) - 1, EMPTY, tokenizer, window=4096) == ()


def test_only_imports_used_near_the_cursor_are_shown(tokenizer: Tokenizer) -> None:
    """Another import near the cursor does not count as a use, because `import` is not a name."""
    text = LONG[:-1] + "from other import thing\n            \n"
    found = chosen(text, len(text) - 1, EMPTY, tokenizer, ("header",), window=256)
    assert [snippet.text for snippet in found] == ["from shop.inventory import Inventory"]


def test_a_brace_on_its_own_line_belongs_to_the_line_above(tokenizer: Tokenizer) -> None:
    body = "".join(f"    total += step({i}, total);\n" for i in range(80))
    text = f"int\nsum_all(int total)\n{{\n{body}    \n}}\n"
    found = chosen(text, len(text) - 3, EMPTY, tokenizer, ("signatures",), path="sum.c", window=128)
    assert [snippet.text for snippet in found] == ["sum_all(int total)\n{"]


def test_carriage_returns_do_not_change_the_snippets(tokenizer: Tokenizer) -> None:
    text = LONG.replace("\n", "\r\n")
    assert chosen(text, len(text) - 2, LIBRARY, tokenizer, window=256) == chosen(
        LONG, len(LONG) - 1, LIBRARY, tokenizer, window=256
    )


class TestTheRulesOfAllSources(RelatedTextRules):
    chosen = staticmethod(chosen)
