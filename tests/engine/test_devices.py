"""Selection of a device and its executor, with and without torch."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from support.models.tiny_open_models import save_open

from mercury_lsp.engine.backends import devices
from mercury_lsp.engine.backends.cpu import kernel
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.backends.cpu.network import NativeExecutor
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.checkpoints import checkpoint, huggingface
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


def test_unpacked_weights_run_in_torch(unpacked_model: Path) -> None:
    loaded = checkpoint.read_checkpoint(unpacked_model)
    told: list[float] = []
    executor = devices.executor_for(loaded, "cpu", 1, progress=told.append)
    assert isinstance(executor, TorchExecutor)
    assert (executor.device, executor.threads) == ("cpu", 1)
    assert told == sorted(told) and told[-1] == 1.0


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_an_error_names_the_command_that_installs_a_missing_torch(unpacked_model: Path, device: str) -> None:
    assert not devices.has_torch()
    with pytest.raises(CheckpointError, match=r'needs torch .*: pip install "mercury-lsp\[torch\]"'):
        devices.executor_for(checkpoint.read_checkpoint(unpacked_model), device)


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
@pytest.mark.usefixtures("no_torch")
def test_packed_weights_run_in_the_kernel(packed_model: Path) -> None:
    executor = devices.executor_for(checkpoint.read_checkpoint(packed_model), "auto", 3)
    assert isinstance(executor, NativeExecutor)
    assert (executor.device, executor.threads) == ("cpu", 3)


def test_packed_weights_run_in_torch_if_there_is_no_kernel(
    packed_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "kernel_library", lambda: None)
    assert isinstance(devices.executor_for(checkpoint.read_checkpoint(packed_model), "cpu", 1), TorchExecutor)


@pytest.mark.usefixtures("no_torch")
def test_auto_selects_the_cpu_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "may_have_gpu", lambda: True)
    assert devices.pick_device("auto") == "cpu"


def test_torch_is_not_imported_if_there_is_no_file_of_a_gpu_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(devices, "_GPU_FILES", (str(tmp_path / "nvidiactl"),))

    def asked(name: str) -> None:
        raise AssertionError(f"{name} was looked for")

    monkeypatch.setattr(importlib.util, "find_spec", asked)
    assert devices.pick_device("auto") == "cpu"
    (tmp_path / "nvidiactl").touch()
    assert devices.may_have_gpu()


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_an_explicit_device_is_used(device: str) -> None:
    assert devices.pick_device(device) == device


@pytest.mark.parametrize("device", ["cuda", "mps", "abacus"])
def test_an_unavailable_device_is_an_error(
    unpacked_model: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(CheckpointError, match=f"cannot use {device} here"):
        devices.executor_for(checkpoint.read_checkpoint(unpacked_model), device)


def test_an_open_model_runs_in_torch_and_may_be_quantized(tmp_path: Path) -> None:
    save_open(tmp_path, "dream")
    loaded = huggingface.read_open_checkpoint(tmp_path)
    told: list[float] = []
    executor = devices.executor_for(loaded, "cpu", 1, "int8", told.append)
    assert isinstance(executor, TorchExecutor)
    assert (executor.device, executor.threads, told[-1]) == ("cpu", 1, 1.0)
    assert type(executor.network.output.weight).__name__ == "Int8Tensor"
    whole = devices.executor_for(loaded, "cpu", 1, "none")
    assert isinstance(whole, TorchExecutor)
    assert type(whole.network.output.weight).__name__ == "Parameter"


def test_errors_of_an_open_model_name_the_missing_requirement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_open(tmp_path, "dream")
    loaded = huggingface.read_open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="set quantization to int8"):
        devices.executor_for(loaded, "cpu", 1, "int4")
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="Torch cannot use cuda here"):
            devices.executor_for(loaded, "cuda")
    monkeypatch.setattr(devices, "has_torch", lambda: False)
    with pytest.raises(CheckpointError, match="mercury-lsp\\[torch\\]"):
        devices.executor_for(loaded, "cpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_on_cuda_plain_torch_runs_until_graphs_are_measured(
    unpacked_model: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[type] = []
    monkeypatch.setattr("mercury_lsp.engine.backends.torch_executor.has_device", lambda device: True)
    monkeypatch.setattr(TorchExecutor, "__init__", lambda self, *_: made.append(type(self)))
    devices.executor_for(checkpoint.read_checkpoint(unpacked_model), device)
    assert made == [TorchExecutor]
