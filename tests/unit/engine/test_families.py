"""Tests of the table of model families: how each family is recognized, and what its configuration must contain."""

from __future__ import annotations

import pytest

from mercury_lsp.engine.open_models.configurations import checkpoint_weights, shape_of
from mercury_lsp.engine.open_models.families import (
    A2D_BLOCKS,
    DREAM,
    DREAMON,
    FAMILIES,
    LLADA,
    OPEN_DCODER,
    QWEN2,
    QWEN_FIM,
    SDAR,
    STABLE_DIFFCODER,
    STARCODER_FIM,
    Unsupported,
    family_of,
    fim_of,
    mask_of,
)

DREAM_7B = {
    "model_type": "Dream", "architectures": ["DreamModel"], "hidden_size": 3584, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": False, "mask_token_id": 151666,
    "max_position_embeddings": 131072, "use_sliding_window": False, "sliding_window": None, "rope_scaling": None,
    "hidden_act": "silu",
}  # fmt: skip


def test_the_published_configuration_of_dream_has_7_billion_parameters() -> None:
    family = family_of(DREAM_7B, {})
    shape = shape_of(family, DREAM_7B)
    assert family is DREAM
    assert 7.6e9 < shape.parameters < 7.7e9
    assert shape.positions == 2048
    assert mask_of(family, DREAM_7B, {}) == 151666


def test_families_with_the_same_model_type_are_distinguished() -> None:
    assert family_of(DREAM_7B, {"<|expand|>": 151667}) is DREAMON
    assert family_of({"model_type": "qwen2"}, {"<M>": 1}) is OPEN_DCODER
    named = family_of({"model_type": "qwen2"}, {"<other>": 1}, mask_name="<other>")
    assert mask_of(named, {}, {"<other>": 7}) == 7
    assert family_of({"model_type": "qwen2"}, {"<|file_sep|>": 1}) is QWEN2  # no mask token: autoregressive
    assert mask_of(QWEN2, {}, {}) is None
    with pytest.raises(Unsupported, match="it is of type gemma2"):
        family_of({"model_type": "gemma2"}, {})
    with pytest.raises(
        Unsupported, match="DreamForCausalLM"
    ):  # same type, but with blocks and without the shift
        family_of(DREAM_7B | {"architectures": ["DreamForCausalLM"]}, {})
    assert not family_of({"model_type": "a2d-llama"}, {}, "smollm2-diffusion-mdlm").block_causal
    assert family_of({"model_type": "a2d-llama"}, {}, "smollm2-diffusion-bd3lm").block == 32
    assert family_of({"model_type": "a2d-qwen3", "block_size": 8}, {}).block == 8
    assert family_of({"model_type": "a2d-qwen3", "block_size": 8}, {}).head_norms
    assert family_of({"model_type": "sdar"}, {}).block == SDAR.block == 4
    stable = {"model_type": "llama", "architectures": ["StableDiffcoderForCausalLM"]}
    assert family_of(stable, {}) is STABLE_DIFFCODER


def test_the_mask_comes_from_the_configuration_then_the_vocabulary_then_the_family() -> None:
    tokens = {"<|MASK|>": 5}
    assert mask_of(SDAR, {"mask_token_id": 4}, tokens) == 4
    assert mask_of(SDAR, {}, tokens) == 5
    assert mask_of(SDAR, {}, {}) == 151669


def test_the_fim_format_is_chosen_by_the_vocabulary() -> None:
    starcoder = {STARCODER_FIM.prefix: 1, STARCODER_FIM.suffix: 2, STARCODER_FIM.middle: 3}
    assert fim_of(A2D_BLOCKS, starcoder) is STARCODER_FIM
    qwen = {QWEN_FIM.prefix: 1, QWEN_FIM.suffix: 2, QWEN_FIM.middle: 3}
    assert fim_of(A2D_BLOCKS, starcoder | qwen) is QWEN_FIM
    with pytest.raises(Unsupported):
        fim_of(A2D_BLOCKS, {QWEN_FIM.prefix: 1})


def test_every_family_maps_weight_names_to_checkpoint_names() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert len(checkpoint_weights(family, "layers.3.attention.qkv.weight")) == 3
    assert checkpoint_weights(LLADA, "layers.3.down.weight") == ("model.transformer.blocks.3.ff_out.weight",)
    assert checkpoint_weights(DREAM, "layers.3.down.weight") == ("model.layers.3.mlp.down_proj.weight",)
