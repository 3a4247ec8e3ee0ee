"""Measures pass@1 and forward passes on the public suites of infilling and whole functions.

For each suite, all answers are generated, then all programs are executed. Tasks come from `suite`, answers from
`answers`, outcomes from `execute`, figures from `reports`, and paired differences of two models from `compare`. Tokens
are limited; passes and time are not.

The latency is that of a key in a file that the engine has seen: the prompt is in the KV cache before the time is
measured, and the time of the prefill is reported separately. Otherwise the first of two modes would prefill for the
second.

Nothing is tuned on these suites. To run two evaluations in parallel on two cores, use ``--threads 1 --processes 1``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mercury_lsp.engine.api import MODES, Sampling
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from model.evaluation import tables
from model.evaluation.compare import CompareError, Line, compare, read
from model.evaluation.reports import details, not_run, report
from model.evaluation.suites import shots, toolchains
from model.evaluation.suites.answers import Result, generate, judge
from model.evaluation.suites.suite import FILES, SuiteError, Task, load, sample, with_examples
from model.evaluation.suites.toolchains import ToolchainError, Tools

SAMPLING = (
    "verify", "draft_surety", "draft_lookup", "draft_slack", "draft_trust", "entropy_bound", "block", "max_tokens",
)  # fmt: skip
FUNCTION_TOKENS = 256
"""The default limit of a whole function, in tokens."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite to run: tasks of one language, its tools, the document's name. ``missing``: why it cannot be run."""

    name: str
    tasks: list[Task]
    path: str
    tools: Tools | None = None
    missing: str = ""


def gather(given: argparse.Namespace) -> list[Suite]:
    """Return the suites of the command line. Raises `SuiteError`."""
    folder = toolchains.folder_of(given.toolchains)
    suites = []
    for name in _names(given.suite):
        tasks = sample(load(name), given.limit, given.seed)
        language = tasks[0].language
        if any(task.function for task in tasks):
            tasks = with_examples(tasks, shots.examples(language, given.shots))
        made = Suite(name, tasks, given.path or "solution.py")
        if language != "python":
            recipe = toolchains.RECIPES[language]
            path = given.path or f"solution{PurePath(recipe.file).suffix}"
            try:
                made = Suite(name, tasks, path, toolchains.find(language, folder))
            except ToolchainError as error:
                made = Suite(name, tasks, path, missing=str(error))
        suites.append(made)
    return suites


def evaluate(
    engine: LocalEngine,
    suite: Suite,
    sampling: Sampling,
    modes: Sequence[str],
    processes: int,
    progress: Progress,
) -> dict[str, list[Result]]:
    """Return a suite's results by mode."""
    samplings = [replace(sampling, mode=mode) for mode in modes]
    drawn = generate(engine, suite.tasks, samplings, suite.path)
    name = f"{suite.name}, {engine.name}"
    answers = list(progress.track(drawn, total=len(suite.tasks), description=f"{name}: generating"))
    flat = [answer for each in zip(*answers, strict=True) for answer in each]
    running = judge(flat, processes, suite.tools)
    judged = list(progress.track(running, total=len(flat), description=f"{name}: running tests"))
    count = len(suite.tasks)
    return {mode: judged[i * count : (i + 1) * count] for i, mode in enumerate(modes)}


def run(
    engines: Sequence[LocalEngine],
    suites: Sequence[Suite],
    given: argparse.Namespace,
    progress: Progress,
    file: TextIO | None,
) -> list[dict[str, Any]]:
    """Return a report of each suite; with two engines, the first engine's report, with the paired differences."""
    modes = MODES if given.mode == "both" else (given.mode,)
    reports = []
    for suite in suites:
        if suite.missing:
            progress.console.print(f"{suite.name} is not run: {suite.missing}", markup=False, highlight=False)
            reports.append(not_run(suite.name, suite.tasks, suite.missing))
            continue
        sampling = _sampling(given, any(task.function for task in suite.tasks))
        made: list[dict[str, Any]] = []
        lines: list[list[Line]] = []
        for engine in engines:
            results = evaluate(engine, suite, sampling, modes, given.processes, progress)
            count = given.shots if suite.tasks[0].function else 0
            made.append(report(suite.name, engine, sampling, results, count, given.seed))
            lines.append([*details(suite.name, engine.name, results)])
            if file is not None:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines[-1])
                # So that an interrupted run leaves its results.
                file.flush()
        if len(made) > 1:
            made[0] |= {"against": made[1], "paired": compare(*lines)}
        reports.append(made[0])
    return reports


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = _Parser(
        prog="python -m model.evaluation.suites.evaluate",
        description="Fill holes in programs and run their tests.",
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--suite",
        action="append",
        help=f"{', '.join(FILES)}, all, or a FILE.jsonl.gz in the same format; may be given several times",
    )
    what.add_argument(
        "--compare", nargs=2, type=Path, metavar=("FIRST", "SECOND"), help="two files of --details; no model"
    )
    made.add_argument("--limit", type=_positive, help="tasks to draw from each suite (default: all)")
    made.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    made.add_argument(
        "--mode",
        choices=(*MODES, "both"),
        default="diffusion",
        help="both: the modes take turns, task by task",
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--against", metavar="MODEL", help="a second model for the same tasks, to compare with")
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    made.add_argument("--threads", type=int, default=0, help="CPU threads (default: as the server chooses)")
    made.add_argument("--processes", type=_positive, default=2, help="programs run at a time (default: 2)")
    made.add_argument(
        "--shots",
        type=int,
        default=0,
        choices=range(shots.MOST + 1),
        help="solved examples before the task, for whole functions (default: 0)",
    )
    made.add_argument("--path", help="the document's name (default: solution.py, .java and so on)")
    made.add_argument(
        "--toolchains", metavar="FOLDER", help=f"of compilers and packages (default: ${toolchains.VARIABLE})"
    )
    made.add_argument("--no-verify", dest="verify", action="store_false", default=None, help="denoise only")
    made.add_argument("--draft-surety", type=float, help="least joint probability of a draft")
    made.add_argument("--draft-lookup", type=int, help="tokens matched to look up a draft; 0: no lookup")
    made.add_argument("--draft-slack", type=float, help="nats that a drafted token may be less likely")
    made.add_argument(
        "--draft-trust", type=float, help="joint probability above which an end is not verified"
    )
    made.add_argument(
        "--entropy-bound", type=float, help="nats of entropy that one pass may commit, with --no-verify"
    )
    made.add_argument("--block", type=_positive, help="tokens of a block")
    made.add_argument(
        "--max-tokens",
        type=_positive,
        help=f"longest completion (default: {Sampling().max_tokens}; of a function {FUNCTION_TOKENS})",
    )
    made.add_argument("--details", type=Path, metavar="FILE", help="write each task's result to a JSONL file")
    made.add_argument("--markdown", metavar="FILE", help="write a table to a file, or - for stdout")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    if given.json and given.markdown == "-":
        options.error("--json and --markdown - both print on stdout.")
    if given.compare:
        return _compared(given)
    console = Console(stderr=True)
    with ExitStack() as stack:
        try:
            suites = gather(given)
            file = stack.enter_context(given.details.open("w", encoding="utf-8")) if given.details else None
        except (SuiteError, OSError) as error:
            options.error(str(error))
        try:
            models = (given.model, given.against) if given.against else (given.model,)
            runs = any(not suite.missing for suite in suites)
            engines = (
                [load_local_engine(model, given.device, given.threads) for model in models] if runs else []
            )
        except CheckpointError as error:
            console.print(str(error), markup=False, highlight=False)
            return 1
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        progress = stack.enter_context(Progress(*columns, console=console, refresh_per_second=2))
        reports = run(engines, suites, given, progress, file)
    ran = [one for one in reports if "missing" not in one]
    title = f"{ran[0]['model']} on {ran[0]['device']}" if ran else "No suite could be run."
    answer = reports[0] if len(reports) == 1 and _names(given.suite) == given.suite else {"suites": reports}
    _tell(given, answer, title, tables.RUN, tables.run_rows(reports), "\n".join(tables.notes(reports)))
    return 1 if any(suite.missing and suite.name in given.suite for suite in suites) else 0


def _compared(given: argparse.Namespace) -> int:
    try:
        found = compare(*(read(path) for path in given.compare))
    except CompareError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        return 1
    unpaired = found["unpaired"]
    caption = f"not paired: {unpaired['first']} and {unpaired['second']}" if any(unpaired.values()) else ""
    title = f"{given.compare[0]} ({found['first']}) less {given.compare[1]} ({found['second']})"
    _tell(given, found, title, tables.COMPARED, tables.compared_rows(found), caption)
    return 0


def _tell(
    given: argparse.Namespace,
    answer: dict[str, Any],
    title: str,
    headings: Sequence[str],
    rows: tables.Rows,
    caption: str,
) -> None:
    text = tables.markdown(title, headings, rows, caption)
    if given.markdown and given.markdown != "-":
        Path(given.markdown).write_text(text, encoding="utf-8")
    if given.json:
        print(json.dumps(answer))
    elif given.markdown == "-":
        print(text, end="")
    else:
        width = None if sys.stdout.isatty() else tables.WIDE
        Console(width=width).print(tables.table(title, headings, rows, caption))


def _names(asked: Sequence[str]) -> list[str]:
    """Return the names of the suites, each once, in the order of the command line."""
    return list(dict.fromkeys(name for one in asked for name in (FILES if one == "all" else (one,))))


def _sampling(given: argparse.Namespace, function: bool) -> Sampling:
    chosen = {name: value for name in SAMPLING if (value := getattr(given, name)) is not None}
    made = Sampling(**({"max_tokens": FUNCTION_TOKENS} if function else {}) | chosen)
    # A pass decides at least one token, so this limits neither mode; the server's limit would cut one.
    return replace(made, max_passes=2 * made.max_tokens)


if __name__ == "__main__":
    sys.exit(main())
