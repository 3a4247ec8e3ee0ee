"""Compares our decoders with a server with llama.cpp's API on a suite, in time and in pass@1.

    python -m model.release.gguf_export small --type q4_0 --out small-q4_0.gguf
    llama-server -m small-q4_0.gguf -t 2 -c 2048 --port 8091
    python -m model.evaluation.suites.against http://127.0.0.1:8091 --suite single-line --limit 100

`mercury_lsp.bench.against` asks both sides in turn and measures the times, as in ``mercury-lsp bench --against``;
`execute` runs the programs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mercury_lsp.bench.against import (
    LONG_GROUP,
    MIN_LONG_TOKENS,
    SERVER,
    SIDES,
    Question,
    Turn,
    compare,
    figures,
    is_long,
    make_client,
)
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.errors import Failure
from model.evaluation import tables
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.compare import CompareError, read
from model.evaluation.suites.answers import prompt_of
from model.evaluation.suites.execute import run_all
from model.evaluation.suites.suite import SuiteError, Task, load, sample

PATH = "solution.py"
HEADINGS = (
    "side",
    "pass@1",
    "95%",
    "exact",
    "tokens",
    "ms p50",
    "ms p95",
    "ms a token",
    "time over the server's",
)


def questions(engine: LocalEngine, tasks: Sequence[Task]) -> Iterator[Question]:
    """Yield the requests that an editor would make."""
    for task in tasks:
        yield Question(prompt_of(engine, PATH, task.before, task.after), task.single_line)


def choose(engine: LocalEngine, tasks: Sequence[Task], given: argparse.Namespace) -> list[Task]:
    """Return the tasks of the command line. Raises `SuiteError`, or `CompareError` for invalid details."""
    if any(task.function or task.language != "python" for task in tasks):
        raise SuiteError(
            "Only holes in Python programs are compared: single-line, random-span, or such a file."
        )
    chosen = [t for t in tasks if engine.count((t.canonical_solution or "").strip()) >= given.least]
    if given.long:
        long = {line["task_id"] for line in read(given.long) if line["tokens"] >= MIN_LONG_TOKENS}
        chosen = [task for task in chosen if task.task_id in long]
    if not chosen:
        raise SuiteError("There is no such task in the suite.")
    return sample(chosen, given.limit, given.seed)


def lines(
    suite: str, model: str, tasks: Sequence[Task], turns: Sequence[Turn], processes: int
) -> list[dict[str, Any]]:
    """Return a line of details for each side and task: the answer, its time, and the outcome of its program."""
    made = []
    for side in SIDES:
        completions = [
            task.completion(turn.answers[side].text) for task, turn in zip(tasks, turns, strict=True)
        ]
        programs = [task.program(said) for task, said in zip(tasks, completions, strict=True)]
        outcomes = run_all(programs, processes=processes)
        for task, turn, said, outcome in zip(tasks, turns, completions, outcomes, strict=True):
            answer = turn.answers[side]
            made.append(
                {
                    "suite": suite,
                    "model": model,
                    "task_id": task.task_id,
                    "mode": side,
                    "pass": outcome.passed,
                    "exact": task.exact(said),
                    "error": outcome.error,
                    "completion": said,
                    "tokens": answer.tokens,
                    "ms": round(answer.ms, 2),
                    "long": is_long(turn),
                }
            )
    return made


def report(made: Sequence[dict[str, Any]], turns: Sequence[Turn]) -> dict[str, Any]:
    """Return the figures of the comparison and of each side; `time_interval` is that of the time over the server's."""
    found: dict[str, Any] = {**figures(turns), "sides": {}}
    for side in SIDES:
        own = [line for line in made if line["mode"] == side]
        passed = [line["pass"] for line in own]
        pairs = [(turn.answers[side].ms, turn.answers[SERVER].ms) for turn in turns]
        found["sides"][side] = {
            "pass_at_1": round(fmean(passed), 4),
            "interval": interval(passed, fmean),
            "exact_match": round(fmean(bool(line["exact"]) for line in own), 4),
            "time_over_server": round(ratio(pairs), 3),
            "time_interval": interval(pairs, ratio),
        }
    return found


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table, one for each side."""
    made = []
    for name, side in found["sides"].items():
        everything = found["all"]
        ms, tokens = everything["ms"][name], everything["tokens"][name]
        (low, high), (least, most) = side["interval"], side["time_interval"]
        made.append(
            [
                name,
                f"{side['pass_at_1']:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{side['exact_match']:.1%}",
                str(tokens),
                f"{ms['p50']:.1f}",
                f"{ms['p95']:.1f}",
                f"{everything['ms_per_token'][name]:.2f}",
                f"{side['time_over_server']:.2f} ({least:.2f} to {most:.2f})",
            ]
        )
    return made


def notes(found: dict[str, Any]) -> str:
    """Return the figures that do not fit into the table, as text."""
    told = []
    for name, group in (("all", found["all"]), (f"{MIN_LONG_TOKENS} tokens and more", found[LONG_GROUP])):
        if group:
            faster = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in group["faster"].items())
            told.append(f"{name} (n = {group['n']}), times faster: {faster}")
    same = ", ".join(f"{mode} {share:.0%}" for mode, share in found["same_text"].items())
    read = found["read_ms"]
    told.append(f"the server's text: {same}; reading a prompt: {read['here']} ms here, {read['there']} there")
    return "\n".join(told)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.suites.against",
        description="Compare with a server on a suite, request by request.",
    )
    made.add_argument("url", help="of a server with llama.cpp's completion API and the same model")
    made.add_argument("--suite", default="single-line", help="single-line, random-span or a file of holes")
    made.add_argument(
        "--least", type=int, default=0, help="only tasks whose author's text has at least so many tokens"
    )
    made.add_argument(
        "--long",
        type=Path,
        metavar="FILE",
        help=f"only tasks with an answer of {MIN_LONG_TOKENS} tokens or more in these details of "
        "model.evaluation.suites.evaluate",
    )
    made.add_argument("--limit", type=int, help="tasks to draw (default: all)")
    made.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    made.add_argument("--repeats", type=int, default=1, help="times that each request is timed (default: 1)")
    made.add_argument("--model", default="small", help="a shipped model's name or a checkpoint's folder")
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    made.add_argument("--threads", type=int, default=0, help="CPU threads (default: as the server chooses)")
    made.add_argument("--max-tokens", type=int, default=64, help="longest completion (default: %(default)s)")
    made.add_argument("--processes", type=int, default=2, help="programs run at a time (default: 2)")
    made.add_argument("--details", type=Path, metavar="FILE", help="write each answer to a JSONL file")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        engine = load_local_engine(given.model, given.device, given.threads)
        tasks = choose(engine, load(given.suite), given)
        server = make_client(engine, given.url)
        sampling = Sampling(max_tokens=given.max_tokens, max_passes=2 * given.max_tokens)
        with Progress(console=console, refresh_per_second=2, transient=True) as progress:
            asked = progress.track(questions(engine, tasks), total=len(tasks), description="asking in turn")
            turns = list(compare(engine, server, asked, sampling, given.repeats))
    except (CheckpointError, SuiteError, CompareError, Failure) as error:
        console.print(str(error), markup=False, highlight=False)
        return 1
    made = lines(given.suite, engine.name, tasks, turns, given.processes)
    about = {"suite": given.suite, "n": len(tasks), "model": engine.name, "device": engine.device}
    found = {**about, "threads": engine.threads, "server": server.model() or given.url, **report(made, turns)}
    if given.details:
        given.details.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in made))
    if given.json:
        print(json.dumps(found))
    else:
        title = (
            f"{found['suite']}, n = {found['n']}: {engine.name} on {engine.device} against {found['server']}"
        )
        width = None if sys.stdout.isatty() else tables.WIDE
        output = Console(width=width, highlight=False)
        output.print(tables.table(title, HEADINGS, rows(found)))
        output.print(notes(found), markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
