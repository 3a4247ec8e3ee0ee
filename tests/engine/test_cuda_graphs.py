"""Passes padded to fixed sizes give the same results as plain passes; on the CPU without recorded graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.models.tiny_models import tiny_network

from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.cuda_graphs import GraphExecutor, keys_bucket, rows_bucket
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt

IDS = torch.randint(17, 49152, (400,), generator=torch.Generator().manual_seed(2)).tolist()
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
PROMPT = Prompt("a.py", "def f(other):\n    total = ", ")", "\n    return total\n" * 9)


def test_buckets_are_large_enough_for_rows_and_keys() -> None:
    assert [rows_bucket(rows) for rows in (1, 8, 9, 64, 71, 96, 97, 255)] == [8, 8, 16, 64, 96, 96, 192, 288]
    assert [keys_bucket(keys) for keys in (1, 256, 257)] == [256, 256, 512]


@pytest.mark.parametrize("device", DEVICES)
def test_padded_passes_give_the_same_results_as_plain_ones(device: str) -> None:
    plain, fixed = (kind(tiny_network(), (3,), device) for kind in (TorchExecutor, GraphExecutor))
    clean = TokenLayout.clean(250, 3)
    branch = replace(clean, branch=clean.branch + 1, fork=np.full_like(clean.fork, 250))
    passes = [
        (0, TokenLayout.clean(0, 64)),
        (64, TokenLayout.clean(64, 71)),  # the largest bucket
        (135, TokenLayout.clean(135, 1)),
        (
            136,
            TokenLayout.join(
                TokenLayout.clean(136, 3), TokenLayout.block(138, 6, 1), TokenLayout.block(139, 6, 2)
            ),
        ),
        (138, TokenLayout.clean(138, 112)),  # overwrites rows that were not kept
        # Fills the bucket of 8 rows, and exceeds the bucket of 256 keys by two.
        (250, TokenLayout.block(250, 7)),
        (250, TokenLayout.join(branch, replace(branch, branch=branch.branch + 1))),
        (250, TokenLayout.clean(250, 64)),  # beyond the end of the bucket of keys
        (200, TokenLayout.clean(200, 5)),  # back within that bucket
    ]
    for past, rows in passes:
        ids = IDS[past : past + len(rows.position)]
        got, expected = fixed.run(ids, rows, past), plain.run(ids, rows, past)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3)
    assert fixed.scores(got).shape == (5, 49152)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(verify=False), Sampling(mode="autoregressive")])
def test_both_executors_give_the_same_texts(tiny_model: Path, device: str, sampling: Sampling) -> None:
    loaded = checkpoint.read_checkpoint(tiny_model)
    texts = []
    for kind in (TorchExecutor, GraphExecutor):
        engine = LocalEngine(loaded, kind(Network.of(loaded), loaded.tokenizer.forbidden, device))
        typed = [replace(PROMPT, prefix=PROMPT.prefix + "sum("[:n]) for n in range(5)]
        texts.append([engine.infill(prompt, replace(sampling, max_tokens=12)).text for prompt in typed])
    assert texts[0] == texts[1]
