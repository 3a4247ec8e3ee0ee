"""Measures how often a suggestion repeats the training corpus verbatim.

The input is a file of details of `model.evaluation.heldout.heldout` (shown suggestions) or of
`model.evaluation.suites.evaluate` (completions). Texts are compared by their code tokens, see `clean.tokens`: words,
runs of digits, single marks, without whitespace. A *run* is a sequence of tokens of a suggestion that one file of the
training split contains. Two figures are counted: suggestions with a run of ten lines, that is ten times the mean number
of tokens in a non-blank line of the corpus; and, since most suggestions are shorter, suggestions of at least 8, 16 and
32 tokens that are one run. If the details contain the authors' texts, the same is counted for them, since common code,
such as the head of a loop, is in the corpus anyway.

Only the suggestions are kept in memory, as hashes of `WIDTH` consecutive tokens; the corpus is read once. A run lasts
as long as such hashes follow one another in both texts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from model.data.clean import shingles, tokens
from model.data.corpus import CorpusError, Source, corpus_folder, iter_documents
from model.evaluation.heldout.records import DetailsError

WIDTH = 8
SIZES = (8, 16, 32)
LINES = 10
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Run:
    """The longest run of a text so far, and the file that contains it."""

    length: int
    source: Source


class Search:
    """Searches files for runs of texts. ``runs`` maps a text's index to its longest run, if one was found."""

    _LOWEST = np.uint64((1 << 22) - 1)

    def __init__(self, texts: Sequence[str]) -> None:
        hashes = [tokens(text) for text in texts]
        self.sizes = [len(each) for each in hashes]
        self.runs: dict[int, Run] = {}
        self.files = self.tokens = self.lines = 0
        self._where: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, each in enumerate(hashes):
            for at, run in enumerate(shingles(each, WIDTH).tolist()):
                self._where[run].append((number, at))
        self._known = np.array(sorted(self._where), dtype=np.uint64)
        # A filter by the lowest bits, so that most runs of a file need no lookup.
        self._sieve = np.zeros(1 << 22, dtype=bool)
        self._sieve[self._known & self._LOWEST] = True

    def look(self, source: Source) -> None:
        """Search one file for all texts."""
        hashes = tokens(source.text)
        self.files += 1
        self.tokens += len(hashes)
        self.lines += sum(1 for line in source.text.split("\n") if line.strip())
        runs = shingles(hashes, WIDTH)
        places = np.flatnonzero(self._sieve[runs & self._LOWEST])
        last, going = -2, dict[tuple[int, int], int]()
        for place, run in zip(places.tolist(), runs[places].tolist(), strict=True):
            if place != last + 1:
                going = {}
            # A run continues if the hash before matched one token earlier, both in the file and in the text.
            going = {
                (text, at): going.get((text, at - 1), WIDTH - 1) + 1 for text, at in self._where.get(run, ())
            }
            last = place
            for (text, _), length in going.items():
                if text not in self.runs or length > self.runs[text].length:
                    self.runs[text] = Run(length, source)

    def longest(self, text: int) -> int:
        """Return the tokens of a text's longest run; 0 if it is shorter than `WIDTH`."""
        return self.runs[text].length if text in self.runs else 0


def figures(search: Search, numbers: Sequence[int], ten_lines: int) -> dict[str, Any]:
    """Count, of the texts with these indices, those that are long enough to be found, and those found verbatim."""
    found = [(search.sizes[number], search.longest(number)) for number in numbers]
    counts = {
        f"whole of {size} tokens": [run == length for length, run in found if length >= size]
        for size in SIZES
    }
    counts["run of ten lines"] = [run >= ten_lines for length, run in found if length >= ten_lines]
    return {
        name: {
            "long_enough": len(each),
            "verbatim": sum(each),
            "share": round(sum(each) / max(len(each), 1), 4),
            "share_of_all": round(sum(each) / max(len(numbers), 1), 4),
        }
        for name, each in counts.items()
    }


def report(search: Search, suggestions: int, texts: Sequence[str]) -> dict[str, Any]:
    """Return the whole report as a JSON object; the first ``suggestions`` texts are suggestions, the rest authors'."""
    per_line = search.tokens / max(search.lines, 1)
    ten_lines = max(WIDTH, round(LINES * per_line))
    ours, theirs = range(suggestions), range(suggestions, len(texts))
    best = sorted(
        (number for number in search.runs if number < suggestions), key=search.longest, reverse=True
    )
    examples = []
    for number in best[:EXAMPLES]:
        run = search.runs[number]
        where = {name: getattr(run.source, name) for name in ("package", "version", "licence", "path")}
        examples.append(
            {"tokens": run.length, "of": search.sizes[number], "suggestion": texts[number]} | where
        )
    answer = {
        "suggestions": suggestions,
        "corpus": {"files": search.files, "tokens": search.tokens, "tokens_a_line": round(per_line, 2)},
        "ten_lines": ten_lines,
        "suggested": figures(search, ours, ten_lines),
        "longest": examples,
    }
    return answer | ({"written": figures(search, theirs, ten_lines)} if theirs else {})


def texts_of(file: Path) -> tuple[list[str], list[str]]:
    """Return the suggestions of a file of details, and the authors' texts, if any. Raises `DetailsError`."""
    suggested, written = [], []
    try:
        with file.open(encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                text = line["completion"] if "completion" in line else line["shown"]
                if text:
                    suggested.append(text)
                if "hole" in line:
                    written.append(line["hole"])
    except OSError as error:
        raise DetailsError(f"{file} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DetailsError(
            f"{file} was written by neither model.evaluation.heldout.heldout nor model.evaluation.suites.evaluate"
        ) from error
    if not suggested:
        raise DetailsError(f"there is no suggestion in {file}")
    return suggested, written


def table(answer: dict[str, Any]) -> Table:
    """Return the report as a table for a terminal."""
    corpus = answer["corpus"]
    title = (
        f"{answer['suggestions']} suggestions against {corpus['tokens']:,} tokens in {corpus['files']:,} files; "
        f"ten lines are {answer['ten_lines']} tokens"
    )
    made = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("verbatim in the corpus", "of", "are", "share", "of all"):
        made.add_column(heading, justify="left" if heading.startswith("verbatim") else "right")
    for who in ("suggested", "written"):
        for name, row in answer.get(who, {}).items():
            counts = (str(row["long_enough"]), str(row["verbatim"]))
            made.add_row(f"{who}, {name}", *counts, f"{row['share']:.1%}", f"{row['share_of_all']:.1%}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.verbatim", description="Find repeated training code."
    )
    parser.add_argument(
        "details",
        type=Path,
        help="details of model.evaluation.heldout.heldout or model.evaluation.suites.evaluate",
    )
    parser.add_argument("--corpus", type=Path, default=corpus_folder(), help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    given = parser.parse_args(arguments)
    console = Console(stderr=True)
    columns = (TextColumn("reading the corpus"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        suggested, written = texts_of(given.details)
        search = Search([*suggested, *written])
        with Progress(*columns, console=console, refresh_per_second=2) as progress:
            for source in progress.track(
                iter_documents("train", folder=given.corpus), total=_files(given.corpus)
            ):
                search.look(source)
    except (DetailsError, CorpusError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    answer = report(search, len(suggested), [*suggested, *written])
    if given.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        Console().print(table(answer))
    return 0


def _files(corpus: Path) -> int | None:
    """Return the number of training files by the corpus's statistics; None if there are none."""
    file = corpus / "statistics.json"
    splits = json.loads(file.read_text(encoding="utf-8")).get("splits") if file.is_file() else None
    return sum(each["files"] for each in splits["train"].values()) if splits else None


if __name__ == "__main__":
    sys.exit(main())
