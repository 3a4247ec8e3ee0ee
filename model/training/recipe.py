"""Reads the settings of a training run, and tells which of them decide what the data are.

Owns the settings' names, defaults and ranges of meaning. Knows no data and no network.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from model.training.noise import ALL_MASKED

# The package's own names, without what cuts holes: a machine that trains from shards need not have a parser.
KINDS = {"rest": 0.3, "line": 0.3, "lines": 0.15, "node": 0.1, "span": 0.15}
"""Shares: rest of a line, a whole line, several lines, an argument list or the like, a random span."""

BUILDER = "context.related, healed, each hole once"
"""What makes the related text and the holes: part of the fingerprint of shards, since old shards differ."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A run's settings: the fields of a recipe file. Raises ``TypeError`` for a field that is not here."""

    name: str
    base: str  # a checkpoint's folder or shipped name; "base" is what model.base makes
    steps: int
    rows: int = 512  # of one context
    contexts: int = 4  # of one step, over all processes
    packed: bool = False  # contexts of a pass stand one after the other without padding
    causal: float = (
        0.0  # first share of the run without canvases, in which every row is a target of one weight
    )
    part: int = 0  # contexts of one pass at most, by which memory is bounded; 0 is no bound
    chunk: int = (
        0  # rows that go through the vocabulary at once, padded so that shapes are static; 0 is all, unpadded
    )
    holes: int = 4  # of one context, at most
    canvas_rows: int = (
        0  # of one context, at most; 0 fills it up to its rows, which costs nothing where it is padded
    )
    prefix_tokens: tuple[int, int] = (48, 224)  # range of a context's budgets, drawn uniformly
    following_tokens: tuple[int, int] = (0, 96)
    path_share: float = 0.7  # of contexts with a path header
    related_share: float = 0.25  # of contexts with related text beside the window
    related_tokens: tuple[int, int] = (24, 96)
    other_sources: float = (
        0.5  # of contexts with related text: share that draws more sources than the server's
    )
    kinds: dict[str, float] = field(default_factory=lambda: dict(KINDS))  # of holes
    all_masked: float = ALL_MASKED  # of blocks: drafted from nothing, as serving does
    teacher: str = ""  # a checkpoint, whose causal rows tell what all should predict; "self": see Objective
    taught: float = 0.0  # share of a row's target that is the teacher's distribution, not the author's token
    shards_mb: int = (
        0  # of token shards that a run cuts first and then streams; 0 cuts contexts as they are needed
    )
    optimizer: str = "adamw"  # or "muon", for the matrices of the layers
    frozen: tuple[str, ...] = ()  # beginnings of the names of weights that stay as they are
    scales: bool = False  # train the scales of the packed groups instead of the matrices, see GroupScales
    rate: float = 3e-4
    warmup: int = 40  # steps
    decay: float = 0.4  # last share of the run, over which the rate falls to a twentieth
    rounded: float = 0.0  # last share of the run in which each step sees the weights as they will be shipped
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    lanes: int = 0  # threads of a processor that each take passes of their own; 0 is one pass on all cores
    curve_rows: int = 0  # rows between two points of the learning curve, held-out middles; 0 measures none
    bf16: bool = True
    compile: bool = False
    workers: int = 0
    every: int = 1  # steps between two lines of metrics; each is a wait for the device
    save_minutes: float = 8.0
    languages: dict[str, float] = field(default_factory=lambda: {"python": 1.0})
    weights: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """Parse a TOML recipe; its name defaults to the file's."""
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{"name": file.stem, **values, **lists})

    def is_causal(self, step: int) -> bool:
        """Whether a step belongs to the run's first share, of causal infilling alone."""
        return step < self.causal * self.steps

    def data_fingerprint(self) -> str:
        """SHA-256 of the settings by which files are chosen and holes cut, the seed left out."""
        names = (
            "holes",
            "prefix_tokens",
            "following_tokens",
            "path_share",
            "related_share",
            "related_tokens",
            "other_sources",
        )
        settings = {name: getattr(self, name) for name in (*names, "kinds", "languages")}
        settings["builder"] = BUILDER
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def seed_for(self, base: str) -> int:
        """The seed of a run's data. base: fingerprint of the weights that it starts from."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{base}".encode()).digest()[:4])

    def rate_at(self, progress: float, step: int) -> float:
        """Learning rate: linear warm-up, constant, linear decay to a twentieth over the last share of the run."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        cool = min(1.0, max(0.0, (1 - progress) / self.decay)) if self.decay else 1.0
        return self.rate * warm * max(0.05, cool)
