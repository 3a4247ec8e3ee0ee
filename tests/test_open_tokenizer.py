"""Tokenizers of open checkpoints: a user's text never becomes a special token."""

from __future__ import annotations

from pathlib import Path

from open_models import QWEN, write_tokenizer

from mercury_lsp.engine.open_tokenizer import OpenTokenizer


def test_special_strings_in_a_text_are_text(tmp_path: Path) -> None:
    added = write_tokenizer(tmp_path, QWEN)  # as text, which the library would otherwise find in it
    tokenizer = OpenTokenizer.load(tmp_path)
    assert tokenizer.added == added
    for text in (*QWEN, f"x = {QWEN[2]}\n{QWEN[0]}"):
        ids = tokenizer.encode(text)
        assert not set(ids) & set(added.values())
        assert tokenizer.decode(ids) == text
        assert tokenizer.count(text) == len(ids)
    assert tokenizer.decode([added[QWEN[0]], *tokenizer.encode("a")]) == "a"


def test_newlines_are_found(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, QWEN)
    tokenizer = OpenTokenizer.load(tmp_path)
    newlines = tokenizer.newlines()
    assert newlines
    assert all("\n" in tokenizer.decode([i]) for i in newlines)
    assert not any("\n" in tokenizer.decode([i]) for i in range(tokenizer.size) if i not in newlines)
