"""A small project of two files, and a document that uses one of them."""

from __future__ import annotations

from mercury_lsp.context.retrieval.index import Library, read
from mercury_lsp.syntax.document import Document

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
