"""Types lines of held-out packages into the real server, key by key, as in an editor.

    python -m model.evaluation.typing --per-language 15 --details before.jsonl --json
    python -m model.evaluation.typing --per-language 15 --against before.jsonl
    python -m model.evaluation.typing --per-language 15 --other-setting show_likelihood=0.3
    python -m model.evaluation.typing --words --per-language 30

The lines are drawn from packages that no model was trained on; packages and files take turns. One server is started
for each package, over stdio, with the package as its workspace. Each line is typed in its own file, from which it is
missing, on a new line that is already indented; with ``--end`` all lines below are missing too. Each key is a change
and an automatic request, and the next key waits for the answer. `ideal_typist` defines the typist's actions, `report`
the figures. Options have their defaults, except for a very long deadline, so that suggestions do not depend on the
machine's load; ``--setting deadline_ms=0`` restores the default deadline. Times are valid only on a quiet machine.

With ``--words``, manual requests are made instead, within identifiers, where the line ends at the cursor. The first
suggestion counts; the times are those of all three.

Two runs are compared line by line: with the details of an earlier run (``--against``), or with a second server that
differs from the first by the ``--other-...`` options; the two servers then take turns, package by package.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mercury_lsp.bench.editor import SERVER
from mercury_lsp.config import parse_settings
from mercury_lsp.errors import Failure
from model.data.corpus import CorpusError, Source, iter_documents
from model.evaluation.heldout.cursors import BEGUN, LANGUAGES, Cursor, draw
from model.evaluation.heldout.heldout import setting_value
from model.evaluation.heldout.records import DetailsError
from model.evaluation.tables import WIDE
from model.evaluation.typing import report as typing_report
from model.evaluation.typing.records import BegunWord, TypedLine, read_records, record_line
from model.evaluation.typing.workspace import Contender, ask_words, by_package, type_package

# The exit status after Ctrl-C.
INTERRUPTED = 130

Record = TypedLine | BegunWord


@dataclass(slots=True)
class Run:
    """One contender's records so far, and the file to which each is written immediately."""

    contender: Contender
    details: TextIO | None
    records: list[Any] = field(default_factory=list)

    def take(self, record: Record) -> None:
        """Store a record."""
        self.records.append(record)
        if self.details is not None:
            self.details.write(record_line(record))


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run: the files and the cursors of each package."""

    files: Mapping[str, Sequence[Source]]
    cursors: Mapping[str, Sequence[Cursor]]
    words: bool
    below: bool
    closing: bool

    @classmethod
    def of(cls, given: argparse.Namespace) -> Plan:
        """Create the plan of the command line. Raises `CorpusError`."""
        languages = given.languages.split(",")
        sources = list(iter_documents("heldout", None, given.corpus))
        kind = BEGUN if given.words else "next"
        places = draw(sources, languages, given.per_language, given.seed, (kind,))
        if not places:
            raise CorpusError(f"no held-out package has code in {', '.join(languages)}")
        files: dict[str, list[Source]] = defaultdict(list)
        for source in sources:
            files[source.package].append(source)
        # A short file can be drawn twice, with the same line.
        cursors = dict.fromkeys(place[0] for place in places)
        return cls(files, by_package(cursors), given.words, not given.end, given.auto_closing)

    def records(self, contender: Contender, package: str) -> AsyncIterator[TypedLine | BegunWord]:
        """Yield the records of a contender in a package."""
        files, cursors = self.files[package], self.cursors[package]
        if self.words:
            return ask_words(contender, files, cursors, self.below)
        return type_package(contender, files, cursors, self.below, self.closing)


async def measure(plan: Plan, runs: Sequence[Run], progress: Progress) -> None:
    """Run each contender in each package, in turn. Raises `Failure`."""
    total = len(runs) * sum(map(len, plan.cursors.values()))
    task = progress.add_task("", total=total)
    for package in plan.cursors:
        for run in runs:
            progress.update(task, description=package)
            async for record in plan.records(run.contender, package):
                run.take(record)
                progress.advance(task)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.typing",
        description="Type held-out lines into the server, key by key.",
    )
    made.add_argument("--per-language", type=int, default=15, help="lines of each (default: %(default)s)")
    made.add_argument("--languages", default=",".join(LANGUAGES), help="default: %(default)s")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--words", action="store_true", help="make manual requests within words instead of typing lines"
    )
    made.add_argument("--end", action="store_true", help="remove the lines below the typed line")
    made.add_argument(
        "--no-auto-closing",
        dest="auto_closing",
        action="store_false",
        help="the editor inserts no closing brackets and quotes",
    )
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    _server_options(made, "", "a shipped model's name, or a folder (default: small)")
    _server_options(made, "other-", "the same for a second server, to compare with")
    made.add_argument(
        "--against", type=Path, metavar="FILE", help="details of an earlier run, to compare with"
    )
    made.add_argument("--again", type=Path, metavar="FILE", help="only report on the details of a run")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def _server_options(made: argparse.ArgumentParser, prefix: str, model: str) -> None:
    made.add_argument(f"--{prefix}model", help=model)
    made.add_argument(
        f"--{prefix}setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set an option of the server",
    )
    made.add_argument(f"--{prefix}server", metavar="COMMAND", help="command line of the server")
    made.add_argument(
        f"--{prefix}checkout",
        type=Path,
        metavar="DIR",
        help="run another version of this project in this folder",
    )
    made.add_argument(
        f"--{prefix}details", type=Path, metavar="FILE", help="write a line of JSON for each record"
    )


def contender(given: argparse.Namespace, prefix: str = "") -> Contender:
    """Return the server that the options with a prefix describe. Raises `ValueError` for an invalid setting.

    A second server inherits the options of the first that it does not replace. Settings of another version of the
    project are not checked, since it may have other settings.
    """
    names = ["", prefix] if prefix else [""]
    settings: dict[str, object] = {"model": "small"}
    command: tuple[str, ...] = SERVER
    checkout: Path | None = None
    for name in names:
        own = {key: getattr(given, f"{name}{key}") for key in ("model", "setting", "server", "checkout")}
        settings |= {"model": own["model"]} if own["model"] else {}
        settings |= {
            key: setting_value(text) for key, _, text in (one.partition("=") for one in own["setting"])
        }
        command = tuple(shlex.split(own["server"])) if own["server"] else command
        checkout = own["checkout"].resolve() if own["checkout"] else checkout
    model = settings["model"]
    if isinstance(model, str) and Path(model).is_dir():
        settings["model"] = str(Path(model).resolve())
    problems = parse_settings(settings)[1] if command == SERVER and checkout is None else ()
    if problems:
        raise ValueError(problems[0])
    return Contender(settings, command, checkout)


def _has_other(given: argparse.Namespace) -> bool:
    return any(getattr(given, f"other_{key}") for key in ("model", "setting", "server", "checkout"))


def run(given: argparse.Namespace, contenders: Sequence[Contender], console: Console) -> list[list[Any]]:
    """Return the records of each contender. Raises `CorpusError`, `Failure` and `OSError`."""
    plan = Plan.of(given)
    columns = (
        TextColumn("{task.description:24.24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with ExitStack() as stack:
        files = [
            stack.enter_context(path.open("w", encoding="utf-8", buffering=1)) if path else None
            for path in (given.details, given.other_details)
        ]
        runs = [Run(*pair) for pair in zip(contenders, files, strict=False)]
        with Progress(*columns, console=console, refresh_per_second=2) as progress:
            asyncio.run(measure(plan, runs, progress))
    return [one.records for one in runs]


def answer(given: argparse.Namespace, records: Sequence[Any], others: Sequence[Any]) -> dict[str, Any]:
    """Return the report as a JSON object. Raises `DetailsError` if no line is in both runs."""
    figures: Any = typing_report.word_figures if given.words else typing_report.typing_figures
    gain: Any = typing_report.word_gain if given.words else typing_report.typing_gain
    made: dict[str, Any] = {"mode": "words" if given.words else "lines", "below": records[0].below}
    if not given.again:
        made |= {
            "seed": given.seed,
            "auto_closing": given.auto_closing,
            "settings": contender(given).settings,
        }
    made |= typing_report.report(records, figures)
    if others:
        made["other"] = figures(others)
        if _has_other(given):
            made["other"]["settings"] = contender(given, "other_").settings
        made["gain"] = gain(records, others)
        if made["gain"] is None:
            raise DetailsError("No line is in both runs: were they of the same seed and corpus?")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    console = Console(stderr=True)
    if _has_other(given) and (given.against or given.again):
        options.error("a second server cannot be combined with --against or --again")
    try:
        contenders = [contender(given)] + ([contender(given, "other_")] if _has_other(given) else [])
    except ValueError as error:
        options.error(str(error))
    kind: type[Any] = BegunWord if given.words else TypedLine
    try:
        earlier = read_records(given.against, kind) if given.against else []
        made = [read_records(given.again, kind)] if given.again else run(given, contenders, console)
        if not made[0]:
            raise DetailsError(f"{given.again} has no line in it.")
        found = answer(given, made[0], made[1] if len(made) > 1 else earlier)
    except (CorpusError, DetailsError, Failure, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; the details have what was typed so far.")
        return INTERRUPTED
    if given.json:
        print(json.dumps(found))
        return 0
    wide = Console() if sys.stdout.isatty() else Console(width=WIDE)
    wide.print(typing_report.word_table(found) if given.words else typing_report.typing_table(found))
    if "gain" in found:
        wide.print(typing_report.gain_table(found["gain"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
