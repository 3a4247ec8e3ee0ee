"""``python -m model.evaluate``: how many holes the model fills rightly, and in how many forward passes.

Owns the run (generate all, then execute all), the figures and their intervals. Tasks are `suite`'s, the
execution of programs is `execute`'s. Tested is the engine's raw text, before any post-processing, with the
prompt that an editor would have sent and only a limit of tokens: passes and time are not bounded.

Latency is that of a keystroke in a file which the engine has seen: the prompt is in the cache when the
clock starts, and what putting it there took is reported beside. Otherwise the first of two modes would
prefill for the second. Intervals are 95% percentile bootstraps over tasks (paired for what compares modes).
Tasks cut from one problem count as independent, which makes them somewhat too narrow, and at 0% or 100%
they have no width.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any, NoReturn, TextIO, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mercury_lsp.config import Config
from mercury_lsp.context import prompt
from mercury_lsp.engine.checkpoint import CheckpointError
from mercury_lsp.engine.infill import Engine, Infill, Sampling
from model.execute import Outcome, run_all
from model.suite import FILES, SuiteError, Task, load, sample

MODES = ("diffusion", "autoregressive")
RESAMPLES = 2000
LENGTH = "chosen by the model: it ends with <eot>"
LINE_LENGTH = "chosen by the model: it ends with <eot> or the line"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to one task; ``completion`` is what of it goes into the program."""

    task: Task
    infill: Infill
    completion: str
    ms_prefill: float


@dataclass(frozen=True, slots=True)
class Result:
    """An answer and how its program fared."""

    answer: Answer
    outcome: Outcome

    @property
    def exact(self) -> bool:
        """Whether the completion is the author's."""
        return self.answer.task.exact(self.answer.completion)


def generate(
    engine: Engine, tasks: Sequence[Task], samplings: Sequence[Sampling], path: str
) -> Iterator[tuple[Answer, ...]]:
    """For each task one answer by each sampling, in turn. path: the document's name, as the model sees it."""
    budgets = Config()
    for task in tasks:
        made = prompt.build(
            path, task.before, task.after, engine.count, budgets.prefix_tokens, budgets.following_tokens
        )
        begin = time.perf_counter()
        engine.prefill(made)
        ms_prefill = 1000 * (time.perf_counter() - begin)
        answers = []
        for sampling in samplings:
            infill = engine.infill(made, replace(sampling, single_line=task.single_line))
            answers.append(Answer(task, infill, task.completion(infill.text), ms_prefill))
        yield tuple(answers)


def judge(answers: Sequence[Answer]) -> Iterator[Result]:
    """Run each answer's program."""
    programs = [answer.task.program(answer.completion) for answer in answers]
    for answer, outcome in zip(answers, run_all(programs), strict=True):
        yield Result(answer, outcome)


def interval(values: Sequence[T], statistic: Callable[[Sequence[T]], float], seed: int = 0) -> list[float]:
    """The 2.5th and 97.5th percentile of a statistic over samples of the values, drawn with replacement."""
    random = Random(seed)
    drawn = sorted(statistic(random.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return [round(drawn[int(RESAMPLES * share)], 4) for share in (0.025, 0.975)]


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """One mode's figures. forward_passes: a task's mean; tokens_per_pass: over all tasks; times in ms."""
    infills = [result.answer.infill for result in results]
    passed = [result.outcome.passed for result in results]
    passes = sum(infill.forward_passes for infill in infills)
    return {
        "pass_at_1": round(fmean(passed), 4),
        "interval": interval(passed, fmean),
        "exact_match": round(fmean(result.exact for result in results), 4),
        "forward_passes": round(passes / len(results), 3),
        "tokens_per_pass": round(sum(infill.tokens for infill in infills) / max(passes, 1), 3),
        "ms_p50": round(median(infill.ms for infill in infills), 2),
        "ms_prefill_p50": round(median(result.answer.ms_prefill for result in results), 2),
        "finished": round(fmean(infill.finished for infill in infills), 4),
    }


def difference(first: Sequence[Result], second: Sequence[Result]) -> dict[str, Any]:
    """The first mode's pass rate less the second's, and its passes as a share of the second's."""

    def ratio(pairs: Sequence[tuple[int, int]]) -> float:
        return sum(a for a, _ in pairs) / max(sum(b for _, b in pairs), 1)

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
    suite: str, engine: Engine, sampling: Sampling, results: dict[str, list[Result]], seed: int
) -> dict[str, Any]:
    """The whole answer as a JSON object: figures at its top for one mode, under each mode's name for both."""
    tasks = [result.answer.task for result in next(iter(results.values()))]
    lines = {LINE_LENGTH if task.single_line else LENGTH for task in tasks}
    limits = {name: value for name, value in asdict(sampling).items() if name not in ("mode", "single_line")}
    by_mode = {mode: figures(found) for mode, found in results.items()}
    head: dict[str, Any] = {"suite": suite, "n": len(tasks)}
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
        "sampling": limits | {"length": "; ".join(sorted(lines))},
    }


def write_details(file: TextIO, results: dict[str, list[Result]]) -> None:
    """One JSON object a line for each task and mode."""
    for mode, found in results.items():
        for result in found:
            answer, infill = result.answer, result.answer.infill
            line = {
                "task_id": answer.task.task_id,
                "mode": mode,
                "pass": result.outcome.passed,
                "exact": result.exact,
                "error": result.outcome.error,
                "completion": answer.completion,
                "raw": infill.text,
                "tokens": infill.tokens,
                "passes": infill.forward_passes,
                "ms": round(infill.ms, 2),
                "finished": infill.finished,
                "confidence": round(infill.confidence, 4),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def table(answer: dict[str, Any]) -> Table:
    """The report for people."""
    title = f"{answer['suite']}, {answer['n']} tasks, {answer['model']} on {answer['device']}"
    shown = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    rows = {mode: answer[mode] for mode in MODES if mode in answer} or {answer["mode"]: answer}
    for heading in ("mode", "pass@1", "95%", "exact", "passes", "per pass", "ms p50"):
        shown.add_column(heading, justify="left" if heading == "mode" else "right")
    for mode, row in rows.items():
        low, high = row["interval"]
        cells = (row["forward_passes"], row["tokens_per_pass"], row["ms_p50"])
        rates = (f"{row['pass_at_1']:.1%}", f"{low:.1%} to {high:.1%}", f"{row['exact_match']:.1%}")
        shown.add_row(mode, *rates, *(f"{cell:.2f}" for cell in cells))
    if found := answer.get("difference"):
        low, high = found["interval"]
        shown.caption = (
            f"difference {found['pass_at_1']:+.1%} ({low:+.1%} to {high:+.1%}), "
            f"in {found['forward_passes_ratio']:.0%} of the passes"
        )
    return shown


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    made = _Parser(prog="python -m model.evaluate", description="Fill holes in programs and run their tests.")
    made.add_argument(
        "--suite", required=True, help=f"{', '.join(FILES)} or a FILE.jsonl.gz in the same form"
    )
    made.add_argument("--limit", type=_positive, help="tasks to draw (default: all)")
    made.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    made.add_argument(
        "--mode", choices=(*MODES, "both"), default="diffusion", help="both: in turn, task by task"
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    made.add_argument("--threads", type=int, default=0, help="CPU threads (default: as the server chooses)")
    made.add_argument("--path", default="solution.py", help="the document's name (default: %(default)s)")
    made.add_argument("--no-verify", dest="verify", action="store_false", default=None, help="denoise only")
    made.add_argument("--draft-surety", type=float, help="least joint probability of a draft")
    made.add_argument("--entropy-bound", type=float, help="nats that one pass may settle, with --no-verify")
    made.add_argument("--block", type=_positive, help="tokens of a block")
    made.add_argument("--max-tokens", type=_positive, help="longest completion")
    made.add_argument("--details", type=Path, metavar="FILE", help="write each task's result to a JSONL file")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit status."""
    options = parser()
    given = options.parse_args(arguments)
    console = Console(stderr=True)
    with ExitStack() as stack:
        try:
            tasks = sample(load(given.suite), given.limit, given.seed)
            details = (
                stack.enter_context(given.details.open("w", encoding="utf-8")) if given.details else None
            )
        except (SuiteError, OSError) as error:
            options.error(str(error))
        try:
            engine = Engine.load(given.model, given.device, given.threads)
        except CheckpointError as error:
            console.print(str(error), markup=False, highlight=False)
            return 1
        chosen = {
            name: getattr(given, name)
            for name in ("verify", "draft_surety", "entropy_bound", "block", "max_tokens")
        }
        sampling = Sampling(**{name: value for name, value in chosen.items() if value is not None})
        # A pass decides a token or more, so this bounds neither mode; the server's bound would cut one.
        sampling = replace(sampling, max_passes=2 * sampling.max_tokens)
        modes = MODES if given.mode == "both" else (given.mode,)
        samplings = [replace(sampling, mode=mode) for mode in modes]

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        progress = stack.enter_context(Progress(*columns, console=console, refresh_per_second=2))
        drawn = generate(engine, tasks, samplings, given.path)
        answers = list(progress.track(drawn, total=len(tasks), description="filling holes"))
        flat = [answer for each in zip(*answers, strict=True) for answer in each]
        judged = list(progress.track(judge(flat), total=len(flat), description="running tests"))
        results = {mode: judged[i * len(tasks) : (i + 1) * len(tasks)] for i, mode in enumerate(modes)}
        if details is not None:
            write_details(details, results)
    answer = report(given.suite, engine, sampling, results, given.seed)
    if given.json:
        print(json.dumps(answer))
    else:
        Console().print(table(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
