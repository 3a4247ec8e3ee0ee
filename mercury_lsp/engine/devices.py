"""Devices: which executor runs a model here.

Owns the choice, and finds out what there is without importing torch where nothing needs it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from mercury_lsp.engine.checkpoint import Checkpoint, CheckpointError
from mercury_lsp.engine.executor import Executor
from mercury_lsp.engine.native import NativeExecutor

INSTALL_TORCH = 'pip install "mercury-lsp[torch]"'
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA's driver, WSL's, AMD's


def executor_for(
    loaded: Checkpoint,
    device: str = "auto",
    threads: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Executor:
    """The executor of a model on a device: auto, cpu, cuda or mps.

    threads: 0 for all cores, at most 4. progress: called with the fraction done. Raises `CheckpointError` where the
    device cannot run the model.
    """
    threads = threads or min(4, os.cpu_count() or 1)
    device = pick(device)
    if device == "cpu" and (native := NativeExecutor.of(loaded, threads, progress)) is not None:
        return native
    if not has_torch():
        raise CheckpointError(f"The model {loaded.name} needs torch to run on {device}: {INSTALL_TORCH}")
    from mercury_lsp.engine.cuda_graphs import GraphExecutor
    from mercury_lsp.engine.torch_executor import TorchExecutor, has_device

    if not has_device(device):
        raise CheckpointError(f"Torch cannot use {device} here: set the device to auto or cpu.")
    kind = GraphExecutor if device.startswith("cuda") else TorchExecutor
    return kind.of(loaded, device, threads, progress)


def has_torch() -> bool:
    """Whether torch is installed; does not import it."""
    return importlib.util.find_spec("torch") is not None


def pick(device: str) -> str:
    """The device of a setting; auto prefers CUDA, then Apple's MPS, then the CPU, and without torch takes the CPU."""
    if device != "auto":
        return device
    if not (may_have_gpu() and has_torch()):
        return "cpu"
    from mercury_lsp.engine.torch_executor import best_device

    return best_device()


def may_have_gpu() -> bool:
    """Whether there could be a GPU that torch can use: no file of a driver, no GPU. Importing torch would take longer
    than loading a model."""
    if sys.platform == "linux":
        return any(Path(file).exists() for file in _GPU_FILES)
    return sys.platform == "win32" or platform.machine() == "arm64"
