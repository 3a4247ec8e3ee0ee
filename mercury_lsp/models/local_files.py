"""Finds GGUF files that llama.cpp, Ollama and LM Studio keep on this machine.

Only the folders of these programs are searched, and no model file is opened before the user selects it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

# The search of a folder stops after this many files.
MAX_FILES = 200
MAX_MANIFEST_BYTES = 1 << 20
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
# The prefixes of GGUF files that are not language models: image encoders and bare vocabularies.
_NOT_A_MODEL_PREFIXES = ("mmproj", "ggml-vocab")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A GGUF file. ``program``: the program that keeps the file; ``name``: that program's name for the model."""

    name: str
    program: str
    path: Path


def list_local_files() -> list[LocalFile]:
    """Return the files of all programs, sorted by program and name. An unreadable folder counts as empty."""
    files = [
        *_in_folder("llama.cpp", _llama_cpp_folder(), "*.gguf"),
        *_in_folder("llama.cpp", _hub_cache_folder(), "models--*/snapshots/*/*.gguf"),
        *_in_folder("LM Studio", Path.home() / ".lmstudio" / "models", "*/*/*.gguf"),
        *_in_folder("LM Studio", Path.home() / ".cache" / "lm-studio" / "models", "*/*/*.gguf"),
        *_ollama_files(),
    ]
    return sorted(files, key=lambda file: (file.program, file.name))


def find_local(name: str) -> Path | None:
    """Return the file of a model by its name in a program, such as ``qwen2.5-coder:0.5b``; None if there is none."""
    return next((file.path for file in list_local_files() if file.name == name), None)


def _in_folder(program: str, folder: Path, pattern: str) -> Iterator[LocalFile]:
    try:
        for path in islice(folder.glob(pattern), MAX_FILES):
            is_first_part = "-of-" not in path.stem or "-00001-of-" in path.stem
            if is_first_part and not path.name.startswith(_NOT_A_MODEL_PREFIXES) and path.is_file():
                yield LocalFile(path.stem, program, path)
    except OSError:
        return


def _llama_cpp_folder() -> Path:
    """Return the folder into which llama.cpp downloads models (see its common/common.cpp)."""
    if folder := os.environ.get("LLAMA_CACHE"):
        return Path(folder)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llama.cpp"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "llama.cpp"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llama.cpp"


def _hub_cache_folder() -> Path:
    """Return the cache folder of the model hub, in which newer versions of llama.cpp keep their downloads."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface"
    )
    return Path(home) / "hub"


def _ollama_files() -> Iterator[LocalFile]:
    """Yield the models of Ollama, which keeps a manifest for each name and tag, and files named by their hashes."""
    root = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")
    try:
        for manifest in islice((root / "manifests").glob("*/*/*/*"), MAX_FILES):
            path = _manifest_blob(root, manifest)
            if path is not None:
                publisher, name, tag = manifest.parts[-3:]
                owner = "" if publisher == "library" else f"{publisher}/"
                yield LocalFile(f"{owner}{name}:{tag}", "Ollama", path)
    except OSError:
        return


def _manifest_blob(root: Path, manifest: Path) -> Path | None:
    """Return the model file that a manifest names; None if there is none."""
    try:
        with manifest.open("rb") as file:
            layers = json.loads(file.read(MAX_MANIFEST_BYTES))["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"] == _OLLAMA_MODEL)
        path = root / "blobs" / str(digest).replace(":", "-")
        return path if path.parent == root / "blobs" and path.is_file() else None
    except (OSError, ValueError, LookupError, TypeError, StopIteration, RecursionError):
        return None
