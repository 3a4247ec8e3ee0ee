"""Reads the tokenizer of an open checkpoint so that no user text can become a special token."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mercury_lsp.engine.checkpoints.json_values import read_object
from mercury_lsp.engine.tokenizer import Vocabulary, read_vocabulary

VOCABULARY, MERGES = "vocab.json", "merges.txt"
ADDED, SETTINGS = "added_tokens.json", "tokenizer_config.json"
# The pre-tokenizer of Qwen2's published tokenizer.json. Dream, Dream-Coder, DreamOn and DiffuCoder have Qwen2's
# vocabulary, but do not include that file.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_CLASSES = re.compile(r"((Qwen2|Dream)\w*Tokenizer(Fast)?)?")


class OpenTokenizer(Vocabulary):
    """Byte-level BPE with the special tokens of an open model."""

    @classmethod
    def load(cls, folder: Path) -> OpenTokenizer:
        """Read the tokenizer of a checkpoint's folder. Raises ``OSError`` or ``ValueError``."""
        if (folder / cls.FILE).is_file():
            source, content = cls.FILE, read_object(folder / cls.FILE)
        elif (folder / VOCABULARY).is_file() and (folder / MERGES).is_file():
            source, content = VOCABULARY, _as_qwen2(folder)
        else:
            raise ValueError(f"its {cls.FILE} is missing")
        declared = content.get("added_tokens", [])
        if not isinstance(declared, list) or not all(isinstance(token, dict) for token in declared):
            raise ValueError(f"its {source} has added tokens that are none")
        for token in declared:
            # Some models declare special tokens as text, so that typed text would become these tokens.
            token["special"] = True
        tokenizer = cls(read_vocabulary(json.dumps(content), source))
        if not tokenizer.newlines():
            raise ValueError("its tokenizer is not byte-level, so its newlines cannot be found")
        return tokenizer


def _as_qwen2(folder: Path) -> dict[str, Any]:
    """Make the content of the missing ``tokenizer.json`` from vocabulary and merges. Raises ``ValueError``."""
    settings = read_object(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    named = settings.get("tokenizer_class") or ""
    if not isinstance(named, str) or not _QWEN2_CLASSES.fullmatch(named):
        raise ValueError(
            f"its {Vocabulary.FILE} is missing, and {named!r} is not a tokenizer that is known here"
        )
    vocabulary = _ids(read_object(folder / VOCABULARY), VOCABULARY)
    added = _added(folder, settings)
    for token, number in added.items():
        if vocabulary.get(token, number) != number:
            raise ValueError(f"its files give the token {token!r} two ids")
    by_id = {number: token for token, number in vocabulary.items()}
    if wrong := [token for token, number in added.items() if by_id.get(number, token) != token]:
        raise ValueError(f"its files give the id of {wrong[0]!r} to two tokens")
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": number, "content": token, "special": True, "normalized": False,
                "single_word": False, "lstrip": False, "rstrip": False,
            }
            for token, number in sorted(added.items(), key=lambda item: item[1])
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            ],
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        # The library renumbers added tokens that are not in the model's vocabulary. No merge produces an added token,
        # so that no text becomes one.
        "model": {"type": "BPE", "vocab": vocabulary | added, "merges": _merges(folder / MERGES)},
    }  # fmt: skip


def _added(folder: Path, settings: dict[str, Any]) -> dict[str, int]:
    """Return the ids of the tokens outside the vocabulary, by token."""
    added = _ids(read_object(folder / ADDED), ADDED) if (folder / ADDED).is_file() else {}
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise ValueError(f"its {SETTINGS} has added tokens that are no object")
    for number, token in decoder.items():
        content = token.get("content") if isinstance(token, dict) else token
        if not isinstance(content, str) or not content or not number.isdecimal() or len(number) > 9:
            raise ValueError(f"its {SETTINGS} has an added token that is none")
        if added.setdefault(content, int(number)) != int(number):
            raise ValueError(f"its files give the token {content!r} two ids")
    return added


def _ids(values: dict[str, Any], name: str) -> dict[str, int]:
    if any(not isinstance(number, int) or not 0 <= number < 1 << 30 for number in values.values()):
        raise ValueError(f"its {name} has an id that is none")
    if len(set(values.values())) != len(values):
        raise ValueError(f"its {name} gives an id to two tokens")
    return values


def _merges(path: Path) -> list[tuple[str, str]]:
    """Read the merges, in order. A line that begins with # may be a merge."""
    lines = path.read_text(encoding="utf-8").replace("\r\n", "\n").split("\n")
    if lines[0].startswith("#version"):
        del lines[0]
    merges = []
    for line in filter(None, lines):
        first, _, second = line.partition(" ")
        if not first or not second or " " in second:
            raise ValueError(f"its {path.name} has a line that is not a merge")
        merges.append((first, second))
    return merges
