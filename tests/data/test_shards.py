"""Shards contain the groups that were cut; training reads them in one or two processes, without a parser."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.models.tiny_models import TOKENIZER_JSON

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.tokenizer import Tokenizer
from model.data import shards
from model.data.groups import Group
from model.data.shards import Index, Shards, main, parts, write
from model.data.step_data import Cuts, Steps, pick_group
from model.training.recipe import Recipe

CONTEXTS = 70


@pytest.fixture
def recipe(tiny_model: Path) -> Recipe:
    return Recipe("trial", str(tiny_model), steps=4, rows=192, contexts=4, related_share=0.5)


@pytest.fixture
def folder(recipe: Recipe, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shards of `CONTEXTS` groups, in several files."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 8_000)
    write(recipe, TOKENIZER_JSON.parent, tmp_path / "shards", CONTEXTS, corpus=corpus)
    return tmp_path / "shards"


def text(group: Group) -> list[object]:
    return [
        group.language,
        *(branch.kind for branch in group.branches),
        *(ids.tolist() for ids in parts(group)),
    ]


def test_shards_contain_the_groups_that_were_cut(
    recipe: Recipe, tokenizer: Tokenizer, corpus: Path, folder: Path
) -> None:
    groups, read = Cuts(recipe, tokenizer, corpus), Shards(folder, 0)
    assert len(read.index.shards) > 2
    for number in range(CONTEXTS):
        assert text(read.group(number)) == text(pick_group(groups, number))


def test_the_index_has_the_counts_of_the_groups(recipe: Recipe, folder: Path) -> None:
    read = Shards(folder, 0)
    index = read.index
    groups = [read.group(number) for number in range(CONTEXTS)]
    assert index.groups == CONTEXTS == sum(index.shards.values())
    assert index.tokens == sum(len(ids) for group in groups for ids in parts(group))
    assert index.languages == dict(Counter(group.language for group in groups))
    kinds = Counter(branch.kind for group in groups for branch in group.branches)
    assert {kind: count for kind, count in index.kinds.items() if count} == dict(kinds)
    assert index.data == recipe.data_fingerprint() != replace(recipe, holes=9).data_fingerprint()
    assert index.data == replace(recipe, seed=5, rate=1.0).data_fingerprint()
    for name in index.shards:
        assert (folder / name).stat().st_size < shards.SHARD_BYTES + 2_000


def test_the_number_of_processes_does_not_change_the_shards(
    recipe: Recipe, corpus: Path, folder: Path, tmp_path: Path
) -> None:
    write(recipe, TOKENIZER_JSON.parent, tmp_path / "again", CONTEXTS, processes=2, corpus=corpus)
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_the_size_of_shards_can_be_limited(recipe: Recipe, corpus: Path, tmp_path: Path) -> None:
    index = write(recipe, TOKENIZER_JSON.parent, tmp_path / "s", megabytes=0.03, corpus=corpus)
    size = sum((tmp_path / "s" / name).stat().st_size for name in index.shards)
    assert 25_000 < size < 32_000


def test_each_group_is_picked_once_per_epoch(folder: Path) -> None:
    read, plain = Shards(folder, 3), [str(text(Shards(folder, 0).group(i))) for i in range(CONTEXTS)]
    first = [str(text(read.pick(number, 0))) for number in range(CONTEXTS)]
    second = [str(text(read.pick(number, 0))) for number in range(CONTEXTS, 2 * CONTEXTS)]
    assert sorted(first) == sorted(second) == sorted(plain)
    assert first != plain and first != second
    assert [str(text(Shards(folder, 3).pick(number, 0))) for number in range(CONTEXTS)] == first


def test_processes_share_the_contexts_of_a_step(recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> None:
    (whole,) = Steps(recipe, tokenizer, Shards(folder, 0))[2]
    shares = [Steps(recipe, tokenizer, Shards(folder, 0), rank, 2)[2] for rank in range(2)]
    assert torch.cat([share[0].ids for share in shares]).equal(whole.ids)
    halves = Steps(replace(recipe, part=1), tokenizer, Shards(folder, 0))[2]
    assert torch.cat([half.weight for half in halves]).equal(whole.weight)
    assert sum(half.worth for half in halves) == pytest.approx(whole.worth)
    with pytest.raises(SystemExit, match="evenly"):
        Steps(recipe, tokenizer, Shards(folder, 0), 0, 3)


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"model\.data\.shards"):
        Index.read(tmp_path)


def test_the_command_writes_shards_with_which_training_needs_no_parser(
    corpus: Path, tmp_path: Path, tiny_model: Path
) -> None:
    file = tmp_path / "trial.toml"
    settings = ["steps = 2", "rows = 192", "contexts = 2", "bf16 = false", "workers = 1"]
    file.write_text("\n".join([f'base = "{tiny_model}"', *settings]), encoding="utf-8")
    out = tmp_path / "out"
    main(["--recipe", str(file), "--contexts", "20", "--out", str(out), "--corpus", str(corpus)])
    assert json.loads((out / "index.json").read_text(encoding="utf-8"))["groups"] == 20
    command = [str(file), "--shards", str(out), "--runs", str(tmp_path), "--device", "cpu"]
    absent = ("tree_sitter", "pygls", "lsprotocol", "datasketch", "gguf")
    start = f"from model.training.train import main; main({command})"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); {start}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=100)
    assert checkpoint.read_checkpoint(tmp_path / "trial" / "checkpoint").about["step"] == 2
