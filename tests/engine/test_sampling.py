"""Sampling draws tokens from the right distribution, and speculative decoding does not change the drawn text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.decoding.sampling import greedy, sampled
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt

PROBABILITY = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
with np.errstate(divide="ignore"):
    SCORES = np.log(PROBABILITY).astype(np.float32)[None]
DRAWS = 4000


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_tokens_are_drawn_in_proportion_to_their_probability(temperature: float) -> None:
    wanted = PROBABILITY ** (1 / temperature) / (PROBABILITY ** (1 / temperature)).sum()
    ids = [sampled(temperature, seed)(SCORES, 0)[0][0] for seed in range(DRAWS)]
    found = np.bincount(ids, minlength=5) / DRAWS
    # Four standard deviations.
    np.testing.assert_allclose(found, wanted, atol=4 * 0.5 / DRAWS**0.5)
    assert found[1] == 0


def test_each_index_is_drawn_independently_of_the_others() -> None:
    scores = np.repeat(SCORES, 200, 0)
    ids, logp = sampled(1.0, 7)(scores, 3)
    assert len(set(ids)) > 2
    assert sampled(1.0, 7)(scores[50:], 53)[0] == ids[50:]
    assert sampled(1.0, 8)(scores, 3)[0] != ids
    # The model's own probabilities, for any temperature.
    np.testing.assert_allclose(logp, SCORES[0][ids])
    assert sampled(1.0, -1)(scores[:0], 0) == ([], [])


# The last three have no reciprocal in single precision, or are 0 in it.
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("temperature", [1e-3, 1e-37, 1e-40, 1e-46, 1e-320])
def test_a_temperature_near_zero_selects_the_likeliest_token(temperature: float) -> None:
    likeliest = len(SCORES[0]) - 1
    assert sampled(temperature, 5)(SCORES[:, ::-1], 0) == greedy(SCORES[:, ::-1], 0)
    assert greedy(SCORES[:, ::-1], 0)[0] == [likeliest]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> LocalEngine:
    """The engine in fp32, so that rounding does not change a token between both ways of decoding."""
    loaded = checkpoint.read_checkpoint(tiny_model)
    return LocalEngine(loaded, TorchExecutor(Network.of(loaded), loaded.tokenizer.forbidden, "cpu"))


@pytest.mark.parametrize("seed", range(6))
def test_speculative_and_autoregressive_decoding_draw_the_same_text(engine: LocalEngine, seed: int) -> None:
    prompt = Prompt("a.py", "x = 1\ny = 2\nx = 1\ny =", "", "\nz = 3\n")
    # At a low temperature a random network's drafts repeat the text, and some of them are accepted.
    for temperature in (0.02, 1.0):
        by_draft, by_token = (
            engine.infill(prompt, Sampling(mode, max_tokens=12, temperature=temperature, seed=seed))
            for mode in ("diffusion", "autoregressive")
        )
        assert by_draft.text == by_token.text
        assert by_draft.confidence == pytest.approx(by_token.confidence, rel=1e-3)


def test_the_same_seed_repeats_a_text_and_another_seed_does_not(engine: LocalEngine) -> None:
    prompt = Prompt("a.py", "x = 1\n", "", "")
    one, same, other = (
        engine.infill(prompt, Sampling(max_tokens=8, temperature=1.0, seed=seed)).text for seed in (1, 1, 2)
    )
    assert one == same != other
