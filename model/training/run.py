"""Runs the training loop: network, optimizers, schedule, checkpoints, metrics and learning curve of one run.

A run resumes from its saved state, on any number of processes, which Accelerate connects. A step waits for the device
only if metrics are due.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import broadcast  # type: ignore[import-untyped]

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.paths import cache_folder
from model.compression.group_scales import GroupScales
from model.compression.quantize import gptq, moments
from model.compression.rounding import Rounding, bits
from model.training.batch import Batch
from model.training.hardware import Work, fastest_dtype, flops, peak_flops, return_memory, synchronize
from model.training.heldout_middles import hole_losses, report
from model.training.lanes import Lanes
from model.training.objective import Objective, hidden_states
from model.training.optimizers import advance, optimizers
from model.training.plot import plot
from model.training.recipe import Recipe
from model.training.save import GROUP, save

METRICS = "metrics.jsonl"
CURVE = "curve.jsonl"
# A recipe's teacher of this name: the causal rows teach the canvases.
SELF = "self"
# Steps on a CPU after which the heap's unused memory is returned to the system.
TRIM = 32


def find_checkpoint(model: str) -> Path:
    """Return the folder of the checkpoint that a recipe names; exit with a message if there is none."""
    try:
        return cache_folder() / "base" if model == "base" else checkpoint.find_model(model)
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))


class Run:
    """One training run: the network, its optimizers and the progress.

    ``minutes``: end the run after this training time; 0 ends it by its steps. ``base``: the folder of the checkpoint
    that the run starts from.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, accelerator: Accelerator, minutes: float, base: Path
    ) -> None:
        self.recipe, self.folder, self.accelerator, self.minutes = recipe, folder, accelerator, minutes
        self.device = accelerator.device
        folder.mkdir(parents=True, exist_ok=True)
        self.base = checkpoint.read_checkpoint(base)
        self.tokenizer_json = (base / Tokenizer.FILE).read_text(encoding="utf-8")
        self.network = Network.of(self.base).train().to(self.device)
        for name, weight in self.network.named_parameters():
            weight.requires_grad_(not name.startswith(recipe.frozen))
        self.dtype = fastest_dtype(self.device) if recipe.bf16 else torch.float32
        teacher = None
        if recipe.taught and recipe.teacher != SELF:
            source = checkpoint.read_checkpoint(find_checkpoint(recipe.teacher))
            teacher = Network.of(source, self.dtype).to(self.device)

        def objective(network: Network) -> Objective:
            share, packed = recipe.taught, recipe.packed
            return Objective(network, self.dtype, recipe.chunk, recipe.compile, share, teacher, packed)

        alone = self.device.type == "cpu" and accelerator.num_processes == 1
        self.lanes = Lanes(self.network, recipe.lanes, objective) if recipe.lanes and alone else None
        self.plain = [objective(self.network)] if self.lanes is None else self.lanes.objectives
        self.objective = accelerator.prepare_model(self.plain[0])
        self.rounding = Rounding(self.network, bits, GROUP)
        self.scales: GroupScales | None = None
        self.learning = {
            name: weight for name, weight in self.network.named_parameters() if weight.requires_grad
        }
        if recipe.scales:
            try:
                self.scales = GroupScales(self.network, self.base.weights(), GROUP)
            except ValueError as error:
                sys.exit(f"The recipe trains scales alone, and its base's {error}.")
            # The factors replace the matrices under the same names.
            self.learning |= self.scales.factors
        self.optimizers = optimizers(self.learning, recipe)
        self.stop = threading.Event()
        self.step = 0
        # Seconds of training, over all starts of the run, as the processes last agreed.
        self.spent = 0.0
        self.rows = self.masked = 0
        self._resume()

    @property
    def progress(self) -> float:
        """The completed share of the run, by steps or by time, whichever is larger."""
        return max(self.step / self.recipe.steps, self.spent / 60 / self.minutes if self.minutes else 0.0)

    def _resume(self) -> None:
        file = self.folder / "state.pt"
        if not file.is_file():
            return
        state = torch.load(file, map_location=self.device, weights_only=True)
        own = self.base.fingerprint
        if ("scales" in state) != (self.scales is not None) or state.get("base", own) != own:
            sys.exit(
                f"The run in {self.folder} trained other weights: move it away, and a new one begins there."
            )
        self.network.load_state_dict(state["network"])
        for name, factor in self.scales.factors.items() if self.scales else ():
            factor.data.copy_(state["scales"][name])
        if grid := state.get("grid"):
            self.rounding.fix(grid)
        for optimizer, found in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(found)
        self.step, self.spent = state["step"], state["spent"]
        self.rows, self.masked = state["rows"], state["masked"]
        if self.accelerator.is_main_process:
            # The logs may be ahead of the saved state; the lost steps are trained and measured again.
            for log in (self.folder / METRICS, self.folder / CURVE):
                lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
                kept = (line for line in lines if json.loads(line)["step"] <= self.step)
                log.write_text("".join(kept), encoding="utf-8")
            print(f"resumed at step {self.step} of {self.recipe.steps}", file=sys.stderr)

    def save(self) -> None:
        """Write the state to resume from, atomically, and a checkpoint; only the main process does."""
        if not self.accelerator.is_main_process:
            return
        counts = {"step": self.step, "spent": self.spent, "rows": self.rows, "masked": self.masked}
        found = [optimizer.state_dict() for optimizer in self.optimizers]
        base = self.base.fingerprint
        state = {"network": self.network.state_dict(), "optimizers": found, "base": base, **counts}
        if self.scales is not None:
            state["scales"] = {name: factor.data for name, factor in self.scales.factors.items()}
        if self.rounded:
            state["grid"] = self.rounding.scales
        torch.save(state, self.folder / "state.part")
        os.replace(self.folder / "state.part", self.folder / "state.pt")
        # `model.compression.ship` reads "rounded".
        rounded = self.recipe.rounded if self.rounded else float(self.recipe.scales)
        about = {**self.base.about, "recipe": self.recipe.name, "rounded": rounded, **counts}
        if curve := self.curve:
            about["curve"] = curve
        width: Callable[[str], int] | None = bits if self.rounded else None
        scales = self.rounding.scales
        if self.scales is not None:
            width, scales = self.base.packed_bits().__getitem__, self.scales.scales()
        trained, name = self.folder / "checkpoint", self.recipe.name
        save(trained, name, self.network, self.tokenizer_json, about, width, scales)
        plot(self.folder)

    def measure_curve(self, held: Sequence[Batch]) -> None:
        """Measure the held-out middles, and append a point to the learning curve."""
        with self.rounding.step() if self.rounded else nullcontext():
            found = hole_losses(self.network, self.base.tokenizer, held, self.dtype)
        point = {"step": self.step, "rows": self.rows, "minutes": self.spent / 60, **report(found)}
        with (self.folder / CURVE).open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(point) + "\n")

    @property
    def curve(self) -> list[list[float]]:
        """The learning curve so far: pairs of rows, and nats per token of held-out middles."""
        file = self.folder / CURVE
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return [[point["rows"], point["nats"]] for point in map(json.loads, lines)]

    @property
    def rounded(self) -> bool:
        """Whether passes compute with quantized weights, as in the last share of the run."""
        return bool(self.rounding.scales)

    def round(self, inputs: Callable[[], Iterable[Batch]]) -> None:
        """Begin quantization-aware training: fix the grid, and correct the weights for rounding errors by GPTQ.

        inputs: returns batches that training does not see; those of the first process are used.
        """
        # Compiled layers do not call hooks.
        plain = Network(self.network.shape).to(self.device)
        plain.load_state_dict(self.network.state_dict())
        found = moments(
            plain, lambda: (hidden_states(plain, batch.to(self.device), self.dtype) for batch in inputs())
        )
        scales = {}
        for name, values, scale in gptq(plain, found, bits, GROUP):
            if name in self.learning:
                self.learning[name].data.copy_(broadcast(values.to(self.device)))
                scales[name] = broadcast(scale.float().to(self.device))
        self.rounding.fix(scales)

    def take_step(self, parts: tuple[Batch, ...]) -> torch.Tensor | None:
        """Take one step of the optimizers; return sums (6,): those of `Loss`, the loss and the norm of the gradient.

        The loss is the mean over the targets of all processes, however the contexts are distributed. Return None, and
        change nothing, if a run with lanes was stopped between two passes.
        """
        ranks = self.accelerator.num_processes
        worth = torch.full((), sum(part.worth for part in parts), device=self.device)
        # The mean over the processes, as for gradients.
        worth = self.accelerator.reduce(worth, "mean")
        sums = torch.zeros(5, device=self.device)
        causal = self.recipe.is_causal(self.step)
        for objective in self.plain:
            objective.teacher_share = 0.0 if causal and self.recipe.teacher == SELF else self.recipe.taught
        with self.rounding.step() if self.rounded else nullcontext():
            if self.lanes is not None:
                added = self.lanes.run(parts, worth, self.stop.is_set)
                if added is None:
                    return None
                sums = added
            for number, part in enumerate(() if self.lanes is not None else parts, 1):
                last = number == len(parts)
                with nullcontext() if last else self.accelerator.no_sync(self.objective):
                    loss = self.objective(part.to(self.device), worth)
                    loss.total.backward()
                sums += torch.cat((loss.sums, loss.total.detach()[None] / ranks))
        if self.scales is not None:
            self.scales.take_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), self.recipe.clip)
        advance(self.optimizers, norm)
        if self.scales is not None:
            self.scales.write()
        return torch.cat((sums, norm.detach()[None] / ranks))

    def train(
        self, data: Iterator[tuple[Batch, ...]], inputs: Callable[[], Iterable[Batch]]
    ) -> Iterator[dict[str, float]]:
        """Take the remaining steps; after every `Recipe.every` steps, yield their metrics, as means.

        data: the batches of each remaining step. inputs: see `round`.
        """
        recipe, device = self.recipe, self.device
        work = Work(device)
        best = peak_flops(device, self.dtype, 1.0 if device.type == "cuda" else 0.2)
        since = _StepTotals(device)
        asked = since.began
        for parts in data:
            since.waited += (time.monotonic() - asked) * work.done()
            if self.scales is None and not self.rounded and self.progress > 1 - recipe.rounded:
                self.round(inputs)
            rate = recipe.rate_at(self.progress, self.step)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            taken = self.take_step(parts)
            if taken is None:
                return
            work.mark()
            rows = since.add(parts, taken, self.network.shape)
            self.step += 1
            self.rows += rows * self.accelerator.num_processes
            if device.type == "cpu" and (self.lanes is not None or self.step % TRIM == 0):
                return_memory()
            if self.step % recipe.every == 0 or self.step >= recipe.steps:
                yield self._reduce_metrics(since, rate, best)
                if self.progress >= 1 or self.stop.is_set():
                    return
                since = _StepTotals(device)
            asked = time.monotonic()

    def _reduce_metrics(self, since: _StepTotals, rate: float, best: float) -> dict[str, float]:
        """Wait for the device and return the metrics of the steps since the last ones, as means over all processes.

        All processes then have the same training time, and stop if one of them stops. best: the device's peak in
        FLOP/s, see `peak_flops`.
        """
        synchronize(self.device)
        main, sitting = self.accelerator.is_main_process, time.monotonic() - since.began
        shared = torch.tensor([self.stop.is_set(), main * (self.spent + sitting)], device=self.device)
        reduced = self.accelerator.reduce(torch.cat((since.sums, shared)), "sum").tolist()
        next_nats, next_count, nats, masked, loss, norm, stop, self.spent = reduced
        took = time.monotonic() - since.began
        self.masked += int(masked)
        if stop:
            self.stop.set()
        return {
            "step": self.step,
            "minutes": self.spent / 60,
            "loss": loss / since.steps,
            "next_token": next_nats / max(1, next_count),
            "masked": nats / max(1, masked),
            "rate": rate,
            "norm": norm / since.steps,
            "rows": self.rows,
            "rows_per_s": since.rows * self.accelerator.num_processes / took,
            "masked_per_s": masked / took,
            # Model FLOPs of this process, as a share of its device's peak.
            "utilisation": since.operations / took / best,
            # The share of the time in which no batch was ready.
            "waiting": since.waited / took,
        }


class _StepTotals:
    """Totals over the steps of this process since the last metrics.

    ``sums`` (6,): the sums of `Run.take_step`. ``waited``: seconds in which the device had no batch.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(6, device=device)
        self.steps = self.rows = 0
        self.operations = self.waited = 0.0
        self.began = time.monotonic()

    def add(self, parts: Sequence[Batch], taken: torch.Tensor, shape: Shape) -> int:
        """Add one step to the totals; return its rows."""
        rows = sum(part.ids.numel() for part in parts)
        pairs, targets = sum(part.pairs for part in parts), sum(part.targets for part in parts)
        self.sums += taken
        self.steps += 1
        self.rows += rows
        self.operations += flops(shape, rows, pairs / rows, targets)
        return rows
