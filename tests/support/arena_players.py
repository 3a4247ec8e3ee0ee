"""Places and one-word models for the tests of the arena."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mercury_lsp.arena.ballots import Ballot, Side
from mercury_lsp.arena.edits import Edit
from mercury_lsp.engine.tokenizer import Tokenizer
from support.models.tiny_models import save_pointing, suggesting


def places(count: int, middle: str = "value") -> list[Edit]:
    """Return edits in which the user wrote a word after an equals sign."""
    return [
        Edit(f"lib/a{i}.py", "python", f"size = {i}\ntotal_{i} = ", "\nprint(size)\n", middle, "within")
        for i in range(count)
    ]


def save_saying(word: str, folder: Path, tiny_model: Path) -> Path:
    """Save a checkpoint that always suggests a word of one token, like the fixture `model`."""

    def pointing(tokenizer: Tokenizer, unit: Tensor) -> dict[int, Tensor]:
        return suggesting(tokenizer, unit, word)

    return save_pointing(folder, folder.name, tiny_model, pointing)


def side(
    id_: str, ms: float = 10.0, exact: bool = False, share: float = 0.0, passes: int = 2, tokens: int = 3
) -> Side:
    return Side(id_, ms, passes, tokens, True, exact, exact, share)


def ballot(one: Side, two: Side, choice: str, place: str = "p", judge: str = "user") -> Ballot:
    return Ballot(1.0, judge, place, "python", "line", one, two, choice)
