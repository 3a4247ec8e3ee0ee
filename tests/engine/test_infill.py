"""The whole engine on the tiny network: exactness of the cache, limits, cancellation, drafts and alternatives."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mercury_lsp.engine.api import Progress, Run, Sampling
from mercury_lsp.engine.backends.attention import TokenLayout
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.decoding.decode import (
    DecodeBudget,
    DecodeResult,
    StopCondition,
    decode_autoregressive,
)
from mercury_lsp.engine.decoding.denoise import likeliest
from mercury_lsp.engine.decoding.healing import Stem
from mercury_lsp.engine.decoding.speculative import _canvas_places, _continuation, _look_up, _trusted_ending
from mercury_lsp.engine.local_engine import UNVERIFIED_BLOCK_TOKENS, LocalEngine
from mercury_lsp.engine.tokenizer import Hint, Prompt, encode_prompt
from mercury_lsp.engine.worker import Cancelled

LINES = "".join(f"    value_{i} = compute({i}, other)\n" for i in range(12))
PROMPT = Prompt("a.py", f"def f(other):\n{LINES}    total = ", ")", "\n    return total\n")
MODES = {
    "verified": Sampling(max_tokens=24),
    "denoised": Sampling(verify=False, max_tokens=24),
    "by threshold": Sampling(verify=False, max_tokens=24, threshold=0.5),
    "autoregressive": Sampling(mode="autoregressive", max_tokens=24),
}
each_mode = pytest.mark.parametrize("sampling", MODES.values(), ids=MODES)


def load(folder: Path) -> LocalEngine:
    """Load an engine in fp32: a random network's tokens are so equally likely that bf16 rounding would decide."""
    loaded = checkpoint.read_checkpoint(folder)
    return LocalEngine(loaded, TorchExecutor(Network.of(loaded), loaded.tokenizer.forbidden, "cpu"))


class EndsAt(StopCondition):
    """Ends a middle at one index, for any token."""

    def __init__(self, index: int) -> None:
        super().__init__(frozenset(), frozenset(), index)

    def __call__(self, index: int, token: int) -> bool:
        return index == self.visible_before

    def after_stem(self, hidden: int) -> EndsAt:
        return self


def without_last_result(engine: LocalEngine) -> LocalEngine:
    """Return the engine without its last result, which it would return again without a pass."""
    engine._last = None
    return engine


@pytest.fixture(scope="module")
def engine(unpacked_model: Path) -> LocalEngine:
    return load(unpacked_model)


@pytest.fixture
def other_engine(unpacked_model: Path) -> LocalEngine:
    return load(unpacked_model)


@each_mode
def test_a_used_cache_gives_the_same_text_as_an_empty_one(
    engine: LocalEngine, other_engine: LocalEngine, sampling: Sampling
) -> None:
    for typed in ("", "s", "su", "sum", "sum("):
        warm = engine.infill(replace(PROMPT, prefix=PROMPT.prefix + typed), sampling)
    cold = other_engine.infill(replace(PROMPT, prefix=PROMPT.prefix + "sum("), sampling)
    assert cold.cached_tokens == 0
    # All of the prompt except the line of the cursor and the rest of that line.
    assert warm.cached_tokens > warm.prompt_tokens - 12
    assert warm.text == cold.text
    assert warm.confidence == pytest.approx(cold.confidence, rel=1e-3)


def test_typing_runs_only_the_changed_rows(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.infill(PROMPT, Sampling(max_passes=1))
    rows: list[int] = []
    run = engine.cached_model.run
    monkeypatch.setattr(engine.cached_model, "run", lambda ids, rest: rows.append(len(ids)) or run(ids, rest))
    engine.infill(replace(PROMPT, prefix=PROMPT.prefix + "s"), Sampling(max_passes=1))
    # The end of the line and a canvas, one token and its canvas; the prompt has hundreds of rows.
    assert sum(rows) < 12 + 9 + 1 + 9


def test_prefill_reads_the_prompt_before_a_request(engine: LocalEngine) -> None:
    asked = replace(PROMPT, path="other.py")
    assert engine.prefill(asked) > 0
    assert engine.prefill(asked) == 0
    got = engine.infill(asked, Sampling(max_passes=1))
    # The last row runs again, because it predicts the first token.
    assert got.cached_tokens == got.prompt_tokens - 1


@each_mode
def test_limits_of_tokens_and_passes_hold(engine: LocalEngine, sampling: Sampling) -> None:
    got = engine.infill(PROMPT, replace(sampling, max_tokens=11))
    assert got.tokens <= 11
    got = engine.infill(PROMPT, replace(sampling, max_passes=3))
    assert got.forward_passes == 3
    assert not got.finished


def test_diffusion_with_a_high_entropy_bound_needs_fewer_passes_than_tokens(engine: LocalEngine) -> None:
    got = engine.infill(PROMPT, Sampling(verify=False, max_tokens=32, block=16, entropy_bound=1e9))
    # One pass for each block, and one between them.
    assert got.forward_passes <= 3
    assert engine.infill(PROMPT, Sampling(mode="autoregressive", max_tokens=32)).forward_passes > 20


@each_mode
def test_cancellation_is_checked_between_passes(engine: LocalEngine, sampling: Sampling) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    with pytest.raises(Cancelled):
        engine.infill(PROMPT, sampling, Run(cancelled))
    assert asked == 5
    assert engine.infill(PROMPT, replace(sampling, max_passes=2)).forward_passes == 2


def test_a_cancelled_prefill_leaves_an_exact_cache(engine: LocalEngine, other_engine: LocalEngine) -> None:
    asked = replace(PROMPT, path="third.py", prefix=LINES * 3 + PROMPT.prefix)
    looks = iter([False, True])
    with pytest.raises(Cancelled):
        engine.prefill(asked, lambda: next(looks))
    got = engine.infill(asked, Sampling(max_tokens=16))
    # The chunk that was read, and the lines after the cursor, which were in the cache.
    assert 64 <= got.cached_tokens < 64 + 10
    assert got.text == other_engine.infill(asked, Sampling(max_tokens=16)).text


def test_special_strings_are_encoded_as_text_and_special_tokens_are_never_shown(engine: LocalEngine) -> None:
    names = engine.tokenizer._vocabulary.get_added_tokens_decoder()
    everything = "".join(token.content for token in names.values())
    ids = encode_prompt(
        replace(PROMPT, prefix=everything, rest=everything, following="\n" + everything), engine.tokenizer
    )
    special = engine.tokenizer.specials
    layout = [special.fim_suffix, special.fim_prefix, special.fim_rest, special.fim_middle]
    assert [i for i in ids if i in names] == layout
    assert engine.tokenizer.decode(engine.tokenizer.encode(everything)) == everything
    scores = engine.cached_model.scores(
        engine.cached_model.run([5], TokenLayout.clean(len(engine.cached_model.ids), 1))
    )
    assert np.flatnonzero(np.isinf(scores[0])).tolist() == sorted(engine.tokenizer.forbidden)


def test_verified_drafts_give_the_autoregressive_text_in_no_more_passes(engine: LocalEngine) -> None:
    one_by_one = engine.infill(PROMPT, MODES["autoregressive"])
    # Accept every draft, only the drafts with the highest probabilities, and none.
    for surety in (0.0, 1e-9, 1.0):
        sampling = replace(MODES["verified"], draft_surety=surety, draft_lookup=0)
        drafted = engine.infill(PROMPT, sampling)
        assert drafted.text == one_by_one.text
        assert drafted.confidence == pytest.approx(one_by_one.confidence, rel=1e-3)
        assert drafted.forward_passes <= one_by_one.forward_passes
    assert drafted.forward_passes == one_by_one.forward_passes


def test_the_cost_of_a_row_changes_only_the_number_of_passes(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one, results = engine.infill(PROMPT, MODES["autoregressive"]), []
    for row_cost in (0.0, 0.1, 0.4):
        monkeypatch.setattr(engine._executor, "row_cost", row_cost)
        results.append(without_last_result(engine).infill(PROMPT, MODES["verified"]))
    assert {result.text for result in results} == {one_by_one.text}
    assert results[-1].forward_passes <= one_by_one.forward_passes


@pytest.mark.parametrize("length", [1, 2, 3])
def test_drafts_by_prompt_lookup_are_verified(engine: LocalEngine, length: int) -> None:
    one_by_one = engine.infill(PROMPT, MODES["autoregressive"])
    found = engine.infill(PROMPT, replace(MODES["verified"], draft_lookup=length))
    assert found.text == one_by_one.text
    assert found.confidence == pytest.approx(one_by_one.confidence, rel=1e-3)
    # A random network repeats some tokens, so that the tokens after an earlier occurrence are right.
    if length == 1:
        assert found.forward_passes < one_by_one.forward_passes - 5


@pytest.mark.parametrize("typed", [0, 1, 5, 9])
@pytest.mark.parametrize("sampling", [MODES["verified"], replace(MODES["verified"], max_tokens=3)])
def test_a_correct_hint_saves_passes_and_changes_no_text(
    engine: LocalEngine, typed: int, sampling: Sampling
) -> None:
    text = engine.infill(PROMPT, MODES["verified"]).text
    asked = replace(PROMPT, prefix=PROMPT.prefix + text[:typed])
    plain = without_last_result(engine).infill(asked, sampling)
    right = without_last_result(engine).infill(
        asked, sampling, Run(hint=Hint(text[:typed] + plain.text, text[:typed]))
    )
    assert right.text == plain.text
    assert right.tokens == plain.tokens
    assert right.confidence == pytest.approx(plain.confidence, rel=1e-3)
    assert right.forward_passes < plain.forward_passes


@pytest.mark.parametrize("typed", ["", "s", "total", "total)"])
def test_a_wrong_hint_changes_no_text(engine: LocalEngine, typed: str) -> None:
    asked = replace(PROMPT, prefix=PROMPT.prefix + typed)
    for sampling in (*MODES.values(), replace(MODES["verified"], single_line=True)):
        plain = without_last_result(engine).infill(asked, sampling)
        for text in ("total + other\n    total", "\n", "", "<eot>", plain.text[:7] + " compute(other)"):
            hinted = without_last_result(engine).infill(asked, sampling, Run(hint=Hint(text, typed)))
            assert (hinted.text, hinted.tokens, hinted.finished) == (plain.text, plain.tokens, plain.finished)
            assert hinted.confidence == pytest.approx(plain.confidence, rel=1e-3)
            assert len(engine.cached_model.ids) <= hinted.prompt_tokens + hinted.tokens


def test_scores_after_a_rejected_token_are_not_kept(engine: LocalEngine) -> None:
    def decode_with(first_scores: list[int]) -> DecodeResult:
        ids, budget = engine._encode(PROMPT), DecodeBudget(64, 8, lambda: False)
        engine.cached_model.extend(ids[engine.cached_model.reuse(ids[:-1]) : -1], lambda: False)
        stem = engine._stem(PROMPT, MODES["verified"])
        ends = engine._stop
        return engine._decode(
            ids[-1:], MODES["verified"], ends, budget, lambda *_: None, stem, [], first_scores
        )

    plain = decode_with([])
    first, second, third, *_ = plain.tokens
    for first_scores, rows in (([first, second + 1, third], 2), ([first, second, third], 4)):
        result = decode_with(first_scores)
        assert result.tokens == plain.tokens and result.first_scores is not None
        told = [
            float(scores[token]) for scores, token in zip(result.first_scores, plain.tokens, strict=False)
        ]
        assert told == pytest.approx(plain.logp[:rows], rel=1e-3)


def test_prompt_lookup_prefers_the_hint() -> None:
    hint = [1, 2, 3, 4, 5]
    assert _look_up([9, 2, 3, 8, 2, 3], hint, 2, 3) == [4, 5]  # rather than [8, 2, 3]
    assert _look_up([9, 2, 3, 8, 2, 3], [], 2, 3) == [8, 2, 3]
    assert _look_up([9, 2, 3, 8, 2, 3], [1, 2], 2, 3) == [8, 2, 3]
    assert Hint("value(x)", "val").untyped == "ue(x)"
    assert Hint("value(x)", "var").untyped == ""


def test_prompt_lookup_finds_the_tokens_after_the_latest_earlier_occurrence() -> None:
    ids = [1, 2, 3, 4, 1, 2, 5, 6, 7, 1, 2]
    assert _continuation(ids, 2, 3) == [5, 6, 7]
    assert _continuation(ids, 2, 9) == [5, 6, 7, 1, 2]
    assert _continuation(ids, 3, 3) == []
    assert _continuation([4, 4, 4], 2, 3) == [4]
    assert _continuation([1], 2, 3) == []


def test_slack_accepts_drafts_that_are_nearly_as_likely(engine: LocalEngine) -> None:
    exact = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0))
    some, all_ = (
        engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0, draft_slack=slack))
        for slack in (3.0, 1e9)
    )
    assert exact.forward_passes > some.forward_passes > all_.forward_passes
    assert all_.tokens == exact.tokens == 24
    # A block's five drafted tokens and one causal token in each pass.
    assert all_.forward_passes == 4
    # A token that is not the likeliest counts with its own probability.
    assert exact.confidence > some.confidence > all_.confidence


def log_probabilities(chances: list[list[float]]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        return np.log(np.array(chances, np.float32))


def test_a_draft_with_an_end_is_used_unverified_only_if_it_is_likely_enough() -> None:
    ends = StopCondition(frozenset([0]), newlines=frozenset([1]))
    scores = log_probabilities([[0.1, 0.1, 0.8, 0.0], [0.1, 0.6, 0.1, 0.2], [0.0, 0.0, 0.0, 1.0]])
    found = _trusted_ending(*likeliest(scores), 0.45, ends, index=1)
    assert found is not None
    assert (found.tokens, found.logp) == ([2], pytest.approx([math.log(0.8), math.log(0.6)]))
    assert _trusted_ending(*likeliest(scores), 0.5, ends, index=1) is None  # 0.48
    assert _trusted_ending(*likeliest(scores[:1]), 0.1, ends, index=1) is None  # no end
    assert (
        _trusted_ending(*likeliest(log_probabilities([[1.0, 0.0]])), 1.0, ends, index=1) is None
    )  # the bound is exclusive


def test_trust_saves_the_passes_that_would_verify_the_draft(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_stop_condition", lambda sampling: EndsAt(8))
    verified = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0))
    trusted = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0, draft_trust=0.0))
    assert verified.finished
    assert trusted.finished
    assert verified.tokens == trusted.tokens == 9
    # A canvas reaches five tokens ahead.
    assert verified.forward_passes > trusted.forward_passes > 0


def test_verified_rows_stay_in_the_cache(engine: LocalEngine) -> None:
    got = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0))
    kept = engine.tokenizer.decode(engine.cached_model.ids[got.prompt_tokens :])
    assert kept == got.text


@each_mode
def test_progress_is_reported_after_each_pass_and_ends_with_the_text(
    engine: LocalEngine, sampling: Sampling
) -> None:
    drafts: list[Progress] = []
    got = engine.infill(PROMPT, replace(sampling, max_tokens=8), Run(on_progress=drafts.append))
    counts = [draft.forward_passes for draft in drafts]
    assert counts == sorted(set(counts))
    assert counts[-1] == got.forward_passes
    assert drafts[-1].text.startswith(got.text)


@each_mode
def test_committed_text_in_progress_reports_never_changes(engine: LocalEngine, sampling: Sampling) -> None:
    drafts: list[Progress] = []
    ids = engine.tokenizer.encode(engine.infill(PROMPT, sampling, Run(on_progress=drafts.append)).text)
    whole = engine.tokenizer.decode(ids)
    committed = [draft.committed for draft in drafts]
    assert all(whole.startswith(infill.text) and not infill.finished for infill in committed)
    assert [infill.tokens for infill in committed] == sorted(infill.tokens for infill in committed)
    assert all((infill.tokens > 0) == (infill.confidence > 0) for infill in committed)
    assert committed[-1].tokens >= 24 - UNVERIFIED_BLOCK_TOKENS


def test_the_likelihood_of_the_first_lines_is_that_of_their_tokens(engine: LocalEngine) -> None:
    text = "x = 1\n    y = é2\n\n    return x"
    tokens = engine.tokenizer.encode(text)
    logp = [-0.125 * (i + 1) for i in range(len(tokens) + 1)]
    whole = engine._result_builder(PROMPT, DecodeBudget(1, 1, lambda: False), 0.0, 0, 5, None).infill(
        DecodeResult(tokens, logp, 1, True)
    )
    heads = [text[: line.end] for line in whole.lines]
    assert heads[0] == "x = 1" and heads[-1].rstrip() == "x = 1\n    y = é2"
    parts = [whole.first_lines(count) for count in range(1, len(heads) + 1)]
    assert [part.text for part in parts] == heads and all(part.finished for part in parts)
    for part in parts:
        assert "\n" in engine.tokenizer.decode(tokens[part.tokens - 1 : part.tokens])
        assert part.confidence**part.tokens == pytest.approx(math.exp(sum(logp[: part.tokens])))
    assert parts[-1].lines == whole.lines[:-1]
    assert whole.first_lines(len(heads) + 1) == whole.first_lines(9) == whole


def test_prefill_skips_prompts_with_fewer_missing_tokens_than_least(engine: LocalEngine) -> None:
    asked = replace(PROMPT, path="fourth.py")
    unread = engine.prefill(asked, min_tokens=10**6)
    assert unread == 0
    assert engine.prefill(asked, min_tokens=64) > 64
    assert engine.prefill(replace(asked, prefix=asked.prefix + "x"), min_tokens=64) == 0
    assert engine.prefill(replace(asked, prefix=asked.prefix + "x")) > 0


@each_mode
def test_alternatives_differ_and_do_not_change_the_first_text(
    engine: LocalEngine, sampling: Sampling
) -> None:
    short = replace(sampling, max_tokens=8)
    first = engine.infill(PROMPT, short)
    others = list(islice(engine.alternatives(PROMPT, short, first), 4))
    assert len({first.text, *(other.text for other in others)}) == 5
    assert all(0 < other.tokens <= 9 and 0 < other.confidence < 1 for other in others)
    # The cache is still right.
    assert engine.infill(PROMPT, short).text == first.text


@pytest.mark.parametrize("sampling", [MODES["verified"], MODES["autoregressive"]])
def test_alternatives_continue_with_the_models_own_tokens(
    engine: LocalEngine, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_with: list[tuple[list[int], DecodeResult]] = []
    decode = engine._decode

    def spy(tail: list[int], *rest: Any, **options: Any) -> DecodeResult:
        there = [*engine.cached_model.ids, *tail]
        middle = decode(tail, *rest, **options)
        decode_with.append((there, middle))
        return middle

    short = replace(sampling, max_tokens=12)
    first = engine.infill(PROMPT, short)
    monkeypatch.setattr(engine, "_decode", spy)
    others = list(islice(engine.alternatives(PROMPT, short, first), 6))
    prompt = encode_prompt(PROMPT, engine.tokenizer)
    assert len(decode_with) == 6
    for (ids, middle), other in zip(decode_with, others, strict=True):
        stem = ids[len(prompt) :]
        assert tuple(ids[: len(prompt)]) == prompt and 1 <= len(stem) <= 12
        assert other.text == engine.tokenizer.decode([*stem, *middle.tokens])
        engine.cached_model.reuse([])
        limit = DecodeBudget(64, 12 - len(stem), lambda: False)
        none = Stem(engine._token_bytes, b"")
        plain = decode_autoregressive(engine.cached_model, ids, engine._stop, limit, lambda *_: None, none)
        assert middle.tokens == plain.tokens


def test_alternatives_can_be_cancelled_between_passes(engine: LocalEngine) -> None:
    first = engine.infill(PROMPT, MODES["verified"])
    late = False
    others = engine.alternatives(PROMPT, MODES["verified"], first, Run(lambda: late))
    assert next(others).text
    late = True
    with pytest.raises(Cancelled):
        next(others)


def test_a_single_line_alternative_ends_at_the_end_of_its_line(engine: LocalEngine) -> None:
    sampling = replace(MODES["verified"], single_line=True)
    first = engine.infill(PROMPT, sampling)
    others = list(islice(engine.alternatives(PROMPT, sampling, first), 12))
    assert len(others) == 12
    assert all("\n" not in other.text.lstrip("\n") for other in others)


def test_a_single_line_infill_ends_at_the_end_of_its_line(engine: LocalEngine) -> None:
    for typed in range(6):
        got = engine.infill(replace(PROMPT, prefix=PROMPT.prefix + "x" * typed), Sampling(single_line=True))
        assert "\n" not in got.text.lstrip("\n")


@pytest.mark.parametrize("hedge", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("block", [2, 3, 6])
def test_the_places_of_canvases_change_no_text(engine: LocalEngine, block: int, hedge: float) -> None:
    asked = Sampling(max_tokens=24, block=block, canvas_threshold=hedge, draft_surety=0.0)
    told = engine.infill(PROMPT, Sampling(mode="autoregressive", max_tokens=24))
    assert engine.infill(PROMPT, asked).text == told.text


def test_canvases_are_placed_after_drafted_tokens_that_may_be_wrong() -> None:
    assert _canvas_places([], 1.0) == [0]
    assert _canvas_places([0.9, 0.5], 0.0) == [0, 1, 2]
    assert _canvas_places([0.9, 0.5], 0.45) == [
        1,
        2,
    ]  # wrong at the first token: 0.1; at the second: 0.45; never: 0.45
    assert _canvas_places([0.9, 0.8], 1.0) == [2]
    assert _canvas_places([0.2, 0.9], 1.0) == [0]


STEMS = {
    "a word": "valu",
    "a blank": " ",
    "a fresh line": "\n    ",
    "a mark": "(",
    "bytes": "é",
    "digits": " 12",
}


@each_mode
@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
@pytest.mark.parametrize("single_line", [False, True])
def test_a_middle_continues_its_stem_and_does_not_repeat_it(
    engine: LocalEngine, sampling: Sampling, stem: str, single_line: bool
) -> None:
    sampling = replace(sampling, max_tokens=8, single_line=single_line)
    drafts: list[Progress] = []
    got = without_last_result(engine).infill(
        replace(PROMPT, stem=stem), sampling, Run(on_progress=drafts.append)
    )
    ids = engine.cached_model.ids[got.prompt_tokens :]
    whole = engine.tokenizer.decode(ids)
    # A random network never repeats a token at once.
    assert got.text and not got.text.startswith(stem)
    assert (stem + got.text).startswith(whole) or whole.startswith(stem + got.text)
    assert all(got.text.startswith(draft.committed.text) for draft in drafts)
    assert got.tokens <= 8


def test_the_likelihood_is_conditional_on_the_stem(engine: LocalEngine) -> None:
    sampling = replace(MODES["autoregressive"], max_tokens=1)
    for stem in STEMS.values():
        engine.infill(replace(PROMPT, stem=stem), sampling)
        engine.cached_model.reuse(encode_prompt(PROMPT, engine.tokenizer)[:-1])
        last = engine.cached_model.extend([engine.tokenizer.specials.fim_middle], lambda: False)
        row = engine.cached_model.scores(last)[0].astype(np.float64)
        allowed = engine._token_bytes.allowed(stem.encode())
        best = row[allowed].max() - np.log(np.exp(row[allowed]).sum())
        got = without_last_result(engine).infill(replace(PROMPT, stem=stem), sampling)
        assert got.confidence == pytest.approx(math.exp(best), rel=1e-3)


def test_a_typed_character_that_the_last_middle_predicted_needs_no_pass(
    engine: LocalEngine, other_engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = MODES["verified"]
    whole = engine.infill(replace(PROMPT, stem="v"), sampling)
    first = engine.tokenizer.decode(engine.cached_model.ids[whole.prompt_tokens :][:1])
    rows: list[int] = []
    run = engine.cached_model.run
    monkeypatch.setattr(engine.cached_model, "run", lambda ids, rest: rows.append(len(ids)) or run(ids, rest))
    sure = whole.confidence**whole.tokens
    for n in range(2, len(first)):
        got = engine.infill(replace(PROMPT, stem=first[:n]), sampling)
        cold = other_engine.infill(replace(PROMPT, stem=first[:n]), sampling)
        assert got.text == cold.text == ("v" + whole.text)[n:]
        assert got.confidence == pytest.approx(cold.confidence, rel=1e-3)
        assert got.confidence**got.tokens >= sure * 0.999
        assert not rows and not got.forward_passes
        other_engine = without_last_result(other_engine)
        other_engine.cached_model.reuse([])


def test_a_changed_stem_reuses_the_scores_of_the_last_request(
    engine: LocalEngine, other_engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = MODES["verified"]
    for stem in ("v", "va", "q", "qu", "v", "", "\n", "\n    ", "é"):
        got = engine.infill(replace(PROMPT, stem=stem), sampling)
        cold = without_last_result(other_engine).infill(replace(PROMPT, stem=stem), sampling)
        assert (got.text, got.tokens, got.finished) == (cold.text, cold.tokens, cold.finished)
        assert got.confidence == pytest.approx(cold.confidence, rel=1e-3)
        assert got.forward_passes <= cold.forward_passes


def test_a_stem_with_a_line_break_needs_at_most_one_more_pass(engine: LocalEngine) -> None:
    sampling = replace(MODES["verified"], max_tokens=1, draft_lookup=0)
    one = without_last_result(engine).infill(replace(PROMPT, stem=" "), sampling)
    sampling = replace(sampling, max_tokens=2)
    line = without_last_result(engine).infill(replace(PROMPT, stem="\n    "), sampling)
    assert line.forward_passes <= one.forward_passes + 1


def test_a_line_break_in_the_stem_does_not_end_a_single_line() -> None:
    ends = StopCondition(frozenset([0]), frozenset([7]))
    assert [ends(i, 7) for i in range(3)] == [False, True, True]
    assert [ends.after_stem(2)(i, 7) for i in range(4)] == [False, False, False, True]
    assert ends.after_stem(2)(0, 0)


def test_alternatives_continue_the_stem(engine: LocalEngine) -> None:
    asked, sampling = replace(PROMPT, stem="va"), replace(MODES["verified"], max_tokens=8)
    first = engine.infill(asked, sampling)
    others = list(islice(engine.alternatives(asked, sampling, first), 4))
    assert len({first.text, *(other.text for other in others)}) > 2
    for other in others:
        assert other.tokens <= 8 and not other.text.startswith("va")
