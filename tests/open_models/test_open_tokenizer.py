"""Tokenizers of open checkpoints: text of the user never becomes a special token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models.tiny_open_models import QWEN, TEXT, save_open, write_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from mercury_lsp.cli.main import main
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.checkpoints.open_tokenizer import OpenTokenizer
from mercury_lsp.engine.load import load_engine
from mercury_lsp.engine.tokenizer import Prompt


def test_special_strings_in_a_text_are_encoded_as_text(tmp_path: Path) -> None:
    # The library would find these strings in a text.
    added = write_tokenizer(tmp_path, QWEN)
    tokenizer = OpenTokenizer.load(tmp_path)
    assert tokenizer.added == added
    for text in (*QWEN, f"x = {QWEN[2]}\n{QWEN[0]}"):
        ids = tokenizer.encode(text)
        assert not set(ids) & set(added.values())
        assert tokenizer.decode(ids) == text
        assert tokenizer.count(text) == len(ids)
    assert tokenizer.decode([added[QWEN[0]], *tokenizer.encode("a")]) == "a"


def test_newlines_are_the_tokens_with_a_line_break(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, QWEN)
    tokenizer = OpenTokenizer.load(tmp_path)
    newlines = tokenizer.newlines()
    assert newlines
    assert all("\n" in tokenizer.decode([i]) for i in newlines)
    assert not any("\n" in tokenizer.decode([i]) for i in range(tokenizer.size) if i not in newlines)


GAPS = {"<|im_end|>": 700, "<|mask|>": 901, "<|endoftext|>": 700 + 7}


def write_vocabulary(folder: Path, added: dict[str, int], tokenizer_class: str = "DreamTokenizer") -> Any:
    """Write a folder without tokenizer.json, like Dream's on the hub; return transformers' tokenizer for it."""
    from transformers import Qwen2Tokenizer

    trained = Qwen2Tokenizer().backend_tokenizer
    made = Tokenizer(models.BPE())
    made.normalizer, made.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([TEXT * 3], trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet))
    folder.mkdir(parents=True, exist_ok=True)
    made.model.save(str(folder))
    names = list(added)
    (folder / "added_tokens.json").write_text(json.dumps({name: added[name] for name in names[1:]}))
    decoder = {str(added[name]): {"content": name, "special": False} for name in names[:2]}
    settings = {"tokenizer_class": tokenizer_class, "added_tokens_decoder": decoder}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    return Qwen2Tokenizer(vocab=json.loads((folder / "vocab.json").read_text()), merges=merges)


@pytest.fixture(scope="module")
def published_tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenTokenizer, Any]:
    folder = tmp_path_factory.mktemp("published")
    theirs = write_vocabulary(folder, GAPS)
    return OpenTokenizer.load(folder), theirs


def test_a_vocabulary_with_merges_encodes_like_qwen2s_tokenizer(
    published_tokenizers: tuple[OpenTokenizer, Any],
) -> None:
    ours, theirs = published_tokenizers
    assert ours.added == GAPS
    samples = [
        TEXT,
        "x=  1\r\n\n\n\ty",
        "it's I'LL 12345 ١٢",
        "def  f ( a ) :\n        return",
        "é e\u0301 漢字 😀",
        "",
    ]
    samples += [
        "\n \n",
        "a\u2028b\x85c\x0bd",
        "    ",
        " \t\n  x",
        "#include <a.h>",
        "''' \"\"\"",
        "naïve_façade2",
    ]
    for text in samples:
        assert ours.encode(text) == theirs(text)["input_ids"], text
        assert ours.decode(ours.encode(text)) == normalize("NFC", text)
    for text in (*GAPS, f"a{''.join(GAPS)}b"):
        assert not set(ours.encode(text)) & set(GAPS.values())
        assert ours.decode(ours.encode(text)) == text
    assert ours.decode([GAPS["<|mask|>"], *ours.encode("a")]) == "a"


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_is_encoded_like_by_transformers(
    text: str, published_tokenizers: tuple[OpenTokenizer, Any]
) -> None:
    ours, theirs = published_tokenizers
    assert ours.encode(text) == theirs(text)["input_ids"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("vocab.json", "[]", "no object"),
        ("vocab.json", '{"a": "b"}', "an id that is none"),
        ("vocab.json", '{"a": 1, "b": 1}', "two tokens"),
        ("vocab.json", '{"a": 1}', "cannot be read"),
        ("vocab.json", "{", "Expecting"),
        ("merges.txt", "a\n", "not a merge"),
        ("merges.txt", "#version: 0.2\na b c\n", "not a merge"),
        ("merges.txt", "zz yy\n", "cannot be read"),
        ("added_tokens.json", '{"<|x|>": -1}', "an id that is none"),
        ("added_tokens.json", '{"<|x|>": 5}', "to two tokens"),
        ("added_tokens.json", '{"<|im_end|>": 701}', "two ids"),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": "GPT2Tokenizer"}',
            "is not a tokenizer that is known here",
        ),
        ("tokenizer_config.json", '{"tokenizer_class": 7}', "is not a tokenizer that is known here"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {"content": "y"}}}', "is none"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"7": {}}}', "is none"),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}', "no object"),
    ],
)
def test_invalid_files_are_refused_in_one_line(name: str, content: str, says: str, tmp_path: Path) -> None:
    write_vocabulary(tmp_path, GAPS)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=says) as error:
        OpenTokenizer.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_without_tokenizer_json_is_selected_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "dream"
    save_open(folder, "dream")
    added = OpenTokenizer.load(folder).added
    (folder / "tokenizer.json").unlink()
    # The folder has neither file.
    assert main(["models", "select", str(folder)]) == 1
    write_vocabulary(folder, {name: number + 150 for name, number in added.items()})
    config = json.loads((folder / "config.json").read_text())
    config |= {name: config[name] + 150 for name in ("mask_token_id", "eos_token_id")}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MERCURY_MODEL", raising=False)
    assert main(["models", "select", str(folder)]) == 0
    capsys.readouterr()
    engine = load_engine("auto", "cpu", 1)
    assert engine.name == "dream"
    assert engine.infill(Prompt("a.py", "x = ", "", "\n"), Sampling(max_tokens=4, max_passes=4)).tokens
