"""The noise against what its docstring promises."""

from __future__ import annotations

import torch

from mercury_lsp.engine import noise


def draw(pairs: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    return noise.draw(pairs, 16, torch.Generator().manual_seed(0))


def test_pairs_are_complementary_or_start_all_masked() -> None:
    masks, _ = draw()
    complementary = (masks[:, 0] ^ masks[:, 1]).all(-1)
    all_masked = masks[:, 0].all(-1)
    assert bool((complementary | all_masked).all())
    assert 0.15 < float((all_masked & ~complementary).float().mean()) < 0.25


def test_every_token_of_every_pair_is_trained() -> None:
    masks, _ = draw()
    assert bool((masks[:, 0] | masks[:, 1]).all())


def test_weight_is_one_over_the_level_up_to_its_cut() -> None:
    level = torch.tensor([1.0, 0.5, 0.25, 0.01])
    torch.testing.assert_close(noise.weight(level), torch.tensor([1.0, 2.0, 4.0, noise.WEIGHT_MAX]))


def test_weighted_masks_count_each_token_about_once() -> None:
    masks, weights = draw()
    mean = float((masks * weights).mean())
    assert 0.85 < mean < 1.01  # the cut takes a little off: E[t * min(1/t, 10)] < 1
