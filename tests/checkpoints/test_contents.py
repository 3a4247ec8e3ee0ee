"""Requirements on a model folder: complete folders pass, and one defect at a time is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.checkpoints.contents import check_model_folder
from mercury_lsp.engine.checkpoints.huggingface import INDEX


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An open model in two files of weights."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    for name in ("one", "two"):
        weights = {name: np.ones((3, 4), np.float32), f"{name}.bias": np.ones(5, np.float16)}
        save_file(weights, tmp_path / f"{name}.safetensors", metadata={"format": "pt"})
    index = {"weight_map": {"one": "one.safetensors", "two": "two.safetensors"}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    return tmp_path


def test_folders_of_open_models_and_of_own_checkpoints_pass(folder: Path, tiny_model: Path) -> None:
    check_model_folder(folder)
    check_model_folder(tiny_model)
    (folder / INDEX).unlink()
    check_model_folder(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").touch()
    (folder / "merges.txt").touch()
    check_model_folder(folder)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


WRONG: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no configuration": ("config.json", Path.unlink, "has no config.json"),
    "no JSON": ("config.json", cut, "is not JSON"),
    "no object": ("config.json", lambda file: file.write_text("[]"), "no object"),
    "no architecture": ("config.json", lambda file: file.write_text("{}"), "names no architecture"),
    "an unknown form": ("config.json", lambda file: file.write_text('{"format": 99}'), "update mercury-lsp"),
    "no tokenizer": ("tokenizer.json", Path.unlink, "has no tokenizer.json"),
    "a shard less": ("two.safetensors", Path.unlink, "two.safetensors is missing"),
    "a shard cut": ("two.safetensors", cut, "damaged or incomplete"),
    "a shard too long": ("two.safetensors", lengthen, "damaged or incomplete"),
    "a shard empty": ("two.safetensors", lambda file: file.write_bytes(b""), "damaged or incomplete"),
    "a pointer": (
        "two.safetensors",
        lambda file: file.write_text("version https://git-lfs"),
        "damaged or incomplete",
    ),
    "a header of lists": (
        "two.safetensors",
        lambda file: file.write_bytes(b"\2" + bytes(7) + b"[]"),
        "damaged or incomplete",
    ),
    "an index of nothing": (INDEX, lambda file: file.write_text('{"weight_map": [1]}'), "no object"),
}


@pytest.mark.parametrize(("name", "spoil", "says"), WRONG.values(), ids=WRONG)
def test_each_defect_is_reported_in_one_line(
    folder: Path, name: str, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(folder / name)
    with pytest.raises(CheckpointError) as error:
        check_model_folder(folder)
    assert says in str(error.value) and "\n" not in str(error.value) and str(folder) in str(error.value)


def test_a_model_with_pickled_weights_is_refused(folder: Path) -> None:
    for file in (*folder.glob("*.safetensors"), folder / INDEX):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="never read"):
        check_model_folder(folder)


def test_a_damaged_own_checkpoint_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    check_model_folder(tmp_path)
    cut(next(tmp_path.glob("*.safetensors")))
    with pytest.raises(CheckpointError, match="damaged"):
        check_model_folder(tmp_path)


def test_an_index_that_points_outside_the_folder_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "one.safetensors"
    elsewhere.write_bytes(b"")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"one": str(elsewhere)}}))
    with pytest.raises(CheckpointError, match="outside of the folder"):
        check_model_folder(folder)
