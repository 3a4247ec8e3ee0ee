"""Tests of token files: their contents, and that an unusable file never opens the server to everyone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury_lsp.cli.main import main
from mercury_lsp.tokens import MAX_FILE_BYTES, Tokens, parse_tokens, read_tokens

EMPTY = (b"", b"\n\n", b"# only a comment\n", b"  \t \r\n#x", b"\xef\xbb\xbf", b"\xef\xbb\xbf# BOM\r\n")
WRONG = (
    b"\xff\xfes\x00e\x00", b"\x00" * 100, "pässwort ann\n".encode(), b"one\x1b[2J ann\n", b"one ann\none bob\n",
    b"one \x1b]0;title\x07\n", b"one " + b"n" * 1000, b"x" * (MAX_FILE_BYTES + 1),
)  # fmt: skip


def test_a_line_has_a_token_and_a_name_or_a_number(tmp_path: Path) -> None:
    text = "# the team\nsecret-1 ann\n\n  secret-2  \nsecret-3\tbob b\r\nsecret-4 é\rsecret-5"
    wanted = {
        "secret-1": "ann", "secret-2": "token-2", "secret-3": "bobb", "secret-4": "é", "secret-5": "token-5",
    }  # fmt: skip
    assert parse_tokens(text) == wanted
    (tmp_path / "tokens").write_text("\ufeff" + text, encoding="utf-8")
    assert read_tokens(tmp_path / "tokens", {}) == read_tokens(None, {"MERCURY_TOKENS": text}) == wanted
    assert read_tokens(None, {}) == {}


@pytest.mark.parametrize("content", EMPTY + WRONG)
def test_a_file_without_a_usable_token_is_bad_usage(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tokens").write_bytes(content)
    for command in (["serve"], ["--tcp"]):
        assert main([*command, "--port", "0", "--token-file", str(tmp_path / "tokens")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("mercury-lsp: Cannot read tokens from ") and error.count("\n") == 1
        assert error.isprintable() or error.rstrip("\n").isprintable()


@pytest.mark.parametrize("path", [".", "none"])
def test_a_path_that_is_not_a_file_is_bad_usage(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0", "--token-file", str(tmp_path / path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("value", ["", " ", "# nobody"])
def test_a_variable_without_a_token_is_bad_usage(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERCURY_TOKENS", value)
    assert main(["serve", "--port", "0"]) == 2
    assert "MERCURY_TOKENS: there is no token" in capsys.readouterr().err


@given(st.text(st.sampled_from("ab# \t\r\n\x0b\x0c\x1c\x1b\u2028\ufeffé\x00"), max_size=20))
def test_any_text_gives_valid_tokens_or_an_error(text: str) -> None:
    try:
        tokens = parse_tokens(text)
    except ValueError:
        return
    for token, name in tokens.items():
        assert token.isascii() and token.isprintable() and not token.startswith("#") and " " not in token
        assert name.isprintable() and " " not in name
        assert Tokens(tokens).name(token) == name
        assert Tokens(tokens).name(token + "x") is None


def test_an_empty_token_belongs_to_no_client() -> None:
    assert Tokens({"one": "ann"}).name("") is None
    assert Tokens({"one": "ann"}).name("\ud800") is None
    assert not Tokens({})
