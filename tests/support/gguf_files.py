"""Writes small GGUF files like llama.cpp's converter, with random weights of classes of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from support.models.tiny_open_models import QWEN, write_tokenizer

SIZES = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 1024,
         "rms_norm_eps": 1e-6}  # fmt: skip
BASES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "granite": "Granite"}
# Granite's multipliers: the names in transformers and in llama.cpp, and values that change the result.
MULTIPLIERS = {
    "embedding_multiplier": ("embedding_scale", 12.0),
    "attention_multiplier": ("attention.scale", 0.03),
    "residual_multiplier": ("residual_scale", 0.22),
    "logits_scaling": ("logit_scale", 1.5),
}
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def model_of(kind: str, **changes: Any) -> Any:
    """Return a model of transformers with random weights."""
    import transformers

    multipliers = {name: value for name, (_, value) in MULTIPLIERS.items()} if kind == "granite" else {}
    sizes = SIZES | {"tie_word_embeddings": True} | multipliers | changes
    config = getattr(transformers, f"{BASES[kind]}Config")(**sizes, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, f"{BASES[kind]}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.1)
    return model


def save_gguf(
    path: Path,
    kind: str,
    dtype: str = "F32",
    tokens: tuple[str, ...] = QWEN,
    metadata: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """Write a file, and return a model of transformers with the same weights, rounded as in the file.

    dtype: the type of the matrices. metadata: further or changed entries; None removes an entry.
    """
    model = model_of(kind, **changes)
    config = model.config
    writer = gguf.GGUFWriter(path, kind)
    rope = getattr(config, "rope_parameters", None) or {}
    own = {
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "context_length": config.max_position_embeddings,
        "rope.freq_base": float(rope.get("rope_theta", 10000.0)),
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "attention.key_length": 64,
        "attention.value_length": 64,
    }
    if kind == "granite":
        own |= {theirs: getattr(config, name) for name, (theirs, _) in MULTIPLIERS.items()}
    described = {f"{kind}.{name}": value for name, value in own.items()} | (metadata or {})
    for name, value in described.items():
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif value is not None:
            writer.add_string(name, value)
    _add_tokenizer(writer, path, tokens, described)
    quantized = gguf.GGMLQuantizationType[dtype]
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            theirs = weight.numpy().astype(np.float32)
            stored = gguf.GGMLQuantizationType.F32 if theirs.ndim == 1 else quantized
            raw = gguf.quants.quantize(theirs, stored)
            weight.copy_(torch.from_numpy(gguf.quants.dequantize(raw, stored).reshape(theirs.shape)))
            stem, _, last = name.rpartition(".")
            if kind in ("llama", "granite") and ("q_proj" in stem or "k_proj" in stem):
                # llama.cpp rotates neighboring columns, so its converter interleaves the halves of each head.
                raw = raw.reshape(-1, 2, 32, raw.shape[-1]).swapaxes(1, 2).reshape(raw.shape)
            if stem.startswith("model.layers."):
                _, _, index, rest = stem.split(".", 3)
                stem = f"blk.{index}.{NAMES[rest]}"
            else:
                stem = NAMES[stem]
            writer.add_tensor(f"{stem}.{last}", np.ascontiguousarray(raw), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add_tokenizer(
    writer: gguf.GGUFWriter, path: Path, tokens: tuple[str, ...], described: dict[str, Any]
) -> None:
    folder = path.with_suffix(".tokenizer")
    ids = write_tokenizer(folder, tokens)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"] | ids
    names = {number: token for token, number in vocabulary.items()}
    size = SIZES["vocab_size"]
    listed = [names.get(number, f"[PAD{number}]") for number in range(size)]
    kinds = [
        gguf.TokenType.NORMAL
        if number not in ids.values() and number in names
        else gguf.TokenType.CONTROL
        if number in names
        else gguf.TokenType.UNUSED
        for number in range(size)
    ]
    for name, value in (("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "gpt-2")):
        if name not in described:
            writer.add_string(name, value)
    writer.add_token_list(listed)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_token_merges([" ".join(merge) for merge in content["model"]["merges"]])
    if tokens:
        writer.add_eos_token_id(ids[tokens[0]])
