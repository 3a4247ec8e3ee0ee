"""Infilling with given lengths, on the tiny network."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt, encode_prompt
from model.evaluation.suites.lengths import RULES, SIZE, Lengths

PROMPT = Prompt("a.py", "def f(other):\n    total = ", "", "\n    return total\n")


@pytest.fixture
def engine(tiny_model: Path) -> LocalEngine:
    loaded = checkpoint.read_checkpoint(tiny_model)
    return LocalEngine(loaded, TorchExecutor(Network.of(loaded), loaded.tokenizer.forbidden, "cpu"))


def ids(engine: LocalEngine, text: str) -> list[int]:
    return engine.tokenizer.encode(text)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_one_line_that_fits_into_the_canvas(engine: LocalEngine, rule: str) -> None:
    found = Lengths(engine).infill(PROMPT, rule, length=5)
    assert "\n" not in found.text
    assert 2 <= found.tokens <= SIZE
    assert found.finished
    assert found.forward_passes >= 1


def test_the_oracle_writes_a_text_of_the_given_length(engine: LocalEngine) -> None:
    for length in (1, 4, 15):
        assert Lengths(engine).infill(PROMPT, "oracle", length).tokens == length + 1
    assert Lengths(engine).infill(PROMPT, "oracle", 99).tokens == SIZE


def test_a_batch_of_lengths_gives_the_same_texts_as_each_length_alone(engine: LocalEngine) -> None:
    """The ranked text is one of the texts of single lengths, and needs no more passes than the slowest, and one."""
    ranked = Lengths(engine).infill(PROMPT, "ranked")
    alone = [Lengths(engine).infill(PROMPT, "oracle", length) for length in range(1, SIZE)]
    assert ranked.text in {found.text for found in alone}
    assert ranked.forward_passes == max(found.forward_passes for found in alone) + 1
    assert ranked.confidence > 0


def test_the_likelihood_is_that_of_a_causal_pass(engine: LocalEngine) -> None:
    found = Lengths(engine).infill(PROMPT, "ranked")
    passes = engine.cached_model
    passes.reuse([])
    prompt = encode_prompt(PROMPT, engine.tokenizer)
    tokens = ids(engine, found.text)
    assert engine.tokenizer.decode(tokens) == found.text
    scores = passes.scores(passes.run([*prompt, *tokens], TokenLayout.clean(0, len(prompt) + len(tokens))))
    follows = [*tokens, engine.tokenizer.specials.eot]
    logp = [float(scores[len(prompt) - 1 + i, token]) for i, token in enumerate(follows)]
    if len(follows) == found.tokens:  # otherwise the text is encoded in other tokens
        assert found.confidence == pytest.approx(math.exp(sum(logp) / len(logp)), rel=1e-3)


def test_revising_never_gives_a_less_likely_text(engine: LocalEngine) -> None:
    ranked = Lengths(engine, doubtful=0.5).infill(PROMPT, "ranked")
    revised = Lengths(engine, doubtful=0.5).infill(PROMPT, "revised")
    assert revised.confidence**revised.tokens >= ranked.confidence**ranked.tokens * 0.999


def test_a_calibration_by_length_prefers_longer_texts(engine: LocalEngine) -> None:
    total = Lengths(engine, calibration=0.0).infill(PROMPT, "ranked")
    mean = Lengths(engine, calibration=1.0).infill(PROMPT, "ranked")
    assert mean.confidence >= total.confidence
    assert mean.tokens >= total.tokens


def test_prefill_does_not_change_the_result(engine: LocalEngine) -> None:
    lengths = Lengths(engine)
    assert lengths.prefill(PROMPT) > 0
    assert lengths.prefill(PROMPT) == 0
    warm = lengths.infill(PROMPT, "ranked")
    assert warm.cached_tokens == warm.prompt_tokens - 1
    engine.cached_model.reuse([])
    cold = lengths.infill(PROMPT, "ranked")
    assert (cold.cached_tokens, cold.text) == (0, warm.text)
