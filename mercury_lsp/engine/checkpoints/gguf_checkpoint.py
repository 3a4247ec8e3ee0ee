"""Reads a GGUF file of llama.cpp as an open checkpoint: weights, vocabulary and infilling tokens in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mercury_lsp.engine.checkpoints.checkpoint import as_checkpoint_error
from mercury_lsp.engine.checkpoints.gguf_file import MAGIC, read_gguf
from mercury_lsp.engine.checkpoints.gguf_tokenizer import tokenizer_of
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.checkpoints.stored_values import decode_values
from mercury_lsp.engine.checkpoints.weight_file import StoredWeight
from mercury_lsp.engine.open_models.families import Config, Family, Fim, Unsupported, family_of

# The metadata's names of the tokens of an infilling prompt, new and old.
_FIM_KEYS = (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle"))
_STOP_TOKEN_KEYS = ("eos", "eot", "fim_pad", "fim_rep", "fim_sep")
# The divisors of the rotary frequencies in files of Llama 3.1.
_ROPE_FACTORS = "rope_freqs.weight"


def is_gguf(path: Path) -> bool:
    """Return whether a path is a GGUF file, by its content, because Ollama names files by hashes."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def read_gguf_checkpoint(path: Path) -> OpenCheckpoint:
    """Read a file, and check its weights against its metadata. Raises `CheckpointError`."""
    with as_checkpoint_error(path):
        metadata, files = read_gguf(path)
        if metadata.get("split.count", 1) != 1:
            raise Unsupported("it is one of several parts; join them with llama-gguf-split --merge")
        fim_ids = [_special(metadata, names) for names in _FIM_KEYS]
        stop_tokens = [
            number for name in _STOP_TOKEN_KEYS if (number := _special(metadata, (name,))) is not None
        ]
        special = {number for number in (*fim_ids, *stop_tokens) if number is not None}
        tokenizer = tokenizer_of(metadata, special)
        tokens = metadata["tokenizer.ggml.tokens"]
        config = _configuration(metadata, files, stop_tokens)
        family = replace(family_of(config, tokenizer.added), weight_names="gguf")
        if "blk.0.attn_q.bias" in files:
            family = replace(family, qkv_bias=True)
        if None not in fim_ids:
            family = _with_fim(family, *(tokens[number] for number in fim_ids if number is not None))
        start = _special(metadata, ("bos",)) if metadata.get("tokenizer.ggml.add_bos_token") is True else None
        factors = files.pop(_ROPE_FACTORS, None)
        first = "" if start is None else tokens[start]
        loaded = OpenCheckpoint.of(path.stem, path, family, config, tokenizer, files, first)
        if factors is None:
            return loaded
        divisors = decode_values(factors.dtype, np.frombuffer(factors.read(), np.uint8)[None]).ravel()
        shape = replace(loaded.shape, rope_factors=tuple(divisors.tolist()))
        shape.check()
        return replace(loaded, shape=shape)


def _special(metadata: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """Return a special token's id by the first known name; None without any. Raises ``ValueError``."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    for name in names:
        number = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if number is not None:
            if not isinstance(number, int) or not isinstance(tokens, list) or not 0 <= number < len(tokens):
                raise ValueError(f"its {name} token is no token of its vocabulary")
            return number
    return None


def _with_fim(family: Family, prefix: str, suffix: str, middle: str) -> Family:
    """Return the family with the file's prompt tokens, in the order of the known prompt with this prefix token."""
    suffix_first = any(fim.suffix_first for fim in family.fim if fim.prefix == prefix)
    return replace(family, fim=(Fim(prefix, suffix, middle, suffix_first), *family.fim))


def _configuration(
    metadata: Mapping[str, Any], files: Mapping[str, StoredWeight], stop_tokens: list[int]
) -> Config:
    """Translate the metadata to the fields of a ``config.json``. Raises ``KeyError`` or ``ValueError``."""
    kind = metadata["general.architecture"]

    def own(name: str, default: Any = None) -> Any:
        return metadata.get(f"{kind}.{name}", default)

    embedding = files.get("token_embd.weight")
    if embedding is None:
        raise ValueError("its weight token_embd.weight is missing")
    heads, width = own("attention.head_count"), own("embedding_length")
    config = {
        "model_type": kind,
        "vocab_size": embedding.shape[0],
        "hidden_size": width,
        "intermediate_size": own("feed_forward_length"),
        "num_hidden_layers": own("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": own("attention.head_count_kv"),
        "head_dim": own("attention.key_length"),
        "max_position_embeddings": own("context_length"),
        "rope_theta": own("rope.freq_base"),
        "rms_norm_eps": own("attention.layer_norm_rms_epsilon"),
        "num_experts": own("expert_count", 0),
        "embedding_multiplier": own("embedding_scale"),
        "attention_multiplier": own("attention.scale"),
        "residual_multiplier": own("residual_scale"),
        "logits_scaling": own("logit_scale"),
        "tie_word_embeddings": "output.weight" not in files,
        "eos_token_id": stop_tokens,
        "rope_scaling": {
            "rope_type": own("rope.scaling.type", "default"),
            "factor": own("rope.scaling.factor", own("rope.scale_linear")),
            "original_max_position_embeddings": own("rope.scaling.original_context_length"),
            "attention_factor": own("rope.scaling.attn_factor"),
        },
    }
    if isinstance(heads, int) and isinstance(width, int) and heads:
        head_width = own("attention.key_length", width // heads)
        if {own("attention.value_length", head_width), own("rope.dimension_count", head_width)} != {
            head_width
        }:
            raise Unsupported(
                "its attention rotates a part of a head, or has values of another width than keys"
            )
    return config
