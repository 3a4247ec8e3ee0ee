"""Open networks against transformers' own classes, in torch, in the kernel and quantized."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from support.models.tiny_open_models import BOTH_WAYS, OPEN, save_open

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.backends.cpu.network import NativeExecutor
from mercury_lsp.engine.backends.devices import executor_for
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.quantized_load import load_network, quantization_for, weights_bytes
from mercury_lsp.engine.checkpoints import huggingface
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError

KERNEL_SIZES = {
    "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 2, "num_key_value_heads": 1
}  # fmt: skip
IDS = torch.randint(0, 290, (1, 40), generator=torch.Generator().manual_seed(1))


def layout_of_blocks(block: int) -> TokenLayout:
    """Return rows of forty tokens, which attend to their block of ``block`` tokens and all before; 0: to all rows."""
    position = np.arange(40)
    start = position // block * block + block if block else np.full(40, 40)
    zero = np.zeros(40, np.int64)
    return TokenLayout(position, start, zero, zero, start)


def logits_of(network: Network, rows: TokenLayout) -> torch.Tensor:
    position = torch.from_numpy(rows.position)[None]
    with torch.no_grad():
        return network.logits(network(IDS, position, torch.from_numpy(attention_mask(rows, rows))[None]))


@pytest.mark.parametrize("family", OPEN)
def test_logits_equal_transformers(family: str, tmp_path: Path) -> None:
    theirs = save_open(tmp_path, family)
    loaded = huggingface.read_open_checkpoint(tmp_path)
    assert loaded.family.name == family
    assert loaded.family.block_causal == (family not in BOTH_WAYS)
    # The attention mask, computed in another way.
    seen = torch.zeros(40, 40, dtype=torch.bool)
    block = loaded.family.block or 40
    for first in range(0, 40, block):
        seen[first : first + block, : first + block] = True
    with torch.no_grad():
        expected = theirs(IDS, attention_mask=torch.where(seen, 0.0, -1e30)[None, None]).logits
    assert expected.std() > 0.5  # otherwise any two models would agree
    logits = logits_of(load_network(loaded, "cpu", torch.float32), layout_of_blocks(loaded.family.block))
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=0)


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
@pytest.mark.parametrize("family", OPEN)
def test_the_kernel_agrees_with_torch(family: str, tmp_path: Path) -> None:
    head = {"head_dim": 64} if OPEN[family].base == "Qwen3" else {}
    save_open(tmp_path, family, **KERNEL_SIZES | head)
    loaded = huggingface.read_open_checkpoint(tmp_path)
    rows = layout_of_blocks(loaded.family.block)
    expected = logits_of(load_network(loaded, "cpu", torch.float32), rows)[0].log_softmax(-1).numpy()
    executor = executor_for(loaded, "cpu", 2)
    assert isinstance(executor, NativeExecutor)
    hidden = executor.run(IDS[0].tolist(), rows, 0)
    allowed = [i for i in range(loaded.shape.vocabulary) if i not in loaded.forbidden]
    found, wanted = executor.scores(hidden)[:, allowed], expected[:, allowed]
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shards_and_number_formats_do_not_change_the_weights(dtype: torch.dtype, tmp_path: Path) -> None:
    told: list[float] = []
    save_open(tmp_path / "one", "dream", dtype=dtype)
    save_open(tmp_path / "many", "dream", shard="40KB", dtype=dtype)
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    one = load_network(huggingface.read_open_checkpoint(tmp_path / "one"), "cpu", dtype, progress=told.append)
    many = load_network(huggingface.read_open_checkpoint(tmp_path / "many"), "cpu", dtype)
    assert all(weight.dtype == dtype for weight in one.parameters())
    for name, weight in one.state_dict().items():
        assert weight.equal(many.state_dict()[name])
    assert told[-1] == 1.0
    assert all(a < b for a, b in pairwise(told))


def test_a_model_with_its_own_output_matrix_is_not_tied_whatever_its_configuration_says(
    tmp_path: Path,
) -> None:
    theirs = save_open(tmp_path, "coda", tie_word_embeddings=False)
    config = tmp_path / "config.json"
    config.write_text(
        config.read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true')
    )
    loaded = huggingface.read_open_checkpoint(tmp_path)
    assert not loaded.shape.tied
    network = load_network(loaded, "cpu", torch.float32)
    assert network.output.weight.equal(theirs.lm_head.weight)


WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}


def size_of(weight: torch.Tensor) -> int:
    """Return the bytes of a weight, including all parts of a quantized one."""
    if hasattr(weight, "__tensor_flatten__"):
        return sum(size_of(getattr(weight, part)) for part in weight.__tensor_flatten__()[0])
    return weight.numel() * weight.element_size()


def test_int8_halves_the_size_and_hardly_changes_the_logits(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    save_open(tmp_path, "dream", **WIDE)
    loaded = huggingface.read_open_checkpoint(tmp_path)
    whole = load_network(loaded, "cpu", torch.bfloat16)
    small = load_network(loaded, "cpu", torch.bfloat16, "int8")
    names = {name for name, weight in whole.matrices() if not name.startswith("embedding")}
    assert len(names) == 2 * 4 + 1
    before = sum(size_of(weight) for name, weight in whole.named_parameters() if name in names)
    after = sum(size_of(weight) for name, weight in small.named_parameters() if name in names)
    assert 0.5 <= after / before < 0.56
    left, right = (logits_of(network, layout_of_blocks(0)).float() for network in (whole, small))
    assert (left - right).norm() / left.norm() < 0.05
    assert not left.equal(right)


def test_int4_is_refused_without_a_kernel_for_it(tmp_path: Path) -> None:
    save_open(tmp_path, "dream")
    with pytest.raises(CheckpointError, match="set quantization to int8"):
        load_network(huggingface.read_open_checkpoint(tmp_path), "cpu", torch.bfloat16, "int4")


def test_auto_selects_the_most_exact_quantization_that_fits_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_open(tmp_path, "dream", **WIDE)
    shape = huggingface.read_open_checkpoint(tmp_path).shape
    sizes = {kind: weights_bytes(shape, 2, kind) for kind in ("none", "int8", "int4")}
    assert sizes["none"] == 2 * shape.parameters
    for device, free, kind in (
        ("cpu", sizes["none"], "none"),
        ("cpu", sizes["none"] - 1, "int8"),
        ("cpu", 0, "int8"),
        ("cuda", sizes["int8"], "int8"),
        ("cuda", sizes["int8"] - 1, "int4"),
    ):
        monkeypatch.setattr(
            "mercury_lsp.engine.backends.quantized_load.free_memory", lambda _, free=free: free
        )
        monkeypatch.setattr("mercury_lsp.engine.backends.quantized_load.FREE_BYTES_KEPT", 0)
        assert quantization_for("auto", shape, torch.bfloat16, device) == kind
    assert quantization_for("none", shape, torch.bfloat16, "cpu") == "none"
