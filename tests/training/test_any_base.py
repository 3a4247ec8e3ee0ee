"""Training from another project's checkpoint: equal logits, its own FIM tokens, and new rows for missing tokens."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from support.models.tiny_open_models import QWEN, SIZES, write_tokenizer

from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt, Tokenizer, encode_prompt
from model.base.__main__ import main
from model.data.groups import encode_group, to_ids
from model.data.spans import Budget, cut, node_finder
from model.training.batch import pack_contexts
from model.training.layout import CAUSAL, lay_out
from model.training.objective import loss_of

STAR = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<file_sep>")
KINDS = {
    "Llama": (STAR, {"tie_word_embeddings": True}),
    "Qwen2": (QWEN, {"tie_word_embeddings": True}),
    "Qwen3": (QWEN, {"tie_word_embeddings": False, "head_dim": 16}),
}


def save_base(folder: Path, kind: str, tokens: tuple[str, ...], **changes: Any) -> Any:
    """Save a checkpoint of transformers' class of a kind in a folder, with random weights; return the model."""
    import transformers

    ids = write_tokenizer(folder, tokens)
    config = getattr(transformers, f"{kind}Config")(**SIZES | changes, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.15)
            # Round as our checkpoints do; the model's buffers of angles stay exact.
            weight.copy_(weight.bfloat16().float())
    model.save_pretrained(folder)
    told = json.loads((folder / "config.json").read_text()) | {"eos_token_id": ids[tokens[0]]}
    (folder / "config.json").write_text(json.dumps(told))
    return model


def convert(folder: Path, out: Path) -> tuple[checkpoint.Checkpoint, Network]:
    main(["--from", str(folder), "--out", str(out)])
    loaded = checkpoint.read_checkpoint(out)
    return loaded, Network.of(loaded)


def logits(network: Network, ids: torch.Tensor) -> torch.Tensor:
    count = ids.shape[1]
    with torch.no_grad():
        hidden = network(ids, torch.arange(count)[None], torch.ones(1, count, count).tril().bool())
        return network.logits(hidden)


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_of_each_kind_has_the_logits_of_transformers(kind: str, tmp_path: Path) -> None:
    tokens, changes = KINDS[kind]
    theirs = save_base(tmp_path / "theirs", kind, tokens, **changes)
    loaded, network = convert(tmp_path / "theirs", tmp_path / "ours")
    ids = torch.randint(0, 290, (1, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(ids).logits
    assert expected.std() > 0.5
    known = min(expected.shape[-1], loaded.shape.vocabulary, len(tokens_of_base(tmp_path / "theirs")))
    torch.testing.assert_close(logits(network, ids)[..., :known], expected[..., :known], atol=1e-3, rtol=0)


def tokens_of_base(folder: Path) -> dict[str, int]:
    """Return the tokens of the folder from which a base was made."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = content["model"]["vocab"]
    return vocabulary | {entry["content"]: entry["id"] for entry in content["added_tokens"]}


@pytest.mark.parametrize("kind", KINDS)
def test_fim_tokens_of_a_base_are_kept_and_missing_ones_become_new_rows(kind: str, tmp_path: Path) -> None:
    tokens, changes = KINDS[kind]
    save_base(tmp_path / "theirs", kind, tokens, **changes)
    loaded, network = convert(tmp_path / "theirs", tmp_path / "ours")
    old, special = tokens_of_base(tmp_path / "theirs"), loaded.tokenizer.specials
    left, right = ("<|", "|>") if kind != "Llama" else ("<", ">")
    for name in ("fim_prefix", "fim_suffix", "fim_middle", "file_sep"):
        assert getattr(special, name) == old[f"{left}{name}{right}"]
    assert special.eot == old["<|endoftext|>"]
    assert {special.mask, special.fim_rest} == {len(old), len(old) + 1}
    assert loaded.shape.vocabulary == loaded.tokenizer.size == len(old) + 2
    rows = network.embedding.weight
    assert rows[special.fim_rest].equal(rows[special.fim_suffix])
    assert float((rows[special.mask] - rows[: len(old)].mean(0)).abs().max()) < 0.1
    # The text of a user never becomes a special token.
    for token in tokens:
        assert not set(loaded.tokenizer.encode(token)) & set(loaded.tokenizer.added.values())
    assert loaded.about["specials"]["mask"] == ""  # type: ignore[index]


def test_a_vocabulary_in_two_files_gives_the_same_tokenizer(tmp_path: Path) -> None:
    save_base(tmp_path / "one", "Qwen2", QWEN)
    save_base(tmp_path / "two", "Qwen2", QWEN)
    content = json.loads((tmp_path / "two" / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "two" / "tokenizer.json").unlink()
    (tmp_path / "two" / "vocab.json").write_text(json.dumps(content["model"]["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in content["model"]["merges"])
    (tmp_path / "two" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    tokens = {
        str(entry["id"]): {"content": entry["content"], "special": True} for entry in content["added_tokens"]
    }
    settings = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": tokens}
    (tmp_path / "two" / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    one, _ = convert(tmp_path / "one", tmp_path / "first")
    two, _ = convert(tmp_path / "two", tmp_path / "second")
    # In runs of blanks the family's own splitter differs from the one of the test's file.
    text = "def area(width, height): return width"
    assert one.tokenizer.encode(text) == two.tokenizer.encode(text)
    assert one.tokenizer.specials == two.tokenizer.specials


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_base_can_be_trained_and_infills(kind: str, tmp_path: Path) -> None:
    tokens, changes = KINDS[kind]
    save_base(tmp_path / "theirs", kind, tokens, **changes)
    loaded, network = convert(tmp_path / "theirs", tmp_path / "ours")
    tokenizer, text = loaded.tokenizer, "def area(width, height):\n    return width * height\n"
    holes = cut("a.py", text, tokenizer.count, Budget(90, 40), 4, Random(1), node_finder("a.py", text))
    group = encode_group(holes, tokenizer)
    assert group is not None
    context = lay_out(group, tokenizer, 600, CAUSAL, torch.Generator())
    assert context is not None
    loss = loss_of(network.requires_grad_(True), pack_contexts([context]), torch.float32)
    loss.total.backward()
    assert float(loss.total.detach()) > 0 and network.embedding.weight.grad is not None
    engine = LocalEngine(loaded, TorchExecutor(network.requires_grad_(False), tokenizer.forbidden, "cpu"))
    got = engine.infill(Prompt("a.py", "def area(", "", "\n"), Sampling(max_tokens=8))
    assert got.forward_passes > 0
    assert encode_prompt(Prompt("", "a", "", ""), tokenizer)[-1] == tokenizer.specials.fim_middle


def test_ids_beyond_16_bits_are_kept(tmp_path: Path) -> None:
    assert to_ids([70_000, 3]).tolist() == [70_000, 3]
    assert to_ids([7, 3]).itemsize == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"model_type": "gpt2"}, "only llama, qwen2, qwen3"), ({"hidden_act": "gelu"}, "not silu"),
     ({"intermediate_size": 81}, "expected")],
)  # fmt: skip
def test_an_unsupported_base_is_refused_with_the_reason(
    changes: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    save_base(tmp_path, "Llama", STAR)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(SystemExit, match=complaint):
        main(["--from", str(tmp_path), "--out", str(tmp_path / "out")])


def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    save_base(tmp_path, "Llama", STAR)
    (tmp_path / Tokenizer.FILE).unlink()
    with pytest.raises(SystemExit, match=r"neither .* nor vocab"):
        main(["--from", str(tmp_path), "--out", str(tmp_path / "out")])
