"""Records what the model foretells at the tokens of holes in packages, so that a mixture can be fitted again and again.

The holes are those of `cursors`, the prompts the server's own, with healed ends. Of each row the likeliest tokens are
kept; the memory's part is cheap and made anew each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.config import Config
from mercury_lsp.context import prompt
from mercury_lsp.context.related import choose
from mercury_lsp.engine.canvas import Prompt, encode
from mercury_lsp.engine.infill import Engine
from mercury_lsp.engine.rows import Rows
from model.corpus import Source
from model.cursors import Cursor
from model.shelf import Shelf

KEPT = 256
"""Likeliest tokens of a row whose log-probabilities are kept."""
LONGEST = 64
"""Tokens of a hole, at most."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Where something is missing: characters ``start`` to ``end`` of a file, which the prompt's ``stem`` precedes."""

    language: str
    package: str
    path: str
    kind: str
    start: int
    end: int
    stem: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """A hole and its rows: ``tokens`` (n,) are right, the end included; ``ids``, ``logp`` (n, KEPT) the model's
    likeliest; ``right`` (n,) the log-probabilities of the right tokens, ``ending`` (n,) those of the end."""

    hole: Hole
    tokens: NDArray[np.int32]
    ids: NDArray[np.int32]
    logp: NDArray[np.float32]
    right: NDArray[np.float32]
    ending: NDArray[np.float32]

    def write(self, folder: Path, number: int) -> None:
        """One file of the folder."""
        arrays = {name: getattr(self, name) for name in ("tokens", "ids", "logp", "right", "ending")}
        np.savez_compressed(folder / f"{number:05d}.npz", hole=json.dumps(asdict(self.hole)), **arrays)


def read(folder: Path) -> list[Recorded]:
    """What was recorded in a folder."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            hole = Hole(**json.loads(str(arrays["hole"])))
            found.append(
                Recorded(hole, *(arrays[name] for name in ("tokens", "ids", "logp", "right", "ending")))
            )
    return found


def projects(sources: Iterable[Source], least: int = 8) -> dict[str, list[Source]]:
    """The files of the packages that have enough of them to be projects."""
    packages: dict[str, list[Source]] = {}
    for source in sources:
        packages.setdefault(source.package, []).append(source)
    return {name: own for name, own in packages.items() if len(own) >= least}


def record(engine: Engine, places: Sequence[Sequence[Cursor]], shelf: Shelf) -> Iterator[Recorded]:
    """The rows of the holes of some places."""
    config = Config()
    for cursor in (cursor for place in places for cursor in place):
        asked = question(engine, cursor, shelf, config)
        tokens = engine.tokenizer.encode(asked.stem + cursor.hole)
        if 0 < len(tokens) <= LONGEST:
            yield _recorded(engine, cursor, asked, tokens)


def question(engine: Engine, cursor: Cursor, shelf: Shelf, config: Config) -> Prompt:
    """The prompt that the server would ask with: healed, with related text of the files taken to be open."""
    document = cursor.document()
    before, after = document.text[: cursor.start], document.text[cursor.start :]
    shown = prompt.build(
        document.path,
        before,
        after,
        engine.count,
        config.prefix_tokens,
        config.following_tokens,
        stem_start=engine.tokenizer.stem_start,
    )
    library = shelf.library(cursor.source.package, cursor.source.path)
    related = choose(
        document, cursor.start, shown, library, engine.count, config.related_tokens, config.related_sources
    )
    return replace(shown, related=related)


def _recorded(engine: Engine, cursor: Cursor, asked: Prompt, tokens: list[int]) -> Recorded:
    passes, eot = engine.passes, engine.tokenizer.specials.eot
    ids = encode(asked, engine.tokenizer)
    cached = passes.cache.reuse(ids[:-1])
    passes.read(ids[cached:-1], lambda: False)
    clean = [ids[-1], *tokens]
    scores = passes.scores(passes.run(clean, Rows.clean(len(ids) - 1, len(clean))))  # (n + 1, V)
    truth = np.array([*tokens, eot], np.int32)
    likeliest = np.argpartition(scores, -KEPT, axis=1)[:, -KEPT:]  # (n + 1, KEPT)
    hole = Hole(
        language=cursor.source.language,
        package=cursor.source.package,
        path=cursor.source.path,
        kind=cursor.kind,
        start=cursor.start,
        end=cursor.end,
        stem=len(asked.stem),
    )
    return Recorded(
        hole,
        truth,
        likeliest.astype(np.int32),
        np.take_along_axis(scores, likeliest, 1),
        scores[np.arange(len(truth)), truth],
        scores[:, eot].copy(),
    )
