"""Contestants: models and modes that are compared, and what each writes at a place.

Owns how a contestant is named and what it is asked: a completion by the server's own pipeline, as if the user had
asked for it by hand, so that what is compared is what each model writes and not when it would rather be silent. All
stand behind one interface, whether they run here or elsewhere. Knows neither who judges nor a terminal.

A name is that of a shipped model, or a checkpoint's folder, maybe with a mode: ``small``, ``small:autoregressive``.
``remote`` is the hosted model of the settings, ``remote:NAME`` another one at the same address.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mercury_lsp.arena.edits import Edit
from mercury_lsp.completion import engines
from mercury_lsp.completion.committed import Committed
from mercury_lsp.completion.pipeline import Job, complete
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import OPTIONS, Config
from mercury_lsp.engine.worker import Unanswered
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine

REMOTE = "remote"
MODES = next(option.choices for option in OPTIONS if option.name == "mode")


class NoAnswer(Exception):
    """A hosted model could not be asked, or did not answer; the message is a clause."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name to show, and the settings that make it."""

    name: str
    config: Config

    @property
    def remote(self) -> bool:
        """Whether the text around a place is sent to another machine."""
        return self.config.remote == "always"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contestant wrote at a place. `shown`: of it, what fits there, up to `end`; "" where that is nothing.

    `ms`: from the question to this. `likely`: whether the server would have shown some of it to a user who had
    not asked.
    """

    shown: str
    end: int
    ms: float
    passes: int
    tokens: int
    likely: bool


@dataclass(frozen=True, slots=True)
class Player:
    """A contestant whose model is loaded. `weights` tells them from other ones of the same name; it may be ""."""

    contestant: Contestant
    infiller: Engine
    weights: str

    @property
    def name(self) -> str:
        """To show."""
        return self.contestant.name

    @property
    def id(self) -> str:
        """To record."""
        return f"{self.name}@{self.weights[:8]}" if self.weights else self.name

    def answer(self, edit: Edit) -> Answer:
        """Complete at a place. Raises `NoAnswer`."""
        config, offset = self.contestant.config, len(edit.prefix)
        written: list[Committed] = []

        def judge(committed: Committed) -> Completion:
            written.append(committed)
            return committed.judged()

        began = time.perf_counter()
        try:
            asked = Snapshot(edit.document, config, invoked=True)
            found = complete(asked, offset, self.infiller, Job(judge=judge))
        except Unanswered as error:  # by a hosted model; what goes wrong here is our fault, and to be seen
            raise NoAnswer(f"{self.name} gave no answer: {error}") from error
        ms = (time.perf_counter() - began) * 1e3
        if found is None:  # never: such files are no edits
            return Answer("", offset, ms, 0, 0, False)
        infill = found.infill
        likely = any(committed.unasked().shown is not None for committed in written)
        return Answer(found.shown or "", found.end, ms, infill.forward_passes, infill.tokens, likely)


def named(specs: list[str], settings: Config) -> list[Contestant]:
    """The contestants of the command line. Raises `ValueError` with a sentence.

    The same one twice is two contestants, of which the second has a number in its name.
    """
    found: list[Contestant] = []
    for spec in specs:
        contestant = _named(spec, settings)
        same = sum(other.name.partition(" ")[0] == contestant.name for other in found)
        found.append(replace(contestant, name=f"{contestant.name} ({same + 1})") if same else contestant)
    return found


def _named(spec: str, settings: Config) -> Contestant:
    local = replace(settings, enabled=True, disabled_languages=(), remote="off")
    model, _, mode = spec.rpartition(":")
    if spec.partition(":")[0] == REMOTE and not Path(spec).exists():
        hosted = spec.partition(":")[2] or settings.remote_model
        if not settings.remote_url:
            raise ValueError("There is no hosted model: the settings have no remote_url; see --settings.")
        name = f"{REMOTE}:{hosted}" if hosted else REMOTE
        return Contestant(name, replace(local, remote="always", remote_model=hosted))
    if not model or Path(spec).exists():
        model, mode = spec, settings.mode
    elif mode not in MODES:
        if "/" in mode or "\\" in mode:  # of a path, such as C:\models
            model, mode = spec, settings.mode
        else:
            raise ValueError(f"The mode of a contestant must be one of {', '.join(MODES)}, not {mode!r}.")
    name = Path(model).resolve().name if Path(model).is_dir() else model
    if mode != MODES[0]:
        name = f"{name}:{mode}"
    return Contestant(name, replace(local, model=model, mode=mode))


def player(contestant: Contestant) -> Player:
    """Load a contestant's model. Raises `CheckpointError`, and `ValueError` with a sentence."""
    infiller = engines.load(contestant.config)
    if contestant.remote and infiller.device != REMOTE:
        raise ValueError(f"{contestant.name} cannot take part: this version asks no hosted models.")
    if not contestant.remote:  # the first request of a process takes longer than any other
        config = contestant.config
        document = Document("file:///a.py", "a.py", "python", 1, "total = ")
        complete(Snapshot(document, config, invoked=True), len(document.text), infiller)
    return Player(contestant, infiller, str(getattr(infiller, "fingerprint", "")))
