"""Fits the mixture of the model and the project memory, and measures its gain.

The mixture is fitted on holes of training packages and measured on holes of held-out packages. Each hole has its
package as the project, including its own file without the hole. Recording the model's rows (`memory_rows`) takes almost
all of the time; a folder of records is used again, and an interrupted recording is resumed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.decoding.mixture import EXPERTS, FEATURES, LEVEL_FEATURES, SHARED_FEATURES, Mixture
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.paths import cache_folder
from model.data.corpus import CorpusError, iter_documents
from model.data.package_index import PackageIndex
from model.evaluation import tables
from model.evaluation.bootstrap import interval, ratio
from model.evaluation.calibration.memory_rows import MixtureRows, look_up, projects, read, record
from model.evaluation.heldout.cursors import draw

LANGUAGES = ("python", "javascript", "typescript", "go", "java", "c", "rust", "cpp", "php", "ruby")
KINDS = ("rest", "next", "lines")
UNITS = 32
"""Hidden units of the gate."""
DECAY = 1e-3
STEPS = 300
RATE = 0.02
MAX_PACKAGE_FILES = 40
"""Files of a package that related text may come from at most."""


FOLDS = 3
"""Folds of the training packages for cross-validation."""


def fit(rows: MixtureRows, end: int, units: int = UNITS, decay: float = DECAY, seed: int = 0) -> Mixture:
    """Fit a mixture by maximum likelihood of the right tokens, with a penalty on the squared weights.

    It runs on one thread, since the matrices are small.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _fit(rows, end, units, decay, seed)
    finally:
        torch.set_num_threads(threads)


def _fit(rows: MixtureRows, end: int, units: int, decay: float, seed: int) -> Mixture:
    matched = rows.present[:, 1:].any(1)
    features, present, right = rows.features[matched], rows.present[matched], rows.right[matched]
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
    return Mixture(
        end=end,
        mean=mean,
        scale=scale,
        hidden=hidden.detach().numpy(),
        hidden_bias=hidden_bias.detach().numpy(),
        out=out.detach().numpy(),
        out_bias=out_bias.detach().numpy(),
        step=_fit_steps(rows.steps),
    )


def _fit_steps(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fit a logistic regression by Newton's method, with a slight penalty; return the weights, the bias last."""
    inputs = np.concatenate([steps[:, :-1], np.ones((len(steps), 1))], 1).astype(float)
    right, weights = steps[:, -1].astype(float), np.zeros(inputs.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (chance - right) + 1e-3 * weights
        curve = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + 1e-3 * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights.astype(np.float32)


def nats(mixture: Mixture, rows: MixtureRows) -> NDArray[np.float64]:
    """Return the nats of each right token under the mixture (n,)."""
    gate = mixture.weights(rows.features, rows.present)
    return np.asarray(-np.log(np.maximum((gate * rows.right).sum(1, dtype=float), 1e-12)))


def model_nats(rows: MixtureRows) -> NDArray[np.float64]:
    """Return the nats of each right token under the model alone (n,)."""
    return np.asarray(-np.log(np.maximum(rows.right[:, 0].astype(float), 1e-12)))


def cross_validate(rows: MixtureRows, end: int) -> NDArray[np.float64]:
    """Return the nats of each right token under a mixture that was fitted on other packages (n,)."""
    names = sorted(set(rows.packages))
    found = np.zeros(len(rows.features))
    for fold in range(FOLDS):
        left_out = np.isin(rows.packages, names[fold::FOLDS])
        found[left_out] = nats(fit(rows.of(~left_out), end), rows.of(left_out))
    return found


def compare(rows: MixtureRows, mixed: NDArray[np.float64], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the nats per token of some rows, for the model and the mixture, and the difference with its interval.

    The interval is over holes.
    """
    before, holes = model_nats(rows)[keep], rows.hole[keep]
    gained = np.bincount(holes, mixed[keep] - before, len(rows.holes))
    counts = np.bincount(holes, minlength=len(rows.holes))
    pairs = [pair for pair in zip(gained.tolist(), counts.tolist(), strict=True) if pair[1]]
    return {
        "tokens": int(keep.sum()),
        "model": round(float(before.mean()), 4),
        "mixed": round(float(mixed[keep].mean()), 4),
        "difference": round(ratio(pairs), 4),
        "interval": interval(pairs, ratio),
    }


def measure(rows: MixtureRows, mixed: NDArray[np.float64]) -> dict[str, Any]:
    """Return the figures of all rows, of each package, and of each kind of hole."""
    kinds = np.array([hole.kind for hole in rows.holes])[rows.hole]
    return {
        "all": compare(rows, mixed, np.ones(len(mixed), bool)),
        "projects": {
            str(name): compare(rows, mixed, rows.packages == name) for name in sorted(set(rows.packages))
        },
        "kinds": {str(name): compare(rows, mixed, kinds == name) for name in sorted(set(kinds))},
    }


def importance(mixture: Mixture, rows: MixtureRows, seed: int = 0) -> dict[str, float]:
    """Return the nats per token lost if a feature, at all levels, is permuted over rows, or an expert is missing."""
    order = np.random.default_rng(seed).permutation(len(rows.features))
    base = nats(mixture, rows).mean()
    lost = {}
    for name in (*LEVEL_FEATURES, *SHARED_FEATURES):
        columns = [i for i, feature in enumerate(FEATURES) if feature.rpartition(": ")[2] == name]
        shuffled = rows.features.copy()
        shuffled[:, columns] = shuffled[order][:, columns]
        lost[name] = float(nats(mixture, replace(rows, features=shuffled)).mean() - base)
    for number, name in enumerate(EXPERTS[1:], 1):
        present = rows.present.copy()
        present[:, number] = False
        lost[f"without: {name}"] = float(nats(mixture, replace(rows, present=present)).mean() - base)
    return {name: round(value, 4) for name, value in sorted(lost.items(), key=lambda pair: -pair[1])}


def calibration(mixture: Mixture, rows: MixtureRows) -> list[dict[str, float]]:
    """Return deciles of continuation tokens by predicted probability: its mean, and the share of right tokens."""
    logits = rows.steps[:, :-1] @ mixture.step[:-1] + mixture.step[-1]
    odds, right = 1 / (1 + np.exp(-logits)), rows.steps[:, -1]
    tenths = np.array_split(np.argsort(odds), 10)
    return [
        {
            "n": len(part),
            "odds": round(float(odds[part].mean()), 3),
            "right": round(float(right[part].mean()), 3),
        }
        for part in tenths
        if len(part)
    ]


def gather(given: argparse.Namespace, split: str, console: Console) -> MixtureRows:
    """Return the rows of a split's holes; record them first unless a complete record of this model exists.

    Raises `CorpusError` if there is no hole to record.
    """
    loaded = checkpoint.read_checkpoint(checkpoint.find_model(given.model))
    drawn = f"{loaded.fingerprint[:12]}-{given.per_language}-{given.seed}"
    folder = given.records / drawn / split
    packages = projects(iter_documents(split, LANGUAGES, given.corpus))
    sources = [source for files in packages.values() for source in files]
    done = folder / "done"
    if not done.is_file():
        cursors = [
            cursor
            for place in draw(sources, LANGUAGES, given.per_language, given.seed, KINDS)
            for cursor in place
        ]
        package_index = PackageIndex(
            ((source.package, source.path, source.text) for source in sources), MAX_PACKAGE_FILES
        )
        engine = load_local_engine(given.model, "cpu", given.threads)
        record(engine, track(cursors, f"recording {split}", console=console), package_index, folder)
        done.touch()
    recorded = read(folder)
    if not recorded:
        raise CorpusError(f"no package of the split {split} has holes to record")
    return look_up(recorded, sources, loaded.tokenizer, console)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model.evaluation.calibration.mixture",
        description="Fit the mixture of a model and the project memory, and measure it on held-out packages.",
    )
    made.add_argument("--model", default="small", help="a shipped model's name, or a folder (default: small)")
    made.add_argument("--per-language", type=int, default=20, help="places of each (default: %(default)s)")
    made.add_argument("--seed", type=int, default=7)
    made.add_argument("--threads", type=int, default=0)
    made.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    made.add_argument(
        "--records", type=Path, default=cache_folder() / "mixture", help="folder of the recorded rows"
    )
    made.add_argument("--out", type=Path, help="instead of the checkpoint's folder")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        folder = given.out or checkpoint.find_model(given.model)
        end = checkpoint.read_checkpoint(checkpoint.find_model(given.model)).tokenizer.specials.eot
        training, heldout = (gather(given, split, console) for split in ("train", "heldout"))
    except (checkpoint.CheckpointError, CorpusError, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    mixture = fit(training, end)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Mixture.FILE).write_text(json.dumps(mixture.to_json()) + "\n", encoding="utf-8")
    answer = {
        "train": measure(training, cross_validate(training, end)),
        "heldout": measure(heldout, nats(mixture, heldout)),
        "importance": importance(mixture, heldout),
        "continuations": calibration(mixture, heldout),
    }
    if given.json:
        print(json.dumps(answer))
    else:
        for table in to_tables(answer):
            Console(width=None if sys.stdout.isatty() else tables.WIDE).print(table)
    return 0


def to_tables(answer: dict[str, Any]) -> list[Any]:
    """Return the tables for a terminal."""
    headings = ("tokens", "model", "mixed", "difference")
    made = []
    for split, title in (
        ("train", "Training packages, each left out of its fit"),
        ("heldout", "Held-out packages"),
    ):
        section = answer[split]
        lines = (
            {"all": section["all"]} | (section["projects"] if split == "heldout" else {}) | section["kinds"]
        )
        listed = [_line(name, line) for name, line in lines.items()]
        made.append(tables.table(f"Nats a token. {title}", ("", *headings), listed))
    lost = [[name, f"{value:+.4f}"] for name, value in answer["importance"].items()]
    made.append(tables.table("Nats a token without it", ("", "lost"), lost))
    odds = [
        [str(line["n"]), f"{line['odds']:.3f}", f"{line['right']:.3f}"] for line in answer["continuations"]
    ]
    made.append(tables.table("Continuations", ("tokens", "odds", "right"), odds))
    return made


def _line(name: str, line: dict[str, Any]) -> list[str]:
    low, high = line["interval"]
    gain = f"{line['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    return [name, str(line["tokens"]), f"{line['model']:.3f}", f"{line['mixed']:.3f}", gain]


if __name__ == "__main__":
    sys.exit(main())
