"""``python -m model.mixture``: fits how the model is mixed with the project memory, and measures what that is worth.

Fitted on holes of training packages, measured on holes of held-out ones, each with its package as the project and its
own file without the hole. First the model's rows are recorded (`memory_rows`), which takes nearly all of the time;
a folder of records is used again, and goes on where it was left.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.nn.functional import softplus

from mercury_lsp.context.memory.project import ProjectMemory
from mercury_lsp.context.memory.segment import Segment, dtype_for
from mercury_lsp.context.memory.tokens import DocumentTokens
from mercury_lsp.engine import checkpoint
from mercury_lsp.engine.canvas import Tokenizer
from mercury_lsp.engine.infill import Engine
from mercury_lsp.engine.mixture import EXPERTS, FEATURES, Memory, Mixture, Row, step_features
from mercury_lsp.engine.prepared import cache_folder
from model import tables
from model.bootstrap import interval, ratio
from model.corpus import CorpusError, Source, iter_documents
from model.cursors import draw
from model.memory_rows import Hole, Recorded, projects, read, record
from model.shelf import Shelf

LANGUAGES = ("python", "javascript", "typescript", "go", "java", "c", "rust", "cpp", "php", "ruby")
KINDS = ("rest", "next", "lines")
PROJECT = 1_500_000
"""Characters of a package's files in its memory, at most."""
UNITS = 16
"""Hidden units of the gate."""
DECAY = 1e-3
STEPS = 600
RATE = 0.02
AHEAD = 8
"""Tokens of a continuation whose odds are fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows to fit or to measure, one a token: the gate's ``features`` (n, F), which experts are ``present`` (n, E), the
    probability ``right`` (n, E) that each gives the right token, and the number of the ``hole`` (n,)."""

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    right: NDArray[np.float32]
    hole: NDArray[np.int64]
    holes: list[Hole]
    steps: NDArray[np.float32]
    """(m, S + 1): tokens of continuations, their features and whether they were right."""

    def of(self, keep: NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        kept = (own[keep] for own in (self.features, self.present, self.right, self.hole))
        return Rows(*kept, self.holes, self.steps)

    @property
    def packages(self) -> NDArray[np.str_]:
        """Each row's package."""
        return np.array([hole.package for hole in self.holes])[self.hole]


def rows(recorded: Sequence[Recorded], sources: Iterable[Source], tokenizer: Tokenizer, console: Console) -> Rows:
    """The rows of some records, with what the memory of each one's project knows there."""
    wanted = {own.hole.package for own in recorded}
    files: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        if source.package in wanted:
            files[source.package].append(source)
    order = sorted(range(len(recorded)), key=lambda i: (recorded[i].hole.package, recorded[i].hole.path))
    found: list[tuple[Row, list[float], int]] = []
    steps: list[list[float]] = []
    package, memory, tokens = "", ProjectMemory(), DocumentTokens(tokenizer)
    for index in track(order, "looking up", console=console, transient=True):
        own = recorded[index]
        if own.hole.package != package:
            package = own.hole.package
            paths = {other.hole.path for other in recorded if other.hole.package == package}
            memory = _memory(_near(files[package], paths), tokenizer)
        text = next(source.text for source in files[package] if source.path == own.hole.path)
        before, after = text[: own.hole.start], text[own.hole.end :]
        sides = tokens.sides(before, after, own.hole.stem)
        beside = memory.beside(own.hole.path, *sides)
        context = [*sides[0][-64:].tolist()]
        found += [(*pair, index) for pair in _looked_up(own, beside, context, tokenizer.specials.eot)]
        steps += _continued(own, beside, context)
    return Rows(
        np.array([row.features for row, _, _ in found], np.float32),
        np.array([row.present for row, _, _ in found]),
        np.array([right for _, right, _ in found], np.float32),
        np.array([index for _, _, index in found]),
        [own.hole for own in recorded],
        np.array(steps, np.float32),
    )


def _memory(sources: Sequence[Source], tokenizer: Tokenizer) -> ProjectMemory:
    dtype = dtype_for(tokenizer.size)
    encoded = tokenizer.encode_all([source.text for source in sources])
    pairs = [(source.path, np.array(ids, dtype)) for source, ids in zip(sources, encoded, strict=True)]
    return ProjectMemory((Segment.build(pairs, dtype),), (frozenset(),), tokenizer)


def _near(sources: Sequence[Source], paths: Collection[str]) -> list[Source]:
    """The files of a package that its memory has room for: those with holes, those in their folders, then others."""
    folders = {path.rpartition("/")[0] for path in paths}
    ranked = sorted(
        sources, key=lambda own: (own.path not in paths, own.path.rpartition("/")[0] not in folders, own.path)
    )
    sizes = np.cumsum([len(source.text) for source in ranked])
    return ranked[: max(len(paths), int((sizes <= PROJECT).sum()))]


def _looked_up(own: Recorded, memory: Memory, context: list[int], end: int) -> list[tuple[Row, list[float]]]:
    """What the gate is told at each token of a hole, and the probabilities of the right one."""
    made = []
    for i, token in enumerate(own.tokens.tolist()):
        match = memory.follow([*context, *own.tokens[:i].tolist()])
        # What is not among the likeliest is less likely than all of these.
        logp: dict[int, float] = defaultdict(lambda least=float(own.logp[i].min()) - 1.0: least)
        logp |= dict(zip(own.ids[i].tolist(), own.logp[i].tolist(), strict=True))
        logp[end], logp[token] = float(own.ending[i]), float(own.right[i])
        row = Row.of(match, logp, int(own.ids[i][own.logp[i].argmax()]), end)
        shares = [
            0.0 if known is None or token not in known[0] else float(known[1][list(known[0]).index(token)])
            for known in row.known
        ]
        made.append((row, [float(np.exp(own.right[i])), *shares, float(row.ending and token == end)]))
    return made


def _continued(own: Recorded, memory: Memory, context: list[int]) -> list[list[float]]:
    """The tokens of the continuations at each token of a hole up to the first wrong one, and whether they are right."""
    made = []
    tokens = own.tokens.tolist()
    for i in range(len(tokens) - 1):
        for step, token in zip(memory.foretell([*context, *tokens[:i]], AHEAD), tokens[i:], strict=False):
            made.append([*step_features(step), float(step.token == token)])
            if step.token != token:
                break
    return made


def fit(own: Rows, end: int, units: int = UNITS, decay: float = DECAY, seed: int = 0) -> Mixture:
    """The mixture under which the right tokens are likeliest, with a penalty on the weights' squares."""
    matched = own.present[:, 1:].any(1)
    features, present, right = own.features[matched], own.present[matched], own.right[matched]
    mean, scale = features.mean(0), features.std(0) + 1e-3
    torch.manual_seed(seed)
    inputs = torch.from_numpy((features - mean) / scale)
    absent, likely = torch.from_numpy(~present), torch.from_numpy(right)
    hidden = (torch.randn(len(FEATURES), units) / len(FEATURES) ** 0.5).requires_grad_()
    out = torch.zeros(units, len(EXPERTS), requires_grad=True)
    hidden_bias = torch.zeros(units, requires_grad=True)
    out_bias = torch.tensor([1.0, *[-1.0] * (len(EXPERTS) - 1)], requires_grad=True)
    weights = [hidden, out, hidden_bias, out_bias]
    optimizer = torch.optim.Adam(weights, RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        logits = torch.tanh(inputs @ hidden + hidden_bias) @ out + out_bias
        gate = logits.masked_fill(absent, -torch.inf).softmax(1)
        nats = -((gate * likely).sum(1) + 1e-9).log().mean()
        loss = nats + decay * (hidden.square().sum() + out.square().sum())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    arrays = [weight.detach().numpy() for weight in (hidden, hidden_bias, out, out_bias)]
    return Mixture(end, mean, scale, *arrays, _fit_steps(own.steps))


def _fit_steps(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logistic regression by Newton's method, with a slight penalty; the bias comes last."""
    inputs = np.concatenate([steps[:, :-1], np.ones((len(steps), 1))], 1).astype(float)
    right, weights = steps[:, -1].astype(float), np.zeros(inputs.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (chance - right) + 1e-3 * weights
        curve = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + 1e-3 * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights.astype(np.float32)


def nats(mixture: Mixture, own: Rows) -> NDArray[np.float64]:
    """Of each right token under the mixture (n,)."""
    gate = mixture.weights(own.features, own.present)
    return -np.log(np.maximum((gate * own.right).sum(1, dtype=float), 1e-12))


def alone(own: Rows) -> NDArray[np.float64]:
    """Nats of each right token under the model (n,)."""
    return -np.log(np.maximum(own.right[:, 0].astype(float), 1e-12))
