"""Checkpoints: saving and reading, and one error message for each defect of a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from support.models.tiny_models import TINY, TOKENIZER_JSON, tiny_network

from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.checkpoints.pack import Packed
from model.training.save import save


@pytest.fixture
def folder(unpacked_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unpacked_model, tmp_path / "model"))


def test_a_saved_network_is_read_unchanged(folder: Path) -> None:
    loaded = checkpoint.read_checkpoint(folder)
    assert loaded.name == "unpacked"
    assert loaded.shape == TINY
    for (name, ours), theirs in zip(
        tiny_network().named_parameters(), Network.of(loaded).parameters(), strict=True
    ):
        torch.testing.assert_close(ours.bfloat16(), theirs.bfloat16(), msg=name)


def test_packed_weights_are_read_with_their_number_of_bits(tmp_path: Path) -> None:
    network = tiny_network()
    text = TOKENIZER_JSON.read_text(encoding="utf-8")
    save(tmp_path, "packed", network, text, {}, bits=lambda name: 8 if "embedding" in name else 5)
    found = checkpoint.read_checkpoint(tmp_path)
    packed = {name: weight.bits for name, weight in found.weights().items() if isinstance(weight, Packed)}
    assert packed == {name: 8 if "embedding" in name else 5 for name, _ in network.matrices()}
    loaded = Network.of(found)
    down, ours = loaded.layers[1].down.weight, network.layers[1].down.weight
    assert 0 < (down - ours).norm() / ours.norm() < 0.08
    assert loaded.layers[0].feed_norm.weight.equal(network.layers[0].feed_norm.weight)


def error_of(folder: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        checkpoint.read_checkpoint(folder)
    message = str(raised.value)
    assert "\n" not in message.strip()
    assert str(folder) in message
    return message


def test_the_error_names_a_missing_model() -> None:
    with pytest.raises(CheckpointError, match="no model 'nowhere'"):
        checkpoint.find_model("nowhere")


def test_missing_weights_are_an_error(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()
    assert "fingerprint" in error_of(folder)


def test_truncated_weights_are_an_error(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    assert "fingerprint" in error_of(folder)


def test_a_changed_tokenizer_is_an_error(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8").replace("<mask>", "<task>"), encoding="utf-8")
    assert "fingerprint" in error_of(folder)


def change_config(folder: Path, **values: object) -> None:
    file = folder / checkpoint.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_a_configuration_that_is_not_json_is_an_error(folder: Path) -> None:
    (folder / checkpoint.CONFIG).write_text("{", encoding="utf-8")
    assert "cannot be read" in error_of(folder)


def test_a_newer_format_asks_for_an_update(folder: Path) -> None:
    change_config(folder, format=99)
    assert "update mercury-lsp" in error_of(folder)


@pytest.mark.parametrize("shape", [{}, {"width": "wide"}, {"vocabulary": 49152, "surprise": 1}])
def test_an_invalid_shape_is_an_error(folder: Path, shape: dict[str, object]) -> None:
    change_config(folder, shape=shape)
    assert "cannot be used" in error_of(folder)


def test_a_shape_that_does_not_match_the_weights_is_an_error(folder: Path) -> None:
    config = json.loads((folder / checkpoint.CONFIG).read_text(encoding="utf-8"))
    change_config(folder, shape=config["shape"] | {"layers": 3})
    # This does not read the weights yet.
    loaded = checkpoint.read_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"layers\.2\.\S+ is missing, where .* is expected"):
        loaded.weights()


def test_weights_deleted_after_the_checkpoint_was_read_are_an_error(folder: Path) -> None:
    loaded = checkpoint.read_checkpoint(folder)
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="weights are missing"):
        loaded.weights()


def test_reading_weights_reports_progress(folder: Path) -> None:
    told: list[float] = []
    checkpoint.read_checkpoint(folder).weights(told.append)
    assert told == [1.0]
