"""Loads contestants, which are a model in a mode, and lets each of them complete places.

A contestant runs the server's own pipeline as for a manual request, so that the comparison is about the text and not
about the decision to show it. Its name is that of a shipped model or a checkpoint's folder, possibly with a mode:
``small``, ``small:autoregressive``. ``remote`` is the hosted model of the settings, ``remote:NAME`` another model at
the same address.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mercury_lsp.arena.edits import Edit
from mercury_lsp.completion import engines
from mercury_lsp.completion.committed import CommittedText
from mercury_lsp.completion.pipeline import Job, complete
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import MODES
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.errors import BadUsage, Failure
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine

REMOTE = "remote"


class NoAnswer(Exception):
    """A hosted model did not answer; the message is a clause."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model in a mode: the displayed name, the settings, and one of `MODES`."""

    name: str
    config: Config
    mode: str = MODES[0]

    @property
    def remote(self) -> bool:
        """Whether the text around a place is sent to a hosted model."""
        return self.config.remote == "always"


@dataclass(frozen=True, slots=True)
class ContestantAnswer:
    """A contestant's answer at a place.

    `shown`: the text that would be shown, or "". `end`: the offset up to which the text replaces the document. `ms`:
    the time of the answer. `likely`: whether the server would also have shown the text automatically.
    """

    shown: str
    end: int
    ms: float
    passes: int
    tokens: int
    likely: bool


@dataclass(frozen=True, slots=True)
class Player:
    """A contestant with a loaded model. `fingerprint`: the fingerprint of the weights, or ""."""

    contestant: Contestant
    engine: Engine
    fingerprint: str

    @property
    def name(self) -> str:
        """The displayed name."""
        return self.contestant.name

    @property
    def id(self) -> str:
        """The recorded name, which includes the start of the fingerprint."""
        return f"{self.name}@{self.fingerprint[:8]}" if self.fingerprint else self.name

    def answer(self, edit: Edit) -> ContestantAnswer:
        """Complete at a place. Raises `NoAnswer`."""
        config, offset = self.contestant.config, len(edit.prefix)
        committed_texts: list[CommittedText] = []

        def judge(committed: CommittedText) -> Completion:
            committed_texts.append(committed)
            return committed.judge()

        began = time.perf_counter()
        try:
            snapshot = Snapshot(edit.document, config, manual=True, mode=self.contestant.mode)
            completion = complete(snapshot, offset, self.engine, Job(judge=judge))
        except NoResult as error:
            # Only a hosted model raises this.
            raise NoAnswer(f"{self.name} gave no answer: {error}") from error
        ms = (time.perf_counter() - began) * 1e3
        # Declined files have no edits.
        assert completion is not None
        infill, shown = completion.infill, completion.shown or ""
        likely = any(committed.judge_as_automatic().shown is not None for committed in committed_texts)
        return ContestantAnswer(shown, completion.end, ms, infill.forward_passes, infill.tokens, likely)


def parse_contestants(specs: list[str], settings: Config) -> list[Contestant]:
    """Parse the contestants of the command line. Raises `BadUsage`.

    Further contestants of the same name get a number in their name.
    """
    contestants: list[Contestant] = []
    for spec in specs:
        contestant = _parse_contestant(spec, settings)
        same_name = sum(earlier.name.partition(" ")[0] == contestant.name for earlier in contestants)
        contestants.append(
            replace(contestant, name=f"{contestant.name} ({same_name + 1})") if same_name else contestant
        )
    return contestants


def _parse_contestant(spec: str, settings: Config) -> Contestant:
    local = replace(settings, enabled=True, disabled_languages=(), remote="off")
    model, _, mode = spec.rpartition(":")
    if spec.partition(":")[0] == REMOTE and not Path(spec).exists():
        hosted = spec.partition(":")[2] or settings.remote_model
        if not settings.remote_url:
            raise BadUsage("There is no hosted model: the settings have no remote_url; see --settings.")
        name = f"{REMOTE}:{hosted}" if hosted else REMOTE
        return Contestant(name, replace(local, remote="always", remote_model=hosted))
    if not model or Path(spec).exists():
        model, mode = spec, MODES[0]
    elif mode not in MODES:
        # The colon may be that of a path, such as C:\models.
        if "/" in mode or "\\" in mode:
            model, mode = spec, MODES[0]
        else:
            raise BadUsage(f"The mode of a contestant must be one of {', '.join(MODES)}, not {mode!r}.")
    name = Path(model).resolve().name if Path(model).is_dir() else model
    if mode != MODES[0]:
        name = f"{name}:{mode}"
    return Contestant(name, replace(local, model=model), mode)


def load_player(contestant: Contestant) -> Player:
    """Load a contestant's model. Raises `Failure`."""
    engine = engines.load(contestant.config)
    if contestant.remote and engine.device != REMOTE:
        raise Failure(f"{contestant.name} cannot take part: this version asks no hosted models.")
    # Warm up, because the first request of a process takes longer than the others.
    if not contestant.remote:
        document = Document("file:///a.py", "a.py", "python", 1, "total = ")
        complete(Snapshot(document, contestant.config, manual=True), len(document.text), engine)
    return Player(contestant, engine, str(getattr(engine, "fingerprint", "")))
