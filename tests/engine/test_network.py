"""The network computes the same as transformers' Llama, and no row depends on rows that are hidden from it."""

from __future__ import annotations

import pytest
import torch
from support.models.tiny_models import TINY, tiny_network

from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.network import Network

IDS = torch.randint(17, 49152, (1, 40), generator=torch.Generator().manual_seed(1))


def mask_tensor(rows: TokenLayout) -> torch.Tensor:
    return torch.from_numpy(attention_mask(rows, rows))[None]


def test_logits_equal_transformers_llama() -> None:
    transformers = pytest.importorskip("transformers")
    from model.base.__main__ import weights_of

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=512, hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
    )  # fmt: skip
    llama = transformers.LlamaForCausalLM(config).eval()
    for weight in llama.parameters():
        torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.1)
    shape = type(TINY)(vocabulary=512, width=96, layers=3, heads=6, kv_heads=2, head_width=16, hidden=160)
    ours = Network(shape)
    ours.load_state_dict(weights_of(dict(llama.state_dict()), 3))
    ids = IDS % 512
    rows = TokenLayout.clean(0, ids.shape[1])
    with torch.no_grad():
        theirs = llama(ids).logits
        logits = ours.logits(ours(ids, torch.from_numpy(rows.position)[None], mask_tensor(rows)))
    assert theirs.std() > 0.5  # otherwise any two models would agree
    torch.testing.assert_close(logits, theirs, atol=1e-3, rtol=0)


def test_no_clean_logit_depends_on_a_later_token_or_a_canvas() -> None:
    network = tiny_network()
    context, block = TokenLayout.clean(0, 20), TokenLayout.block(12, 4)
    both = TokenLayout.join(context, block)
    mask, position = mask_tensor(both), torch.from_numpy(both.position)[None]
    ids = IDS[:, :25].clone()
    before = network(ids, position, mask)
    changed = ids.clone()
    # One clean token, and one token of the canvas.
    changed[0, 15], changed[0, 22] = 99, 98
    after = network(changed, position, mask)
    assert before[0, :15].equal(after[0, :15])
    assert not before[0, 15:20].equal(after[0, 15:20])
    assert not before[0, 20:].equal(after[0, 20:])  # the canvas attends to its own change
