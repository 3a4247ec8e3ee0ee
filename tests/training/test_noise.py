"""The noise has the distribution that its docstring promises."""

from __future__ import annotations

import torch

from model.training import noise


def draws(count: int = 4000) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    masks, weights, paired = noise.mask_blocks(count, 16, generator)
    canvases = (1 + paired.long()).tolist()
    return [(masks[i, :n], weights[i, :n, None].expand(-1, 16)) for i, n in enumerate(canvases)]


def test_a_block_is_masked_entirely_or_by_two_complementary_masks() -> None:
    made = [masks for masks, _ in draws()]
    single = [masks for masks in made if masks.shape[0] == 1]
    assert all(bool(masks.all()) for masks in single)
    assert all(bool((masks[0] ^ masks[1]).all()) for masks in made if masks.shape[0] == 2)
    assert abs(len(single) / len(made) - noise.ALL_MASKED) < 0.03


def test_the_loss_weight_is_the_inverse_of_the_level_up_to_a_maximum() -> None:
    level = torch.tensor([1.0, 0.5, 0.25, 0.01])
    torch.testing.assert_close(noise.loss_weight(level), torch.tensor([1.0, 2.0, 4.0, noise.WEIGHT_MAX]))


def test_weighted_masks_count_each_token_of_a_canvas_about_once_on_average() -> None:
    pairs = [(masks * weights).mean(-1) for masks, weights in draws() if masks.shape[0] == 2]
    mean = float(torch.cat(pairs).mean())
    # The maximum lowers the mean a little: E[t * min(1/t, 10)] < 1.
    assert 0.85 < mean < 1.01
