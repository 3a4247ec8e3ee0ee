"""Fuzzes settings and token files: whatever they hold, there is one short sentence for each fault, and no traceback."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz_cases import fuzzed

from mercury_lsp.cli.main import main
from mercury_lsp.config import MAX_REPORTED_UNKNOWN, MAX_TEXT_CHARACTERS, OPTIONS, Config, parse_settings
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError, locate_model
from mercury_lsp.remote.address import Address, RemoteError
from mercury_lsp.session.session import Session
from mercury_lsp.tokens import MAX_FILE_BYTES, parse_tokens, read_tokens

LONGEST_SENTENCE = 700  # characters: the longest list of choices and a quoted value
MOST_SECONDS = 0.5  # of processor time for one object of settings
NAMES = [option.name for option in OPTIONS]
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([choice for option in OPTIONS for choice in option.choices]),
    st.sampled_from(["/\0", "~\0", "~nobody-at-all/x", "x" * 300, "/" + "x" * 300, "../" * 1500, "x" * 10**6,
                     "\ud800", "a\nb", "\x1b[2J", "\u202e", "//host/share", "C:\\x", "http://[", "https://a:99999",
                     "https://" + "é" * 80, "https://a..b", "https://" + "a" * 5000, "https://xn--\xff"]),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, 1e308, -0.0, 5e-324]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
SETTINGS = st.one_of(VALUES, st.dictionaries(st.one_of(st.sampled_from(NAMES), TEXTS), VALUES, max_size=8))


@fuzzed(150)
@given(SETTINGS)
def test_any_settings_are_a_configuration_and_a_sentence_for_each_fault(settings: Any) -> None:
    began = process_time()
    config, problems = parse_settings(settings)
    assert process_time() - began < MOST_SECONDS
    assert parse_settings({field.name: getattr(config, field.name) for field in fields(Config)}) == (
        config,
        (),
    )
    if isinstance(settings, dict):
        wrong = [name for name, value in settings.items() if parse_settings({name: value})[1]]
        unknown = [name for name in wrong if name not in NAMES]
        more = max(0, len(unknown) - MAX_REPORTED_UNKNOWN)
        assert len(problems) == len(wrong) - more + bool(more)
    for problem in problems:
        assert problem.endswith((".", "?")) and problem.isprintable() and len(problem) < LONGEST_SENTENCE


@fuzzed(40)
@given(SETTINGS, SETTINGS)
def test_a_session_takes_any_settings(first: Any, later: Any) -> None:
    session = Session()
    session.configure(first, first=True)
    session.set_folders(("/w",))
    session.configure({"mercury": later})
    assert isinstance(session.config, Config) and isinstance(session.model, str)


@fuzzed(60)
@given(TEXTS)
def test_any_model_and_any_address_are_there_or_are_a_sentence(text: str) -> None:
    with pytest.raises(CheckpointError) as told:
        locate_model(f"{text}/no-model")
    assert len(str(told.value)) < 2 * len(text) * 4 + 1000
    wrong = ""
    try:
        Address.of(text)
    except RemoteError as error:
        wrong = str(error)
    assert wrong.isprintable() and len(wrong) < LONGEST_SENTENCE


def test_deep_and_large_settings_are_quoted_in_short() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    large = {f"{'a' * 5000}{i}": i for i in range(5000)}
    began = process_time()
    for settings in (deep, {"max_tokens": deep}, {"model": "x" * 10**7}, ["x" * 10**7] * 100, large):
        problems = parse_settings(settings)[1]
        assert 1 <= len(problems) <= MAX_REPORTED_UNKNOWN + 1
        assert max(map(len, problems)) < LONGEST_SENTENCE
    assert process_time() - began < MOST_SECONDS


def test_a_fault_of_size_is_told_as_one() -> None:
    for value in ("x" * (MAX_TEXT_CHARACTERS + 1), "a\0b", "\ud800"):
        assert parse_settings({"remote_url": value})[1][0].startswith(
            f"The setting remote_url must be a string of 0 to {MAX_TEXT_CHARACTERS} characters, not '"
        )
    assert "thousands of digits" in parse_settings({"threads": 10**5000})[1][0]


LINES = st.text(st.sampled_from("ab#\x00\x1b\x85\u2028\u202e\ud800 \té\ufeff"), max_size=12)
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.lists(LINES, max_size=6).map(lambda lines: "\n".join(lines).encode(errors="surrogatepass")),
    st.sampled_from(["utf-16", "utf-32", "latin-1", "utf-8-sig"]).map(
        lambda code: "sécret ann\n".encode(code)
    ),
    st.integers(0, 3).map(lambda more: b"x y\n" * (MAX_FILE_BYTES // 4) + b"z" * more),
)


@fuzzed(100)
@given(content=CONTENTS)
def test_any_token_file_is_tokens_or_a_few_words_that_quote_nothing(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(content)
    tokens, wrong = {}, ""
    try:
        tokens = read_tokens(file, {})
    except ValueError as error:
        wrong = str(error)
    assert wrong.isprintable() and len(wrong) < 100 and "sécret" not in wrong
    assert bool(tokens) is not bool(wrong)
    if tokens:
        assert tokens == parse_tokens(content.decode("utf-8-sig"))
        assert all(token.isascii() and token.isprintable() for token in tokens)


@pytest.mark.parametrize("content", [b"", b"\xff", b"a\na\n", b"\0", b"x\x1b y", b"# none"])
def test_a_wrong_token_file_ends_the_command_with_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tokens").write_bytes(content)
    assert main(["serve", "--token-file", str(tmp_path / "tokens")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Traceback" not in told
