"""Draws pass@1 against forward passes for each decoder and some models.

    python -m model.evaluation.suites.chart --model small --model mini --limit 100 --details chart.jsonl
    python -m model.evaluation.suites.chart --again chart.jsonl OTHER.jsonl --png docs/passes.png

Generation, execution and figures are shared with `evaluate`. All decoders of a model are asked at each task, with the
same prompt in the KV cache, so all decoders can be compared in pairs. Only single-line tasks are used, since passes per
line and given lengths are meaningful there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mercury_lsp.engine.api import Infill, Sampling
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt
from model.evaluation import tables
from model.evaluation.bootstrap import interval
from model.evaluation.compare import CompareError, Line, compare_pairs, read
from model.evaluation.reports import details
from model.evaluation.suites.answers import Answer, judge, prompt_of
from model.evaluation.suites.lengths import RULES, SIZE, Lengths
from model.evaluation.suites.suite import SuiteError, Task, load, sample

PATH = "solution.py"
REFERENCE = "one token a pass"
HEADINGS = (
    "model", "decoder", "setting", "n", "pass@1", "95%", "less one token a pass", "exact", "passes", "tokens/pass",
    "ms p50",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder with one setting. ``name`` is the curve to which its point belongs."""

    name: str
    setting: str
    sampling: Sampling | None = None
    # A rule of `Lengths`, if there is no sampling.
    rule: str = ""

    @property
    def mode(self) -> str:
        """The decoder's name in a line of details."""
        return f"{self.name}: {self.setting}" if self.setting else self.name


def decoders() -> list[Decoder]:
    """Return all decoders to compare."""
    plain = Sampling(verify=False)
    drafts = {
        "diffusion alone": Sampling(draft_lookup=0, draft_trust=1.0),
        "with lookup": Sampling(draft_trust=1.0),
        "ends above 0.9": Sampling(draft_trust=0.9),
        "ends above 0.7": Sampling(draft_trust=0.7),
        "half as likely": Sampling(draft_slack=math.log(2), draft_trust=1.0),
        "half as likely, ends above 0.7": Sampling(draft_slack=math.log(2), draft_trust=0.7),
    }
    return [
        Decoder("autoregressive", "", Sampling(mode="autoregressive")),
        Decoder(REFERENCE, "", replace(plain, entropy_bound=0.0)),
        *(Decoder("entropy bound", f"{b:g} nats", replace(plain, entropy_bound=b)) for b in (0.3, 1.0)),
        *(Decoder("threshold", f"{t:g}", replace(plain, threshold=t)) for t in (0.9, 0.6)),
        *(Decoder("draft and verify", name, sampling) for name, sampling in drafts.items()),
        Decoder("one canvas", f"{SIZE} tokens", replace(plain, block=SIZE)),
        *(Decoder("told length", rule, rule=rule) for rule in RULES),
    ]


def ask(engine: LocalEngine, tasks: Sequence[Task], asked: Sequence[Decoder]) -> Iterator[dict[str, Answer]]:
    """Yield, for each task, the answers by the decoders' modes."""
    lengths = Lengths(engine) if any(decoder.rule for decoder in asked) else None
    for task in tasks:
        prompt = prompt_of(engine, PATH, task.before, task.after)
        engine.prefill(prompt)
        if lengths is not None:
            lengths.prefill(prompt)
        answers = {}
        for decoder in asked:
            infill = _infill(engine, lengths, prompt, decoder, task)
            answers[decoder.mode] = Answer(task, infill, task.completion(infill.text), 0.0)
        yield answers


def _infill(
    engine: LocalEngine, lengths: Lengths | None, prompt: Prompt, decoder: Decoder, task: Task
) -> Infill:
    if decoder.sampling is not None:
        # More passes than any decoder needs.
        bound = 2 * decoder.sampling.max_tokens
        return engine.infill(prompt, replace(decoder.sampling, single_line=True, max_passes=bound))
    assert lengths is not None
    return lengths.infill(prompt, decoder.rule, engine.count((task.canonical_solution or "").rstrip("\n")))


def run(
    engine: LocalEngine, tasks: Sequence[Task], asked: Sequence[Decoder], processes: int, progress: Progress
) -> list[Line]:
    """Return a line of details for each task and decoder."""
    drawn = ask(engine, tasks, asked)
    answers = list(progress.track(drawn, total=len(tasks), description=f"{engine.name}: generating"))
    lines: list[Line] = []
    for decoder in progress.track(asked, description=f"{engine.name}: running tests"):
        results = list(judge([answer[decoder.mode] for answer in answers], processes))
        lines += details("single-line", engine.name, {decoder.mode: results})
    return lines


def points(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the figures of each model's decoders, in the order of the lines."""
    found: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        found[line["model"], line["mode"]].append(line)
    made = []
    for (model, mode), own in found.items():
        name, _, setting = mode.partition(": ")
        passed = [bool(line["pass"]) for line in own]
        passes = [line["passes"] for line in own]
        point = {
            "model": model,
            "decoder": name,
            "setting": setting,
            "n": len(own),
            "pass_at_1": round(fmean(passed), 4),
            "interval": interval(passed, fmean),
            "exact_match": round(fmean(bool(line["exact"]) for line in own), 4),
            "passes": round(fmean(passes), 3),
            "passes_interval": interval(passes, fmean),
            "tokens_per_pass": round(sum(line["tokens"] for line in own) / max(1, sum(passes)), 3),
            "ms_p50": round(median(line["ms"] for line in own), 1),
        }
        if others := {line["task_id"]: line for line in found.get((model, REFERENCE), ())}:
            pairs = [(line, others[line["task_id"]]) for line in own if line["task_id"] in others]
            point["against_one_token"] = compare_pairs(pairs)["pass_at_1"] if pairs else None
        made.append(point)
    return made


def rows(made: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows of the table."""
    out = []
    for point in made:
        (low, high), less = point["interval"], point.get("against_one_token")
        gain = tables.NOTHING
        if less and point["decoder"] != REFERENCE:
            a, b = less["interval_by_problem"]
            gain = f"{less['difference']:+.1%} ({a:+.1%} to {b:+.1%})"
        figures = (f"{point['passes']:.2f}", f"{point['tokens_per_pass']:.2f}", f"{point['ms_p50']:.0f}")
        out.append(
            [
                point["model"],
                point["decoder"],
                point["setting"] or tables.NOTHING,
                str(point["n"]),
                f"{point['pass_at_1']:.1%}",
                f"{low:.1%} to {high:.1%}",
                gain,
                f"{point['exact_match']:.1%}",
                *figures,
            ]
        )
    return out


def draw(made: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw the chart: a panel for each model, a curve for each decoder."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(point["model"] for point in made))
    names = list(dict.fromkeys(point["decoder"] for point in made))
    figure = Figure(figsize=(5.2 * len(models) + 1.6, 4.4), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, sharex=True, squeeze=False)[0]
    marks: dict[str, Any] = {}
    for panel, model in zip(panels, models, strict=True):
        for number, name in enumerate(names):
            own = [point for point in made if (point["model"], point["decoder"]) == (model, name)]
            if not own:
                continue
            x, y = [point["passes"] for point in own], [100 * point["pass_at_1"] for point in own]
            low = [100 * (point["pass_at_1"] - point["interval"][0]) for point in own]
            high = [100 * (point["interval"][1] - point["pass_at_1"]) for point in own]
            # The points of given lengths are different rules, not settings of one rule.
            line = "none" if name == "told length" else "-"
            marks[name] = panel.errorbar(
                x,
                y,
                (low, high),
                fmt="osD^vPX*"[number % 8],
                color=f"C{number}",
                linestyle=line,
                elinewidth=0.6,
            )
            for index, point in enumerate(own if len(own) > 1 else ()):
                panel.annotate(
                    point["setting"],
                    (point["passes"], 100 * point["pass_at_1"]),
                    # The labels are staggered, because the points are close together.
                    (4, 4 - 8 * index),
                    textcoords="offset points",
                    fontsize=6,
                )
        n = max(point["n"] for point in made if point["model"] == model)
        panel.set(title=f"{model}, n = {n}", xlabel="forward passes a line")
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="single-line infilling, pass@1 in %", ylim=(0, None))
    # Leaves room for the label of the last point.
    panels[0].set_xlim(0, 1.1 * max(point["passes"] for point in made))
    figure.legend([marks[name] for name in names], names, loc="outside right upper", fontsize=8)
    figure.savefig(file, dpi=120)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.suites.chart",
        description="Compare all decoders on single-line infilling.",
    )
    made.add_argument("--model", action="append", help="may be given several times (default: small and mini)")
    made.add_argument("--decoder", action="append", help="a curve's name (default: all)")
    made.add_argument("--limit", type=int, help="tasks to draw (default: all)")
    made.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--processes", type=int, default=2, help="programs run at a time (default: 2)")
    made.add_argument("--again", nargs="+", type=Path, metavar="FILE", help="only report on earlier details")
    made.add_argument("--details", type=Path, metavar="FILE", help="write each task's result to a JSONL file")
    made.add_argument("--png", type=Path, metavar="FILE", help="draw the chart")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    console = Console(stderr=True)
    known = dict.fromkeys(decoder.name for decoder in decoders())
    if unknown := set(given.decoder or ()) - set(known):
        options.error(f"there is no decoder {', '.join(sorted(unknown))}, only {', '.join(known)}")
    try:
        if given.again:
            lines = [line for file in given.again for line in read(file)]
        else:
            lines = list(_measured(given, console))
    except (CheckpointError, CompareError, SuiteError, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    made = points(lines)
    title = "Single-line infilling by decoder"
    if given.png:
        draw(made, given.png)
    if given.markdown:
        given.markdown.write_text(tables.markdown(title, HEADINGS, rows(made)), encoding="utf-8")
    if given.json:
        print(json.dumps({"suite": "single-line", "seed": given.seed, "points": made}))
    else:
        width = None if sys.stdout.isatty() else tables.WIDE
        Console(width=width).print(tables.table(title, HEADINGS, rows(made)))
    return 0


def _measured(given: argparse.Namespace, console: Console) -> Iterator[Line]:
    """Yield the lines, model by model, after writing each to the file of details immediately."""
    tasks = sample(load("single-line"), given.limit, given.seed)
    asked = [decoder for decoder in decoders() if decoder.name in (given.decoder or (decoder.name,))]
    with ExitStack() as stack:
        file = stack.enter_context(given.details.open("w", encoding="utf-8")) if given.details else None
        progress = stack.enter_context(Progress(console=console, refresh_per_second=2))
        for model in given.model or ("small", "mini"):
            engine = load_local_engine(model, given.device, given.threads)
            for line in run(engine, tasks, asked, given.processes, progress):
                if file is not None:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                yield line


if __name__ == "__main__":
    sys.exit(main())
