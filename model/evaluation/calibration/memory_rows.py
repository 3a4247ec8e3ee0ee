"""Records the predictions of the model and of the project memory at the tokens of holes in packages.

The holes are those of `cursors`; the prompts are the server's own, healed. The likeliest tokens of each row of the
model are stored, so that a mixture can be fitted repeatedly; looking up the memory is cheap.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mercury_lsp.config import Config
from mercury_lsp.context import prompt
from mercury_lsp.context.memory.project import ProjectMemory
from mercury_lsp.context.memory.segment import Segment, dtype_for
from mercury_lsp.context.memory.tokens import DocumentTokens
from mercury_lsp.context.retrieval.ranking import choose_snippets
from mercury_lsp.engine.backends import attention as layout
from mercury_lsp.engine.decoding.mixture import GateInput, Memory, step_features
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt, Tokenizer, Vocabulary
from model.data.corpus import Source
from model.data.package_index import PackageIndex
from model.evaluation.heldout.cursors import Cursor

KEPT = 256
"""The number of likeliest tokens of a row whose log-probabilities are stored."""
LONGEST = 64
"""Tokens of a hole at most."""
NAME = "{:05d}.npz"
"""The file name of a record, by the number of its hole."""
PROJECT = 1_500_000
"""Characters of a package's files in its memory at most."""
AHEAD = 8
"""Tokens of a continuation whose probability of being right is fitted."""
ARRAYS = ("tokens", "ids", "logp", "right", "ending")


@dataclass(frozen=True, slots=True)
class Hole:
    """A hole: characters ``start`` to ``end`` of a file. ``stem``: the length of the prompt's stem, in characters."""

    language: str
    package: str
    path: str
    kind: str
    start: int
    end: int
    stem: int


@dataclass(frozen=True, slots=True)
class RecordedHole:
    """A hole and its rows.

    ``tokens`` (n,): the right tokens, including the stop token. ``ids``, ``logp`` (n, KEPT): the model's likeliest
    tokens. ``right`` (n,): the log-probabilities of the right tokens. ``ending`` (n,): those of the stop token.
    """

    hole: Hole
    tokens: NDArray[np.int32]
    ids: NDArray[np.int32]
    logp: NDArray[np.float32]
    right: NDArray[np.float32]
    ending: NDArray[np.float32]

    def write(self, folder: Path, number: int) -> None:
        """Write the record as one file of the folder."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        with (part := folder / "part").open("wb") as file:
            np.savez_compressed(file, hole=np.array(json.dumps(asdict(self.hole))), **arrays)
        part.replace(folder / NAME.format(number))


def read(folder: Path) -> list[RecordedHole]:
    """Read the records of a folder."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            hole = Hole(**json.loads(str(arrays["hole"])))
            found.append(
                RecordedHole(hole, *(arrays[name] for name in ("tokens", "ids", "logp", "right", "ending")))
            )
    return found


def projects(sources: Iterable[Source], least: int = 8) -> dict[str, list[Source]]:
    """Return the files of each package that has at least ``least`` files."""
    packages: dict[str, list[Source]] = {}
    for source in sources:
        packages.setdefault(source.package, []).append(source)
    return {name: files for name, files in packages.items() if len(files) >= least}


def record(engine: LocalEngine, cursors: Iterable[Cursor], package_index: PackageIndex, folder: Path) -> None:
    """Write the rows of holes into a folder, except rows that are in the folder already."""
    config = Config()
    folder.mkdir(parents=True, exist_ok=True)
    for number, cursor in enumerate(cursors):
        if not (folder / NAME.format(number)).exists():
            asked = question(engine, cursor, package_index, config)
            tokens = engine.tokenizer.encode(asked.stem + cursor.hole)
            if 0 < len(tokens) <= LONGEST:
                _record_hole(engine, cursor, asked, tokens).write(folder, number)


def question(engine: LocalEngine, cursor: Cursor, package_index: PackageIndex, config: Config) -> Prompt:
    """Return the server's prompt: healed, with related text of the files taken to be open."""
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
    library = package_index.library(cursor.source.package, cursor.source.path)
    related = choose_snippets(document, cursor.start, shown, library, engine.count)
    return replace(shown, related=related)


def _record_hole(engine: LocalEngine, cursor: Cursor, asked: Prompt, tokens: list[int]) -> RecordedHole:
    passes, eot = engine.cached_model, min(engine.layout.stop_tokens)
    ids = engine.layout.encode(asked)
    cached = passes.reuse(ids[:-1])
    passes.extend(ids[cached:-1], lambda: False)
    clean = [ids[-1], *tokens]
    scores = passes.scores(
        passes.run(clean, layout.TokenLayout.clean(len(ids) - 1, len(clean)))
    )  # (n + 1, V)
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
    return RecordedHole(
        hole,
        truth,
        likeliest.astype(np.int32),
        np.take_along_axis(scores, likeliest, 1),
        scores[np.arange(len(truth)), truth],
        scores[:, eot].copy(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class MixtureRows:
    """Rows to fit or to measure, one for each token.

    ``features`` (n, F): the gate's inputs. ``present`` (n, E): whether each expert has a prediction. ``right`` (n, E):
    the probability that each expert gives to the right token. ``hole`` (n,): the index of the row's hole.
    """

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    right: NDArray[np.float32]
    hole: NDArray[np.int64]
    holes: list[Hole]
    steps: NDArray[np.float32]
    """(m, S + 1): the features of each token of a continuation, and whether the token was right."""

    def of(self, keep: NDArray[np.bool_]) -> MixtureRows:
        """Return the rows that ``keep`` selects."""
        return replace(
            self,
            features=self.features[keep],
            present=self.present[keep],
            right=self.right[keep],
            hole=self.hole[keep],
        )

    @property
    def packages(self) -> NDArray[np.str_]:
        """The package of each row."""
        return np.array([hole.package for hole in self.holes])[self.hole]


def look_up(
    recorded: Sequence[RecordedHole], sources: Iterable[Source], tokenizer: Tokenizer, console: Console
) -> MixtureRows:
    """Return the rows of records, with the predictions of the memory of each record's project."""
    wanted = {one.hole.package for one in recorded}
    files: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        if source.package in wanted:
            files[source.package].append(source)
    order = sorted(range(len(recorded)), key=lambda i: (recorded[i].hole.package, recorded[i].hole.path))
    found: list[tuple[GateInput, list[float], int]] = []
    steps: list[list[float]] = []
    package, memory, tokens = "", ProjectMemory(), DocumentTokens(tokenizer)
    for index in track(order, "looking up", console=console, transient=True):
        current = recorded[index]
        if current.hole.package != package:
            package = current.hole.package
            paths = {other.hole.path for other in recorded if other.hole.package == package}
            memory = memory_of(near(files[package], paths), tokenizer)
        text = next(source.text for source in files[package] if source.path == current.hole.path)
        before, after = text[: current.hole.start], text[current.hole.end :]
        sides = tokens.encode_sides(before, after, current.hole.stem)
        beside = memory.for_document(current.hole.path, *sides)
        context = [*sides[0][-64:].tolist()]
        found += [
            (*pair, index) for pair in _look_up_tokens(current, beside, context, tokenizer.specials.eot)
        ]
        steps += _continuation_steps(current, beside, context)
    return MixtureRows(
        np.array([row.features for row, _, _ in found], np.float32),
        np.array([row.present for row, _, _ in found]),
        np.array([right for _, right, _ in found], np.float32),
        np.array([index for _, _, index in found]),
        [one.hole for one in recorded],
        np.array(steps, np.float32),
    )


def memory_of(sources: Sequence[Source], tokenizer: Vocabulary) -> ProjectMemory:
    """Return the project memory of some files, in one segment."""
    dtype = dtype_for(tokenizer.size)
    encoded = tokenizer.encode_all([source.text for source in sources])
    pairs = [(source.path, np.array(ids, dtype)) for source, ids in zip(sources, encoded, strict=True)]
    return ProjectMemory((Segment.build(pairs, dtype),), (frozenset(),), tokenizer)


def memories_of(
    sources: Iterable[Source], cursors: Iterable[Cursor], tokenizer: Vocabulary
) -> Callable[[str], ProjectMemory]:
    """Return a function that builds the memory of a package, once, with the files of all its cursors."""
    files: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        files[source.package].append(source)
    paths: dict[str, set[str]] = defaultdict(set)
    for cursor in cursors:
        paths[cursor.source.package].add(cursor.source.path)
    return cache(lambda package: memory_of(near(files[package], paths[package]), tokenizer))


def near(sources: Sequence[Source], paths: Collection[str]) -> list[Source]:
    """Return the files of a package that fit into its memory: files with holes, then their folders, then others."""
    folders = {path.rpartition("/")[0] for path in paths}
    ranked = sorted(
        sources,
        key=lambda source: (
            source.path not in paths,
            source.path.rpartition("/")[0] not in folders,
            source.path,
        ),
    )
    sizes = np.cumsum([len(source.text) for source in ranked])
    return ranked[: max(len(paths), int((sizes <= PROJECT).sum()))]


def _look_up_tokens(
    recorded: RecordedHole, memory: Memory, context: list[int], end: int
) -> list[tuple[GateInput, list[float]]]:
    """Return the gate's inputs at each token of a hole, and each expert's probability of the right token."""
    made = []
    for i, token in enumerate(recorded.tokens.tolist()):
        match = memory.find_match([*context, *recorded.tokens[:i].tolist()])
        # All other tokens are less likely than the stored ones.
        logp: dict[int, float] = defaultdict(partial(float, recorded.logp[i].min() - 1.0))
        logp |= dict(zip(recorded.ids[i].tolist(), recorded.logp[i].tolist(), strict=True))
        logp[end], logp[token] = float(recorded.ending[i]), float(recorded.right[i])
        row = GateInput.of(match, logp, int(recorded.ids[i][recorded.logp[i].argmax()]), end)
        shares = [
            0.0 if known is None or token not in known[0] else float(known[1][list(known[0]).index(token)])
            for known in row.known
        ]
        made.append((row, [float(np.exp(recorded.right[i])), *shares, float(row.may_end and token == end)]))
    return made


def _continuation_steps(recorded: RecordedHole, memory: Memory, context: list[int]) -> list[list[float]]:
    """Return the features of the tokens of continuations, up to each first wrong token, and whether each is right."""
    made = []
    tokens = recorded.tokens.tolist()
    for i in range(len(tokens) - 1):
        for step, token in zip(
            memory.predict_continuation([*context, *tokens[:i]], AHEAD), tokens[i:], strict=False
        ):
            made.append([*step_features(step), float(step.token == token)])
            if step.token != token:
                break
    return made
