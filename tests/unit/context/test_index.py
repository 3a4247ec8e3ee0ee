"""What is read of a file, and the pieces of it."""

from __future__ import annotations

import random

from mercury_lsp.context.retrieval.index import CHUNK_LINES, COMMON_WORDS, MAX_FILE_CHARACTERS, read, words


def test_the_text_comes_back_with_plain_line_endings() -> None:
    entry = read("a.py", "x = 1\r\ny = 'ä'\rz = 2\n")
    assert entry.text == "x = 1\ny = 'ä'\nz = 2\n"


def test_chunks_cover_the_file_and_overlap() -> None:
    text = "\n".join(f"value_{i} = {i}" for i in range(50))
    chunks = read("a.py", text).chunks
    assert {name for chunk in chunks for name in chunk.words} == {f"value_{i}" for i in range(50)}
    lines = text.split("\n")
    for chunk in chunks:
        assert chunk.text == "\n".join(lines[chunk.line : chunk.line + CHUNK_LINES])
    assert len({chunk.line for chunk in chunks}) == len(chunks) > 50 / CHUNK_LINES


def test_words_are_names_that_tell_something() -> None:
    assert words("def count_words(self) -> int: return self.total  # of it") == {"count_words", "total"}
    assert "return" in COMMON_WORDS


def test_odd_texts_are_read() -> None:
    """Whatever a file holds, an entry comes of it, and its size is known."""
    odd = random.Random(0)
    pieces = ("def f(", "class", "\0", "\ud800", "\r", "{", '"""', "é", "x" * 50, "\n", "    ", ")", ":")
    for suffix in ("py", "go", "rs", "ts", "php", "txt", ""):
        for _ in range(20):
            text = "".join(odd.choices(pieces, k=odd.randint(0, 40)))
            entry = read(f"a.{suffix}", text)
            assert entry.size > 0
            entry.text.encode("utf-8")
            assert all(chunk.text.strip() for chunk in entry.chunks)


def test_what_is_kept_of_a_file_is_bounded() -> None:
    assert len(read("a.py", "x" * (MAX_FILE_CHARACTERS + 5)).text) == MAX_FILE_CHARACTERS
