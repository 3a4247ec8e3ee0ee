"""Chooses the executor that runs a model on this machine, and imports torch only if needed."""

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

# Rows of a batch on a CPU, where a pass of more takes too long for those who wait.
CPU_BATCH_ROWS = 256
INSTALL_TORCH = 'pip install "mercury-lsp[torch]"'
# Files of the drivers of NVIDIA, WSL and AMD.
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def executor_for(
    loaded: Checkpoint | OpenCheckpoint,
    device: str = "auto",
    threads: int = 0,
    quantization: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> Executor:
    """The executor of a model on a device: auto, cpu, cuda or mps.

    threads: 0 for `default_threads`. quantization: of an open model: auto, none, int8 or int4; auto takes int8 on a
    CPU, where the kernel is fastest, and elsewhere the most exact one that fits into the device's memory. progress:
    called with the fraction done. Raises `CheckpointError` where the device cannot run the model.
    """
    device, threads = pick_device(device), threads or default_threads()
    native = _native(loaded, device, threads, quantization, progress)
    if native is not None:
        return NativeExecutor(native, _row_cost(loaded, native))
    network = _torch_network(loaded, device, quantization, progress)
    from mercury_lsp.engine.backends.torch_executor import TorchExecutor

    return TorchExecutor(network, loaded.forbidden, device, threads)


def slots_for(
    loaded: Checkpoint | OpenCheckpoint, device: str, threads: int, memory: int, rows: int
) -> ContinuousBatcher:
    """The executors of many sessions on one network, whose passes are batched, see `batching`.

    memory: bytes for the keys and values of all sessions. rows: the most rows of one session. Raises `CheckpointError`
    if the device cannot run the model.
    """
    device, threads = pick_device(device), threads or default_threads()
    native = _native(loaded, device, threads, "auto")
    if native is not None:
        return ContinuousBatcher(NativeBatch(native, memory, rows, _row_cost(loaded, native)), CPU_BATCH_ROWS)
    network = _torch_network(loaded, device, "auto")
    from mercury_lsp.engine.backends.batched import BatchedNetwork

    return ContinuousBatcher(BatchedNetwork.of(network, loaded.forbidden, device, memory, rows, threads))


def _row_cost(loaded: Checkpoint | OpenCheckpoint, network: NativeNetwork) -> float:
    """See `Executor.row_cost`, measured only for models that draft: an open diffusion model would wait for nothing."""
    drafts = isinstance(loaded, Checkpoint) or loaded.family.causal
    return network.row_cost() if drafts else TYPICAL_ROW_COST


def _torch_network(
    loaded: Checkpoint | OpenCheckpoint,
    device: str,
    quantization: str,
    progress: Callable[[float], None] | None = None,
) -> Network:
    """The network on torch. Raises `CheckpointError` if torch is missing or cannot use the device."""
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


def _native(
    loaded: Checkpoint | OpenCheckpoint,
    device: str,
    threads: int,
    quantization: str,
    progress: Callable[[float], None] | None = None,
) -> NativeNetwork | None:
    """The network on the CPU's kernel; None if the kernel cannot run it, or if its weights must not be quantized."""
    if device != "cpu" or (isinstance(loaded, OpenCheckpoint) and quantization == "none"):
        return None
    source: WeightSource
    if isinstance(loaded, Checkpoint):
        source = PackedSource(loaded)
    else:
        source = OpenSource(loaded, quantization.replace("auto", "int8"))
    return NativeNetwork.of(source, loaded.forbidden, threads, progress)


def prepare(loaded: Checkpoint | OpenCheckpoint, progress: Callable[[float], None] | None = None) -> None:
    """Lay out the weights of a checkpoint for the CPU's kernel, in the file that servers map.

    Does nothing if the kernel cannot run the model. progress: called with the fraction done. Raises `CheckpointError`.
    """
    _native(loaded, "cpu", 1, "auto", progress)


def has_torch() -> bool:
    """Whether torch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


def pick_device(device: str) -> str:
    """The device of a setting; auto prefers CUDA, then Apple's MPS, then the CPU, which is the one without torch."""
    if device != "auto":
        return device
    if not (may_have_gpu() and has_torch()):
        return "cpu"
    from mercury_lsp.engine.backends.torch_executor import best_device

    return best_device()


def may_have_gpu() -> bool:
    """Whether torch might find a GPU, by the drivers' files: importing torch takes longer than loading a model."""
    if sys.platform == "linux":
        return any(Path(file).exists() for file in _GPU_FILES)
    return sys.platform == "win32" or platform.machine() == "arm64"
