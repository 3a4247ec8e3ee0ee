"""Mixes the model's probabilities with the project memory's, by weights that depend on how sure both are.

The memory adds up to five distributions to the model's: the continuations of the longest matching context in the other
files, the continuations of a shorter and more frequent context there, the same two for the open document, and the end
of the middle if the continuation already stands after the cursor. A small network, the gate, gives the weight of each.
Sources: cache models and interpolation, Kuhn and De Mori 1990, for code Hellendoorn and Devanbu 2017; a gate on the
match and on the model's confidence, He et al. 2021, for kNN-LM (Khandelwal et al. 2020).
`model.evaluation.calibration.mixture` fits the gate.
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

CONTEXT_TOKENS = 32
"""The most tokens of a context that are matched."""


class Level(NamedTuple):
    """The tokens that followed a context's last ``length`` tokens: ``ids``, most frequent first, and ``counts``.

    ``total``: the number of places where the context occurs; the counts may cover only a sample of them.
    """

    length: int
    ids: tuple[int, ...]
    counts: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Match:
    """The memory's matches of a context.

    ``project``, ``document``: in the other files and in the open document, the longest matching context, followed by a
    shorter and more frequent one if it exists. ``path``: the file of the likeliest continuation; empty without a match.
    ``resumes``: how many tokens of that continuation already stand after the cursor; if there are any, the middle may
    end here.
    """

    project: tuple[Level, ...] = ()
    document: tuple[Level, ...] = ()
    path: str = ""
    resumes: int = 0

    @property
    def longest(self) -> Level | None:
        """The longest match; the document's match if both are equally long."""
        first = (*self.document[:1], *self.project[:1])
        return max(first, key=lambda level: level.length, default=None)

    @property
    def length(self) -> int:
        """The number of tokens of the longest match; 0 without a match."""
        return self.longest.length if self.longest else 0

    @property
    def ids(self) -> tuple[int, ...]:
        """The continuations of the longest match, most frequent first."""
        return self.longest.ids if self.longest else ()


class Step(NamedTuple):
    """One token of a continuation, which follows at ``agreeing`` of the ``total`` places that match so far.

    ``length``: the number of matching tokens before it, including the continuation's; ``document``: whether the places
    are in the open document.
    """

    token: int
    length: int
    total: int
    agreeing: int
    document: bool


class Memory(Protocol):
    """The project's tokens, looked up by a context: the tokens before a position, at most `CONTEXT_TOKENS`."""

    def find_match(self, context: Sequence[int]) -> Match:
        """Return the matches of the longest ends of a context that occur in the project."""

    def predict_continuation(self, context: Sequence[int], max_tokens: int) -> list[Step]:
        """Return the likeliest continuation of a context, with the evidence for each token."""


LEVELS = ("project", "project, shorter", "document", "document, shorter")
LEVEL_FEATURES = (
    "length", "short", "places", "unanimity", "evidence", "spread", "model's surety of it", "model agrees",
)  # fmt: skip
SHARED_FEATURES = (
    "model's surety", "model's surety of the end", "model ends", "resumes", "resumes long", "agreement",
)  # fmt: skip
FEATURES = (*(f"{level}: {name}" for level in LEVELS for name in LEVEL_FEATURES), *SHARED_FEATURES)
EXPERTS = ("model", *LEVELS, "end")
"""The distributions that are mixed, in the order of the gate's outputs."""
STEP_FEATURES = ("length", "places", "unanimity", "evidence", "document")
MIN_MODEL_WEIGHT = 1e-30
"""The least weight of the model, which preserves its ranking of the tokens that the memory does not know."""
MIN_LOGP = -12.0
"""Log-probabilities in features are clipped below at this value, where differences do not matter."""


@dataclass(frozen=True, slots=True)
class GateInput:
    """The gate's ``features`` (F,) for one predicted token, and the memory's distributions to mix.

    ``known``: ids and probabilities for each of `LEVELS`, None if the level has no match; ``may_end``: whether the end
    of the middle is one of the distributions.
    """

    features: list[float]
    known: list[tuple[Sequence[int], NDArray[np.float32]] | None]
    may_end: bool

    @property
    def present(self) -> list[bool]:
        """Whether each of `EXPERTS` is present, in their order."""
        return [True, *(own is not None for own in self.known), self.may_end]

    @classmethod
    def of(cls, match: Match, logp: Mapping[int, float], best: int, end: int) -> GateInput:
        """Make a row from a match and the model's ``logp`` of the match's ids, of ``best`` and of ``end``.

        best: the model's likeliest token. end: the stop token. Forbidden tokens, which have -inf, are left out.
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
                max(MIN_LOGP, logp[ids[0]]),
                1.0 if ids[0] == best else 0.0,
            ]
            known.append((ids, np.array(counts, np.float32) / np.float32(total)))
        tops = {own[0][0] for own in known if own}
        features += [
            max(MIN_LOGP, logp[best]),
            max(MIN_LOGP, logp[end]),
            1.0 if best == end else 0.0,
            1.0 if match.resumes else 0.0,
            math.log1p(match.resumes),
            1.0 if len(tops) == 1 else 0.0,
        ]
        return cls(features, known, bool(tops) and match.resumes > 0 and logp[end] > -math.inf)


def _allowed(level: Level, logp: Mapping[int, float]) -> tuple[Sequence[int], Sequence[int]]:
    if all(logp[token] > -math.inf for token in level.ids):
        return level.ids, level.counts
    allowed = [i for i, token in enumerate(level.ids) if logp[token] > -math.inf]
    return [level.ids[i] for i in allowed], [level.counts[i] for i in allowed]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The fitted weights. ``end``: the id of the stop token.

    ``mean``, ``scale`` (F,): normalize the features. ``hidden`` (F, H), ``hidden_bias`` (H,), ``out`` (H, E),
    ``out_bias`` (E,): the gate's two layers. ``step`` (S + 1,): the weights of `continuation_probabilities`, the bias
    last.
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
    ARRAYS = ("mean", "scale", "hidden", "hidden_bias", "out", "out_bias", "step")

    @classmethod
    def load(cls, folder: Path, end: int) -> Mixture | None:
        """Load the mixture that was fitted to a checkpoint; None if the folder has none, and nothing is mixed.

        Raises ``OSError`` and ``ValueError``.
        """
        file = folder / cls.FILE
        return cls.from_json(read_object(file), end) if file.is_file() else None

    @classmethod
    def from_json(cls, values: Mapping[str, Any], end: int) -> Mixture:
        """Make a mixture from the object of `to_json`. Raises ``ValueError`` if an entry is missing or invalid."""
        names = values.get("features"), values.get("experts"), values.get("steps")
        if values.get("format") != cls.FORMAT or names != (
            list(FEATURES),
            list(EXPERTS),
            list(STEP_FEATURES),
        ):
            raise ValueError(f"{cls.FILE} is of another version")
        try:
            arrays = {name: np.array(values.get(name), np.float32) for name in cls.ARRAYS}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{cls.FILE} has something else than numbers") from error
        units = arrays["hidden_bias"].size
        shapes = {"mean": (len(FEATURES),), "scale": (len(FEATURES),), "hidden": (len(FEATURES), units)}
        shapes |= {"hidden_bias": (units,), "out": (units, len(EXPERTS)), "out_bias": (len(EXPERTS),)}
        shapes |= {"step": (len(STEP_FEATURES) + 1,)}
        for name, array in arrays.items():
            if array.shape != shapes[name] or not np.isfinite(array).all():
                raise ValueError(f"{cls.FILE} has wrong numbers: {name}")
        return cls(end, **arrays)

    def to_json(self) -> dict[str, Any]:
        """Return the weights as a JSON object."""
        arrays = {name: np.round(getattr(self, name).astype(float), 5).tolist() for name in self.ARRAYS}
        names = {"features": list(FEATURES), "experts": list(EXPERTS), "steps": list(STEP_FEATURES)}
        return {"format": self.FORMAT} | names | arrays

    def mix(
        self, scores: NDArray[np.float32], contexts: Sequence[Sequence[int]], memory: Memory
    ) -> tuple[NDArray[np.float32], list[Match]]:
        """Mix the model's log-probabilities (n, V) with the memory's; returns a copy and the match of each row.

        contexts: for each row, the tokens before the token that it predicts. -inf stays -inf. Rows without a match do
        not change.
        """
        matches = [memory.find_match(context) for context in contexts]
        matching = [i for i, match in enumerate(matches) if match.length]
        if not matching:
            return scores.copy(), matches
        mixed = np.empty_like(scores)
        for i in set(range(len(matches))).difference(matching):
            mixed[i] = scores[i]
        rows = [self._gate_input(scores[i], matches[i]) for i in matching]
        weights = self.weights([row.features for row in rows], [row.present for row in rows])  # (f, E)
        for i, row, row_weights in zip(matching, rows, weights, strict=True):
            np.add(
                scores[i], np.float32(math.log(max(float(row_weights[0]), MIN_MODEL_WEIGHT))), out=mixed[i]
            )
            added: dict[int, float] = {self.end: float(row_weights[-1])} if row.may_end else {}
            for weight, known in zip(row_weights[1:-1].tolist(), row.known, strict=True):
                if known is not None:
                    for token, share in zip(known[0], (known[1] * weight).tolist(), strict=True):
                        added[token] = added.get(token, 0.0) + share
            ids = np.fromiter(added.keys(), np.intp, len(added))
            shares = np.fromiter(added.values(), np.float32, len(added))
            with np.errstate(divide="ignore"):
                mixed[i, ids] = np.logaddexp(mixed[i, ids], np.log(shares))
        return mixed, matches

    def _gate_input(self, scores: NDArray[np.float32], match: Match) -> GateInput:
        best = int(scores.argmax())
        ids = [best, self.end]
        for level in (*match.project, *match.document):
            ids += level.ids
        return GateInput.of(match, dict(zip(ids, scores[ids].tolist(), strict=True)), best, self.end)

    def weights(
        self,
        features: Sequence[Sequence[float]] | NDArray[np.float32],
        present: Sequence[Sequence[bool]] | NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Return the experts' weights (n, E) by features (n, F); each row sums to 1, absent experts have 0."""
        inputs = (np.array(features, np.float32) - self.mean) / self.scale
        logits = np.tanh(inputs @ self.hidden + self.hidden_bias) @ self.out + self.out_bias
        logits[~np.array(present, bool)] = -np.inf
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)

    def continuation_probabilities(self, steps: Sequence[Step]) -> list[float]:
        """Return the probability that each token of a continuation is right if the tokens before it are."""
        if not steps:
            return []
        features = np.array([step_features(step) for step in steps], np.float32)
        logits = features @ self.step[:-1] + self.step[-1]
        return [float(probability) for probability in 1 / (1 + np.exp(-logits))]


def step_features(step: Step) -> list[float]:
    """Return the inputs of `Mixture.continuation_probabilities`, in the order of `STEP_FEATURES`."""
    share = step.agreeing / step.total
    evidence = math.log((step.agreeing + 0.5) / (step.total + 1))
    return [math.log1p(step.length), math.log1p(step.total), share, evidence, float(step.document)]
