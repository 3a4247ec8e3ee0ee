"""Fits the cutoff of automatic suggestions to recorded suggestions and their outcomes.

    python -m model.evaluation.calibration.calibrate --record keystrokes.jsonl --per-language 40 --minutes 12
    python -m model.evaluation.calibration.calibrate keystrokes.jsonl --markdown calibration.md --json

With ``--record``, held-out lines are typed, and the model's suggestions are recorded, see `keystrokes`; otherwise such
a file is read. On half of the projects (every other one by name in each language), the `calibration` of the tokens'
probabilities is fitted, then ``show_likelihood`` is chosen: the value with which the ideal typist saves most keys while
at most ``--bound`` of the suggestions shown are wrong from their first word. Both halves are reported, and compared
with earlier rules. A second fit with the halves exchanged tells how much the result depends on the split.

``keys_spared``, ``shown`` and ``wrong_of_shown`` are defined in `typing.report`, but ``shown`` is a share of the
recorded requests; ``spared_per_request`` counts keys. Intervals are 95% percentile bootstraps over files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from model.data.corpus import CorpusError, iter_documents
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.calibration.calibration import (
    beginnings,
    calibrated_outcomes,
    error,
    fit,
    reliability,
    tokens,
)
from model.evaluation.calibration.keystrokes import Keystrokes, Rule, read, record, replay, write
from model.evaluation.calibration.odds import IDENTITY, Calibration
from model.evaluation.heldout.cursors import LANGUAGES, draw
from model.evaluation.heldout.records import DetailsError

BOUND = 0.3
"""The largest share of the suggestions shown that may be wrong from their first word."""
EARLIER = 0.11
"""The least likelihood of a whole text to be shown, in the rule before suggestions were cut."""
THRESHOLDS = tuple(round(0.02 * i, 2) for i in range(1, 50))
FITTED = "fitted"
HALVES = {"chosen_on": "Fitted and chosen on", "reported_on": "Only reported on"}
HEADINGS = ("Keys spared (95%)", "Keys a request", "Requests shown", "Wrong of shown")
SHOWN = ("keys_spared", "spared_per_request", "shown", "wrong_of_shown")


def server_rule(least: float, calibration: Calibration) -> Rule:
    """Return the server's rule, with a `show_likelihood` and a calibration."""
    return lambda offer: offer.shown(least, calibration)


RULES: Mapping[str, Rule] = {
    "cut, before fitting": server_rule(0.25, IDENTITY),
    "whole text if likely": lambda offer: offer.whole if offer.likelihood >= EARLIER else None,
    "no cut": lambda offer: offer.whole,
}
"""The rules that the fitted rule is compared with."""


@dataclass(slots=True)
class Account:
    """The counts of typing the lines of a file: characters, keys, requests and suggestions."""

    characters: int = 0
    spared: int = 0
    asked: int = 0
    shown: int = 0
    suggestions: int = 0
    wrong: int = 0

    def pair(self, name: str) -> tuple[int, int]:
        """Return the numerator and the denominator of a figure."""
        return {
            "keys_spared": (self.spared, self.characters),
            "spared_per_request": (self.spared, self.asked),
            "shown": (self.shown, self.asked),
            "wrong_of_shown": (self.wrong, self.suggestions),
        }[name]


def accounts(lines: Sequence[Keystrokes], rule: Rule) -> dict[tuple[str, str], Account]:
    """Replay lines with a rule; return the account of each file."""
    found: dict[tuple[str, str], Account] = defaultdict(Account)
    for line, keys in zip(lines, replay(lines, rule), strict=True):
        own = found[line.file]
        places = {request.at for request in line.requests}
        own.characters += len(line.text)
        own.spared += len(line.text) - sum(key.keys for key in keys)
        own.asked += sum(key.at in places for key in keys)
        own.shown += sum(key.at in places and key.shown is not None for key in keys)
        own.suggestions += sum(key.fresh for key in keys)
        own.wrong += sum(key.fresh and key.verdict == "wrong" for key in keys)
    return dict(found)


def share(own: Iterable[Account], name: str) -> float:
    """Return a figure over all the accounts together."""
    return ratio([account.pair(name) for account in own])


def choose(lines: Sequence[Keystrokes], calibration: Calibration, bound: float) -> tuple[float, bool]:
    """Return the threshold that saves most keys within the bound (the lowest in a tie), and whether the bound is met.

    If no threshold meets the bound, return the threshold with the smallest share of wrong suggestions.
    """
    found = {least: list(accounts(lines, server_rule(least, calibration)).values()) for least in THRESHOLDS}
    wrong = {least: share(own, "wrong_of_shown") for least, own in found.items() if any(a.shown for a in own)}
    within = [least for least in wrong if wrong[least] <= bound]
    if within:
        return max(within, key=lambda least: (sum(own.spared for own in found[least]), -least)), True
    return min(wrong, key=lambda least: wrong[least], default=THRESHOLDS[-1]), False


def halves(lines: Sequence[Keystrokes]) -> tuple[list[Keystrokes], list[Keystrokes]]:
    """Split lines by project: every other project of each language, by name; and the other projects."""
    projects: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        projects[line.language].add(line.package)
    first = {(language, name) for language, own in projects.items() for name in sorted(own)[::2]}
    one = [line for line in lines if (line.language, line.package) in first]
    return one, [line for line in lines if (line.language, line.package) not in first]


def compare_rules(
    lines: Sequence[Keystrokes], rules: Mapping[str, Rule], calibration: Calibration
) -> dict[str, Any]:
    """Return the figures of lines with each rule, the differences to the first rule, and the calibration errors."""
    made = {name: accounts(lines, rule) for name, rule in rules.items()}
    first = next(iter(made.values()))
    seen = tokens(lines)
    surety = {"before": IDENTITY, "after": calibration}
    return {
        "projects": sorted({line.package for line in lines}),
        "lines": len(lines),
        "requests": sum(len(line.requests) for line in lines),
        "files": len(first),
        "tokens": {
            when: _reliability(calibrated_outcomes(seen, calibration)) for when, calibration in surety.items()
        },
        "beginnings": {
            when: _reliability(beginnings(lines, calibration)) for when, calibration in surety.items()
        },
        "rules": {name: _figures(list(own.values())) for name, own in made.items()},
        "differences": {
            name: _differences([(first[file], own[file]) for file in first])
            for name, own in list(made.items())[1:]
        },
    }


def _reliability(outcomes: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    rows = reliability(outcomes)
    return {"n": len(outcomes), "error": error(rows), "bins": rows}


def _figures(own: Sequence[Account]) -> dict[str, Any]:
    pairs = {name: [account.pair(name) for account in own] for name in SHOWN}
    return {
        name: {"value": round(ratio(each), 4), "interval": interval(each, ratio)}
        for name, each in pairs.items()
    }


def _differences(pairs: Sequence[tuple[Account, Account]]) -> dict[str, Any]:
    def difference(drawn: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> float:
        return ratio([ours for ours, _ in drawn]) - ratio([theirs for _, theirs in drawn])

    found = {}
    for name in SHOWN:
        each = [(ours.pair(name), theirs.pair(name)) for ours, theirs in pairs]
        found[name] = {"value": round(difference(each), 4), "interval": interval(each, difference)}
    return found


def report(lines: Sequence[Keystrokes], bound: float) -> dict[str, Any]:
    """Return the whole report as a JSON object; ``calibration`` and ``show_likelihood`` are the values to use.

    Raises `DetailsError` if the lines are not of two projects at least.
    """
    one, other = halves(lines)
    if not tokens(one) or not tokens(other):
        raise DetailsError("Too few projects were recorded: half of them must fit, and the other half tell.")
    calibration = fit(tokens(one))
    least, met = choose(one, calibration, bound)
    rules = {FITTED: server_rule(least, calibration), **RULES}
    exchanged = fit(tokens(other))
    return {
        "model": lines[0].model,
        "bound": bound,
        "calibration": calibration,
        "show_likelihood": least,
        "met": met,
        "exchanged": {
            "calibration": exchanged,
            "show_likelihood": choose(other, exchanged, bound)[0],
        },
        "chosen_on": compare_rules(one, rules, calibration),
        "reported_on": compare_rules(other, rules, calibration),
    }


def advice(answer: Mapping[str, Any]) -> str:
    """Return a text that recommends settings."""
    offset, slope = answer["calibration"]
    figures, exchanged = answer["reported_on"]["rules"][FITTED], answer["exchanged"]
    words = [
        f"Offset {offset}, slope {slope} and show_likelihood = {answer['show_likelihood']}.",
        f"On the projects that they were not fitted on, {_with_interval(figures['keys_spared'])} of the keys are",
        f"spared, and {_with_interval(figures['wrong_of_shown'])} of what is shown is wrong from its first word.",
        f"With the halves exchanged they are {tuple(exchanged['calibration'])} and {exchanged['show_likelihood']}.",
    ]
    if not answer["met"]:
        words.insert(1, f"No threshold keeps what is wrong within {answer['bound']:.0%} of what is shown.")
    return " ".join(words)


def markdown(answer: Mapping[str, Any]) -> str:
    """Return the tables and the recommended settings in Markdown."""
    lines = []
    for half, title in HALVES.items():
        own = answer[half]
        counts = f"{own['lines']} lines, {own['requests']} requests, {own['files']} files"
        lines += [f"{title}: {', '.join(own['projects'])} ({counts}).", ""]
        lines += ["| Rule | " + " | ".join(HEADINGS) + " |", "| --- " * (1 + len(HEADINGS)) + "|"]
        lines += [f"| {name} | {' | '.join(_cells(row))} |" for name, row in own["rules"].items()]
        lines += [
            f"| {FITTED} less {name} | {' | '.join(_cells(row))} |"
            for name, row in own["differences"].items()
        ]
        lines += ["", "| Expected calibration error | n | Before | After |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {kind} | {own[kind]['after']['n']} | {own[kind]['before']['error']:.3f} "
            f"| {own[kind]['after']['error']:.3f} |"
            for kind in ("tokens", "beginnings")
        ]
        lines.append("")
    return "\n".join([*lines, advice(answer), ""])


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [_with_interval(row[name], name != "spared_per_request") for name in SHOWN]


def _with_interval(found: Mapping[str, Any], percent: bool = True) -> str:
    low, high = found["interval"]
    if percent:
        return f"{found['value']:.1%} ({100 * low:.1f} to {100 * high:.1f})"
    return f"{found['value']:.2f} ({low:.2f} to {high:.2f})"


def table(answer: Mapping[str, Any]) -> Table:
    """Return a table, for a terminal, of the rules on the half that nothing was fitted on."""
    own = answer["reported_on"]
    title = f"{own['lines']} lines of {len(own['projects'])} projects that nothing was fitted on"
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("rule", min_width=24)
    for heading in HEADINGS:
        made.add_column(heading.lower(), justify="right")
    for name, row in own["rules"].items():
        made.add_row(name, *_cells(row))
    return made


def _recorded(given: argparse.Namespace, console: Console) -> list[Keystrokes]:
    """Read the lines, or type and record them. Raises `CheckpointError`, `CorpusError`, `DetailsError`, `OSError`."""
    if given.record is None:
        return read(given.keystrokes)
    languages = given.languages.split(",")
    sources = list(iter_documents("heldout", languages, given.corpus))
    places = draw(sources, languages, given.per_language, given.seed, ("next",))
    if not places:
        raise CorpusError(f"no held-out package has code in {', '.join(languages)}")
    engine = load_local_engine(given.model, "cpu", given.threads)
    cursors = [place[0] for place in places]
    lines = track(
        record(engine, cursors, sources, given.minutes), "typing", total=len(cursors), console=console
    )
    return write(lines, given.record)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.calibration.calibrate",
        description="Fit the cutoff of automatic suggestions.",
    )
    made.add_argument("keystrokes", type=Path, nargs="?", metavar="FILE", help="recorded keystrokes")
    made.add_argument(
        "--record", type=Path, metavar="FILE", help="type lines, and record the suggestions in a file"
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--per-language", type=int, default=40, help="lines of each (default: %(default)s)")
    made.add_argument("--languages", default=",".join(LANGUAGES), help="default: %(default)s")
    made.add_argument(
        "--minutes", type=float, default=0, help="end after this time, with fewer lines of each language"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument(
        "--bound", type=float, default=BOUND, help="largest share of wrong suggestions (default: %(default)s)"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    if (given.record is None) == (given.keystrokes is None):
        options.error("either a FILE that was recorded, or --record")
    console = Console(stderr=True)
    try:
        answer = report(_recorded(given, console), given.bound)
    except (CheckpointError, CorpusError, DetailsError, OSError) as problem:
        console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
        return 1
    if given.markdown:
        given.markdown.write_text(markdown(answer), encoding="utf-8")
    if given.json:
        print(json.dumps(answer))
    else:
        Console().print(table(answer))
        Console().print(advice(answer), markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
