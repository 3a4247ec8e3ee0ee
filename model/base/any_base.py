"""Converts any Llama, Qwen2 or Qwen3 on the disk to a checkpoint to train from, with its own FIM tokens if it has any.

The folder has the format of model hubs: ``config.json``, safetensors, and ``tokenizer.json`` or ``vocab.json`` with
``merges.txt``. No code in the folder is run. Missing special tokens are added, each with a row of the embedding at the
mean of the other rows, so that a new token is neither likely nor unfamiliar to the layers (Hewitt 2021). Rows of the
embedding without a token are dropped, so that they cannot be emitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch import Tensor

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.quantized_load import load_network
from mercury_lsp.engine.checkpoints.checkpoint import CONFIG, as_checkpoint_error
from mercury_lsp.engine.checkpoints.huggingface import weight_files
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint, check_weights
from mercury_lsp.engine.checkpoints.open_tokenizer import OpenTokenizer
from mercury_lsp.engine.open_models.configurations import checkpoint_weights, shape_of
from mercury_lsp.engine.open_models.families import LLAMA, QWEN2, QWEN3, Family, Unsupported
from mercury_lsp.engine.tokenizer import Tokenizer
from model.training.save import save

FAMILIES = {family.name: family for family in (LLAMA, QWEN2, QWEN3)}
"""The model families that `Network` can compute, by ``model_type``."""

NAMES = {
    "eot": (
        "<eot>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<[end▁of▁sentence]>",
        "<\uff5cend▁of▁sentence\uff5c>",
        "</s>",
    ),
    "mask": ("<mask>", "<|mask|>", "<|MASK|>", "<|mdm_mask|>"),
    "file_sep": ("<file_sep>", "<|file_sep|>", "<|file_separator|>"),
    "fim_prefix": ("<fim_prefix>", "<|fim_prefix|>", "<[fim-prefix]>", "<\uff5cfim▁begin\uff5c>", "<PRE>"),
    "fim_suffix": ("<fim_suffix>", "<|fim_suffix|>", "<[fim-suffix]>", "<\uff5cfim▁hole\uff5c>", "<SUF>"),
    "fim_rest": ("<fim_rest>",),
    "fim_middle": ("<fim_middle>", "<|fim_middle|>", "<[fim-middle]>", "<\uff5cfim▁end\uff5c>", "<MID>"),
}
"""Our special tokens and their names in other vocabularies, ours first; DeepSeek's have a full-width vertical line."""

LIKE = {"fim_rest": "fim_suffix"}
"""Tokens that no other model has, and the token whose embedding they start from, if the model has it.

Both tokens are followed by the text after the cursor.
"""


def convert(folder: Path, out: Path) -> tuple[str, dict[str, str]]:
    """Convert a folder's model to a checkpoint in ``out``.

    Returns the fingerprint, and the original name of each of our special tokens, or "" if the token was added. Raises
    `CheckpointError`, with one sentence, if the folder cannot be converted.
    """
    with as_checkpoint_error(folder):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        family = FAMILIES.get(str(config.get("model_type")))
        if family is None:
            known = ", ".join(FAMILIES)
            raise Unsupported(f"its model type is {config.get('model_type')!r}, and only {known} are known")
        tokenizer, origin = vocabulary_of(tokenizer_json(folder), end_of(config))
        network = load_network(_open_checkpoint(folder, family, config), "cpu", torch.float32)
        grown = resize_vocabulary(network, _ids(tokenizer), origin)
    about = {"base": folder.name, "licence": "that of its base", "specials": origin}
    return save(out, "base", grown, json.dumps(tokenizer, ensure_ascii=False), about), origin


def _open_checkpoint(folder: Path, family: Family, config: Mapping[str, Any]) -> OpenCheckpoint:
    """Open a folder for `load_network`, and check its weights against its configuration."""
    files = weight_files(folder)
    shape = shape_of(family, config)
    # Some models declare tied embeddings, but have separate output weights.
    if checkpoint_weights(family, "output.weight")[0] in files:
        shape = replace(shape, tied=False)
    tokenizer = OpenTokenizer(tokenizers.Tokenizer(tokenizers.models.BPE()))
    opened = OpenCheckpoint(
        folder.name, folder, family, shape, tokenizer, None, None, frozenset(), None, files
    )
    check_weights(opened)
    return opened


def tokenizer_json(folder: Path) -> dict[str, Any]:
    """Read a folder's tokenizer in the format of the tokenizers library.

    Raises ``ValueError`` if there is no tokenizer, or it is not byte-level BPE.
    """
    file = folder / Tokenizer.FILE
    if file.is_file():
        made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        made = _of_merges(folder)
    else:
        raise ValueError(f"it has neither {Tokenizer.FILE} nor vocab.json and merges.txt")
    if made["model"].get("type", "BPE") != "BPE" or "Ċ" not in made["model"]["vocab"]:
        raise ValueError("its tokenizer is not byte-level, so that no line's end can be told in it")
    return made


def _of_merges(folder: Path) -> dict[str, Any]:
    """Read ``vocab.json`` and ``merges.txt``, with the family's pre-tokenizer and added tokens."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    found: dict[str, Any] = json.loads(made.backend_tokenizer.to_str())
    return found


def end_of(config: Mapping[str, Any]) -> int | None:
    """Return the id of a configuration's stop token, the first if there are several, or None."""
    told = config.get("eos_token_id")
    return told[0] if isinstance(told, list) and told else told if isinstance(told, int) else None


def vocabulary_of(tokenizer: dict[str, Any], end: int | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a tokenizer with our special tokens, and the original name of each of them, "" if it was added.

    end: the id of the stop token, for a vocabulary in which it has no known name.
    """
    added: list[dict[str, Any]] = [dict(entry) for entry in tokenizer.get("added_tokens") or ()]
    vocabulary = dict(tokenizer["model"]["vocab"])
    by_name = {str(entry["content"]): entry for entry in added}
    for name in {name for names in NAMES.values() for name in names} & vocabulary.keys() - by_name.keys():
        by_name[name] = _entry(vocabulary[name], name)
        added.append(by_name[name])
    origin, renamed = {}, {}
    for ours, names in NAMES.items():
        found = next((name for name in names if name in by_name), "")
        if not found and ours == "eot" and end is not None:
            found = next((name for name, entry in by_name.items() if entry["id"] == end), "")
        origin[ours] = found
        if found:
            renamed[found] = f"<{ours}>"
    for entry in added:
        # Text that a user has typed must never become a special token.
        entry |= {"content": renamed.get(entry["content"], entry["content"]), "special": True}
    vocabulary = {renamed.get(token, token): number for token, number in vocabulary.items()}
    free = max((*vocabulary.values(), *(entry["id"] for entry in added))) + 1
    for ours in (ours for ours, found in origin.items() if not found):
        added.append(_entry(free, f"<{ours}>"))
        free += 1
    model = tokenizer["model"] | {"vocab": vocabulary}
    # A post-processor would add tokens by their old names, and we never want it to add any.
    return tokenizer | {"model": model, "added_tokens": added, "post_processor": None}, origin


def _entry(number: int, content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": True, **flags}


def _ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids of all tokens by their names."""
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    return vocabulary | {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}


def resize_vocabulary(network: Network, ids: Mapping[str, int], origin: Mapping[str, str]) -> Network:
    """Return the network with one row of the embedding, and of the output, for each token of ``ids``.

    origin: see `vocabulary_of`. Raises ``ValueError`` if the ids are not contiguous.
    """
    size = max(ids.values()) + 1
    if len(set(ids.values())) < size:
        raise ValueError("its tokenizer has numbers that are no token")
    new = {f"<{name}>": LIKE.get(name, "") for name, was in origin.items() if not was}
    made = Network(replace(network.shape, vocabulary=size))
    weights = network.state_dict()
    for name in ("embedding.weight", "output.weight"):
        if name in weights:
            weights[name] = _rows(weights[name], size, ids, new, origin)
    made.load_state_dict(weights)
    return made.requires_grad_(False).eval()


def _rows(
    old: Tensor, size: int, ids: Mapping[str, int], new: Mapping[str, str], origin: Mapping[str, str]
) -> Tensor:
    """Resize a matrix (V, W) to (size, W), with rows for the new tokens."""
    rows = old.mean(0, keepdim=True).repeat(size, 1)
    kept = min(size, len(old))
    rows[:kept] = old[:kept]
    for token, like in new.items():
        rows[ids[token]] = old[ids[f"<{like}>"]] if origin.get(like) else old.mean(0)
    return rows
