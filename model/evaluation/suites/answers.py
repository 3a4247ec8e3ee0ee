"""Collects a model's answers to tasks, and the outcomes of their programs.

The prompt is the server's own, and is in the KV cache before the time is measured. The engine's raw text is tested,
before any post-processing.

A whole function is written by consecutive completions. The model has learned to stop at the end of an editor's hole,
usually after a few lines, so each completion is appended to the prefix, and the model is asked again. If the model adds
nothing after a line, it is asked again on the next line, as if the user had pressed Enter. The generation stops at the
end of the function (`functions.end`), if the model adds nothing on a new line either, if lines repeat, or at the limit
of tokens over all completions. The engine is stopped between two passes as soon as the function has ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mercury_lsp.config import Config
from mercury_lsp.context import prompt
from mercury_lsp.engine.api import DEFAULT_RUN, UNDECIDED, Infill, Progress, Run, Sampling
from mercury_lsp.engine.tokenizer import Prompt
from model.evaluation.suites import functions
from model.evaluation.suites.execute import Outcome, run_all
from model.evaluation.suites.suite import Task
from model.evaluation.suites.toolchains import Tools


class LocalEngine(Protocol):
    """The engine that is asked."""

    def stem_start(self, text: str) -> int:
        """Return the index at which the stem of a text begins."""
        ...

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""

    def prefill(self, prompt: Prompt) -> int:
        """Read a prompt into the KV cache."""

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = DEFAULT_RUN) -> Infill:
        """Fill in the middle."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one task.

    ``completion``: the part that goes into the program. For a function, ``infill`` sums up all completions: tokens that
    were cut off do not count, but their passes do.
    """

    task: Task
    infill: Infill
    completion: str
    ms_prefill: float


@dataclass(frozen=True, slots=True)
class Result:
    """An answer and the outcome of its program."""

    answer: Answer
    outcome: Outcome

    @property
    def exact(self) -> bool | None:
        """Whether the completion is the author's; None if that is not known."""
        return self.answer.task.exact(self.answer.completion)


class _Over(Exception):
    """The function has ended, so the rest of the completion is not needed."""


class _Watch:
    """Watches the progress of a completion; raises `_Over` when the function has ended.

    A draft may contain tokens that are not verified yet. Text on which two consecutive drafts agree is committed.
    """

    def __init__(self, over: Callable[[str], bool]) -> None:
        self.committed = ""
        self.passes = 0
        self._over = over
        self._last = ""

    def __call__(self, draft: Progress) -> None:
        text = draft.text.partition(UNDECIDED)[0]
        self.committed = os.path.commonprefix([self._last, text])
        self.passes = draft.forward_passes
        self._last = text
        if self._over(self.committed):
            raise _Over


def generate(
    engine: LocalEngine, tasks: Sequence[Task], samplings: Sequence[Sampling], path: str
) -> Iterator[tuple[Answer, ...]]:
    """Yield, for each task, the answers by each sampling. path: the document's name in the prompt."""
    for task in tasks:
        made = prompt_of(engine, path, task.before, task.after)
        begin = time.perf_counter()
        engine.prefill(made)
        ms_prefill = 1000 * (time.perf_counter() - begin)
        answers = []
        for sampling in samplings:
            if task.function:
                infill = write(engine, task, sampling, path)
            else:
                infill = engine.infill(made, replace(sampling, single_line=task.single_line))
            answers.append(Answer(task, infill, task.completion(infill.text), ms_prefill))
        yield tuple(answers)


def write(engine: LocalEngine, task: Task, sampling: Sampling, path: str) -> Infill:
    """Write a whole function by consecutive completions."""
    language, beginning = task.language, task.prompt
    begin = time.perf_counter()
    text, passes, steps, left = "", 0, 0, sampling.max_tokens

    def over(committed: str) -> bool:
        whole = text + committed
        return functions.end(language, beginning, whole) is not None or functions.is_looping(whole)

    for _ in range(sampling.max_tokens):
        left = sampling.max_tokens - engine.count(text)
        if left <= 0:
            break
        made = prompt_of(engine, path, task.before + text, "")
        on_progress = _Watch(over)
        try:
            found = engine.infill(
                made, replace(sampling, max_tokens=left, max_passes=2 * left), Run(on_progress=on_progress)
            )
        except _Over:
            text += on_progress.committed
            # A verifying pass is counted, and its draft shown, before it runs.
            passes += on_progress.passes - (sampling.verify and sampling.mode == "diffusion")
            break
        text += found.text
        passes += found.forward_passes
        steps += found.steps
        if over(""):
            break
        if not found.text:
            if not text or text.endswith("\n"):
                break
            text += "\n"
    ended = functions.end(language, beginning, text) is not None
    used = functions.cut(language, beginning, text)
    ms = 1000 * (time.perf_counter() - begin)
    return Infill(
        text=text,
        tokens=engine.count(used),
        steps=steps,
        forward_passes=passes,
        ms=ms,
        ms_prefill=0.0,
        ms_denoise=ms,
        cached_tokens=0,
        prompt_tokens=0,
        # Unknown, since a part of the text is cut off.
        confidence=0.0,
        finished=ended or (language == "python" and not functions.is_looping(text) and left > 0),
    )


def judge(answers: Sequence[Answer], processes: int = 2, tools: Tools | None = None) -> Iterator[Result]:
    """Run each answer's program; yield the results in order."""
    programs = [answer.task.program(answer.completion) for answer in answers]
    for answer, outcome in zip(answers, run_all(programs, processes=processes, tools=tools), strict=True):
        yield Result(answer, outcome)


def prompt_of(engine: LocalEngine, path: str, before: str, after: str) -> Prompt:
    """Return the server's prompt, with its default budgets."""
    budgets = Config()
    return prompt.build(
        path,
        before,
        after,
        engine.count,
        budgets.prefix_tokens,
        budgets.following_tokens,
        stem_start=engine.stem_start,
    )
