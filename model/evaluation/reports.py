"""Summarizes a run: a suite's figures with their intervals, and a line of details for each task.

Intervals are 95% percentile bootstraps over tasks, paired if they compare modes. Tasks cut from one problem count as
independent, so intervals are somewhat too narrow; at 0% or 100% they have no width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any, Protocol

from mercury_lsp.engine.api import Sampling
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.suites.answers import Result
from model.evaluation.suites.suite import Task

LENGTH = "chosen by the model: it ends with <eot>"
LINE_LENGTH = "chosen by the model: it ends with <eot> or the line"
FUNCTION_LENGTH = "completions in turn, until the function ends or the model adds nothing"

Results = Mapping[str, Sequence[Result]]
"""The results of each mode."""


class Named(Protocol):
    """The properties of an engine that a report contains."""

    name: str
    device: str
    threads: int


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of one mode.

    ``forward_passes`` is the mean of the tasks; ``tokens_per_pass`` is over all tasks together; times are in ms.
    ``exact_match`` is over the tasks whose author's text is known, None if there are none.
    """
    infills = [result.answer.infill for result in results]
    passed = [result.outcome.passed for result in results]
    exact = [result.exact for result in results if result.exact is not None]
    passes = sum(infill.forward_passes for infill in infills)
    return {
        "pass_at_1": round(fmean(passed), 4),
        "interval": interval(passed, fmean),
        "exact_match": round(fmean(exact), 4) if exact else None,
        "forward_passes": round(passes / len(results), 3),
        "tokens_per_pass": round(sum(infill.tokens for infill in infills) / max(passes, 1), 3),
        "ms_p50": round(median(infill.ms for infill in infills), 2),
        "ms_prefill_p50": round(median(result.answer.ms_prefill for result in results), 2),
        "finished": round(fmean(infill.finished for infill in infills), 4),
    }


def difference(first: Sequence[Result], second: Sequence[Result]) -> dict[str, Any]:
    """Return the first mode's pass rate minus the second's, and the ratio of their passes."""
    gains = [int(a.outcome.passed) - int(b.outcome.passed) for a, b in zip(first, second, strict=True)]
    passes = [
        (a.answer.infill.forward_passes, b.answer.infill.forward_passes)
        for a, b in zip(first, second, strict=True)
    ]
    return {
        "pass_at_1": round(fmean(gains), 4),
        "interval": interval(gains, fmean),
        "forward_passes_ratio": round(ratio(passes), 4),
        "forward_passes_ratio_interval": interval(passes, ratio),
    }


def report(
    suite: str, engine: Named, sampling: Sampling, results: Results, shots: int, seed: int
) -> dict[str, Any]:
    """Return a suite's report as a JSON object; with two modes, the figures are under the names of the modes."""
    tasks = [result.answer.task for result in next(iter(results.values()))]
    lengths = sorted({_length(task) for task in tasks})
    limits = {name: value for name, value in asdict(sampling).items() if name not in ("mode", "single_line")}
    by_mode = {mode: figures(found) for mode, found in results.items()}
    head: dict[str, Any] = {"suite": suite, "language": tasks[0].language, "n": len(tasks)}
    if len(by_mode) == 1:
        head |= next(iter(by_mode.values()))
    else:
        head |= by_mode | {"difference": difference(*results.values())}
    return head | {
        "model": engine.name,
        "mode": "both" if len(by_mode) > 1 else next(iter(by_mode)),
        "device": engine.device,
        "threads": engine.threads,
        "seed": seed,
        "shots": shots,
        "sampling": limits | {"length": "; ".join(lengths)},
    }


def not_run(suite: str, tasks: Sequence[Task], why: str) -> dict[str, Any]:
    """Return the report of a suite whose language cannot be run on this machine."""
    return {"suite": suite, "language": tasks[0].language, "n": len(tasks), "missing": why}


def details(suite: str, model: str, results: Results) -> list[dict[str, Any]]:
    """Return a JSON object for each task and mode."""
    return [
        {
            "suite": suite,
            "model": model,
            "task_id": result.answer.task.task_id,
            "mode": mode,
            "pass": result.outcome.passed,
            "exact": result.exact,
            "error": result.outcome.error,
            "completion": result.answer.completion,
            "raw": result.answer.infill.text,
            "tokens": result.answer.infill.tokens,
            "passes": result.answer.infill.forward_passes,
            "ms": round(result.answer.infill.ms, 2),
            "finished": result.answer.infill.finished,
            "confidence": None if result.answer.task.function else round(result.answer.infill.confidence, 4),
        }
        for mode, found in results.items()
        for result in found
    ]


def _length(task: Task) -> str:
    if task.function:
        return FUNCTION_LENGTH
    return LINE_LENGTH if task.single_line else LENGTH
