"""Cuts a recipe's groups of holes once, and stores their tokens in files to train from.

The files are safetensors shards of flat arrays, below 16 MB each and memory-mapped by the reader, and ``index.json``.
`step_data.Cuts` cuts the groups, and `step_data.Steps` builds training batches from them. Reading needs no parser.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.numpy import save_file
from torch.utils.data import DataLoader, Dataset

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.paths import cache_folder
from model import RECIPES
from model.data.groups import Branch, Group, Ids
from model.data.step_data import Cuts, Groups, pick_group
from model.training.recipe import Recipe

FORMAT = 1
INDEX = "index.json"
SHARD_BYTES = 15_000_000
# Groups that a worker process cuts at a time.
GROUPS_PER_BATCH = 32
RECIPE = RECIPES / "small-h100.toml"


@dataclass(frozen=True, slots=True)
class Index:
    """The contents of ``index.json``.

    ``data`` is the `Recipe.data_fingerprint`. ``languages`` counts groups, ``kinds`` counts holes, and ``shards``
    counts the groups of each file.
    """

    format: int
    recipe: str
    data: str
    tokenizer: str
    seed: int
    groups: int
    tokens: int
    languages: dict[str, int]
    kinds: dict[str, int]
    shards: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> Index:
        """Read the index of a folder of shards; exit with a message if there is none, or it cannot be read."""
        try:
            index = cls(**json.loads((folder / INDEX).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            sys.exit(
                f"There are no shards in {folder} ({error}): cut some with 'python -m model.data.shards'."
            )
        if index.format != FORMAT:
            sys.exit(f"The shards in {folder} have another format: cut them again.")
        return index


def tokenizer_fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the tokenizer in a checkpoint's folder."""
    return hashlib.sha256((folder / Tokenizer.FILE).read_bytes()).hexdigest()


class Shards:
    """Groups read from shards, in an order that is shuffled again for each epoch."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.index = Index.read(folder)
        self.ends = list(accumulate(self.index.shards.values()))
        self.languages, self.kinds = list(self.index.languages), list(self.index.kinds)
        # Opened on first use, usually in a worker process.
        self._arrays: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def pick(self, number: int, attempt: int) -> Group:
        """Return a group, as `Groups.pick` does."""
        if attempt:
            return self.group(Random(f"{self.seed}/{number}/{attempt}").randrange(self.index.groups))
        epoch, place = divmod(number, self.index.groups)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.index.groups)
        return self.group(int(self._order[place]))

    def group(self, number: int) -> Group:
        """Return the group of this number, in the order of cutting. Its ids are memory-mapped."""
        shard = bisect_right(self.ends, number)
        arrays = self._arrays.get(shard)
        if arrays is None:
            # Only the PyTorch framework of safetensors maps files into memory.
            with safe_open(self.folder / list(self.index.shards)[shard], "pt") as file:
                arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
            self._arrays[shard] = arrays
        row = number - (self.ends[shard - 1] if shard else 0)
        ids, at = arrays["ids"], int(arrays["first_id"][row])
        n = int(arrays["trunk"][row])
        trunk, at = ids[at : at + n], at + n
        branches = []
        for k in range(int(arrays["first_branch"][row]), int(arrays["first_branch"][row + 1])):
            middle = at + int(arrays["tail"][k])
            end = middle + int(arrays["middle"][k])
            branches.append(Branch(self.kinds[arrays["kind"][k]], ids[at:middle], ids[middle:end]))
            at = end
        return Group(self.languages[arrays["language"][row]], trunk, tuple(branches))


def pack(groups: Sequence[Group], languages: Sequence[str], kinds: Sequence[str]) -> dict[str, Any]:
    """Return the arrays of a shard: the concatenated ids of all groups, and the places of groups and their parts."""
    branches = [branch for group in groups for branch in group.branches]
    lengths = [size(group) for group in groups]
    counts = [len(group.branches) for group in groups]
    return {
        "ids": np.concatenate([ids for group in groups for ids in parts(group)]),
        "first_id": np.array([0, *accumulate(lengths)], np.int64),
        "first_branch": np.array([0, *accumulate(counts)], np.int64),
        "trunk": np.array([len(group.trunk) for group in groups], np.uint16),
        "tail": np.array([len(branch.tail) for branch in branches], np.uint16),
        "middle": np.array([len(branch.middle) for branch in branches], np.uint16),
        "kind": np.array([kinds.index(branch.kind) for branch in branches], np.uint8),
        "language": np.array([languages.index(group.language) for group in groups], np.uint8),
    }


def parts(group: Group) -> list[Ids]:
    """Return a group's ids in the order of the file."""
    return [group.trunk, *(ids for branch in group.branches for ids in (branch.tail, branch.middle))]


def size(group: Group) -> int:
    """Return the number of ids in a group."""
    return sum(map(len, parts(group)))


def bytes_of(group: Group) -> int:
    """Return the bytes of a group in a shard."""
    return sum(ids.nbytes for ids in parts(group)) + 5 * len(group.branches) + 19


class _Cutting(Dataset[list[Group]]):
    """Cuts the groups of a recipe's contexts in worker processes, `GROUPS_PER_BATCH` at a time."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def __getitem__(self, number: int) -> list[Group]:
        return [pick_group(self.groups, number * GROUPS_PER_BATCH + i) for i in range(GROUPS_PER_BATCH)]


def write(
    recipe: Recipe,
    tokenizer: Path,
    out: Path,
    contexts: int = 0,
    megabytes: float = 0.0,
    processes: int = 0,
    corpus: Path | None = None,
) -> Index:
    """Cut ``contexts`` groups, or ``megabytes`` of them, and write the shards to ``out``, the index last.

    tokenizer: the folder of a checkpoint. processes: worker processes; 0 cuts in this process.
    """
    groups = Cuts(recipe, Tokenizer.load(tokenizer), corpus)
    languages, kinds = list(groups.files), list(recipe.kinds)
    wanted = contexts or sys.maxsize
    room = int(megabytes * 1e6) or sys.maxsize
    out.mkdir(parents=True, exist_ok=True)
    for old in (out / INDEX, *out.glob("*.safetensors"), *out.glob("*.part")):
        old.unlink(missing_ok=True)
    batches = -(-wanted // GROUPS_PER_BATCH) if contexts else sys.maxsize
    loader = DataLoader(
        _Cutting(groups), batch_size=None, sampler=range(batches), num_workers=processes, collate_fn=_as_is
    )
    shards: dict[str, int] = {}
    held: list[Group] = []
    by_language, by_kind = Counter[str](dict.fromkeys(languages, 0)), Counter[str](dict.fromkeys(kinds, 0))
    tokens = written = bytes_ = 0

    def flush() -> None:
        nonlocal held, bytes_
        name = f"shard-{len(shards):05}.safetensors"
        save_file(pack(held, languages, kinds), out / f"{name}.part")
        os.replace(out / f"{name}.part", out / name)
        shards[name] = len(held)
        held, bytes_ = [], 0

    for group in _with_progress((group for some in loader for group in some), contexts, room):
        cost = bytes_of(group)
        if sum(shards.values()) + len(held) >= wanted or written + cost > room:
            break
        if bytes_ + cost > SHARD_BYTES:
            flush()
        held.append(group)
        tokens, written, bytes_ = tokens + size(group), written + cost, bytes_ + cost
        by_language[group.language] += 1
        by_kind.update(branch.kind for branch in group.branches)
    if held:
        flush()
    groups_ = sum(shards.values())
    index = Index(
        FORMAT,
        recipe.name,
        recipe.data_fingerprint(),
        tokenizer_fingerprint(tokenizer),
        recipe.seed,
        groups_,
        tokens,
        dict(by_language),
        dict(by_kind),
        shards,
    )
    (out / f"{INDEX}.part").write_text(json.dumps(asdict(index), indent=1) + "\n", encoding="utf-8")
    os.replace(out / f"{INDEX}.part", out / INDEX)
    return index


def _as_is(groups: Any) -> Any:
    return groups


def _with_progress(groups: Iterator[Group], contexts: int, room: int) -> Iterator[Group]:
    """Yield the groups, and show a progress bar."""
    columns = (
        TextColumn("cutting, {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("contexts" if contexts else "kB", total=contexts or room // 1000)
        done = 0
        for group in groups:
            done += 1 if contexts else bytes_of(group)
            bar.update(task, completed=done if contexts else done // 1000)
            yield group


def default_folder(recipe: Recipe) -> Path:
    """Return the folder of a recipe's shards."""
    return cache_folder() / "shards" / recipe.name


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.data.shards",
        description="Cut a recipe's training contexts into packed token shards.",
    )
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="(default: %(default)s)")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--contexts", type=int, default=0, help="number of groups of holes")
    amount.add_argument(
        "--megabytes", type=float, default=0.0, help="size of the shards (default: the recipe's)"
    )
    parser.add_argument("--out", type=Path, help="folder (default: the cache folder's shards/RECIPE)")
    parser.add_argument("--seed", type=int, help="(default: the recipe's)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", help="checkpoint with the tokenizer (default: the recipe's base)")
    parser.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    arguments = parser.parse_args(argv)
    recipe = Recipe.read(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    base = arguments.model or recipe.base
    folder = cache_folder() / "base" if base == "base" else checkpoint.find_model(base)
    out = arguments.out or default_folder(recipe)
    megabytes = 0.0 if arguments.contexts else arguments.megabytes or recipe.shards_mb or 100.0
    index = write(recipe, folder, out, arguments.contexts, megabytes, arguments.processes, arguments.corpus)
    print(
        f"{out}: {index.groups} contexts, {sum(index.kinds.values())} holes, {index.tokens} tokens "
        f"in {len(index.shards)} shards"
    )


if __name__ == "__main__":
    main()
