"""Selects the executor that runs a model on this machine, and imports PyTorch only if necessary."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.cpu.network import (
    TYPICAL_ROW_COST,
    NativeBatch,
    NativeExecutor,
    NativeNetwork,
)
from mercury_lsp.engine.backends.cpu.sources import OpenSource, PackedSource, WeightSource
from mercury_lsp.engine.batching import ContinuousBatcher
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint, CheckpointError
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.system import default_threads

if TYPE_CHECKING:
    from mercury_lsp.engine.backends.network import Network

# The most rows of a batch on a CPU: longer passes would keep the other sessions waiting.
CPU_BATCH_ROWS = 256
INSTALL_TORCH = 'pip install "mercury-lsp[torch]"'
# Device files of the drivers of NVIDIA, WSL and AMD.
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def executor_for(
    loaded: Checkpoint | OpenCheckpoint,
    device: str = "auto",
    threads: int = 0,
    quantization: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> Executor:
    """Load a model on a device (auto, cpu, cuda or mps), and return its executor.

    threads: 0 for `default_threads`. quantization: auto, none, int8 or int4, for open models only; auto is int8 on a
    CPU, because the kernel is fastest with it, and otherwise the most exact one that fits into the device's memory.
    progress: called with the fraction done. Raises `CheckpointError` if the device cannot run the model.
    """
    device, threads = pick_device(device), threads or default_threads()
    native = _native_network(loaded, device, threads, quantization, progress)
    if native is not None:
        return NativeExecutor(native, _row_cost(loaded, native))
    network = _torch_network(loaded, device, quantization, progress)
    from mercury_lsp.engine.backends.torch_executor import TorchExecutor

    return TorchExecutor(network, loaded.forbidden, device, threads)


def batcher_for(
    loaded: Checkpoint | OpenCheckpoint, device: str, threads: int, memory: int, rows: int
) -> ContinuousBatcher:
    """Load a model for many sessions, whose passes are batched, see `batching`; the slots are their executors.

    memory: bytes for the keys and values of all sessions. rows: the most rows of one session. Raises `CheckpointError`
    if the device cannot run the model.
    """
    device, threads = pick_device(device), threads or default_threads()
    native = _native_network(loaded, device, threads, "auto")
    if native is not None:
        return ContinuousBatcher(NativeBatch(native, memory, rows, _row_cost(loaded, native)), CPU_BATCH_ROWS)
    network = _torch_network(loaded, device, "auto")
    from mercury_lsp.engine.backends.batched import BatchedNetwork

    return ContinuousBatcher(BatchedNetwork.of(network, loaded.forbidden, device, memory, rows, threads))


def _row_cost(loaded: Checkpoint | OpenCheckpoint, network: NativeNetwork) -> float:
    """Return `Executor.row_cost`, measured only for models that draft, because other models do not use it."""
    drafts = isinstance(loaded, Checkpoint) or loaded.family.causal
    return network.row_cost() if drafts else TYPICAL_ROW_COST


def _torch_network(
    loaded: Checkpoint | OpenCheckpoint,
    device: str,
    quantization: str,
    progress: Callable[[float], None] | None = None,
) -> Network:
    """Load the network with PyTorch. Raises `CheckpointError` if it is missing or cannot use the device."""
    if not has_torch():
        raise CheckpointError(f"The model {loaded.name} needs torch to run on {device}: {INSTALL_TORCH}")
    from mercury_lsp.engine.backends.torch_executor import dtype_for, has_device

    if not has_device(device):
        raise CheckpointError(f"Torch cannot use {device} here: set the device to auto or cpu.")
    dtype = dtype_for(device)
    if isinstance(loaded, Checkpoint):
        from mercury_lsp.engine.backends.network import Network

        return Network.of(loaded, dtype, progress)
    from mercury_lsp.engine.backends.quantized_load import load_network, quantization_for

    quantization = quantization_for(quantization, loaded.shape, dtype, device)
    return load_network(loaded, device, dtype, quantization, progress)


def _native_network(
    loaded: Checkpoint | OpenCheckpoint,
    device: str,
    threads: int,
    quantization: str,
    progress: Callable[[float], None] | None = None,
) -> NativeNetwork | None:
    """Load the network for the C kernel; None if the kernel cannot run it, or if quantization is forbidden."""
    if device != "cpu" or (isinstance(loaded, OpenCheckpoint) and quantization == "none"):
        return None
    source: WeightSource
    if isinstance(loaded, Checkpoint):
        source = PackedSource(loaded)
    else:
        source = OpenSource(loaded, quantization.replace("auto", "int8"))
    return NativeNetwork.of(source, loaded.forbidden, threads, progress)


def prepare(loaded: Checkpoint | OpenCheckpoint, progress: Callable[[float], None] | None = None) -> None:
    """Prepare the weights of a checkpoint for the C kernel, in the file that servers map into memory.

    Does nothing if the kernel cannot run the model. progress: called with the fraction done. Raises `CheckpointError`.
    """
    _native_network(loaded, "cpu", 1, "auto", progress)


def has_torch() -> bool:
    """Return whether PyTorch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


def pick_device(device: str) -> str:
    """Return the device of a setting; auto prefers CUDA to MPS to the CPU, and is the CPU without PyTorch."""
    if device != "auto":
        return device
    if not (may_have_gpu() and has_torch()):
        return "cpu"
    from mercury_lsp.engine.backends.torch_executor import best_device

    return best_device()


def may_have_gpu() -> bool:
    """Return whether PyTorch may find a GPU, without importing it, because that takes longer than loading a model."""
    if sys.platform == "linux":
        return any(Path(file).exists() for file in _GPU_FILES)
    return sys.platform == "win32" or platform.machine() == "arm64"
