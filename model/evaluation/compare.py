"""Compares two models on the same tasks by paired differences, from two files of ``--details``.

A line is paired with the other file's line of the same task and mode or, if each file has only one mode, of the same
task. Differences are the first file's figure minus the second's. Intervals are 95% percentile bootstraps over tasks.
``interval_by_problem`` draws whole problems instead; it is the more honest interval if several infilling tasks are cut
from one problem.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from model.evaluation.bootstrap import interval, ratio

Line = Mapping[str, Any]
_PROBLEM = re.compile(r"\w+Infilling\w*/(\w+/\d+)/")
_NEEDED = {"task_id": str, "mode": str, "pass": bool, "passes": int}


class CompareError(Exception):
    """The two files cannot be compared; the message is one sentence for the user."""


def read(path: Path) -> list[Line]:
    """Read the lines of a file of details. Raises `CompareError`."""
    lines = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                line = json.loads(text)
                for name, kind in _NEEDED.items():
                    if not isinstance(line, dict) or not isinstance(line.get(name), kind):
                        raise CompareError(
                            f"{path}, line {number} is no line of details: it has no {name!r}."
                        )
                lines.append(line)
    except (OSError, ValueError) as error:
        raise CompareError(f"{path} cannot be read as details: {error}.") from error
    if not lines:
        raise CompareError(f"{path} has no line in it.")
    return lines


def compare(first: Sequence[Line], second: Sequence[Line]) -> dict[str, Any]:
    """Return the differences of each suite and mode under ``"suites"``. Raises `CompareError` if no task is in both."""
    one_mode = all(len({line["mode"] for line in lines}) == 1 for lines in (first, second))

    def keyed(lines: Sequence[Line], which: str) -> dict[tuple[str, str], Line]:
        found = {(line["task_id"], "" if one_mode else line["mode"]): line for line in lines}
        if len(found) < len(lines):
            raise CompareError(f"The {which} details have a task twice: are they of several runs?")
        return found

    ours, theirs = keyed(first, "first"), keyed(second, "second")
    groups: dict[tuple[str, str], list[tuple[Line, Line]]] = defaultdict(list)
    for key, line in ours.items():
        if other := theirs.get(key):
            modes = dict.fromkeys((line["mode"], other["mode"]))
            suite = line.get("suite") or other.get("suite") or _suite(line["task_id"])
            groups[suite, " against ".join(modes)].append((line, other))
    if not groups:
        raise CompareError("No task is in both files of details.")
    return {
        "first": _names(first),
        "second": _names(second),
        "unpaired": {"first": len(ours.keys() - theirs.keys()), "second": len(theirs.keys() - ours.keys())},
        "suites": [
            {"suite": suite, "mode": mode} | compare_pairs(pairs) for (suite, mode), pairs in groups.items()
        ],
    }


def compare_pairs(pairs: Sequence[tuple[Line, Line]]) -> dict[str, Any]:
    """Return both sides' figures and their differences; ``exact_match`` is None if no author's text is known."""
    exact = [(a, b) for a, b in pairs if a.get("exact") is not None and b.get("exact") is not None]
    passes = [(a["passes"], b["passes"]) for a, b in pairs]
    only = [
        sum(bool(a["pass"]) > bool(b["pass"]) for a, b in side) for side in (pairs, [p[::-1] for p in pairs])
    ]
    return {
        "n": len(pairs),
        "pass_at_1": _difference(pairs, "pass"),
        "exact_match": _difference(exact, "exact") if exact else None,
        "only_first_passes": only[0],
        "only_second_passes": only[1],
        "forward_passes_ratio": round(ratio(passes), 4),
        "forward_passes_ratio_interval": interval(passes, ratio),
    }


def _difference(pairs: Sequence[tuple[Line, Line]], name: str) -> dict[str, Any]:
    gains = [int(a[name]) - int(b[name]) for a, b in pairs]
    problems: dict[str, list[int]] = defaultdict(list)
    for (line, _), gain in zip(pairs, gains, strict=True):
        match = _PROBLEM.match(line["task_id"])
        problems[match.group(1) if match else line["task_id"]].append(gain)
    bounds = interval(gains, fmean)
    by_problem = bounds
    if len(problems) < len(pairs):
        by_problem = interval([(sum(own), len(own)) for own in problems.values()], ratio)
    return {
        "first": round(fmean(line[name] for line, _ in pairs), 4),
        "second": round(fmean(line[name] for _, line in pairs), 4),
        "difference": round(fmean(gains), 4),
        "interval": bounds,
        "interval_by_problem": by_problem,
        "excludes_zero": all(low > 0 or high < 0 for low, high in (bounds, by_problem)),
    }


def _suite(task_id: str) -> str:
    """Return a suite's name for a line of an old file, which does not name the suite."""
    return task_id.partition("/")[0]


def _names(lines: Sequence[Line]) -> str:
    return ", ".join(dict.fromkeys(line["model"] for line in lines if "model" in line)) or "not named"
