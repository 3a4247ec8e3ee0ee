"""Computes the typing benchmark's figures, their intervals over files, and the paired differences of two runs.

All but one are shares. ``keys_spared``: of the lines' characters, those that took no key, minus the keys for accepting.
``shown``: of the requests, those with a suggestion. ``wrong_of_shown``: of the distinct suggestions, those whose first
word is wrong; the rest of a suggestion after a key that agrees with it is not a new suggestion. ``wrong_per_100_keys``:
distinct wrong suggestions for a hundred pressed keys. ``changed``: of the typed keys that agreed with the suggestion,
those after which another suggestion, or none, was shown. ``within_word``: of the requests within a word, those whose
suggestion completes the word; easy words are completed early and have fewer such requests, so hard words weigh more.
``from_memory``: of the requests, those answered within 2 ms. ``late``: of the requests, those answered after the
default deadline on a CPU, 250 ms. Intervals are 95% percentile bootstraps over files, because lines of one file are
alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mercury_lsp.completion.scheduler import CPU_DEADLINE_SECONDS
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.typing.records import BegunWord, TypedLine

MEMORY_MS = 2.0
DEADLINE_MS = 1e3 * CPU_DEADLINE_SECONDS

R = TypeVar("R", TypedLine, BegunWord)


def typing_figures(lines: Sequence[TypedLine]) -> dict[str, Any]:
    """Return the figures of at least one typed line."""
    keys = [key for line in lines for key in line.keys]
    fresh = [key for key in keys if key.fresh]
    agreed = [key for key in keys if key.held is not None]
    words = [key for key in keys if key.word is not None]
    times = sorted(key.ms for key in keys)
    wrong, pressed = sum(line.wrong for line in lines), sum(line.pressed for line in lines)
    spared = by_file(lines, lambda line: (line.spared, len(line.text)))
    return {
        "n": len(lines),
        "files": len({line.file for line in lines}),
        "characters": sum(len(line.text) for line in lines),
        "pressed": pressed,
        "keys_spared": round(ratio(spared), 4),
        "interval": interval(spared, ratio),
        "requests": len(keys),
        "shown": _share(sum(key.shown is not None for key in keys), len(keys)),
        "suggestions": len(fresh),
        "wrong_of_shown": _share(wrong, len(fresh)),
        "wrong_per_100_keys": round(100 * wrong / pressed, 2),
        "changed": _share(sum(key.held is False for key in agreed), len(agreed)),
        "within_word": _share(sum(key.word is True for key in words), len(words)),
        "accepted": {
            "whole": sum(key.did == "whole" for key in keys),
            "words": sum(key.keys for key in keys if key.did == "words"),
        },
        "beyond": sum(line.beyond for line in lines),
        "from_memory": _share(sum(ms < MEMORY_MS for ms in times), len(times)),
        "late": _share(sum(ms > DEADLINE_MS for ms in times), len(times)),
        "ms": {"p50": _percentile(times, 0.5), "p95": _percentile(times, 0.95)},
    }


def word_figures(words: Sequence[BegunWord]) -> dict[str, Any]:
    """Return the figures of at least one manual request within a word."""
    right = by_file(words, lambda one: (one.word, 1))
    whole = by_file(words, lambda one: (one.line, 1))
    times = sorted(one.ms for one in words)
    return {
        "n": len(words),
        "files": len(right),
        "shown": _share(sum(one.shown is not None for one in words), len(words)),
        "word_right": round(ratio(right), 4),
        "interval": interval(right, ratio),
        "line_right": round(ratio(whole), 4),
        "line_interval": interval(whole, ratio),
        "ms": {"p50": _percentile(times, 0.5), "p95": _percentile(times, 0.95)},
    }


def report(records: Sequence[R], figures: Callable[[Sequence[R]], dict[str, Any]]) -> dict[str, Any]:
    """Return the report as a JSON object: the figures of all records, of each language and of each project."""
    return {
        "model": ", ".join(sorted({record.model for record in records})),
        **figures(records),
        "languages": _grouped(records, lambda record: record.language, figures),
        "projects": _grouped(records, lambda record: record.package, figures),
    }


def typing_gain(ours: Sequence[TypedLine], theirs: Sequence[TypedLine]) -> dict[str, Any] | None:
    """Return our figures minus theirs, over the lines in both runs; None if there are none.

    ``wrong_per_100_characters`` has the same denominator in both runs, whatever is accepted.
    """
    pairs = _paired(ours, theirs)
    if not pairs:
        return None
    spared = _by_file_of_pairs(pairs, lambda a, b: (a.spared - b.spared, len(a.text)))
    wrong = _by_file_of_pairs(pairs, lambda a, b: (a.wrong, a.pressed, b.wrong, b.pressed))
    noise = _by_file_of_pairs(pairs, lambda a, b: (100 * (a.wrong - b.wrong), len(a.text)))
    return {
        "n": len(pairs),
        "first": ours[0].model,
        "second": theirs[0].model,
        "keys_spared": _difference(spared, ratio),
        "wrong_per_100_keys": _difference(wrong, _more_wrong),
        "wrong_per_100_characters": _difference(noise, ratio),
    }


def word_gain(ours: Sequence[BegunWord], theirs: Sequence[BegunWord]) -> dict[str, Any] | None:
    """Return our figures minus theirs, over the words in both runs; None if there are none."""
    pairs = _paired(ours, theirs)
    if not pairs:
        return None
    return {
        "n": len(pairs),
        "first": ours[0].model,
        "second": theirs[0].model,
        "word_right": _difference(_by_file_of_pairs(pairs, lambda a, b: (a.word - b.word, 1)), ratio),
        "line_right": _difference(_by_file_of_pairs(pairs, lambda a, b: (a.line - b.line, 1)), ratio),
    }


def typing_table(answer: dict[str, Any]) -> Table:
    """Return the figures of lines as a table for a terminal."""
    caption = "wrong: of what is shown, from its first word; changed: of what was typed through"
    heads = (
        "lines",
        "keys spared",
        "95%",
        "shown",
        "wrong",
        "/100 keys",
        "changed",
        "in words",
        "p50",
        "p95 ms",
    )
    return _table(
        answer,
        heads,
        lambda row: (
            str(row["n"]),
            f"{row['keys_spared']:.1%}",
            _bounds(row["interval"]),
            _percent(row["shown"]),
            _percent(row["wrong_of_shown"]),
            f"{row['wrong_per_100_keys']:.1f}",
            _percent(row["changed"]),
            _percent(row["within_word"]),
            f"{row['ms']['p50']:.0f}",
            f"{row['ms']['p95']:.0f}",
        ),
        caption,
    )


def word_table(answer: dict[str, Any]) -> Table:
    """Return the figures of words as a table for a terminal."""
    heads = ("n", "shown", "word right", "95%", "line right", "95%", "p50", "p95 ms")
    return _table(
        answer,
        heads,
        lambda row: (
            str(row["n"]),
            _percent(row["shown"]),
            f"{row['word_right']:.1%}",
            _bounds(row["interval"]),
            f"{row['line_right']:.1%}",
            _bounds(row["line_interval"]),
            f"{row['ms']['p50']:.0f}",
            f"{row['ms']['p95']:.0f}",
        ),
    )


def gain_table(gain: dict[str, Any]) -> Table:
    """Return the differences between two runs as a table for a terminal."""
    made = Table(box=SIMPLE_HEAD, caption=f"{gain['n']} pairs: {gain['first']} less {gain['second']}")
    for head in ("", "difference", "95%"):
        made.add_column(head, justify="right" if head else "left")
    for name, value in gain.items():
        if isinstance(value, dict):
            low, high = value["interval"]
            made.add_row(name, f"{value['difference']:+.4f}", f"{low:+.4f} to {high:+.4f}")
    return made


def by_file(records: Sequence[R], counts: Callable[[R], tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the sums of two counts for each file."""
    sums: dict[tuple[str, str], tuple[float, float]] = defaultdict(lambda: (0, 0))
    for record in records:
        a, b = counts(record)
        sums[record.file] = sums[record.file][0] + a, sums[record.file][1] + b
    return list(sums.values())


def _paired(ours: Sequence[R], theirs: Sequence[R]) -> list[tuple[R, R]]:
    others = {record.place: record for record in theirs}
    return [(record, others[record.place]) for record in ours if record.place in others]


def _by_file_of_pairs(
    pairs: Iterable[tuple[R, R]], counts: Callable[[R, R], tuple[float, ...]]
) -> list[tuple[float, ...]]:
    sums: dict[tuple[str, str], tuple[float, ...]] = {}
    for a, b in pairs:
        here = counts(a, b)
        sums[a.file] = tuple(map(sum, zip(sums.get(a.file, (0.0,) * len(here)), here, strict=True)))
    return list(sums.values())


def _more_wrong(files: Sequence[tuple[float, ...]]) -> float:
    """Return the wrong suggestions per hundred keys of the first run minus those of the second."""
    wrong, pressed, other_wrong, other_pressed = map(sum, zip(*files, strict=True))
    return 100 * (wrong / pressed - other_wrong / other_pressed)


def _difference(files: Sequence[tuple[float, ...]], statistic: Callable[[Any], float]) -> dict[str, Any]:
    return {"difference": round(statistic(files), 4), "interval": interval(files, statistic)}


def _grouped(
    records: Sequence[R], name: Callable[[R], str], figures: Callable[[Sequence[R]], dict[str, Any]]
) -> dict[str, Any]:
    groups: dict[str, list[R]] = defaultdict(list)
    for record in records:
        groups[name(record)].append(record)
    return {group: figures(groups[group]) for group in sorted(groups)}


def _share(count: int, of: int) -> float | None:
    return round(count / of, 4) if of else None


def _percentile(ordered: Sequence[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _bounds(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.0%} to {bounds[1]:.0%}"


def _table(
    answer: dict[str, Any],
    heads: Sequence[str],
    cells: Callable[[dict[str, Any]], Sequence[str]],
    caption: str | None = None,
) -> Table:
    made = Table(box=SIMPLE_HEAD, caption=caption, pad_edge=False)
    made.add_column("")
    for head in heads:
        made.add_column(head, justify="right")
    made.add_row("all", *cells(answer), end_section=True)
    for group in ("languages", "projects"):
        for number, (name, row) in enumerate(answer[group].items(), 1):
            made.add_row(name, *cells(row), end_section=number == len(answer[group]))
    return made
