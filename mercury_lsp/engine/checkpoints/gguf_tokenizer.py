"""Makes the tokenizer of a GGUF file from its metadata: byte-level BPE with the file's pre-tokenizer, ``pre``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from mercury_lsp.engine.checkpoints.open_tokenizer import QWEN2_SPLIT, OpenTokenizer
from mercury_lsp.engine.tokenizer import read_vocabulary

# Values of ggml's ``token_type``: text is encoded only as normal tokens and bytes.
_NORMAL, _BYTE = 1, 6
_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_GPT2 = _BYTES | {"use_regex": True}


def _split(*patterns: str) -> list[dict[str, Any]]:
    return [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]


_QWEN2 = [*_split(QWEN2_SPLIT), _BYTES]
_LLAMA3 = [*_split(QWEN2_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|")), _BYTES]
_STARCODER = [_DIGITS, _GPT2]
_DEEPSEEK_CODER = [
    *_split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
    _DIGITS,
    _BYTES,
]
_PRE_TOKENIZERS: Mapping[str, list[dict[str, Any]]] = {
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "gpt-2": [_GPT2],
    "starcoder": _STARCODER,
    "refact": _STARCODER,
    "smollm": _STARCODER,
    "deepseek-coder": _DEEPSEEK_CODER,
}
"""Pre-tokenizers by llama.cpp's names; the patterns are copied from the models' own tokenizer.json."""


def tokenizer_of(metadata: Mapping[str, Any], special: Collection[int]) -> OpenTokenizer:
    """Make the tokenizer. Raises ``ValueError``.

    special: ids that no text may be encoded as, in addition to those that the file declares special.
    """
    kind, pre = metadata.get("tokenizer.ggml.model"), str(metadata.get("tokenizer.ggml.pre"))
    if kind != "gpt2":
        raise ValueError(
            f"its tokenizer is of the kind {str(kind)[:20]!r}, and only byte-level BPE can be read"
        )
    if pre not in _PRE_TOKENIZERS:
        raise ValueError(
            f"its tokenizer splits texts in the way {pre[:20]!r}, which is not known here; convert the model again "
            "if it is an old file"
        )
    tokens = _texts(metadata, "tokenizer.ggml.tokens")
    kinds = metadata.get("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise ValueError("its tokens and their types do not fit each other")
    if len(set(tokens)) != len(tokens):
        raise ValueError("its tokenizer has a token twice")
    merges = [tuple(merge.split(" ")) for merge in _texts(metadata, "tokenizer.ggml.merges")]
    if any(len(merge) != 2 for merge in merges):
        raise ValueError("its tokenizer has a merge that is none")
    added = [
        {
            "id": number, "content": token, "special": True, "normalized": False,
            "single_word": False, "lstrip": False, "rstrip": False,
        }
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind not in (_NORMAL, _BYTE) or number in special
    ]  # fmt: skip
    content = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _PRE_TOKENIZERS[pre]},
        "decoder": _BYTES,
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": merges,
            "ignore_merges": _PRE_TOKENIZERS[pre] is _LLAMA3,
        },
    }
    tokenizer = OpenTokenizer(read_vocabulary(json.dumps(content), "tokenizer"))
    if not tokenizer.newlines():
        raise ValueError("its tokenizer is not byte-level, so its newlines cannot be found")
    return tokenizer


def _texts(metadata: Mapping[str, Any], name: str) -> list[str]:
    """Return the list of nonempty texts ``name``. Raises ``ValueError``."""
    texts = metadata.get(name)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"its {name} is missing or invalid")
    return texts
