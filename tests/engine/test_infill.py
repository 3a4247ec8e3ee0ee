"""The engine as a whole, on the tiny network: exactness of the cache, limits, cancellation, what may be shown."""

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
    """In fp32: a random network's choices are so close that bf16's rounding would decide them."""
    loaded = checkpoint.read_checkpoint(folder)
    return LocalEngine(loaded, TorchExecutor(Network.of(loaded), loaded.tokenizer.forbidden, "cpu"))


class EndsAt(StopCondition):
    """Ends a middle at one index, whatever the token."""

    def __init__(self, index: int) -> None:
        super().__init__(frozenset(), frozenset(), index)

    def __call__(self, index: int, token: int) -> bool:
        return index == self.visible_before

    def after_stem(self, hidden: int) -> EndsAt:
        return self


def anew(engine: LocalEngine) -> LocalEngine:
    """The engine without its memory of the last middle, which it would tell again without a pass."""
    engine._last = None
    return engine


@pytest.fixture(scope="module")
def engine(unpacked_model: Path) -> LocalEngine:
    return load(unpacked_model)


@pytest.fixture
def fresh(unpacked_model: Path) -> LocalEngine:
    return load(unpacked_model)


@each_mode
def test_a_used_cache_gives_what_an_empty_one_gives(
    engine: LocalEngine, fresh: LocalEngine, sampling: Sampling
) -> None:
    for typed in ("", "s", "su", "sum", "sum("):
        warm = engine.infill(replace(PROMPT, prefix=PROMPT.prefix + typed), sampling)
    cold = fresh.infill(replace(PROMPT, prefix=PROMPT.prefix + "sum("), sampling)
    assert cold.cached_tokens == 0
    assert warm.cached_tokens > warm.prompt_tokens - 12  # all but the cursor's line and its rest
    assert warm.text == cold.text
    assert warm.confidence == pytest.approx(cold.confidence, rel=1e-3)


def test_typing_runs_only_the_changed_rows(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.infill(PROMPT, Sampling(max_passes=1))
    rows: list[int] = []
    run = engine.cached_model.run
    monkeypatch.setattr(engine.cached_model, "run", lambda ids, rest: rows.append(len(ids)) or run(ids, rest))
    engine.infill(replace(PROMPT, prefix=PROMPT.prefix + "s"), Sampling(max_passes=1))
    assert (
        sum(rows) < 12 + 9 + 1 + 9
    )  # the line's end and a canvas, one token and its canvas; the prompt has hundreds


def test_prefill_reads_ahead(engine: LocalEngine) -> None:
    asked = replace(PROMPT, path="other.py")
    assert engine.prefill(asked) > 0
    assert engine.prefill(asked) == 0
    got = engine.infill(asked, Sampling(max_passes=1))
    assert got.cached_tokens == got.prompt_tokens - 1  # the last row runs again: it foretells the first token


@each_mode
def test_limits_are_kept(engine: LocalEngine, sampling: Sampling) -> None:
    got = engine.infill(PROMPT, replace(sampling, max_tokens=11))
    assert got.tokens <= 11
    got = engine.infill(PROMPT, replace(sampling, max_passes=3))
    assert got.forward_passes == 3
    assert not got.finished


def test_diffusion_with_a_wide_bound_takes_fewer_passes_than_tokens(engine: LocalEngine) -> None:
    got = engine.infill(PROMPT, Sampling(verify=False, max_tokens=32, block=16, entropy_bound=1e9))
    assert got.forward_passes <= 3  # a pass a block, and one between them
    assert engine.infill(PROMPT, Sampling(mode="autoregressive", max_tokens=32)).forward_passes > 20


@each_mode
def test_cancellation_is_seen_between_two_passes(engine: LocalEngine, sampling: Sampling) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    with pytest.raises(Cancelled):
        engine.infill(PROMPT, sampling, Run(cancelled))
    assert asked == 5
    assert engine.infill(PROMPT, replace(sampling, max_passes=2)).forward_passes == 2


def test_a_cancelled_prefill_leaves_an_exact_cache(engine: LocalEngine, fresh: LocalEngine) -> None:
    asked = replace(PROMPT, path="third.py", prefix=LINES * 3 + PROMPT.prefix)
    looks = iter([False, True])
    with pytest.raises(Cancelled):
        engine.prefill(asked, lambda: next(looks))
    got = engine.infill(asked, Sampling(max_tokens=16))
    assert (
        64 <= got.cached_tokens < 64 + 10
    )  # the one chunk that was read, behind the following lines it knew
    assert got.text == fresh.infill(asked, Sampling(max_tokens=16)).text


def test_special_strings_are_plain_text_and_special_tokens_never_shown(engine: LocalEngine) -> None:
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
    for surety in (0.0, 1e-9, 1.0):  # every draft, those that a random network is surest of, none
        sampling = replace(MODES["verified"], draft_surety=surety, draft_lookup=0)
        drafted = engine.infill(PROMPT, sampling)
        assert drafted.text == one_by_one.text
        assert drafted.confidence == pytest.approx(one_by_one.confidence, rel=1e-3)
        assert drafted.forward_passes <= one_by_one.forward_passes
    assert drafted.forward_passes == one_by_one.forward_passes


def test_what_a_row_costs_changes_passes_and_no_text(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one, results = engine.infill(PROMPT, MODES["autoregressive"]), []
    for row_cost in (0.0, 0.1, 0.4):
        monkeypatch.setattr(engine._executor, "row_cost", row_cost)
        results.append(anew(engine).infill(PROMPT, MODES["verified"]))
    assert {result.text for result in results} == {one_by_one.text}
    assert results[-1].forward_passes <= one_by_one.forward_passes


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_draft_that_is_looked_up_is_verified_as_any(engine: LocalEngine, length: int) -> None:
    one_by_one = engine.infill(PROMPT, MODES["autoregressive"])
    found = engine.infill(PROMPT, replace(MODES["verified"], draft_lookup=length))
    assert found.text == one_by_one.text
    assert found.confidence == pytest.approx(one_by_one.confidence, rel=1e-3)
    if length == 1:  # a random network says some tokens over and over: what followed them is right
        assert found.forward_passes < one_by_one.forward_passes - 5


@pytest.mark.parametrize("typed", [0, 1, 5, 9])
@pytest.mark.parametrize("sampling", [MODES["verified"], replace(MODES["verified"], max_tokens=3)])
def test_a_hint_that_holds_spares_passes_and_changes_no_text(
    engine: LocalEngine, typed: int, sampling: Sampling
) -> None:
    text = engine.infill(PROMPT, MODES["verified"]).text
    asked = replace(PROMPT, prefix=PROMPT.prefix + text[:typed])
    plain = anew(engine).infill(asked, sampling)
    right = anew(engine).infill(asked, sampling, Run(hint=Hint(text[:typed] + plain.text, text[:typed])))
    assert right.text == plain.text
    assert right.tokens == plain.tokens
    assert right.confidence == pytest.approx(plain.confidence, rel=1e-3)
    assert right.forward_passes < plain.forward_passes


@pytest.mark.parametrize("typed", ["", "s", "total", "total)"])
def test_a_hint_that_does_not_hold_changes_no_text(engine: LocalEngine, typed: str) -> None:
    asked = replace(PROMPT, prefix=PROMPT.prefix + typed)
    for sampling in (*MODES.values(), replace(MODES["verified"], single_line=True)):
        plain = anew(engine).infill(asked, sampling)
        for text in ("total + other\n    total", "\n", "", "<eot>", plain.text[:7] + " compute(other)"):
            hinted = anew(engine).infill(asked, sampling, Run(hint=Hint(text, typed)))
            assert (hinted.text, hinted.tokens, hinted.finished) == (plain.text, plain.tokens, plain.finished)
            assert hinted.confidence == pytest.approx(plain.confidence, rel=1e-3)
            assert len(engine.cached_model.ids) <= hinted.prompt_tokens + hinted.tokens


def test_no_scores_are_kept_that_a_rejected_token_led_to(engine: LocalEngine) -> None:
    def decoded(first_scores: list[int]) -> DecodeResult:
        ids, budget = engine._encode(PROMPT), DecodeBudget(64, 8, lambda: False)
        engine.cached_model.extend(ids[engine.cached_model.reuse(ids[:-1]) : -1], lambda: False)
        stem = engine._stem(PROMPT, MODES["verified"])
        ends = engine._stop
        return engine._decode(
            ids[-1:], MODES["verified"], ends, budget, lambda *_: None, stem, [], first_scores
        )

    plain = decoded([])
    first, second, third, *_ = plain.tokens
    for first_scores, rows in (([first, second + 1, third], 2), ([first, second, third], 4)):
        result = decoded(first_scores)
        assert result.tokens == plain.tokens and result.first_scores is not None
        told = [
            float(scores[token]) for scores, token in zip(result.first_scores, plain.tokens, strict=False)
        ]
        assert told == pytest.approx(plain.logp[:rows], rel=1e-3)


def test_what_was_typed_instead_is_looked_up_in_the_hint() -> None:
    hint = [1, 2, 3, 4, 5]
    assert _look_up([9, 2, 3, 8, 2, 3], hint, 2, 3) == [4, 5]  # rather than [8, 2, 3]
    assert _look_up([9, 2, 3, 8, 2, 3], [], 2, 3) == [8, 2, 3]
    assert _look_up([9, 2, 3, 8, 2, 3], [1, 2], 2, 3) == [8, 2, 3]
    assert Hint("value(x)", "val").untyped == "ue(x)"
    assert Hint("value(x)", "var").untyped == ""


def test_what_followed_the_last_tokens_where_they_last_stood() -> None:
    ids = [1, 2, 3, 4, 1, 2, 5, 6, 7, 1, 2]
    assert _continuation(ids, 2, 3) == [5, 6, 7]
    assert _continuation(ids, 2, 9) == [5, 6, 7, 1, 2]
    assert _continuation(ids, 3, 3) == []
    assert _continuation([4, 4, 4], 2, 3) == [4]
    assert _continuation([1], 2, 3) == []


def test_slack_lets_drafts_stand_that_are_nearly_as_likely(engine: LocalEngine) -> None:
    exact = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0))
    some, all_ = (
        engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0, draft_slack=slack))
        for slack in (3.0, 1e9)
    )
    assert exact.forward_passes > some.forward_passes > all_.forward_passes
    assert all_.tokens == exact.tokens == 24
    assert all_.forward_passes == 4  # a block's five drafted tokens and a causal one each
    assert exact.confidence > some.confidence > all_.confidence  # what is not the likeliest counts as it is


def log(chances: list[list[float]]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        return np.log(np.array(chances, np.float32))


def test_a_draft_with_an_end_is_verified_unless_it_is_likely_enough() -> None:
    ends = StopCondition(frozenset([0]), newlines=frozenset([1]))
    scores = log([[0.1, 0.1, 0.8, 0.0], [0.1, 0.6, 0.1, 0.2], [0.0, 0.0, 0.0, 1.0]])
    found = _trusted_ending(*likeliest(scores), 0.45, ends, index=1)
    assert found is not None
    assert (found.tokens, found.logp) == ([2], pytest.approx([math.log(0.8), math.log(0.6)]))
    assert _trusted_ending(*likeliest(scores), 0.5, ends, index=1) is None  # 0.48
    assert _trusted_ending(*likeliest(scores[:1]), 0.1, ends, index=1) is None  # no end
    assert _trusted_ending(*likeliest(log([[1.0, 0.0]])), 1.0, ends, index=1) is None  # never


def test_trust_spares_the_passes_that_would_have_verified(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_stop_condition", lambda sampling: EndsAt(8))
    verified = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0))
    trusted = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0, draft_trust=0.0))
    assert verified.finished
    assert trusted.finished
    assert verified.tokens == trusted.tokens == 9
    assert verified.forward_passes > trusted.forward_passes > 0  # a canvas reaches five tokens ahead


def test_verified_rows_stay_in_the_cache(engine: LocalEngine) -> None:
    got = engine.infill(PROMPT, replace(MODES["verified"], draft_surety=0.0))
    kept = engine.tokenizer.decode(engine.cached_model.ids[got.prompt_tokens :])
    assert kept == got.text


@each_mode
def test_drafts_sharpen_to_the_text(engine: LocalEngine, sampling: Sampling) -> None:
    drafts: list[Progress] = []
    got = engine.infill(PROMPT, replace(sampling, max_tokens=8), Run(on_progress=drafts.append))
    counts = [draft.forward_passes for draft in drafts]
    assert counts == sorted(set(counts))
    assert counts[-1] == got.forward_passes
    assert drafts[-1].text.startswith(got.text)


@each_mode
def test_of_what_a_draft_has_settled_nothing_changes(engine: LocalEngine, sampling: Sampling) -> None:
    drafts: list[Progress] = []
    ids = engine.tokenizer.encode(engine.infill(PROMPT, sampling, Run(on_progress=drafts.append)).text)
    whole = engine.tokenizer.decode(ids)
    committed = [draft.committed for draft in drafts]
    assert all(whole.startswith(infill.text) and not infill.finished for infill in committed)
    assert [infill.tokens for infill in committed] == sorted(infill.tokens for infill in committed)
    assert all((infill.tokens > 0) == (infill.confidence > 0) for infill in committed)
    assert committed[-1].tokens >= 24 - UNVERIFIED_BLOCK_TOKENS


def test_the_first_lines_are_as_likely_as_their_tokens(engine: LocalEngine) -> None:
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


def test_prefill_leaves_little_to_later(engine: LocalEngine) -> None:
    asked = replace(PROMPT, path="fourth.py")
    unread = engine.prefill(asked, min_tokens=10**6)
    assert unread == 0
    assert engine.prefill(asked, min_tokens=64) > 64
    assert engine.prefill(replace(asked, prefix=asked.prefix + "x"), min_tokens=64) == 0
    assert engine.prefill(replace(asked, prefix=asked.prefix + "x")) > 0


@each_mode
def test_alternatives_leave_the_first_text(engine: LocalEngine, sampling: Sampling) -> None:
    short = replace(sampling, max_tokens=8)
    first = engine.infill(PROMPT, short)
    others = list(islice(engine.alternatives(PROMPT, short, first), 4))
    assert len({first.text, *(other.text for other in others)}) == 5
    assert all(0 < other.tokens <= 9 and 0 < other.confidence < 1 for other in others)
    assert engine.infill(PROMPT, short).text == first.text  # and the cache is right still


@pytest.mark.parametrize("sampling", [MODES["verified"], MODES["autoregressive"]])
def test_alternatives_go_on_as_the_model_does(
    engine: LocalEngine, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[list[int], DecodeResult]] = []
    decode = engine._decode

    def spy(tail: list[int], *rest: Any, **options: Any) -> DecodeResult:
        there = [*engine.cached_model.ids, *tail]
        middle = decode(tail, *rest, **options)
        decoded.append((there, middle))
        return middle

    short = replace(sampling, max_tokens=12)
    first = engine.infill(PROMPT, short)
    monkeypatch.setattr(engine, "_decode", spy)
    others = list(islice(engine.alternatives(PROMPT, short, first), 6))
    prompt = encode_prompt(PROMPT, engine.tokenizer)
    assert len(decoded) == 6
    for (ids, middle), other in zip(decoded, others, strict=True):
        stem = ids[len(prompt) :]
        assert tuple(ids[: len(prompt)]) == prompt and 1 <= len(stem) <= 12
        assert other.text == engine.tokenizer.decode([*stem, *middle.tokens])
        engine.cached_model.reuse([])
        limit = DecodeBudget(64, 12 - len(stem), lambda: False)
        none = Stem(engine._token_bytes, b"")
        plain = decode_autoregressive(engine.cached_model, ids, engine._stop, limit, lambda *_: None, none)
        assert middle.tokens == plain.tokens


def test_alternatives_stop_between_two_passes(engine: LocalEngine) -> None:
    first = engine.infill(PROMPT, MODES["verified"])
    late = False
    others = engine.alternatives(PROMPT, MODES["verified"], first, Run(lambda: late))
    assert next(others).text
    late = True
    with pytest.raises(Cancelled):
        next(others)


def test_a_single_line_alternative_ends_with_its_line(engine: LocalEngine) -> None:
    sampling = replace(MODES["verified"], single_line=True)
    first = engine.infill(PROMPT, sampling)
    others = list(islice(engine.alternatives(PROMPT, sampling, first), 12))
    assert len(others) == 12
    assert all("\n" not in other.text.lstrip("\n") for other in others)


def test_a_single_line_ends_at_its_end(engine: LocalEngine) -> None:
    for typed in range(6):
        got = engine.infill(replace(PROMPT, prefix=PROMPT.prefix + "x" * typed), Sampling(single_line=True))
        assert "\n" not in got.text.lstrip("\n")


@pytest.mark.parametrize("hedge", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("block", [2, 3, 6])
def test_where_canvases_stand_changes_no_text(engine: LocalEngine, block: int, hedge: float) -> None:
    asked = Sampling(max_tokens=24, block=block, canvas_threshold=hedge, draft_surety=0.0)
    told = engine.infill(PROMPT, Sampling(mode="autoregressive", max_tokens=24))
    assert engine.infill(PROMPT, asked).text == told.text


def test_canvases_stand_where_a_draft_may_go_wrong() -> None:
    assert _canvas_places([], 1.0) == [0]
    assert _canvas_places([0.9, 0.5], 0.0) == [0, 1, 2]
    assert _canvas_places([0.9, 0.5], 0.45) == [
        1,
        2,
    ]  # wrong at once: 0.1; after the first: 0.45; not at all: 0.45
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
def test_a_middle_goes_on_from_its_stem_and_does_not_show_it(
    engine: LocalEngine, sampling: Sampling, stem: str, single_line: bool
) -> None:
    sampling = replace(sampling, max_tokens=8, single_line=single_line)
    drafts: list[Progress] = []
    got = anew(engine).infill(replace(PROMPT, stem=stem), sampling, Run(on_progress=drafts.append))
    ids = engine.cached_model.ids[got.prompt_tokens :]
    whole = engine.tokenizer.decode(ids)
    assert got.text and not got.text.startswith(stem)  # a random network says no token twice running
    assert (stem + got.text).startswith(whole) or whole.startswith(stem + got.text)
    assert all(got.text.startswith(draft.committed.text) for draft in drafts)
    assert got.tokens <= 8


def test_a_likelihood_is_that_given_the_stem(engine: LocalEngine) -> None:
    sampling = replace(MODES["autoregressive"], max_tokens=1)
    for stem in STEMS.values():
        engine.infill(replace(PROMPT, stem=stem), sampling)
        engine.cached_model.reuse(encode_prompt(PROMPT, engine.tokenizer)[:-1])
        last = engine.cached_model.extend([engine.tokenizer.specials.fim_middle], lambda: False)
        row = engine.cached_model.scores(last)[0].astype(np.float64)
        allowed = engine._token_bytes.allowed(stem.encode())
        best = row[allowed].max() - np.log(np.exp(row[allowed]).sum())
        got = anew(engine).infill(replace(PROMPT, stem=stem), sampling)
        assert got.confidence == pytest.approx(math.exp(best), rel=1e-3)


def test_a_key_within_a_word_costs_no_pass_while_the_middle_holds(
    engine: LocalEngine, fresh: LocalEngine, monkeypatch: pytest.MonkeyPatch
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
        cold = fresh.infill(replace(PROMPT, stem=first[:n]), sampling)
        assert got.text == cold.text == ("v" + whole.text)[n:]
        assert got.confidence == pytest.approx(cold.confidence, rel=1e-3)
        assert got.confidence**got.tokens >= sure * 0.999
        assert not rows and not got.forward_passes
        fresh = anew(fresh)
        fresh.cached_model.reuse([])


def test_another_key_within_a_word_begins_with_the_scores_that_are_there(
    engine: LocalEngine, fresh: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = MODES["verified"]
    for stem in ("v", "va", "q", "qu", "v", "", "\n", "\n    ", "é"):
        got = engine.infill(replace(PROMPT, stem=stem), sampling)
        cold = anew(fresh).infill(replace(PROMPT, stem=stem), sampling)
        assert (got.text, got.tokens, got.finished) == (cold.text, cold.tokens, cold.finished)
        assert got.confidence == pytest.approx(cold.confidence, rel=1e-3)
        assert got.forward_passes <= cold.forward_passes


def test_a_fresh_line_costs_no_pass_more(engine: LocalEngine) -> None:
    sampling = replace(MODES["verified"], max_tokens=1, draft_lookup=0)
    one = anew(engine).infill(replace(PROMPT, stem=" "), sampling)
    sampling = replace(sampling, max_tokens=2)
    line = anew(engine).infill(replace(PROMPT, stem="\n    "), sampling)
    assert line.forward_passes <= one.forward_passes + 1


def test_the_end_of_a_line_is_not_that_of_the_stem() -> None:
    ends = StopCondition(frozenset([0]), frozenset([7]))
    assert [ends(i, 7) for i in range(3)] == [False, True, True]
    assert [ends.after_stem(2)(i, 7) for i in range(4)] == [False, False, False, True]
    assert ends.after_stem(2)(0, 0)


def test_alternatives_keep_to_the_stem(engine: LocalEngine) -> None:
    asked, sampling = replace(PROMPT, stem="va"), replace(MODES["verified"], max_tokens=8)
    first = engine.infill(asked, sampling)
    others = list(islice(engine.alternatives(asked, sampling, first), 4))
    assert len({first.text, *(other.text for other in others)}) > 2
    for other in others:
        assert other.tokens <= 8 and not other.text.startswith("va")
