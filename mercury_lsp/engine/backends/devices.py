"""Devices: which executor runs a model here.

Owns the choice, and finds out what there is without importing torch where nothing needs it.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mercury_lsp.engine.backends.base import Executor
from mercury_lsp.engine.backends.cpu import NativeExecutor, fits, instruction_sets, kept_bytes
from mercury_lsp.engine.backends.cpu_weights import Prepared
from mercury_lsp.engine.batching import ContinuousBatcher, RoundRobin, SlotPool
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint, CheckpointError
from mercury_lsp.engine.checkpoints.huggingface import OpenCheckpoint
from mercury_lsp.engine.system import usual_threads

if TYPE_CHECKING:
    from mercury_lsp.engine.backends.network import Network

INSTALL_TORCH = 'pip install "mercury-lsp[torch]"'
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA's driver, WSL's, AMD's


def executor_for(
    loaded: Checkpoint,
    device: str = "auto",
    threads: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Executor:
    """The executor of a model on a device: auto, cpu, cuda or mps.

    threads: 0 for `usual_threads`. progress: called with the fraction done. Raises `CheckpointError` where the
    device cannot run the model.
    """
    threads = threads or usual_threads()
    device = pick(device)
    if device == "cpu" and (native := NativeExecutor.of(loaded, threads, progress)) is not None:
        return native
    if not has_torch():
        raise CheckpointError(f"The model {loaded.name} needs torch to run on {device}: {INSTALL_TORCH}")
    from mercury_lsp.engine.backends.torch_executor import TorchExecutor, has_device

    if not has_device(device):
        raise CheckpointError(f"Torch cannot use {device} here: set the device to auto or cpu.")
    return TorchExecutor.of(loaded, device, threads, progress)


def slots_for(
    loaded: Checkpoint | OpenCheckpoint,
    device: str,
    threads: int,
    memory: int,
    rows: int,
    together: bool | None = None,
    quantization: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> SlotPool:
    """Executors for many sessions on one network: see `batching`.

    memory: bytes for the keys and values of all sessions; rows: how many one of them may have. together: whether
    passes are batched; None where it pays, on a GPU, for on a processor the kernel is faster one by one. quantization:
    of an open model. Raises `CheckpointError` where the device cannot run the model.
    """
    threads = threads or usual_threads()
    device = pick(device)
    if device == "cpu" and not together and isinstance(loaded, Checkpoint) and _native(loaded):
        prepared = Prepared.of(loaded, progress)
        if prepared is not None:
            return RoundRobin(
                lambda: NativeExecutor(prepared, loaded.tokenizer.hidden, threads),
                kept_bytes(loaded.shape, rows),
            )
    if not has_torch():
        raise CheckpointError(f"The model {loaded.name} needs torch to run on {device}: {INSTALL_TORCH}")
    from mercury_lsp.engine.backends.batched import BatchedNetwork
    from mercury_lsp.engine.backends.network import Network
    from mercury_lsp.engine.backends.torch_executor import dtype_for, has_device

    if not has_device(device):
        raise CheckpointError(f"Torch cannot use {device} here: set the device to auto or cpu.")
    if isinstance(loaded, OpenCheckpoint):
        network, forbidden = _open_network(loaded, device, quantization, progress), loaded.forbidden
    else:
        network, forbidden = Network.of(loaded, dtype_for(device), progress), loaded.tokenizer.hidden
    return ContinuousBatcher(BatchedNetwork.of(network, forbidden, device, memory, rows, threads))


def open_executor_for(
    loaded: OpenCheckpoint,
    device: str = "auto",
    threads: int = 0,
    quantization: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> Executor:
    """The executor of an open model on a device; see `executor_for`.

    quantization: auto, none, int8 or int4; auto takes the most exact that fits the device's memory.
    """
    device = pick(device)
    if not has_torch():
        raise CheckpointError(f"The model {loaded.name} needs torch: {INSTALL_TORCH}")
    from mercury_lsp.engine.backends.torch_executor import TorchExecutor, has_device

    if not has_device(device):
        raise CheckpointError(f"Torch cannot use {device} here: set the device to auto or cpu.")
    network = _open_network(loaded, device, quantization, progress)
    return TorchExecutor(network, loaded.forbidden, device, threads or usual_threads())


def _open_network(
    loaded: OpenCheckpoint, device: str, quantization: str, progress: Callable[[float], None] | None
) -> Network:
    from mercury_lsp.engine.backends.quantized_load import chosen, network_of
    from mercury_lsp.engine.backends.torch_executor import dtype_for

    dtype = dtype_for(device)
    return network_of(loaded, device, dtype, chosen(quantization, loaded.shape, dtype, device), progress)


def _native(loaded: Checkpoint) -> bool:
    """Whether the kernel is installed and can run a network."""
    return bool(instruction_sets()) and fits(loaded.shape)


def has_torch() -> bool:
    """Whether torch is installed; does not import it."""
    return importlib.util.find_spec("torch") is not None


def pick(device: str) -> str:
    """The device of a setting; auto prefers CUDA, then Apple's MPS, then the CPU, and without torch takes the CPU."""
    if device != "auto":
        return device
    if not (may_have_gpu() and has_torch()):
        return "cpu"
    from mercury_lsp.engine.backends.torch_executor import best_device

    return best_device()


def may_have_gpu() -> bool:
    """Whether there could be a GPU that torch can use: no file of a driver, no GPU. Importing torch would take longer
    than loading a model."""
    if sys.platform == "linux":
        return any(Path(file).exists() for file in _GPU_FILES)
    return sys.platform == "win32" or platform.machine() == "arm64"
