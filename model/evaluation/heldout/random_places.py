"""Measures the real server at random places in files of held-out packages.

    python -m model.evaluation.heldout.random_places --files 40 --places 6
    python -m model.evaluation.heldout.random_places --files 1000 --places 20 --details places.jsonl --minutes 30

One server is started over stdio with its default settings, as an editor starts it. Each place gets two requests, an
automatic and a manual one. At every other place the rest of the line is missing, as while a user types; at the other
places the file is complete, so the cursor is in code that needs no suggestion. The report counts the requests that were
answered, and the answers that came later than twice their deadline, added syntax errors (if there is a grammar), or
repeat the text directly left of the cursor or below it; each with its 95% interval (Wilson's). Times are valid only on
a quiet machine, and so are automatic answers, since a busy machine misses deadlines. The report contains the load;
``--setting deadline_ms=20000`` makes the suggestions independent of the load.

A long run can be split: the same command with the same ``--details`` continues, and ``--minutes`` ends it. Each round
asks at one place of every file, so a run that is ended early covers all files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import track
from rich.table import Table

from mercury_lsp.arena.ratings import wilson_interval
from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.errors import Failure
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import for_document
from model.data.corpus import CorpusError, Source, iter_documents
from model.evaluation.heldout.heldout import setting_value
from model.evaluation.heldout.soundness import adds_syntax_errors, repeats, repeats_left
from model.evaluation.typing.workspace import Contender, suggestion

USUAL_DEADLINE_MS = 250
"""The default deadline of an automatic request on a CPU."""
REQUESTS = {"automatic": 1, "manual": 10}
"""The time that each kind of request may take, in deadlines."""
# An answer is late after this multiple of its deadline.
LATE = 2
# Characters.
LONGEST_FILE = 100_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and its outcome. ``missing``: whether the rest of the cursor's line was removed."""

    language: str
    package: str
    path: str
    offset: int
    request: str
    missing: bool
    shown: str
    ms: float
    late: bool
    worse: bool
    again_left: bool
    again_below: bool


def drawn(sources: Sequence[Source], files: int, seed: int) -> list[Source]:
    """Draw files at random, languages in turn, then packages in turn. A longer draw begins with a shorter one."""
    queues: dict[str, dict[str, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in sorted(sources, key=lambda one: (one.package, one.path)):
        if source.text.strip() and len(source.text) <= LONGEST_FILE:
            queues[source.language][source.package].append(source)
    random = Random(seed)
    turns = [_in_turn(_shuffled(packages, random)) for _, packages in sorted(queues.items())]
    return list(islice(_in_turn(turns), files))


def _shuffled(packages: dict[str, list[Source]], random: Random) -> list[list[Source]]:
    made = list(packages.values())
    random.shuffle(made)
    for files in made:
        random.shuffle(files)
    return made


def _in_turn(queues: Sequence[Sequence[Source]]) -> list[Source]:
    """Return the first item of each queue, then the second of each, and so on."""
    longest = max(map(len, queues), default=0)
    return [queue[i] for i in range(longest) for queue in queues if i < len(queue)]


def places(text: str, count: int, random: Random) -> list[int]:
    """Draw offsets at random in lines that are not blank, but not in the indentation.

    A longer draw begins with a shorter one.
    """
    found, at = [], 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        found += [at + i for i in range(len(bare) - len(bare.lstrip()), len(bare) + 1) if bare.strip()]
        at += len(line)
    return random.sample(found, len(found))[:count]


async def ask(
    editor: Editor, folder: Path, source: Source, number: int, seed: int, deadline_ms: float
) -> list[Asked]:
    """Make both requests at the place of this number in a file; return no request if the file has fewer places."""
    drawn_places = places(source.text, number + 1, Random(f"{seed}/{source.package}/{source.path}"))
    if number >= len(drawn_places):
        return []
    offset, missing = drawn_places[number], number % 2 == 0
    end = source.text.find("\n", offset) if missing else offset
    text = source.text[:offset] + source.text[end if end >= 0 else len(source.text) :]
    language = for_document("", source.path)
    uri = (folder / f"{number}" / source.path).as_uri()
    asked = []
    for request, times in REQUESTS.items():
        buffer = Buffer(editor, uri, language.ids[0] if language else "plaintext", text)
        ghost = await buffer.complete(offset, invoked=request == "manual")
        document = Document(uri, source.path, buffer.document.language_id, 1, text)
        found = suggestion(ghost, text, offset)
        buffer.close()
        asked.append(
            Asked(
                language=source.language,
                package=source.package,
                path=source.path,
                offset=offset,
                request=request,
                missing=missing,
                shown=ghost.text,
                ms=round(ghost.ms, 1),
                late=ghost.ms > LATE * times * deadline_ms,
                worse=bool(ghost.text) and adds_syntax_errors(document, ghost.start, ghost.end, ghost.text),
                again_left=found is not None and repeats_left(document, offset, found.text),
                again_below=bool(ghost.text) and repeats(document, ghost.start, ghost.end, ghost.text),
            )
        )
    return asked


def kept(details: Path | None) -> list[Asked]:
    """Read the requests of an earlier run at the same places. Raises `Failure` if the file cannot be read as such."""
    if details is None or not details.exists():
        return []
    try:
        return [Asked(**json.loads(line)) for line in details.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise Failure(f"{details} is not a run's details: {error}. Name another file.") from None


def rows(asked: Sequence[Asked]) -> Iterator[list[str]]:
    """Yield a row for each kind of request: shares of the requests or of the answers, with their intervals."""
    for request in REQUESTS:
        for missing in (True, False):
            own = [one for one in asked if one.request == request and one.missing == missing]
            shown = [one for one in own if one.shown]
            cells = [_share(own, "shown"), _share(own, "late")]
            cells += [_share(shown, name) for name in ("worse", "again_left", "again_below")]
            yield [request, "missing" if missing else "there", str(len(own)), *cells]


def _share(asked: Sequence[Asked], name: str) -> str:
    """Return the number of requests with a true field ``name``, with the share and its interval."""
    if not asked:
        return "none"
    count = sum(bool(getattr(one, name)) for one in asked)
    low, high = wilson_interval(count, len(asked))
    return f"{count} = {count / len(asked):.1%} ({low:.1%} to {high:.1%})"


def table(asked: Sequence[Asked]) -> Table:
    """Return the report as a table for a terminal."""
    files, packages = len({(one.package, one.path) for one in asked}), len({one.package for one in asked})
    made = Table(title=f"{files} files of {packages} packages; load {os.getloadavg()[0]:.1f}")
    for heading in ("request", "rest of the line", "places", "answered", "late", "syntax worse",
                    "left again", "below again"):  # fmt: skip
        made.add_column(heading)
    for row in rows(asked):
        made.add_row(*row)
    return made


async def measure(given: argparse.Namespace, sources: Sequence[Source]) -> list[Asked]:
    """Make the remaining requests; return all, including those of an earlier run. Raises `Failure`."""
    asked = kept(given.details)
    # Counts requests, of which there are two at each place.
    rounds = Counter((one.package, one.path) for one in asked)
    # 0 is the default deadline.
    settings: dict[str, object] = {"deadline_ms": 0}
    settings |= {
        name: setting_value(value) for name, _, value in (word.partition("=") for word in given.setting)
    }
    deadline_ms = float(str(settings["deadline_ms"])) or USUAL_DEADLINE_MS
    ends = time.monotonic() + given.minutes * 60
    left = [
        (number, source)
        for number in range(given.places)
        for source in sources
        if rounds[source.package, source.path] <= number * len(REQUESTS)
    ]
    with TemporaryDirectory() as name, ExitStack() as open_files:
        details = (
            open_files.enter_context(given.details.open("a", encoding="utf-8")) if given.details else None
        )
        async with Contender(settings).server(Path(name)) as editor:
            for number, source in track(left, console=Console(stderr=True)):
                found = await ask(editor, Path(name), source, number, given.seed, deadline_ms)
                asked += found
                if details is not None:
                    details.writelines(json.dumps(asdict(one)) + "\n" for one in found)
                    details.flush()
                if time.monotonic() > ends:
                    break
    return asked


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.random_places",
        description="Ask the real server at random places of held-out files.",
    )
    made.add_argument("--files", type=int, default=40)
    made.add_argument("--places", type=int, default=6, help="number of places in each file")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE")
    made.add_argument(
        "--details",
        type=Path,
        metavar="FILE",
        help="write a line of JSON for each request; requests that are in the file already are skipped",
    )
    made.add_argument("--minutes", type=float, default=math.inf, help="end the run after this time")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = parser().parse_args(arguments)
    try:
        sources = drawn(list(iter_documents("heldout", None, given.corpus)), given.files, given.seed)
        asked = asyncio.run(measure(given, sources))
    except (CorpusError, Failure) as error:
        print(f"model.evaluation.heldout.random_places: {error}", file=sys.stderr)
        return 1
    Console(width=200).print(table(asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
