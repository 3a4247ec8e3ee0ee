"""Defines the settings of a training run, and the fingerprint of those that determine its data."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from model.training.noise import ALL_MASKED

# Defined here and not with the code that cuts holes, since training from shards must not need a parser.
KINDS = {"rest": 0.3, "line": 0.3, "lines": 0.15, "node": 0.1, "span": 0.15}
"""The share of each kind of hole: rest of a line, whole line, several lines, syntax node, random span."""

BUILDER = "context.related, healed, each hole once"
"""The version of the code that chooses related text and cuts holes; part of the fingerprint of shards."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a run, which are the fields of a recipe file."""

    name: str
    # A checkpoint's folder or shipped name; "base" is the checkpoint that model.base builds.
    base: str
    steps: int
    # Rows of one context.
    rows: int = 512
    # Contexts of one step, over all processes.
    contexts: int = 4
    # Whether the contexts of a pass are concatenated without padding.
    packed: bool = False
    # The first share of the run, which has no canvases and weighs all targets alike.
    causal: float = 0.0
    # Contexts of one pass at most, to bound its memory; 0 is no bound.
    part: int = 0
    # Rows whose logits are computed at once, padded so that shapes are static; 0 is all rows, unpadded.
    chunk: int = 0
    # Holes of one context at most.
    holes: int = 4
    # Rows of the canvases of one context at most; 0 fills the context, which is free if contexts are padded.
    canvas_rows: int = 0
    # Each context draws its budgets uniformly from these ranges.
    prefix_tokens: tuple[int, int] = (48, 224)
    following_tokens: tuple[int, int] = (0, 96)
    # The shares of contexts with a path header, and with related text.
    path_share: float = 0.7
    related_share: float = 0.25
    related_tokens: tuple[int, int] = (24, 96)
    # The share of the contexts with related text that use further sources than the server does.
    other_sources: float = 0.5
    # The share of each kind of hole.
    kinds: dict[str, float] = field(default_factory=lambda: dict(KINDS))
    # The share of blocks whose tokens are all masked, as in serving.
    all_masked: float = ALL_MASKED
    # The checkpoint of the teacher; "self": the network's causal rows teach its canvases, see Objective.
    teacher: str = ""
    # The share of a row's target that is the teacher's distribution instead of the true token.
    taught: float = 0.0
    # Megabytes of token shards that a run cuts first and then streams; 0 cuts contexts during the run.
    shards_mb: int = 0
    # "adamw", or "muon" for the matrices of the layers.
    optimizer: str = "adamw"
    # Prefixes of the names of the weights that are not trained.
    frozen: tuple[str, ...] = ()
    # Whether to train the scales of the packed groups instead of the matrices, see GroupScales.
    scales: bool = False
    rate: float = 3e-4
    # Steps of the warm-up.
    warmup: int = 40
    # The last share of the run, over which the rate falls to a twentieth.
    decay: float = 0.4
    # The last share of the run, in which each step computes with the quantized weights.
    rounded: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    # Threads of a CPU that compute passes in parallel; 0 computes one pass at a time on all cores.
    lanes: int = 0
    # Rows between two points of the learning curve (held-out middles); 0 measures none.
    curve_rows: int = 0
    bf16: bool = True
    compile: bool = False
    workers: int = 0
    # Steps between two lines of metrics; each line waits for the device.
    every: int = 1
    save_minutes: float = 8.0
    languages: dict[str, float] = field(default_factory=lambda: {"python": 1.0})
    weights: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """Read a TOML recipe, whose name defaults to the file's. Raises ``TypeError`` for an unknown field."""
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{"name": file.stem, **values, **lists})

    def is_causal(self, step: int) -> bool:
        """Return whether a step belongs to the first share of the run, which has no canvases."""
        return step < self.causal * self.steps

    def data_fingerprint(self) -> str:
        """Return the SHA-256 of the settings that choose files and cut holes, without the seed."""
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
        """Return the seed of a run's data. base: the fingerprint of the weights that the run starts from."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{base}".encode()).digest()[:4])

    def rate_at(self, progress: float, step: int) -> float:
        """Return the learning rate: linear warm-up, constant, linear decay to a twentieth in the last share of the run.

        progress: the completed share of the run, from 0 to 1. step: the number of completed steps.
        """
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        cool = min(1.0, max(0.0, (1 - progress) / self.decay)) if self.decay else 1.0
        return self.rate * warm * max(0.05, cool)
