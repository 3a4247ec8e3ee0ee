"""A checkpoint as a GGUF file: names, shapes, the order of rows, the tokenizer."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.models.tiny_models import TINY

from mercury_lsp.engine.backends.network import rotate
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.tokenizer import Tokenizer
from model.release.gguf_export import export, main, neighbors

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def written(unpacked_model: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    export(checkpoint.read_checkpoint(unpacked_model), file, "f16")
    return gguf.GGUFReader(file)


def test_all_tensors_are_there_by_llamas_names(written: object) -> None:
    shapes = {tensor.name: tuple(tensor.shape.tolist()) for tensor in written.tensors}  # type: ignore[attr-defined]
    width, kv = TINY.width, TINY.kv_heads * TINY.head_width
    block = {  # GGUF counts columns first
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (width, kv),
        "attn_v": (width, kv),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (width, TINY.hidden),
        "ffn_up": (width, TINY.hidden),
        "ffn_down": (TINY.hidden, width),
    }
    expected = {f"blk.{i}.{name}.weight": shape for i in range(TINY.layers) for name, shape in block.items()}
    expected |= {"token_embd.weight": (width, TINY.vocabulary), "output_norm.weight": (width,)}
    assert shapes == expected


def test_weights_come_back(written: object, unpacked_model: Path) -> None:
    ours = checkpoint.read_checkpoint(unpacked_model).weights()
    theirs = {tensor.name: tensor.data for tensor in written.tensors}  # type: ignore[attr-defined]
    queries = TINY.heads * TINY.head_width
    keys = TINY.kv_heads * TINY.head_width
    qkv = np.asarray(ours["layers.1.attention.qkv.weight"])
    back = theirs["blk.1.attn_q.weight"].reshape(TINY.heads, -1, 2, TINY.width).swapaxes(1, 2)
    assert np.allclose(back.reshape(queries, TINY.width), qkv[:queries], atol=1e-3)
    assert np.allclose(theirs["blk.1.attn_v.weight"], qkv[queries + keys :], atol=1e-3)
    gate_up = np.asarray(ours["layers.0.gate_up.weight"])
    both = np.concatenate([theirs["blk.0.ffn_gate.weight"], theirs["blk.0.ffn_up.weight"]])
    assert np.allclose(both, gate_up, atol=1e-3)
    assert theirs["blk.0.attn_norm.weight"].dtype == np.float32


def test_rows_in_their_order_turn_as_ours_do() -> None:
    """llama.cpp turns the values 2i and 2i + 1 of a head by the angle i."""
    heads, width = 2, 8
    torch.manual_seed(0)
    weight, x = torch.randn(heads * width, 16), torch.randn(16)
    angle = torch.rand(width // 2)
    ours = rotate((weight @ x).view(1, heads, 1, width), (angle.cos(), angle.sin())).view(heads, width)
    order = torch.from_numpy(neighbors(weight.numpy(), heads))
    pairs = (order @ x).view(heads, width // 2, 2)
    turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.polar(torch.ones(width // 2), angle))
    assert torch.allclose(turned.transpose(1, 2).reshape(heads, width), ours, atol=1e-5)


def test_what_llama_is_told(written: object, tokenizer: Tokenizer) -> None:
    def told(name: str) -> object:
        return written.get_field(name).contents()  # type: ignore[attr-defined]

    assert told("general.architecture") == "llama"
    assert told("llama.block_count") == TINY.layers
    assert (told("llama.attention.head_count"), told("llama.attention.head_count_kv")) == (4, 2)
    assert told("llama.rope.freq_base") == pytest.approx(TINY.rope_theta)
    assert told("tokenizer.ggml.pre") == "smollm"
    assert told("tokenizer.ggml.eos_token_id") == tokenizer.specials.eot
    assert told("tokenizer.ggml.add_bos_token") is False
    tokens, kinds = told("tokenizer.ggml.tokens"), told("tokenizer.ggml.token_type")
    assert isinstance(tokens, list) and isinstance(kinds, list)
    assert len(tokens) == tokenizer.size
    assert tokens[tokenizer.specials.fim_middle] == "<fim_middle>"
    control = {number for number, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL}
    assert control == {tokenizer.specials.eot, *tokenizer.forbidden}
    merges = told("tokenizer.ggml.merges")
    assert isinstance(merges, list) and merges[0] == "Ġ t"


@pytest.mark.parametrize(("pure", "embedding"), [(False, "Q8_0"), (True, "Q4_0")])
def test_q4_0_spares_the_embedding_unless_pure(
    unpacked_model: Path, tmp_path: Path, pure: bool, embedding: str
) -> None:
    export(checkpoint.read_checkpoint(unpacked_model), tmp_path / "q4.gguf", "q4_0", pure)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "q4.gguf").tensors}
    assert kinds["token_embd.weight"] == embedding
    assert kinds["blk.0.attn_q.weight"] == "Q4_0"
    assert kinds["blk.0.ffn_norm.weight"] == "F32"


def test_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unpacked_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.gguf"
    monkeypatch.setattr(sys, "argv", ["gguf_export", str(unpacked_model), "--out", str(file)])
    main()
    assert file.stat().st_size > 1000
    assert "MB" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["gguf_export", "nowhere", "--out", str(file)])
    with pytest.raises(SystemExit, match="no model 'nowhere'"):
        main()
    monkeypatch.setattr(
        sys, "argv", ["gguf_export", str(unpacked_model), "--out", str(tmp_path / "no" / "x")]
    )
    with pytest.raises(SystemExit, match="cannot be written"):
        main()
