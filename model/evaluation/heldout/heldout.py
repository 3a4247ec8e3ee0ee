"""Measures how many keys suggestions save in the code of packages that no training has seen.

The places come from `cursors`, the verdicts from `verdict`, the figures from `figures`. Each suggestion is made by
`pipeline.complete`, as for an editor: with the same prompt, sampling and post-processing, and with the default options
except for those of ``--setting``. Related text, if the options ask for it, comes from a library of the package's files
(see `package_index`). There are no deadlines, so the results do not depend on the machine's load.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mercury_lsp.completion import triggers
from mercury_lsp.completion.committed import is_single_line
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config, parse_settings
from mercury_lsp.context.retrieval.index import EMPTY, Library
from mercury_lsp.context.retrieval.ranking import DEFAULT_RELATED, Related
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.syntax.tree import Syntax
from model.data.corpus import CorpusError, iter_documents
from model.data.package_index import PackageIndex
from model.evaluation.heldout.cursors import KINDS, LANGUAGES, TRIGGERS, Cursor, draw
from model.evaluation.heldout.figures import gains, gains_table, markdown, refused_table, report, table
from model.evaluation.heldout.offers import Offer, written
from model.evaluation.heldout.records import DetailsError, Record, read
from model.evaluation.heldout.verdict import judge


def measure(
    engine: LocalEngine,
    cursor: Cursor,
    seed: int,
    config: Config,
    library: Library = EMPTY,
    automatic: bool = False,
    related: Related = DEFAULT_RELATED,
) -> Record | None:
    """Make a suggestion at a cursor, and return its record; None if the server declines.

    automatic: make an automatic request, not a manual one. The record contains the whole fitting text;
    `Record.automatic` computes the part that is shown automatically.
    """
    document = cursor.document()
    uncut = replace(config, show_likelihood=0.0)
    snapshot = Snapshot(document, uncut, manual=not automatic, library=library, related=related)
    found, committed = written(snapshot, cursor.start, engine)
    if found is None:
        return None
    syntax = Syntax.of(document)
    single, infill = is_single_line(config, syntax, cursor.start), found.infill
    replaced = document.text[found.start : found.end]
    verdict = judge(cursor.hole, found.shown, replaced, infill.text, infill.finished, single, cursor.fresh)
    return Record(
        model=f"{engine.name} {engine.fingerprint[:12]}",
        seed=seed,
        language=cursor.source.language,
        package=cursor.source.package,
        path=cursor.source.path,
        kind=cursor.kind,
        start=cursor.start,
        hole=cursor.hole,
        text=infill.text,
        shown=found.shown,
        one_line=single,
        finished=infill.finished,
        tokens=infill.tokens,
        passes=infill.forward_passes,
        confidence=infill.confidence,
        ms=round(infill.ms, 1),
        **asdict(verdict),
        refused=triggers.refusal_reason(syntax, cursor.start, config.in_strings_and_comments),
        offer=None if committed is None else Offer.of(committed),
        behind=document.text[cursor.start :].partition("\n")[0],
        fresh=cursor.fresh,
    )


def _run(given: argparse.Namespace, config: Config, console: Console) -> Iterator[Record]:
    """Yield the records, place by place, until the time is over."""
    languages = given.languages.split(",")
    sources = list(iter_documents("heldout", languages, given.corpus))
    package_index = PackageIndex((source.package, source.path, source.text) for source in sources)
    places = draw(
        sources,
        languages,
        given.per_language,
        given.seed,
        given.kinds.split(","),
    )
    if not places:
        raise CorpusError(f"no held-out package has code in {', '.join(languages)}")
    engine = load_local_engine(given.model, given.device, given.threads)
    columns = (TextColumn("filling holes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = time.monotonic()
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        for place in progress.track(places):
            if given.minutes and time.monotonic() - began > 60 * given.minutes:
                break
            source = place[0].source
            library = (
                package_index.library(source.package, source.path)
                if config.project_files != "none"
                else EMPTY
            )
            records = (
                measure(engine, cursor, given.seed, config, library, given.unasked) for cursor in place
            )
            yield from (record for record in records if record is not None)


def _kept(records: Iterable[Record], file: Path | None) -> list[Record]:
    """Return the records, after writing each to the details immediately."""
    if file is None:
        return list(records)
    kept = []
    with file.open("w", encoding="utf-8", buffering=1) as details:
        for record in records:
            kept.append(record)
            details.write(record.line())
    return kept


def setting_value(text: str) -> object:
    """Parse a setting's value as JSON; return the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.heldout", description="Measure on held-out packages."
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--per-language", type=int, default=50, help="places of each (default: 50)")
    made.add_argument("--languages", default=",".join(LANGUAGES), help="default: %(default)s")
    made.add_argument(
        "--kinds",
        default=",".join(KINDS),
        help=f"of holes at each place (default: %(default)s); also {', '.join(TRIGGERS)}",
    )
    made.add_argument(
        "--minutes", type=float, default=0, help="end after this time, with fewer places of each language"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--device", default="auto")
    made.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="set an option of the server"
    )
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument(
        "--show-likelihood", type=float, help="threshold for automatic suggestions (default: the option's)"
    )
    made.add_argument("--details", type=Path, metavar="FILE", help="write a line of JSON for each hole")
    made.add_argument(
        "--again", type=Path, metavar="FILE", help="only report on the details of an earlier run"
    )
    made.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="details of another model at the same holes, for a paired comparison",
    )
    made.add_argument(
        "--unasked",
        action="store_true",
        help="make automatic requests, which follow the trigger rules",
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser()
    given = options.parse_args(arguments)
    console = Console(stderr=True)
    if unknown := set(given.kinds.split(",")).difference(KINDS, TRIGGERS):
        options.error(
            f"there is no kind of hole {', '.join(sorted(unknown))}, only {', '.join((*KINDS, *TRIGGERS))}"
        )
    settings = dict(setting.partition("=")[::2] for setting in given.setting)
    config, problems = parse_settings({name: setting_value(text) for name, text in settings.items()})
    if problems:
        options.error(problems[0])
    try:
        others = read(given.against) if given.against else []
        records = read(given.again) if given.again else _kept(_run(given, config, console), given.details)
    except (CheckpointError, CorpusError, DetailsError, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    if not records:
        console.print("There is no hole to report on; allow more --minutes.")
        return 1
    least = config.show_likelihood if given.show_likelihood is None else given.show_likelihood
    answer = report(records, least)
    if given.against:
        answer["gains"] = gains(records, others)
        if not answer["gains"]:
            console.print(f"No hole is in {given.against} too.", markup=False, soft_wrap=True)
            return 1
    if given.markdown:
        given.markdown.write_text(markdown(answer), encoding="utf-8")
    if given.json:
        print(json.dumps(answer))
    else:
        Console().print(table(answer))
        if answer["refused"]:
            Console().print(refused_table(answer))
        if given.against:
            Console().print(gains_table(answer["gains"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
