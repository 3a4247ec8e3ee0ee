"""Tests of models of other programs: they are found by those programs' names, and no other file is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mercury_lsp.models.local_files import MAX_FILES, LocalFile, find_local, list_local_files


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LLAMA_CACHE", "HF_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def put(path: Path, content: str = "GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def ollama(home: Path, publisher: str, name: str, tag: str, digest: str) -> Path:
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:00"},
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest},
    ]
    manifest = home / ".ollama/models/manifests/registry.ollama.ai" / publisher / name / tag
    put(manifest, json.dumps({"layers": layers}))
    return home / ".ollama/models/blobs" / digest.replace(":", "-")


def test_the_models_of_each_program_are_found(home: Path) -> None:
    cached = put(home / ".cache/llama.cpp/qwen-coder-q8_0.gguf")
    hub = put(home / ".cache/huggingface/hub/models--a--b/snapshots/0123/coder.gguf")
    studio = put(home / ".lmstudio/models/someone/coder-GGUF/coder-Q4_K_M.gguf")
    blob = put(ollama(home, "library", "qwen2.5-coder", "0.5b", "sha256:ab12"))
    other = put(ollama(home, "someone", "coder", "latest", "sha256:cd34"))
    assert list_local_files() == [
        LocalFile("coder-Q4_K_M", "LM Studio", studio),
        LocalFile("qwen2.5-coder:0.5b", "Ollama", blob),
        LocalFile("someone/coder:latest", "Ollama", other),
        LocalFile("coder", "llama.cpp", hub),
        LocalFile("qwen-coder-q8_0", "llama.cpp", cached),
    ]
    assert find_local("qwen2.5-coder:0.5b") == blob
    assert find_local("qwen2.5-coder:7b") is None


def test_the_environment_variables_of_the_programs_are_respected(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = home / "elsewhere"
    monkeypatch.setenv("LLAMA_CACHE", str(elsewhere))
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "mine"))
    found = put(elsewhere / "a.gguf")
    put(home / ".cache/llama.cpp/b.gguf")
    put(ollama(home, "library", "a", "b", "sha256:ab"))
    assert list_local_files() == [LocalFile("a", "llama.cpp", found)]


def test_parts_and_encoders_are_not_models(home: Path) -> None:
    folder = home / ".cache/llama.cpp"
    for name in ("mmproj-a.gguf", "ggml-vocab-a.gguf", "big-00002-of-00002.gguf", "a.txt"):
        put(folder / name)
    (folder / "folder.gguf").mkdir()
    first = put(folder / "big-00001-of-00002.gguf")
    assert [file.path for file in list_local_files()] == [first]


@pytest.mark.parametrize(
    "manifest",
    [
        "", "[]", "{", '{"layers": 3}', '{"layers": [{}]}', "[" * 100_000,
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "../../../secret"}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:missing"}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": null}]}',
    ],
)  # fmt: skip
def test_an_invalid_manifest_names_no_model(manifest: str, home: Path) -> None:
    put(home / "secret")
    put(home / ".ollama/models/blobs/sha256-ab")
    put(home / ".ollama/models/manifests/registry.ollama.ai/library/a/b", manifest)
    assert list_local_files() == []


def test_the_number_of_listed_files_is_limited(home: Path) -> None:
    for number in range(MAX_FILES + 50):
        put(home / ".cache/llama.cpp" / f"{number}.gguf")
    assert len(list_local_files()) == MAX_FILES
