"""How open models are shown a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.models.tiny_open_models import save_open

from mercury_lsp.engine.checkpoints import huggingface
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.open_models.prompt_format import canvas_context, fim_prompt
from mercury_lsp.engine.tokenizer import Prompt, Snippet

PROMPT = Prompt("a.py", "def f(<|fim_middle|>", ")", ":\n    pass\n")
BESIDE = Prompt("a.py", "x = ", "", "", (Snippet("b.py", "y = 1"),))


def opened(folder: Path, family: str) -> OpenCheckpoint:
    save_open(folder, family)
    return huggingface.read_open_checkpoint(folder)


def spelt(loaded: OpenCheckpoint, ids: list[int]) -> str:
    """Text of ids, the special ones by their names between blanks that stand for nothing else."""
    names = {i: f"⟦{name}⟧" for name, i in loaded.tokenizer.added.items()}
    return "".join(names.get(i) or loaded.tokenizer.decode([i]) for i in ids)


@pytest.mark.parametrize(
    ("family", "before", "after"),
    [
        ("dream", "⟦<|beginoftext|>⟧def f(<|fim_middle|>", "):\n    pass\n"),
        ("dreamon", "⟦<|beginoftext|>⟧def f(<|fim_middle|>", "):\n    pass\n⟦<|endoftext|>⟧"),
        ("open-dcoder", "def f(<|fim_middle|>", "):\n    pass\n"),
        ("llada", "⟦<|startoftext|>⟧def f(<|fim_middle|>", "):\n    pass\n"),
    ],
)
def test_a_canvas_stands_between_prefix_and_suffix(
    family: str, before: str, after: str, tmp_path: Path
) -> None:
    loaded = opened(tmp_path, family)
    left, right = canvas_context(PROMPT, loaded, 500)
    assert (spelt(loaded, left), spelt(loaded, right)) == (before, after)


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("sdar", "⟦<|fim_prefix|>⟧def f(<|fim_middle|>⟦<|fim_suffix|>⟧):\n    pass\n⟦<|fim_middle|>⟧"),
        (
            "stable-diffcoder",
            "⟦<[fim-suffix]>⟧):\n    pass\n⟦<[fim-prefix]>⟧def f(<|fim_middle|>⟦<[fim-middle]>⟧",
        ),
    ],
)
def test_a_block_causal_model_is_asked_in_its_own_words(family: str, text: str, tmp_path: Path) -> None:
    loaded = opened(tmp_path, family)
    assert spelt(loaded, fim_prompt(PROMPT, loaded, 500)) == text


def test_other_files_are_shown_where_there_is_a_token_for_it(tmp_path: Path) -> None:
    files = "⟦<|file_sep|>⟧b.py\ny = 1\n⟦<|file_sep|>⟧a.py\n"
    sdar = opened(tmp_path / "sdar", "sdar")
    assert (
        spelt(sdar, fim_prompt(BESIDE, sdar, 500))
        == f"{files}⟦<|fim_prefix|>⟧x = ⟦<|fim_suffix|>⟧⟦<|fim_middle|>⟧"
    )
    dcoder = opened(tmp_path / "dcoder", "open-dcoder")
    assert spelt(dcoder, canvas_context(BESIDE, dcoder, 500)[0]) == f"{files}x = "
    assert spelt(dcoder, canvas_context(BESIDE, dcoder, 10)[0]) == "x = "
    llada = opened(tmp_path / "llada", "llada")
    assert "b.py" not in spelt(llada, canvas_context(BESIDE, llada, 500)[0])


def test_an_empty_file_has_a_token_before_the_canvas(tmp_path: Path) -> None:
    loaded = opened(tmp_path, "open-dcoder")
    assert canvas_context(Prompt("", "", "", ""), loaded, 500) == ([loaded.end_token], [])


def test_what_does_not_fit_is_cut_at_the_far_ends(tmp_path: Path) -> None:
    loaded = opened(tmp_path, "open-dcoder")
    long = Prompt("a.py", "a = 1\n" * 99 + "z", "y", "\nb = 2" * 99)
    for room in (20, 100, 1000):
        left, right = canvas_context(long, loaded, room)
        assert room - 2 <= len(left) + len(right) <= room
        assert spelt(loaded, left).endswith("z")
        assert spelt(loaded, right).startswith("y")
        assert len(right) >= room // 4 - 1
