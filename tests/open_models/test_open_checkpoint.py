"""Folders of open checkpoints: reading them, and one sentence for each defect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models.tiny_open_models import QWEN, save_open, write_tokenizer

from mercury_lsp.engine.checkpoints import huggingface
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError


def test_mask_ends_and_allowed_tokens_are_read(tmp_path: Path) -> None:
    save_open(tmp_path, "dreamon")
    found = huggingface.read_open_checkpoint(tmp_path)
    added = found.tokenizer.added
    assert found.mask == added["<|mask|>"]
    assert found.stop_tokens == {added["<|endoftext|>"], added["<|im_end|>"]}
    allowed = set(range(found.shape.vocabulary)) - set(found.forbidden)
    assert allowed == set(range(300)) - set(added.values()) | found.stop_tokens | {added["<|expand|>"]}


def test_a_checkpoint_of_the_own_format_is_not_an_open_one(tiny_model: Path, tmp_path: Path) -> None:
    save_open(tmp_path, "dream")
    assert huggingface.is_open(tmp_path)
    assert not huggingface.is_open(tiny_model)
    (tmp_path / "config.json").write_text("{")
    assert not huggingface.is_open(tmp_path)


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def rename_to_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def write_index(folder: Path, name: str) -> None:
    weights = {"weight_map": {"lm_head.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weights))


NORM = "model.norm.weight"
WRONG: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "its file model-2.safetensors is missing": ("dream", lambda at: write_index(at, "model-2.safetensors")),
    "outside of the folder": ("dream", lambda at: write_index(at, "../model.safetensors")),
    "model.safetensors is damaged or incomplete": ("dream", truncate),
    "a pickle, pytorch_model.bin, which is never read": ("dream", rename_to_pickle),
    "it has no \\*.safetensors": ("dream", lambda at: (at / "model.safetensors").unlink()),
    "tokenizer.json is missing": ("dream", lambda at: (at / "tokenizer.json").unlink()),
    "tokenizer.json cannot be read": ("dream", lambda at: (at / "tokenizer.json").write_text("{}")),
    "not byte-level": (
        "dream",
        lambda at: (at / "tokenizer.json").write_text((at / "tokenizer.json").read_text().replace("Ċ", "ż")),
    ),
    "it is of type gpt2": ("dream", lambda at: configure(at, model_type="gpt2", architectures=["GPT2"])),
    "no tokens for infilling": (
        "stable-diffcoder",
        lambda at: write_tokenizer(at, ("<[end▁of▁sentence]>", "<[MASK_TOKEN]>")),
    ),
    "no mask token": ("a2d-mdlm", lambda at: write_tokenizer(at, QWEN)),
    "its mask 9999 is no row": ("dream", lambda at: configure(at, mask_token_id=9999)),
    "which token ends a text": (
        "dream",
        lambda at: (write_tokenizer(at, ("<|mask|>",)), configure(at, eos_token_id=None)),
    ),
    "has no hidden_size": ("dream", lambda at: configure(at, hidden_size=None)),
    "its positions are scaled \\(dynamic\\)": (
        "dream",
        lambda at: configure(at, rope_scaling={"rope_type": "dynamic", "factor": 4.0}),
    ),
    "sliding windows": ("sdar", lambda at: configure(at, use_sliding_window=True)),
    "a mixture of experts": ("sdar", lambda at: configure(at, num_experts=8)),
    "its activation is gelu": ("dream", lambda at: configure(at, hidden_act="gelu")),
    "its attention has biases": ("sdar", lambda at: configure(at, attention_bias=True)),
    "its feed-forward layers have biases": ("stable-diffcoder", lambda at: configure(at, mlp_bias=True)),
    "its alibi is True": ("llada", lambda at: configure(at, alibi=True)),
    "its block_type is sequential": ("llada", lambda at: configure(at, block_type="sequential")),
    "a format of another program": ("dream", lambda at: configure(at, quantization_config={"bits": 4})),
    "its attention heads do not fit": ("dream", lambda at: configure(at, num_key_value_heads=3)),
    f"its weight {NORM} is missing": (
        "dream",
        lambda at: change_weights(at, lambda weights: weights.pop(NORM)),
    ),
    f"{NORM} are \\(4,\\), where \\(48,\\) is expected": (
        "dream",
        lambda at: change_weights(at, lambda weights: weights.update({NORM: torch.ones(4)})),
    ),
    "gate.weight has no place in a dream model": (
        "dream",
        lambda at: change_weights(
            at, lambda weights: weights.update({"model.layers.0.mlp.gate.weight": torch.ones(4)})
        ),
    ),
    "config.json has no object": ("dream", lambda at: (at / "config.json").write_text("[]")),
}


@pytest.mark.parametrize("words", WRONG)
def test_each_defect_of_a_folder_is_reported_in_one_sentence(words: str, tmp_path: Path) -> None:
    family, spoil = WRONG[words]
    save_open(tmp_path, family)
    huggingface.read_open_checkpoint(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=words) as raised:
        huggingface.read_open_checkpoint(tmp_path)
    assert str(raised.value).startswith("The model in ")
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


def test_saved_tables_of_rotary_frequencies_are_accepted(tmp_path: Path) -> None:
    save_open(tmp_path, "dream")
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    change_weights(tmp_path, lambda weights: weights.update({name: torch.ones(6)}))
    assert name in huggingface.read_open_checkpoint(tmp_path).files
