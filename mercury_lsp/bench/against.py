"""Compares our decoders with another server on the same prompts, request by request.

Each request is timed until its own stop token, with the prompt in the KV cache of each side, so that only decoding is
compared; the time of the prefill is reported separately. The server's times include HTTP, about 1.5 ms a request with
llama.cpp. The prompts are parameters, so that `bench` and the suites in `model/` share this code.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from statistics import fmean, median
from typing import TYPE_CHECKING

from mercury_lsp.bench.completion_api import CompletionServer
from mercury_lsp.engine.api import MODES
from mercury_lsp.engine.tokenizer import Prompt

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Sampling
    from mercury_lsp.engine.local_engine import LocalEngine

SERVER = "server"
SIDES = (*MODES, SERVER)
MIN_LONG_TOKENS = 24
"""The least number of tokens on every side with which a completion counts as long."""
LONG_GROUP = f"tokens_{MIN_LONG_TOKENS}_and_more"
# The pause before each request, in which the other side's threads stop spinning.
PAUSE_SECONDS = 0.02
_ORDERS = tuple(permutations(SIDES))


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt for all sides, and whether they complete a single line."""

    prompt: Prompt
    single_line: bool


@dataclass(frozen=True, slots=True)
class SideAnswer:
    """The answer of one side. ``tokens``: the number of tokens, including a stop token."""

    text: str
    tokens: int
    ms: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with the answers by side, and the milliseconds of the prefill in our engine and in the server."""

    question: Question
    answers: Mapping[str, SideAnswer]
    prefill_ms: float
    server_prefill_ms: float


def make_client(engine: LocalEngine, url: str) -> CompletionServer:
    """Return the client of a server that runs the engine's model. Raises `BadUsage` for an invalid address."""
    return CompletionServer(url, engine.layout.stop_tokens, engine.tokenizer.newlines(), engine.forbidden)


def compare(
    engine: LocalEngine,
    server: CompletionServer,
    questions: Iterable[Question],
    sampling: Sampling,
    repeats: int = 1,
) -> Iterator[Turn]:
    """Ask all sides in changing order, and yield a turn for each question; its times are medians of the repeats."""
    n_orders = 0
    for question in questions:
        ids = engine.layout.encode(question.prompt)
        began = time.perf_counter()
        engine.prefill(question.prompt)
        prefill_ms = (time.perf_counter() - began) * 1e3
        server_prefill_ms = server.prefill(ids)
        answers_by_side: dict[str, list[SideAnswer]] = {side: [] for side in SIDES}
        for _ in range(repeats):
            for side in _ORDERS[n_orders % len(_ORDERS)]:
                time.sleep(PAUSE_SECONDS)
                if side == SERVER:
                    reply = server.complete(ids, sampling.max_tokens, question.single_line)
                    text, tokens = engine.tokenizer.decode(reply.tokens), len(reply.tokens) + reply.finished
                    answer = SideAnswer(text, tokens, reply.ms)
                else:
                    answer = _ask_engine(engine, question, replace(sampling, mode=side))
                answers_by_side[side].append(answer)
            n_orders += 1
        answers = {
            side: replace(side_answers[-1], ms=median(answer.ms for answer in side_answers))
            for side, side_answers in answers_by_side.items()
        }
        yield Turn(question, answers, prefill_ms, server_prefill_ms)


def _ask_engine(engine: LocalEngine, question: Question, sampling: Sampling) -> SideAnswer:
    began = time.perf_counter()
    infill = engine.infill(question.prompt, replace(sampling, single_line=question.single_line))
    return SideAnswer(infill.text, infill.tokens, (time.perf_counter() - began) * 1e3)


def select_long_questions(
    engine: LocalEngine, questions: Iterable[Question], sampling: Sampling
) -> list[Question]:
    """Return the questions to which our engine's answer is long."""
    return [
        question
        for question in questions
        if _ask_engine(engine, question, sampling).tokens >= MIN_LONG_TOKENS
    ]


def figures(turns: Sequence[Turn]) -> dict[str, object]:
    """Return the figures of a comparison; a group without questions is None."""
    same_text = {
        mode: fmean(turn.answers[mode].text == turn.answers[SERVER].text for turn in turns) for mode in MODES
    }
    return {
        "all": _group_figures(turns),
        "single_line": _group_figures([turn for turn in turns if turn.question.single_line]),
        LONG_GROUP: _group_figures([turn for turn in turns if is_long(turn)]),
        "same_text": {mode: round(share, 3) for mode, share in same_text.items()},
        "read_ms": {
            "here": round(median(turn.prefill_ms for turn in turns), 1),
            "there": round(median(turn.server_prefill_ms for turn in turns), 1),
        },
    }


def is_long(turn: Turn) -> bool:
    """Return whether every side's answer is long."""
    return all(answer.tokens >= MIN_LONG_TOKENS for answer in turn.answers.values())


def _group_figures(turns: Sequence[Turn]) -> dict[str, object] | None:
    """Return the times and sizes of requests. `faster`: ratios of total times, though the texts may differ."""
    if not turns:
        return None
    total_ms = {side: sum(turn.answers[side].ms for turn in turns) for side in SIDES}
    tokens = {side: sum(turn.answers[side].tokens for turn in turns) for side in SIDES}
    return {
        "n": len(turns),
        "ms": {side: latency_percentiles([turn.answers[side].ms for turn in turns]) for side in SIDES},
        "tokens": tokens,
        "ms_per_token": {side: round(total_ms[side] / max(1, tokens[side]), 2) for side in SIDES},
        "faster": {
            "diffusion_than_server": round(total_ms[SERVER] / total_ms["diffusion"], 2),
            "autoregressive_than_server": round(total_ms[SERVER] / total_ms["autoregressive"], 2),
            "diffusion_than_autoregressive": round(total_ms["autoregressive"] / total_ms["diffusion"], 2),
        },
    }


def latency_percentiles(times: Sequence[float]) -> dict[str, float]:
    """Return the median, and the 95th percentile by the nearest rank."""
    p95 = sorted(times)[math.ceil(0.95 * len(times)) - 1]
    return {"p50": round(median(times), 1), "p95": round(p95, 1)}
