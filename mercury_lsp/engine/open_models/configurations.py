"""Reads the shape of an open model from its configuration, and maps the names of its weights."""

from __future__ import annotations

import math

import numpy as np

from mercury_lsp.engine.checkpoints.json_values import object_field, positive_number, whole_number
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.open_models.families import MAX_POSITIONS, Config, Family, Unsupported, format_value

MIN_POSITIONS = 512
"""The shortest sequence in which the longest suggestion, two blocks and some text around them fit."""


def shape_of(family: Family, config: Config) -> Shape:
    """Read the shape of a configuration. Raises ``ValueError``, or ``KeyError`` for a missing size."""
    _check_supported(config)
    shape = _olmo_shape(config) if family.weight_names == "olmo" else _llama_shape(family, config)
    shape.check()
    if shape.positions < MIN_POSITIONS:
        raise Unsupported(f"it has {shape.positions} positions, and at least {MIN_POSITIONS} are needed")
    return shape


def _llama_shape(family: Family, config: Config) -> Shape:
    """Read the shape of a configuration with the field names of Llama and Qwen."""
    heads, width = whole_number(config, "num_attention_heads"), whole_number(config, "hidden_size")
    theta = positive_number(object_field(config, "rope_parameters"), "rope_theta", 10_000.0)
    theta = positive_number(config, "rope_theta", theta)
    head_width = _whole_number_or(config, "head_dim", width // heads)
    factors, magnitude = rope_factors(config, head_width, theta)
    if config.get("attention_bias") and not family.qkv_bias:
        raise Unsupported("its attention has biases")
    if config.get("mlp_bias"):
        raise Unsupported("its feed-forward layers have biases")
    return Shape(
        vocabulary=whole_number(config, "vocab_size"),
        width=width,
        layers=whole_number(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=_whole_number_or(config, "num_key_value_heads", heads),
        head_width=head_width,
        hidden=whole_number(config, "intermediate_size"),
        rope_theta=theta,
        norm_eps=positive_number(config, "rms_norm_eps", 1e-6),
        positions=min(_whole_number_or(config, "max_position_embeddings", MAX_POSITIONS), family.positions),
        qkv_bias=family.qkv_bias,
        head_norms=family.head_norms,
        tied=bool(config.get("tie_word_embeddings", False)),
        rope_factors=factors,
        rope_magnitude=magnitude,
    )


def rope_factors(config: Config, head_width: int, theta: float) -> tuple[tuple[float, ...], float]:
    """Return the divisors of the rotary frequencies (head_width / 2) and the factor of the rotated values.

    The divisors are empty if all are 1. The methods are position interpolation (Chen et al. 2023), that of Llama 3.1
    (Dubey et al. 2024) and YaRN (Peng et al. 2023). Raises `Unsupported` for other methods, and ``ValueError``.
    """
    scaling = object_field(config, "rope_scaling") or object_field(config, "rope_parameters")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind in ("default", "none"):
        return (), 1.0
    if kind not in ("linear", "llama3", "yarn"):
        raise Unsupported(f"its positions are scaled ({format_value(kind)})")
    factor = positive_number(scaling, "factor", 1.0)
    if kind == "linear":
        return (factor,) * (head_width // 2), 1.0
    frequency = theta ** -(np.arange(0, head_width, 2) / head_width)
    trained_positions = positive_number(
        scaling,
        "original_max_position_embeddings",
        positive_number(config, "max_position_embeddings", MAX_POSITIONS),
    )
    if kind == "llama3":
        # Frequencies with few turns over the original context are interpolated, those with many turns stay.
        low = positive_number(scaling, "low_freq_factor", 1.0)
        high = positive_number(scaling, "high_freq_factor", 4.0)
        unscaled = np.clip(
            (trained_positions * frequency / (2 * math.pi) - low) / max(high - low, 1e-9), 0, 1
        )
        return tuple((1 / (unscaled + (1 - unscaled) / factor)).tolist()), 1.0
    if any(scaling.get(name) is not None for name in ("mscale", "mscale_all_dim")):
        raise Unsupported("its positions are scaled (yarn with mscale)")

    def dimension(turns: float) -> float:
        """Return the index of the rotary pair that makes ``turns`` turns over the original context."""
        return head_width * math.log(trained_positions / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(dimension(positive_number(scaling, "beta_fast", 32.0))), 0)
    last = min(math.ceil(dimension(positive_number(scaling, "beta_slow", 1.0))), head_width - 1)
    unscaled = 1 - np.clip((np.arange(head_width // 2) - first) / max(last - first, 1e-3), 0, 1)
    magnitude = positive_number(
        scaling, "attention_factor", 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    )
    return tuple((1 / (unscaled + (1 - unscaled) / factor)).tolist()), magnitude


def weight_factors(config: Config, shape: Shape) -> dict[str, float]:
    """Return the factors that replace Granite's multipliers, by the names of the network's weights without the layer.

    Granite multiplies the embedded rows, the attention scores (instead of dividing them by the square root of the head
    width) and the output of each sublayer, and divides the logits (transformers' ``GraniteConfig``). `Network` does
    none of these, so the weights are multiplied instead; `QUERY` is the factor of the rows of the queries. Raises
    ``ValueError`` for implausible multipliers.
    """
    multipliers = {
        name: positive_number(config, name, 1.0) for name in _MULTIPLIERS if config.get(name) is not None
    }
    for name, value in multipliers.items():
        if not 1 / MAX_MULTIPLIER <= value <= MAX_MULTIPLIER:
            raise ValueError(f"its {name} must be from {1 / MAX_MULTIPLIER:g} to {MAX_MULTIPLIER:g}")
    embedding, attention, residual, logits = (multipliers.get(name, 1.0) for name in _MULTIPLIERS)
    if "attention_multiplier" in multipliers and shape.head_norms:
        raise Unsupported("its attention has norms of the heads and a multiplier")
    factors = {
        "embedding.weight": embedding,
        QUERY: attention * math.sqrt(shape.head_width) if "attention_multiplier" in multipliers else 1.0,
        "attention.out.weight": residual,
        "down.weight": residual,
        # A tied output matrix also has the factor of the embedding.
        "norm.weight": 1 / (logits * (embedding if shape.tied else 1.0)),
    }
    return {name: factor for name, factor in factors.items() if factor != 1.0}


QUERY = "query"
# The multipliers of Granite's models are between 0.015 and 16.
MAX_MULTIPLIER = 1e4
_MULTIPLIERS = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")
MAX_MLP_RATIO = 64
_OLMO_NEEDS = {"block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": True}
_OLMO_REFUSED = (
    "alibi", "attention_layer_norm", "include_bias", "include_qkv_bias", "bias_for_layer_norm", "input_emb_norm",
    "scale_logits", "multi_query_attention", "clip_qkv",
)  # fmt: skip


def _olmo_shape(config: Config) -> Shape:
    """Read the shape of a configuration with the field names of OLMo."""
    for name, needed in _OLMO_NEEDS.items():
        if config.get(name, needed) != needed:
            raise Unsupported(f"its {name} is {format_value(config[name])}, not {needed}")
    for name in _OLMO_REFUSED:
        if config.get(name):
            raise Unsupported(f"its {name} is {format_value(config[name])}")
    heads, width = whole_number(config, "n_heads"), whole_number(config, "d_model")
    hidden = (
        _whole_number_or(config, "mlp_hidden_size", 0)
        or whole_number(config, "mlp_ratio", MAX_MLP_RATIO) * width
    )
    return Shape(
        vocabulary=_whole_number_or(config, "embedding_size", 0) or whole_number(config, "vocab_size"),
        width=width,
        layers=whole_number(config, "n_layers"),
        heads=heads,
        kv_heads=_whole_number_or(config, "n_kv_heads", heads),
        head_width=width // heads,
        hidden=hidden,
        rope_theta=positive_number(config, "rope_theta", 10_000.0),
        norm_eps=positive_number(config, "rms_norm_eps", 1e-5),
        positions=min(_whole_number_or(config, "max_sequence_length", MAX_POSITIONS), MAX_POSITIONS),
        tied=bool(config.get("weight_tying", False)),
    )


def _whole_number_or(config: Config, name: str, default: int) -> int:
    """Return the whole number ``name``; ``default`` if it is missing or null. Raises ``ValueError``."""
    return default if config.get(name) is None else whole_number(config, name)


def _has_sliding_windows(layer_types: object) -> bool:
    return isinstance(layer_types, list) and "sliding_attention" in layer_types


def _check_supported(config: Config) -> None:
    """Raise `Unsupported` for features that `Network` does not have."""
    if config.get("use_sliding_window") or _has_sliding_windows(config.get("layer_types")):
        raise Unsupported("its attention has sliding windows")
    if any(config.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise Unsupported("it is a mixture of experts")
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise Unsupported(f"its activation is {format_value(activation)}, not silu")
    if config.get("quantization_config"):
        raise Unsupported("its weights are quantized in a format of another program")


_LLAMA = {
    "embedding.weight": ("model.embed_tokens.weight",),
    "norm.weight": ("model.norm.weight",),
    "output.weight": ("lm_head.weight",),
    "attention_norm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attention.qkv.bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "attention.q_norm.weight": ("self_attn.q_norm.weight",),
    "attention.k_norm.weight": ("self_attn.k_norm.weight",),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "feed_norm.weight": ("post_attention_layernorm.weight",),
    "gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "down.weight": ("mlp.down_proj.weight",),
}
_OLMO = {
    "embedding.weight": ("model.transformer.wte.weight",),
    "norm.weight": ("model.transformer.ln_f.weight",),
    "output.weight": ("model.transformer.ff_out.weight",),
    "attention_norm.weight": ("attn_norm.weight",),
    "attention.qkv.weight": ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
    "attention.out.weight": ("attn_out.weight",),
    "feed_norm.weight": ("ff_norm.weight",),
    "gate_up.weight": ("ff_proj.weight", "up_proj.weight"),
    "down.weight": ("ff_out.weight",),
}


_GGUF = {
    "embedding.weight": ("token_embd.weight",),
    "norm.weight": ("output_norm.weight",),
    "output.weight": ("output.weight",),
    "attention_norm.weight": ("attn_norm.weight",),
    "attention.qkv.weight": ("attn_q.weight", "attn_k.weight", "attn_v.weight"),
    "attention.qkv.bias": ("attn_q.bias", "attn_k.bias", "attn_v.bias"),
    "attention.q_norm.weight": ("attn_q_norm.weight",),
    "attention.k_norm.weight": ("attn_k_norm.weight",),
    "attention.out.weight": ("attn_output.weight",),
    "feed_norm.weight": ("ffn_norm.weight",),
    "gate_up.weight": ("ffn_gate.weight", "ffn_up.weight"),
    "down.weight": ("ffn_down.weight",),
}
# By `Family.weight_names`: the names of the weights, and the prefix of the layers.
_NAMES = {
    "llama": (_LLAMA, "model.layers"),
    "olmo": (_OLMO, "model.transformer.blocks"),
    "gguf": (_GGUF, "blk"),
}


def checkpoint_weights(family: Family, name: str) -> tuple[str, ...]:
    """Return the names of the checkpoint's weights that, concatenated, are the network's weight ``name``."""
    names, layers = _NAMES[family.weight_names]
    if not name.startswith("layers."):
        return names[name]
    _, index, rest = name.split(".", 2)
    return tuple(f"{layers}.{index}.{part}" for part in names[rest])
