"""Saves tiny open checkpoints in the form of the model hub, with random weights of classes of transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

QWEN = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>")
SEED = ("<[end▁of▁sentence]>", "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>")
SIZES = {"vocab_size": 512, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
         "rms_norm_eps": 1e-6}  # fmt: skip
TEXT = "def area(width, height):\n    return width * height\n\n\nclass Shape:\n    pass\n"


@dataclass(frozen=True, slots=True)
class Open:
    """The recipe of one family's checkpoint: the class of transformers, changes of the configuration, special tokens.

    `tells_mask`: the configuration names the mask token's id.
    """

    base: str
    mask: str
    config: dict[str, Any]
    tokens: tuple[str, ...] = QWEN
    tells_mask: bool = False


OPEN = {
    "dream": Open("Qwen2", "<|mask|>", {"model_type": "Dream", "architectures": ["DreamModel"]},
                  (*QWEN, "<|beginoftext|>"), True),
    "dreamon": Open("Qwen2", "<|mask|>", {"model_type": "Dream", "architectures": ["DreamModel"]},
                    (*QWEN, "<|beginoftext|>", "<|expand|>"), True),
    "open-dcoder": Open("Qwen2", "<M>", {"tie_word_embeddings": True}),
    "a2d-mdlm": Open("Llama", "<|mask|>", {"model_type": "a2d-llama", "architectures": ["A2DLlamaLMHeadModel"],
                                           "tie_word_embeddings": True}),
    "a2d-bd3lm": Open("Llama", "<|mask|>", {"model_type": "a2d-llama", "block_size": 8,
                                            "tie_word_embeddings": True}),
    "fast-dllm-v2": Open("Qwen2", "|<MASK>|", {"model_type": "Fast_dLLM_Qwen", "bd_size": 32,
                                               "architectures": ["Fast_dLLM_QwenForCausalLM"]}),
    "sdar": Open("Qwen3", "<|MASK|>", {"model_type": "sdar", "architectures": ["SDARForCausalLM"]}),
    "coda": Open("Qwen3", "<|mask|>", {"model_type": "CoDA", "architectures": ["CoDALanguageModel"]}, QWEN, True),
    "llada": Open("Llama", "<|mdm_mask|>", {}, ("<|endoftext|>", "<|startoftext|>"), True),
    "stable-diffcoder": Open("Llama", "<[MASK_TOKEN]>", {"architectures": ["StableDiffcoderForCausalLM"]}, SEED),
}  # fmt: skip
BLOCK_CAUSAL = ("a2d-bd3lm", "fast-dllm-v2", "sdar", "stable-diffcoder")
BOTH_WAYS = tuple(family for family in OPEN if family not in BLOCK_CAUSAL)


def write_tokenizer(folder: Path, tokens: tuple[str, ...]) -> dict[str, int]:
    """Write a byte-level tokenizer with a few merges, whose special tokens are declared as ordinary added tokens.

    Return the ids of the special tokens.
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    made.add_tokens(list(tokens))
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return {token: made.token_to_id(token) for token in tokens}


def save_open(
    folder: Path, family: str, shard: str = "", dtype: torch.dtype | None = None, **changes: Any
) -> Any:
    """Save a checkpoint of a family, and return a model of transformers with the same weights."""
    import transformers

    kind = OPEN[family]
    ids = write_tokenizer(folder, (*kind.tokens, kind.mask))
    sizes = SIZES | {"tie_word_embeddings": kind.config.get("tie_word_embeddings", False)} | changes
    if kind.base == "Qwen3":
        sizes.setdefault("head_dim", 16)
    config = getattr(transformers, f"{kind.base}Config")(**sizes, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind.base}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.15)
    if dtype is not None:
        model.to(dtype)
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    told = (
        json.loads((folder / "config.json").read_text()) | kind.config | {"eos_token_id": ids[kind.tokens[0]]}
    )
    if kind.tells_mask:
        told["mask_token_id"] = ids[kind.mask]
    if family == "llada":
        told = as_olmo(folder, told)
    (folder / "config.json").write_text(json.dumps(told))
    return model


def as_olmo(folder: Path, llama: dict[str, Any]) -> dict[str, Any]:
    """Rename a Llama's weights to LLaDA's names, and return its configuration with LLaDA's names."""
    inner = {
        "self_attn.q_proj": "q_proj",
        "self_attn.k_proj": "k_proj",
        "self_attn.v_proj": "v_proj",
        "self_attn.o_proj": "attn_out",
        "mlp.gate_proj": "ff_proj",
        "mlp.up_proj": "up_proj",
        "mlp.down_proj": "ff_out",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ff_norm",
    }
    outer = {"model.embed_tokens": "wte", "model.norm": "ln_f", "lm_head": "ff_out"}
    renamed = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        stem = name.removesuffix(".weight")
        if stem in outer:
            renamed[f"model.transformer.{outer[stem]}.weight"] = weight
        else:
            _, _, index, rest = stem.split(".", 3)
            renamed[f"model.transformer.blocks.{index}.{inner[rest]}.weight"] = weight
    save_file(renamed, folder / "model.safetensors")
    names = {
        "d_model": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "n_kv_heads": "num_key_value_heads",
        "mlp_hidden_size": "intermediate_size",
        "embedding_size": "vocab_size",
        "max_sequence_length": "max_position_embeddings",
        "rms_norm_eps": "rms_norm_eps",
        "eos_token_id": "eos_token_id",
        "mask_token_id": "mask_token_id",
    }
    rope = llama.get("rope_theta") or llama["rope_parameters"]["rope_theta"]
    return {ours: llama[theirs] for ours, theirs in names.items()} | {
        "model_type": "llada", "architectures": ["LLaDAModelLM"], "weight_tying": False, "rope_theta": rope,
        "block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": True, "alibi": False,
    }  # fmt: skip
