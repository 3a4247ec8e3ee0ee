"""Mixes the model's probabilities with what the project memory knows, by weights that depend on how sure both are.

The memory's counts make up to five distributions: what followed the longest context in the other files, a shorter and
more frequent one there, the same two in the document, and the end of the middle where what follows stands after the
cursor already. A small network, the gate, weighs them and the model. Caches and interpolation: Kuhn and De Mori 1990,
for code Hellendoorn and Devanbu 2017; a gate on the match and on the model's sureness: He et al. 2021, for kNN-LM
(Khandelwal et al. 2020). `model.evaluation.calibration.mixture` fits it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.checkpoints.json_values import read_object

DEPTH = 32
"""Most tokens of a context that are compared."""


class Level(NamedTuple):
    """What followed a context's last ``length`` tokens: ``ids``, the most frequent first, and their ``counts``.

    ``total``: at how many places these tokens stood, of which the counts may be a sample.
    """

    length: int
    ids: tuple[int, ...]
    counts: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Match:
    """What the memory knows of a context.

    ``project``, ``document``: of the other files and of the open document, the longest context that stood there
    before and, if there is one, a shorter one that stood there more often. ``path``: the file of the likeliest
    continuation, empty where nothing matches. ``resumes``: how many tokens of that continuation already stand after
    the cursor, so that the middle may be at its end.
    """

    project: tuple[Level, ...] = ()
    document: tuple[Level, ...] = ()
    path: str = ""
    resumes: int = 0

    @property
    def longest(self) -> Level | None:
        """The longest match; of two as long, the document's."""
        first = (*self.document[:1], *self.project[:1])
        return max(first, key=lambda level: level.length, default=None)

    @property
    def length(self) -> int:
        """Tokens of the longest match; 0 where there is none."""
        return self.longest.length if self.longest else 0

    @property
    def ids(self) -> tuple[int, ...]:
        """What followed the longest match, the most frequent first."""
        return self.longest.ids if self.longest else ()

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each of ``ids`` followed."""
        return self.longest.counts if self.longest else ()


class Step(NamedTuple):
    """One token of a continuation: ``agreeing`` of the ``total`` places that match so far went on with it.

    ``length``: tokens that match before it, those of the continuation included; ``document``: whether the places are
    the open document's own.
    """

    token: int
    length: int
    total: int
    agreeing: int
    document: bool


class Memory(Protocol):
    """What stood in the project, asked for by a context: the last tokens, of which at most `DEPTH` are looked at."""

    def follow(self, context: Sequence[int]) -> Match:
        """What followed the longest parts of a context that stood somewhere before."""
        ...

    def foretell(self, context: Sequence[int], most: int) -> list[Step]:
        """The likeliest continuation of a context, at most so many tokens, with what speaks for each."""
        ...

    def continuation(self, context: Sequence[int], most: int) -> Sequence[int]:
        """The tokens of `foretell`."""
        ...


LEVELS = ("project", "project, shorter", "document", "document, shorter")
LEVEL_FEATURES = (
    "length", "short", "places", "unanimity", "evidence", "spread", "model's surety of it", "model agrees",
)  # fmt: skip
SHARED_FEATURES = (
    "model's surety",
    "model's surety of the end",
    "model ends",
    "resumes",
    "resumes long",
    "agreement",
)
FEATURES = (*(f"{level}: {name}" for level in LEVELS for name in LEVEL_FEATURES), *SHARED_FEATURES)
EXPERTS = ("model", *LEVELS, "end")
"""What is mixed, in the order of the gate's outputs."""
STEP_FEATURES = ("length", "places", "unanimity", "evidence", "document")
TINY = 1e-30
"""Least weight of the model, so that its likeliest token stays so where the memory knows nothing of it."""
LEAST = -12.0
"""Natural logarithm of the probability below which differences tell nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the gate is told of a row, ``features`` (F,), and the distributions: ``known`` has the ids and the
    probabilities of each of `LEVELS`, None where it is missing; ``ending``: whether the end is one of them."""

    features: list[float]
    known: list[tuple[Sequence[int], NDArray[np.float32]] | None]
    ending: bool

    @property
    def present(self) -> list[bool]:
        """Which of `EXPERTS` there are."""
        return [True, *(own is not None for own in self.known), self.ending]

    @classmethod
    def of(cls, match: Match, logp: Mapping[int, float], best: int, end: int) -> Row:
        """From the model's log-probabilities of ``best``, its likeliest token, of the ``end`` and of the match's ids.

        What must not be shown, -inf, is left out.
        """
        levels = [own[i] if i < len(own) else None for own in (match.project, match.document) for i in (0, 1)]
        features: list[float] = []
        known: list[tuple[Sequence[int], NDArray[np.float32]] | None] = []
        for level in levels:
            ids, counts = _allowed(level, logp) if level else ((), ())
            if level is None or not ids:
                features += [0.0] * len(LEVEL_FEATURES)
                known.append(None)
                continue
            total = sum(counts)
            likeliest = counts[0] / total
            features += [
                math.log1p(level.length),
                1.0 if level.length < 3 else 0.0,
                math.log1p(level.total),
                likeliest,
                math.log((counts[0] + 0.5) / (total + 1)),
                math.log(len(ids)) / math.log(total + 1),
                max(LEAST, logp[ids[0]]),
                1.0 if ids[0] == best else 0.0,
            ]
            known.append((ids, np.array(counts, np.float32) / np.float32(total)))
        tops = {own[0][0] for own in known if own}
        features += [
            max(LEAST, logp[best]),
            max(LEAST, logp[end]),
            1.0 if best == end else 0.0,
            1.0 if match.resumes else 0.0,
            math.log1p(match.resumes),
            1.0 if len(tops) == 1 else 0.0,
        ]
        return cls(features, known, bool(tops) and match.resumes > 0 and logp[end] > -math.inf)


def _allowed(level: Level, logp: Mapping[int, float]) -> tuple[Sequence[int], Sequence[int]]:
    if all(logp[token] > -math.inf for token in level.ids):
        return level.ids, level.counts
    kept = [i for i, token in enumerate(level.ids) if logp[token] > -math.inf]
    return [level.ids[i] for i in kept], [level.counts[i] for i in kept]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The gate's weights. ``end``: the id of the token that ends a middle.

    ``mean``, ``scale`` (F,) of the features; ``hidden`` (F, H), ``hidden_bias`` (H,), ``out`` (H, E), ``out_bias``
    (E,) of the gate; ``step`` (S + 1,), of a continuation's tokens, the last one is the bias.
    """

    end: int
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    out: NDArray[np.float32]
    out_bias: NDArray[np.float32]
    step: NDArray[np.float32]

    FILE = "mixture.json"
    FORMAT = 1

    @classmethod
    def load(cls, folder: Path, end: int) -> Mixture | None:
        """The mixture that was fitted to a checkpoint; None where there is none: then nothing is mixed.

        Raises ``OSError`` and ``ValueError``.
        """
        file = folder / cls.FILE
        return cls.of(read_object(file), end) if file.is_file() else None

    @classmethod
    def of(cls, kept: Mapping[str, Any], end: int) -> Mixture:
        """From what `kept` gave. Raises ``ValueError`` where something is missing or does not fit."""
        names = kept.get("features"), kept.get("experts"), kept.get("steps")
        if kept.get("format") != cls.FORMAT or names != (list(FEATURES), list(EXPERTS), list(STEP_FEATURES)):
            raise ValueError(f"{cls.FILE} is of another version")
        try:
            arrays = {name: np.array(kept.get(name), np.float32) for name in cls._arrays()}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{cls.FILE} has something else than numbers") from error
        units = arrays["hidden_bias"].size
        shapes = {"mean": (len(FEATURES),), "scale": (len(FEATURES),), "hidden": (len(FEATURES), units)}
        shapes |= {"hidden_bias": (units,), "out": (units, len(EXPERTS)), "out_bias": (len(EXPERTS),)}
        shapes |= {"step": (len(STEP_FEATURES) + 1,)}
        wrong = [
            name for name, own in arrays.items() if own.shape != shapes[name] or not np.isfinite(own).all()
        ]
        if wrong:
            raise ValueError(f"{cls.FILE} has wrong numbers: {', '.join(wrong)}")
        return cls(end, **arrays)

    def kept(self) -> dict[str, Any]:
        """As a JSON object."""
        arrays = {name: np.round(getattr(self, name).astype(float), 5).tolist() for name in self._arrays()}
        names = {"features": list(FEATURES), "experts": list(EXPERTS), "steps": list(STEP_FEATURES)}
        return {"format": self.FORMAT} | names | arrays

    @staticmethod
    def _arrays() -> tuple[str, ...]:
        return ("mean", "scale", "hidden", "hidden_bias", "out", "out_bias", "step")

    def mix(
        self, scores: NDArray[np.float32], contexts: Sequence[Sequence[int]], memory: Memory
    ) -> tuple[NDArray[np.float32], list[Match]]:
        """Mixed log-probabilities (n, V) of rows, of the model's (n, V), and what the memory knows of each.

        contexts: the last tokens before what each row foretells. The scores are copied; -inf stays -inf. A row of
        which the memory knows nothing stays as it is.
        """
        matches = [memory.follow(context) for context in contexts]
        found = [i for i, match in enumerate(matches) if match.length]
        if not found:
            return scores.copy(), matches
        mixed = np.empty_like(scores)
        for i in set(range(len(matches))).difference(found):
            mixed[i] = scores[i]
        rows = [self._row(scores[i], matches[i]) for i in found]
        weights = self.weights([row.features for row in rows], [row.present for row in rows])  # (f, E)
        for i, row, own in zip(found, rows, weights, strict=True):
            np.add(scores[i], np.float32(math.log(max(float(own[0]), TINY))), out=mixed[i])
            added: dict[int, float] = {self.end: float(own[-1])} if row.ending else {}
            for weight, known in zip(own[1:-1].tolist(), row.known, strict=True):
                if known is not None:
                    for token, share in zip(known[0], (known[1] * weight).tolist(), strict=True):
                        added[token] = added.get(token, 0.0) + share
            ids = np.fromiter(added.keys(), np.intp, len(added))
            shares = np.fromiter(added.values(), np.float32, len(added))
            with np.errstate(divide="ignore"):
                mixed[i, ids] = np.logaddexp(mixed[i, ids], np.log(shares))
        return mixed, matches

    def _row(self, scores: NDArray[np.float32], match: Match) -> Row:
        best = int(scores.argmax())
        wanted = [
            best,
            self.end,
            *(token for level in (*match.project, *match.document) for token in level.ids),
        ]
        return Row.of(match, dict(zip(wanted, scores[wanted].tolist(), strict=True)), best, self.end)

    def weights(
        self,
        features: Sequence[Sequence[float]] | NDArray[np.float32],
        present: Sequence[Sequence[bool]] | NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """The experts' weights (n, E), each row's sum 1, by features (n, F); 0 for those that are not present."""
        inputs = (np.array(features, np.float32) - self.mean) / self.scale
        logits = np.tanh(inputs @ self.hidden + self.hidden_bias) @ self.out + self.out_bias
        logits[~np.array(present, bool)] = -np.inf
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)

    def odds(self, steps: Sequence[Step]) -> list[float]:
        """The probability that each token of a continuation is right if those before it are."""
        if not steps:
            return []
        logits = (
            np.array([step_features(step) for step in steps], np.float32) @ self.step[:-1] + self.step[-1]
        )
        return [float(chance) for chance in 1 / (1 + np.exp(-logits))]


def step_features(step: Step) -> list[float]:
    """What `Mixture.odds` goes by, in the order of `STEP_FEATURES`."""
    share = step.agreeing / step.total
    evidence = math.log((step.agreeing + 0.5) / (step.total + 1))
    return [math.log1p(step.length), math.log1p(step.total), share, evidence, float(step.document)]
