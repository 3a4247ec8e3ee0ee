"""Sums up a run: a suite's figures with their intervals, and a line of details for each task.

Intervals are 95% percentile bootstraps over tasks (paired for what compares modes). Tasks cut from one problem count as
independent, which makes them somewhat too narrow, and at 0% or 100% they have no width. Knows how nothing looks.
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
"""By mode."""


class Named(Protocol):
    """What a report tells of an engine."""

    name: str
    device: str
    threads: int


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """One mode's figures. forward_passes: a task's mean; tokens_per_pass: over all tasks; times in ms; exact_match:
    over the tasks with a known author's text, None where there is none."""
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
    """The first mode's pass rate less the second's, and its passes as a share of the second's."""
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
    """A suite's answer as a JSON object: figures at its top for one mode, under each mode's name for both."""
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
    """The answer of a suite whose language cannot be run here."""
    return {"suite": suite, "language": tasks[0].language, "n": len(tasks), "missing": why}


def details(suite: str, model: str, results: Results) -> list[dict[str, Any]]:
    """An object for each task and mode."""
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
