"""The prompts of open models: tokens, order and length."""

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


def save_and_read(folder: Path, family: str) -> OpenCheckpoint:
    save_open(folder, family)
    return huggingface.read_open_checkpoint(folder)


def text_of(loaded: OpenCheckpoint, ids: list[int]) -> str:
    """Return the text of ids, with the names of special tokens in brackets that occur nowhere else."""
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
def test_a_canvas_is_placed_between_prefix_and_suffix(
    family: str, before: str, after: str, tmp_path: Path
) -> None:
    loaded = save_and_read(tmp_path, family)
    left, right = canvas_context(PROMPT, loaded, 500)
    assert (text_of(loaded, left), text_of(loaded, right)) == (before, after)


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
def test_the_prompt_of_a_block_causal_model_uses_its_own_fim_tokens(
    family: str, text: str, tmp_path: Path
) -> None:
    loaded = save_and_read(tmp_path, family)
    assert text_of(loaded, fim_prompt(PROMPT, loaded, 500)) == text


def test_related_files_are_in_the_prompt_if_the_model_has_a_token_for_files(tmp_path: Path) -> None:
    files = "⟦<|file_sep|>⟧b.py\ny = 1\n⟦<|file_sep|>⟧a.py\n"
    sdar = save_and_read(tmp_path / "sdar", "sdar")
    assert (
        text_of(sdar, fim_prompt(BESIDE, sdar, 500))
        == f"{files}⟦<|fim_prefix|>⟧x = ⟦<|fim_suffix|>⟧⟦<|fim_middle|>⟧"
    )
    dcoder = save_and_read(tmp_path / "dcoder", "open-dcoder")
    assert text_of(dcoder, canvas_context(BESIDE, dcoder, 500)[0]) == f"{files}x = "
    assert text_of(dcoder, canvas_context(BESIDE, dcoder, 10)[0]) == "x = "
    llada = save_and_read(tmp_path / "llada", "llada")
    assert "b.py" not in text_of(llada, canvas_context(BESIDE, llada, 500)[0])


def test_a_canvas_in_an_empty_file_follows_an_end_token(tmp_path: Path) -> None:
    loaded = save_and_read(tmp_path, "open-dcoder")
    assert canvas_context(Prompt("", "", "", ""), loaded, 500) == ([loaded.end_token], [])


def test_a_long_prompt_is_cut_at_the_ends_far_from_the_cursor(tmp_path: Path) -> None:
    loaded = save_and_read(tmp_path, "open-dcoder")
    long = Prompt("a.py", "a = 1\n" * 99 + "z", "y", "\nb = 2" * 99)
    for room in (20, 100, 1000):
        left, right = canvas_context(long, loaded, room)
        assert room - 2 <= len(left) + len(right) <= room
        assert text_of(loaded, left).endswith("z")
        assert text_of(loaded, right).startswith("y")
        assert len(right) >= room // 4 - 1
