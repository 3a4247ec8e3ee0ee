"""The implementations of attention in training agree with each other, with the masks of real contexts."""

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
def two_contexts(tokenizer: Tokenizer) -> Batch:
    """Two contexts of 256 rows, so that FlexAttention's mask has two blocks in each direction."""
    one, other = batch(tokenizer, 3, 256), batch(tokenizer, 4, 256)
    joined = [torch.cat(pair) for pair in zip(tensors(one), tensors(other), strict=True)]
    return replace(one, ids=joined[0], rows=TokenLayout(*joined[1:]))


@pytest.fixture(autouse=True)
def allow_gradients_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow gradients of FlexAttention on CPUs, where it refuses them although its slow reference can compute them."""
    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)


def tensors(two_contexts: Batch) -> list[Tensor]:
    rows = two_contexts.rows
    return [two_contexts.ids, rows.position, rows.start, rows.canvas, rows.branch, rows.fork]


def rows_and_gradient(
    two_contexts: Batch, attend: Attend | None, mask: object, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the hidden rows and the gradient of the first layer's projection."""
    torch.manual_seed(0)
    network = Network(WIDER)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        hidden = network(two_contexts.ids, two_contexts.rows.position, mask, attend=attend)
    (hidden.float() ** 2 * torch.linspace(0, 1, hidden.shape[-1])).sum().backward()
    gradient = network.get_parameter("layers.0.attention.qkv.weight").grad
    assert gradient is not None
    return hidden.detach(), gradient


def test_all_implementations_give_the_same_rows_and_gradients(two_contexts: Batch) -> None:
    seen = attention_mask(two_contexts.rows, two_contexts.rows)
    folded = rows_and_gradient(two_contexts, None, seen, torch.float32)
    for attend, mask in ((matmul_attention, seen), (fused, block_mask(two_contexts.rows))):
        for got, expected in zip(
            rows_and_gradient(two_contexts, attend, mask, torch.float32), folded, strict=True
        ):
            torch.testing.assert_close(got, expected, atol=2e-4, rtol=2e-4)


def test_fused_attention_works_with_autocast(two_contexts: Batch) -> None:
    exact, _ = rows_and_gradient(
        two_contexts, matmul_attention, attention_mask(two_contexts.rows, two_contexts.rows), torch.float32
    )
    rough, _ = rows_and_gradient(two_contexts, fused, block_mask(two_contexts.rows), torch.bfloat16)
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.02


def test_a_block_mask_equals_the_attention_mask_and_skips_empty_blocks(two_contexts: Batch) -> None:
    mask = block_mask(two_contexts.rows)
    n, t = two_contexts.ids.shape
    at = torch.arange(t)
    for batch_ in range(n):
        rule = mask.mask_mod(torch.tensor(batch_), torch.tensor(0), at[:, None], at[None, :])
        assert rule.equal(attention_mask(two_contexts.rows, two_contexts.rows)[batch_])
    # Blocks of later rows are skipped.
    assert mask.sparsity() > 0


def test_mask_and_network_compile_to_one_graph_without_recompilation(two_contexts: Batch) -> None:
    """Compile as for GPUs, without their kernels: one graph per direction, with masks that change with the batch."""
    network = Network(TINY)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True, dynamic=False)
    make = torch.compile(create_block_mask, backend="eager", fullgraph=True, dynamic=False)
    for stance, rows in (
        ("default", two_contexts.rows),
        ("fail_on_recompile", two_contexts.rows.map(lambda row: row.flip(0))),
    ):
        with torch.compiler.set_stance(stance):
            hidden = compiled(two_contexts.ids, rows.position, block_mask(rows, make), attend=fused)
            hidden.sum().backward()
        plain = network(two_contexts.ids, rows.position, attention_mask(rows, rows), attend=matmul_attention)
        torch.testing.assert_close(hidden, plain, atol=2e-4, rtol=2e-4)


def test_cpus_use_plain_matrix_products() -> None:
    attend, mask = attention(TokenLayout.clean(0, 4).map(lambda row: torch.from_numpy(row)[None]))
    assert attend is matmul_attention
    assert mask.dtype == torch.bool
