"""Tests of downloaded models: they are found by their names, and only if their folders are complete."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.models.downloads import (
    NOTE_FILE,
    DownloadNote,
    find_download,
    list_downloads,
    list_partial_downloads,
    model_folder,
    models_folder,
    partial_folder,
    write_note,
)

CODER = "apple/DiffuCoder-7B-Base"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("MERCURY_MODEL", raising=False)
    return tmp_path


def put(repo: str, folder: Path | None = None) -> Path:
    folder = folder or model_folder(repo)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    write_note(folder, DownloadNote(repo, "c" * 40, "hub", None, {"config.json": "d" * 40}))
    return folder


def test_there_are_no_downloads_without_a_folder() -> None:
    assert not models_folder().exists()
    assert list_downloads() == list_partial_downloads() == []
    assert find_download("diffucoder-7b-base") is None


@pytest.mark.parametrize("name", ["diffucoder-7b-base", "DiffuCoder-7B-Base".lower(), CODER, CODER.lower()])
def test_a_model_is_found_by_its_names(name: str) -> None:
    folder = put(CODER)
    put("acme/tiny")
    found = find_download(name)
    assert found is not None and (found.name, found.folder) == ("diffucoder-7b-base", folder)
    assert found.note == DownloadNote(CODER, "c" * 40, "hub", None, {"config.json": "d" * 40})
    assert checkpoint.locate_model(name) == checkpoint.find_model(name) == folder


def test_a_model_that_is_not_in_the_table_has_its_name_at_the_hub() -> None:
    folder = put("acme/tiny")
    assert [(found.name, found.folder) for found in list_downloads()] == [("acme/tiny", folder)]
    assert find_download("tiny") is None


def test_a_folder_that_is_incomplete_or_has_no_note_is_not_a_model() -> None:
    put("acme/tiny", partial_folder("acme/tiny"))
    (models_folder() / "other").mkdir()
    for content in ("", "[]", "{}", '{"repo": "a/b", "more": 1}'):
        (models_folder() / "other" / NOTE_FILE).write_text(content)
        assert list_downloads() == []
    assert list_partial_downloads() == ["acme/tiny"]
    with pytest.raises(checkpoint.CheckpointError, match="There is no model 'acme/tiny'"):
        checkpoint.locate_model("acme/tiny")


def test_the_error_for_a_missing_known_model_names_the_command_to_download_it() -> None:
    with pytest.raises(checkpoint.CheckpointError, match=r"mercury-lsp models download sdar-4b$"):
        checkpoint.find_model("sdar-4b")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/d"}, "/d/mercury-lsp/models"),
        ("linux", {"HOME": "/h"}, "/h/.local/share/mercury-lsp/models"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/mercury-lsp/models"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/mercury-lsp/models"),
    ],
)
def test_the_folder_of_models_follows_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert models_folder().as_posix() == expected
