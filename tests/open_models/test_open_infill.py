"""The engine of open models, end to end on tiny random networks of every family."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models.tiny_open_models import BLOCK_CAUSAL, BOTH_WAYS, OPEN, save_open

from mercury_lsp.completion import engines
from mercury_lsp.completion.pipeline import complete
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Progress, Run, Sampling
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.quantized_load import load_network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints import huggingface
from mercury_lsp.engine.open_models.engine import OpenModelEngine
from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.document import Document

PROMPT = Prompt("a.py", "def area(width, height):\n    return ", ")", "\n\nclass Shape:\n    pass\n")
SAMPLING = Sampling(max_tokens=12)
each_family = pytest.mark.parametrize("family", OPEN)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_open(made[family], family)
        return made[family]

    return folder


OpenDocuments = Callable[[str], OpenModelEngine]


@pytest.fixture
def new_engine(folders: Callable[[str], Path]) -> OpenDocuments:
    """A function that makes a new engine of a family, in fp32 because bf16 rounding would decide between tokens."""

    def engine(family: str) -> OpenModelEngine:
        loaded = huggingface.read_open_checkpoint(folders(family))
        network = load_network(loaded, "cpu", torch.float32)
        return OpenModelEngine(loaded, TorchExecutor(network, loaded.forbidden, "cpu", 1))

    return engine


def record_rows(engine: OpenModelEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of rows of each pass from now on."""
    rows: list[int] = []
    run = engine._executor.run

    def counting(ids: Sequence[int], own: TokenLayout, past: int) -> Any:
        rows.append(len(ids))
        return run(ids, own, past)

    monkeypatch.setattr(engine._executor, "run", counting)
    return rows


@each_family
def test_a_middle_is_the_same_in_a_new_and_in_a_used_engine(new_engine: OpenDocuments, family: str) -> None:
    engine = new_engine(family)
    drafts: list[Progress] = []
    first = engine.infill(PROMPT, SAMPLING, Run(on_progress=drafts.append))
    assert first.tokens > 0
    assert 0 < first.confidence < 1
    assert first.forward_passes >= first.steps > 0
    assert first.prompt_tokens > engine.count(PROMPT.prefix)
    assert not any(token in first.text for token in engine.tokenizer.added)
    assert len(drafts) >= first.steps
    again = new_engine(family).infill(PROMPT, SAMPLING)
    assert (again.text, again.tokens, again.confidence) == (first.text, first.tokens, first.confidence)
    warm = engine.infill(PROMPT, SAMPLING)
    assert warm.text == first.text
    assert warm.confidence == pytest.approx(first.confidence, rel=1e-3)


@each_family
def test_the_text_before_and_after_the_cursor_changes_the_result(
    new_engine: OpenDocuments, family: str
) -> None:
    engine = new_engine(family)
    seen = {
        engine.infill(asked, SAMPLING).confidence
        for asked in (
            PROMPT,
            replace(PROMPT, following=""),
            replace(PROMPT, prefix="x"),
            replace(PROMPT, rest=""),
        )
    }
    assert len(seen) == 4


@each_family
def test_committed_text_never_changes(new_engine: OpenDocuments, family: str) -> None:
    drafts: list[Progress] = []
    found = new_engine(family).infill(
        PROMPT, replace(SAMPLING, max_tokens=40), Run(on_progress=drafts.append)
    )
    committed = [draft.committed.text for draft in drafts]
    for earlier, later in itertools.pairwise([*committed, found.text]):
        assert later.startswith(earlier.rstrip("\ufffd"))
    assert all(draft.decided <= draft.total for draft in drafts)


@each_family
def test_cancellation_is_checked_between_passes(new_engine: OpenDocuments, family: str) -> None:
    engine = new_engine(family)
    asks = itertools.count()
    with pytest.raises(Cancelled):
        engine.infill(PROMPT, SAMPLING, Run(lambda: next(asks) >= 2))
    assert next(asks) == 3
    assert engine.infill(PROMPT, SAMPLING).text == new_engine(family).infill(PROMPT, SAMPLING).text


@each_family
def test_limits_of_tokens_and_passes_hold(new_engine: OpenDocuments, family: str) -> None:
    engine = new_engine(family)
    for tokens, passes in ((4, 64), (9, 64), (64, 3), (12, 1)):
        found = engine.infill(PROMPT, Sampling(max_tokens=tokens, max_passes=passes))
        # Random tokens may be encoded in another way.
        assert len(engine.tokenizer.encode(found.text)) <= 4 * tokens
        assert found.tokens <= tokens + 1
        assert found.forward_passes <= passes + 1


@each_family
def test_a_single_line_infill_has_one_line(new_engine: OpenDocuments, family: str) -> None:
    found = new_engine(family).infill(PROMPT, Sampling(max_tokens=32, single_line=True))
    # The first token may be one line break or several.
    assert "\n" not in found.text.lstrip("\n")


@each_family
def test_a_long_prompt_is_cut_to_the_context_length_of_the_model(
    new_engine: OpenDocuments, family: str
) -> None:
    long = Prompt("a.py", PROMPT.prefix * 90, ")", PROMPT.following * 90, (Snippet("b.py", "x = 1\n"),))
    engine = new_engine(family)
    found = engine.infill(long, SAMPLING)
    assert 900 < found.prompt_tokens <= 1024 - SAMPLING.max_tokens


@pytest.mark.parametrize("family", BOTH_WAYS)
def test_refresh_1_runs_all_rows_and_larger_values_run_fewer(
    new_engine: OpenDocuments, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(SAMPLING, block=8, max_tokens=8)
    engine = new_engine(family)
    rows = record_rows(engine, monkeypatch)
    exact = engine.infill(PROMPT, replace(asked, refresh=1))
    whole = exact.prompt_tokens + (8 if family != "dreamon" else 0)
    assert len(rows) == exact.forward_passes > 2
    assert min(rows) >= whole  # every pass runs all rows
    rows.clear()
    engine.infill(PROMPT, replace(asked, refresh=64))
    # Dreamon's canvas may change its size at every pass.
    if family != "dreamon":
        assert rows[0] >= whole
        assert set(rows[1:]) == {8 + 1}
    rows.clear()
    engine.infill(PROMPT, replace(asked, refresh=2))
    assert sum(count >= exact.prompt_tokens for count in rows) >= len(rows) // 2


@pytest.mark.parametrize("family", BOTH_WAYS)
def test_bidirectional_models_have_no_prefill(new_engine: OpenDocuments, family: str) -> None:
    assert new_engine(family).prefill(PROMPT) == 0


@pytest.mark.parametrize("family", BLOCK_CAUSAL)
def test_whole_blocks_are_cached_without_changing_the_result(
    new_engine: OpenDocuments, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(family)
    block = engine._loaded.family.block
    asked = replace(PROMPT, prefix=PROMPT.prefix * 4)
    assert engine.prefill(asked) // block > 0
    # With the shift, the last block is read again.
    assert engine.prefill(asked) <= block
    for typed in ("w", "wi", "wid"):
        warm = engine.infill(replace(asked, prefix=asked.prefix + typed), SAMPLING)
        cold = new_engine(family).infill(replace(asked, prefix=asked.prefix + typed), SAMPLING)
        assert cold.cached_tokens == 0
        assert warm.cached_tokens % block == 0
        assert warm.text == cold.text
        assert warm.confidence == pytest.approx(cold.confidence, rel=1e-3)
    assert warm.cached_tokens > 0
    rows = record_rows(engine, monkeypatch)
    again = engine.infill(replace(asked, prefix=asked.prefix + "widt"), replace(SAMPLING, max_passes=1))
    assert sum(rows) <= again.prompt_tokens - again.cached_tokens + 3 * block


@pytest.mark.parametrize("family", BOTH_WAYS)
def test_alternatives_differ_from_the_first_middle_and_each_other(
    new_engine: OpenDocuments, family: str
) -> None:
    engine = new_engine(family)
    first = engine.infill(PROMPT, SAMPLING)
    others = [other.text for other in engine.alternatives(PROMPT, SAMPLING, first)]
    assert first.text not in others
    assert len(set(others)) == len(others)
    if family != "dreamon":
        assert others
    fresh = [other.text for other in new_engine(family).alternatives(PROMPT, SAMPLING, first)]
    assert fresh == others
    if others:
        with pytest.raises(Cancelled):
            next(engine.alternatives(PROMPT, SAMPLING, first, Run(lambda: True)))


@pytest.mark.parametrize("family", ["open-dcoder", "sdar"])
def test_an_open_model_completes_a_document(folders: Callable[[str], Path], family: str) -> None:
    told: list[float] = []
    config = Config(model=str(folders(family)), device="cpu", max_tokens=8, show_likelihood=0.0)
    engine = engines.load(config, told.append)
    assert isinstance(engine, OpenModelEngine)
    assert (engine.family, engine.device, told[-1]) == (family, "cpu", 1.0)
    text = PROMPT.prefix + PROMPT.following
    document = Document("file:///a.py", "a.py", "python", 1, text)
    found = complete(Snapshot(document, config, manual=True), len(PROMPT.prefix), engine)
    assert found is not None
    assert found.infill.tokens > 0


def test_an_own_checkpoint_is_not_run_by_the_engine_of_open_models(tiny_model: Path) -> None:
    assert not isinstance(engines.load(Config(model=str(tiny_model), device="cpu")), OpenModelEngine)
    assert engines.relevant_settings(Config(quantization="int8")) != engines.relevant_settings(Config())


def test_a_change_of_an_unused_setting_loads_no_model_again() -> None:
    off, always = Config(), Config(remote="always", remote_url="http://a.example")
    for name in ("remote_url", "remote_model", "remote_key_env"):
        changed = {name: "x"}
        assert engines.relevant_settings(replace(off, **changed)) == engines.relevant_settings(off)
        assert engines.relevant_settings(replace(always, **changed)) != engines.relevant_settings(always)
        hedged = replace(always, remote="fallback")
        assert engines.relevant_settings(replace(hedged, **changed)) != engines.relevant_settings(hedged)
    assert engines.relevant_settings(replace(always, model="mini")) == engines.relevant_settings(always)
    assert engines.relevant_settings(replace(off, model="mini")) != engines.relevant_settings(off)
    assert (
        len({engines.relevant_settings(Config(remote=remote)) for remote in ("off", "always", "fallback")})
        == 3
    )
