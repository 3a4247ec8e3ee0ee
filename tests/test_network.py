"""The network against transformers' own Llama, the cache against no cache, and the attention rule by its words."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY, tiny_network

from mercury_lsp.engine.cache import Cache
from mercury_lsp.engine.network import Network, Rows, visible

IDS = torch.randint(17, 49152, (1, 40), generator=torch.Generator().manual_seed(1))


def causal(rows: Rows) -> torch.Tensor:
    return visible(rows, rows)[None]


def test_logits_equal_transformers_llama() -> None:
    transformers = pytest.importorskip("transformers")
    from model.base import weights_of

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
    rows = Rows.clean(0, ids.shape[1])
    with torch.no_grad():
        theirs = llama(ids).logits
        logits = ours.logits(ours(ids, rows.position[None], causal(rows)))
    assert theirs.std() > 0.5  # else any two models would agree
    torch.testing.assert_close(logits, theirs, atol=1e-3, rtol=0)


def test_cached_equals_uncached_for_clean_rows() -> None:
    network = tiny_network()
    rows = Rows.clean(0, 40)
    whole = network(IDS, rows.position[None], causal(rows))
    cache = Cache(TINY, torch.float32, torch.device("cpu"))
    parts = []
    for first, last in ((0, 7), (7, 8), (8, 30), (30, 40)):
        cache.reserve(last)
        part = Rows.clean(first, last - first)
        mask = visible(part, Rows.clean(0, last))[None]
        parts.append(network(IDS[:, first:last], part.position[None], mask, cache))
        cache.keep(IDS[0, first:last].tolist())
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-4)


def test_cached_block_equals_uncached_block() -> None:
    network = tiny_network()
    context, block = Rows.clean(0, 24), Rows.block(24, 15)
    ids = torch.cat(
        (IDS[:, :24], IDS[:, 23:24], IDS[:, 24:39]), dim=1
    )  # the anchor is a copy of the last context token
    both = Rows(*(torch.cat((getattr(context, f), getattr(block, f))) for f in Rows.__dataclass_fields__))
    whole = network(ids, both.position[None], visible(both, both)[None])[:, 24:]
    cache = Cache(TINY, torch.float32, torch.device("cpu"))
    cache.reserve(64)
    network(ids[:, :24], context.position[None], causal(context), cache)
    cache.keep(ids[0, :24].tolist())
    cached = network(ids[:, 24:], block.position[None], None, cache)  # no mask: a block sees every key
    torch.testing.assert_close(cached, whole, atol=1e-5, rtol=1e-4)


def test_block_sees_context_and_itself_and_nothing_sees_it() -> None:
    context, block = Rows.clean(0, 5), Rows.block(5, 3)
    both = Rows(*(torch.cat((getattr(context, f), getattr(block, f))) for f in Rows.__dataclass_fields__))
    seen = visible(both, both)
    assert seen[:5, :5].equal(torch.ones(5, 5).tril().bool())
    assert not seen[:5, 5:].any()
    assert seen[5:].all()


def test_no_clean_logit_depends_on_a_later_token_or_a_canvas() -> None:
    network = tiny_network()
    context, block = Rows.clean(0, 20), Rows.block(12, 4)
    both = Rows(*(torch.cat((getattr(context, f), getattr(block, f))) for f in Rows.__dataclass_fields__))
    mask = visible(both, both)[None]
    ids = IDS[:, :25].clone()
    before = network(ids, both.position[None], mask)
    changed = ids.clone()
    changed[0, 15], changed[0, 22] = 99, 98  # a clean token, and a canvas's
    after = network(changed, both.position[None], mask)
    assert before[0, :15].equal(after[0, :15])
    assert not before[0, 15:20].equal(after[0, 15:20])
    assert not before[0, 20:].equal(after[0, 20:])  # the canvas does see its own change


def test_branches_are_blind_to_one_another() -> None:
    fields = {
        "position": [0, 1, 2, 3, 4, 3, 4], "start": [1, 2, 3, 4, 5, 4, 5], "canvas": [0] * 7,
        "branch": [0, 0, 0, 1, 1, 2, 2], "fork": [1, 2, 3, 3, 3, 2, 2],
    }  # fmt: skip
    rows = Rows(**{name: torch.tensor(values) for name, values in fields.items()})
    seen = visible(rows, rows).int().tolist()
    assert seen[4] == [1, 1, 1, 1, 1, 0, 0]
    assert seen[6] == [1, 1, 0, 0, 0, 1, 1]  # forks off after two trunk tokens
