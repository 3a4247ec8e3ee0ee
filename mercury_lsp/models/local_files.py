"""Finds GGUF files that llama.cpp, Ollama and LM Studio keep on this machine.

Only folders of these programs are looked at, and only names are read: a file is opened when the user selects it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

# A folder with more files is not searched any further.
MAX_FILES = 200
MAX_MANIFEST_BYTES = 1 << 20
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
# Parts of other files: of a model in several files the first, and images' encoders.
_NOT_A_MODEL = ("mmproj", "ggml-vocab")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A GGUF file. ``program``: the program that keeps it; ``name``: what that program calls it."""

    name: str
    program: str
    path: Path


def local_files() -> list[LocalFile]:
    """The files of all programs, by program and name. A folder that cannot be read counts as empty."""
    files = [
        *_in_folder("llama.cpp", _llama_cpp(), "*.gguf"),
        *_in_folder("llama.cpp", _hub(), "models--*/snapshots/*/*.gguf"),
        *_in_folder("LM Studio", Path.home() / ".lmstudio" / "models", "*/*/*.gguf"),
        *_in_folder("LM Studio", Path.home() / ".cache" / "lm-studio" / "models", "*/*/*.gguf"),
        *_ollama(),
    ]
    return sorted(files, key=lambda file: (file.program, file.name))


def find_local(name: str) -> Path | None:
    """The file that a program calls ``name``, such as ``qwen2.5-coder:0.5b``; None if there is none."""
    return next((file.path for file in local_files() if file.name == name), None)


def _in_folder(program: str, folder: Path, pattern: str) -> Iterator[LocalFile]:
    try:
        for path in islice(folder.glob(pattern), MAX_FILES):
            first = "-of-" not in path.stem or "-00001-of-" in path.stem
            if first and not path.name.startswith(_NOT_A_MODEL) and path.is_file():
                yield LocalFile(path.stem, program, path)
    except OSError:
        return


def _llama_cpp() -> Path:
    """The folder into which llama.cpp downloads models (its common/common.cpp)."""
    if folder := os.environ.get("LLAMA_CACHE"):
        return Path(folder)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llama.cpp"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "llama.cpp"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llama.cpp"


def _hub() -> Path:
    """The cache of the model hub, in which newer versions of llama.cpp keep their downloads."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface"
    )
    return Path(home) / "hub"


def _ollama() -> Iterator[LocalFile]:
    """The models of Ollama: a manifest for each name and tag, and files named by their hashes."""
    root = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")
    try:
        for manifest in islice((root / "manifests").glob("*/*/*/*"), MAX_FILES):
            path = _blob(root, manifest)
            if path is not None:
                publisher, name, tag = manifest.parts[-3:]
                owner = "" if publisher == "library" else f"{publisher}/"
                yield LocalFile(f"{owner}{name}:{tag}", "Ollama", path)
    except OSError:
        return


def _blob(root: Path, manifest: Path) -> Path | None:
    """The file of the model in a manifest; None if there is none."""
    try:
        with manifest.open("rb") as file:
            layers = json.loads(file.read(MAX_MANIFEST_BYTES))["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"] == _OLLAMA_MODEL)
        path = root / "blobs" / str(digest).replace(":", "-")
        return path if path.parent == root / "blobs" and path.is_file() else None
    except (OSError, ValueError, LookupError, TypeError, StopIteration, RecursionError):
        return None
