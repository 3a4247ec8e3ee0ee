"""The ways to attend in training against one another, by the mask of real contexts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.models.tiny_models import TINY
from test_objective import batch
from torch import Tensor
from torch.nn.attention import flex_attention as flex
from torch.nn.attention.flex_attention import create_block_mask

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.network import Attend, Network
from mercury_lsp.engine.tokenizer import Tokenizer
from model.training.attention import attention, block_mask, fused, matmul_attention
from model.training.batch import Batch

WIDER = replace(TINY, heads=6, kv_heads=3)


@pytest.fixture(scope="module")
def made(tokenizer: Tokenizer) -> Batch:
    """Two contexts of 256 rows: two blocks of FlexAttention's mask each way."""
    one, other = batch(tokenizer, 3, 256), batch(tokenizer, 4, 256)
    joined = [torch.cat(pair) for pair in zip(tensors(one), tensors(other), strict=True)]
    return replace(one, ids=joined[0], rows=TokenLayout(*joined[1:]))


@pytest.fixture(autouse=True)
def gradients_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention has kernels for them on GPUs only, and refuses others; its slow reference can do them anywhere."""
    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)


def tensors(made: Batch) -> list[Tensor]:
    rows = made.rows
    return [made.ids, rows.position, rows.start, rows.canvas, rows.branch, rows.fork]


def gradients(made: Batch, attend: Attend | None, mask: object, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The hidden rows and the gradient that they give the first layer's projection."""
    torch.manual_seed(0)
    network = Network(WIDER)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        hidden = network(made.ids, made.rows.position, mask, attend=attend)
    (hidden.float() ** 2 * torch.linspace(0, 1, hidden.shape[-1])).sum().backward()
    gradient = network.get_parameter("layers.0.attention.qkv.weight").grad
    assert gradient is not None
    return hidden.detach(), gradient


def test_all_ways_give_the_same_rows_and_gradients(made: Batch) -> None:
    seen = attention_mask(made.rows, made.rows)
    folded = gradients(made, None, seen, torch.float32)
    for attend, mask in ((matmul_attention, seen), (fused, block_mask(made.rows))):
        for got, expected in zip(gradients(made, attend, mask, torch.float32), folded, strict=True):
            torch.testing.assert_close(got, expected, atol=2e-4, rtol=2e-4)


def test_the_fused_way_takes_what_autocast_gives_it(made: Batch) -> None:
    exact, _ = gradients(made, matmul_attention, attention_mask(made.rows, made.rows), torch.float32)
    rough, _ = gradients(made, fused, block_mask(made.rows), torch.bfloat16)
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.02


def test_a_block_mask_is_the_rule_and_skips_empty_blocks(made: Batch) -> None:
    mask = block_mask(made.rows)
    n, t = made.ids.shape
    at = torch.arange(t)
    for batch_ in range(n):
        rule = mask.mask_mod(torch.tensor(batch_), torch.tensor(0), at[:, None], at[None, :])
        assert rule.equal(attention_mask(made.rows, made.rows)[batch_])
    assert mask.sparsity() > 0  # what lies ahead is not even looked at


def test_the_mask_and_the_network_are_compiled_once_and_whole(made: Batch) -> None:
    """What a GPU runs, up to the kernels: one graph forwards and one backwards, whose masks change with the batch."""
    network = Network(TINY)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True, dynamic=False)
    make = torch.compile(create_block_mask, backend="eager", fullgraph=True, dynamic=False)
    for stance, rows in (
        ("default", made.rows),
        ("fail_on_recompile", made.rows.map(lambda row: row.flip(0))),
    ):
        with torch.compiler.set_stance(stance):
            hidden = compiled(made.ids, rows.position, block_mask(rows, make), attend=fused)
            hidden.sum().backward()
        plain = network(made.ids, rows.position, attention_mask(rows, rows), attend=matmul_attention)
        torch.testing.assert_close(hidden, plain, atol=2e-4, rtol=2e-4)


def test_a_processor_multiplies() -> None:
    attend, mask = attention(TokenLayout.clean(0, 4).map(lambda row: torch.from_numpy(row)[None]))
    assert attend is matmul_attention
    assert mask.dtype == torch.bool
