"""Loads the data of a training run, from shards or the corpus, in worker processes ahead of time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from mercury_lsp.engine.tokenizer import Tokenizer
from model.data.shards import INDEX, Shards, default_folder, tokenizer_fingerprint, write
from model.data.step_data import Cuts, Groups, Steps
from model.training.batch import Batch
from model.training.recipe import Recipe


def groups_for(
    recipe: Recipe, base: Path, tokenizer: Tokenizer, shards: Path | None, corpus: Path | None
) -> Groups:
    """Return the groups of a run: from ``shards`` if given, from the recipe's own shards if any, else from the corpus.

    If the recipe's own shards are missing, build the corpus, if that is missing too, and cut the shards. Exits with a
    message if the shards were cut for another tokenizer than that of ``base``.
    """
    if shards is None and not recipe.shards_mb:
        return Cuts(recipe, tokenizer, corpus)
    folder = shards or default_folder(recipe)
    if shards is None and not (folder / INDEX).is_file():
        build_corpus(corpus)
        write(recipe, base, folder, megabytes=recipe.shards_mb, processes=os.cpu_count() or 1, corpus=corpus)
    found = Shards(folder, recipe.seed)
    if found.index.tokenizer != tokenizer_fingerprint(base):
        sys.exit(f"The shards in {folder} were cut for another tokenizer than that of {base}.")
    if found.index.data != recipe.data_fingerprint():
        print(f"note: {folder} was cut by other settings than this recipe's", file=sys.stderr)
    return found


def build_corpus(corpus: Path | None) -> None:
    """Build the corpus if there is none; exit if the build fails."""
    from model.data import corpus as workshop

    folder = corpus or workshop.corpus_folder()
    if not (folder / "statistics.json").is_file() and workshop.main(["--out", str(folder)]):
        sys.exit(1)


def loader(steps: Steps, first: int, device: torch.device) -> Iterator[tuple[Batch, ...]]:
    """Return the batches of the steps from ``first`` on; worker processes, if any, build them ahead of time."""
    workers = steps.recipe.workers
    return iter(
        DataLoader(
            steps,
            batch_size=None,
            sampler=range(first, len(steps)),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=leave_signals,
            collate_fn=as_is,
        )
    )


def leave_signals(_: int) -> None:
    """Ignore the signals to end a worker process: its process group gets them too, and the run ends its workers."""
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, signal.SIG_IGN)


def as_is(parts: Any) -> Any:
    """Return a step's batches unchanged, for `DataLoader`."""
    return parts
