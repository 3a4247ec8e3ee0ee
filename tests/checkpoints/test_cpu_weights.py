"""Prepared weights equal those of the checkpoint, and a model loads whatever happens to their file."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from support.models.tiny_models import PACKABLE, TOKENIZER_JSON, tiny_network

from mercury_lsp.engine.backends.cpu import weights
from mercury_lsp.engine.backends.cpu.sources import PackedSource
from mercury_lsp.engine.backends.cpu.weights import PreparedWeights
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.checkpoint import Checkpoint, CheckpointError
from mercury_lsp.engine.checkpoints.pack import Packed
from mercury_lsp.paths import cache_folder
from model.training.save import save


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of an empty cache folder of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def loaded(packed_model: Path) -> Checkpoint:
    return checkpoint.read_checkpoint(packed_model)


def prepare_and_compare(loaded: Checkpoint) -> PreparedWeights:
    """Prepare the weights of a checkpoint, and compare all values with the checkpoint's."""
    found = PreparedWeights.of(PackedSource(loaded))
    assert found is not None
    for name, weight in loaded.weights().items():
        if isinstance(weight, Packed):
            matrix = found.matrices[name]
            assert (matrix.outputs, matrix.inputs) == weight.shape
            assert (matrix.rows(np.arange(matrix.outputs)) == weight.matrix()).all()
        else:
            assert (found.vectors[name] == weight).all()
    assert len(found.matrices) + len(found.vectors) == len(loaded.shape.weights())
    return found


def is_mapped(weights: PreparedWeights) -> bool:
    """Return whether the weights are mapped from a file, so that all processes that map it share them."""
    base: object = weights.matrices["embedding.weight"].levels
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def only_file(home: Path) -> Path:
    """Return the only file in the cache folder."""
    (file,) = (path for path in home.rglob("*") if path.is_file())
    return file


def test_prepared_values_equal_those_of_the_checkpoint(home: Path, loaded: Checkpoint) -> None:
    found = prepare_and_compare(loaded)
    assert is_mapped(found)
    ids = [5, 3, 49151, 3]
    embedding = loaded.weights()["embedding.weight"]
    assert isinstance(embedding, Packed)
    assert (found.embed(ids) == embedding.matrix()[ids]).all()
    assert found.embed(ids).shape == (4, PACKABLE.width)


def test_the_second_load_only_maps_the_file(
    home: Path, loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    PreparedWeights.of(PackedSource(loaded), told.append)
    assert told == sorted(told) and told[-1] == 1.0
    before = only_file(home).stat()

    def never(*_: object) -> None:
        raise AssertionError("the weights were read")

    monkeypatch.setattr(weights, "prepare_weights", never)
    monkeypatch.setattr(Checkpoint, "weights", never)
    again = PreparedWeights.of(PackedSource(loaded))
    assert again is not None and is_mapped(again)
    assert only_file(home).stat().st_ino == before.st_ino


def test_each_checkpoint_has_its_own_file(home: Path, loaded: Checkpoint, tmp_path: Path) -> None:
    other = tmp_path / "other"
    network = tiny_network(seed=1, shape=PACKABLE)
    save(other, "packed", network, TOKENIZER_JSON.read_text(encoding="utf-8"), {}, bits=lambda _: 7)
    prepare_and_compare(loaded)
    prepare_and_compare(checkpoint.read_checkpoint(other))
    assert len([path for path in home.rglob("*") if path.is_file()]) == 2


def test_only_files_of_prepared_weights_that_are_long_unused_are_deleted(
    home: Path, loaded: Checkpoint
) -> None:
    prepare_and_compare(loaded)
    own = only_file(home)
    old, recent = own.with_name("0" * 32 + "-1.bin"), own.with_name("1" * 32 + "-1.bin")
    # Not a file of prepared weights, so its age does not matter.
    foreign = own.with_name("thesis.bin")
    long = weights.UNUSED_SECONDS + 60
    for file, age in ((old, long), (recent, 60), (own, long), (foreign, long)):
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    prepare_and_compare(loaded)  # in use again
    own.write_bytes(own.read_bytes() + b"damage")
    prepare_and_compare(loaded)  # written again
    assert {file.name for file in own.parent.iterdir()} == {own.name, recent.name, foreign.name}


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are of POSIX")
def test_links_are_neither_followed_nor_cleaned(home: Path, loaded: Checkpoint, tmp_path: Path) -> None:
    prepare_and_compare(loaded)
    own, elsewhere = only_file(home), tmp_path / "elsewhere"
    elsewhere.write_bytes(own.read_bytes())
    link = own.with_name("2" * 32 + "-1.bin")
    link.symlink_to(elsewhere)
    os.utime(link, (0, 0), follow_symlinks=False)
    own.unlink()
    own.symlink_to(elsewhere)
    prepare_and_compare(loaded)
    assert elsewhere.is_file() and link.is_symlink() and not own.is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are of POSIX")
@pytest.mark.parametrize("mode", [0o666, 0o622, 0o660])
def test_a_file_that_others_may_write_is_rebuilt(mode: int, home: Path, loaded: Checkpoint) -> None:
    prepare_and_compare(loaded)
    own = only_file(home)
    own.chmod(mode)
    prepare_and_compare(loaded)
    assert own.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data[:-8] + bytes(8),
        lambda data: bytes(len(data)),
        lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        lambda data: bytes([data[0] ^ 128]) + data[1:],
        lambda data: data[:-8] + bytes([data[-8] ^ 1]) + data[-7:],
    ],
    ids=[
        "a bit",
        "truncated by a byte",
        "half",
        "too long",
        "empty",
        "another sum",
        "zeros",
        "half of it zeros",
        "the first bit",
        "a bit of the sum",
    ],
)
def test_a_damaged_file_is_rebuilt(home: Path, loaded: Checkpoint, damage: object) -> None:
    prepare_and_compare(loaded)
    file = only_file(home)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))  # type: ignore[operator]
    assert is_mapped(prepare_and_compare(loaded))
    assert only_file(home).read_bytes() == whole


def test_weights_stay_in_memory_if_a_file_has_the_name_of_the_folder(
    home: Path, loaded: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    home.write_text("not a folder")
    with caplog.at_level(logging.INFO, "mercury_lsp"):
        assert not is_mapped(prepare_and_compare(loaded))
    assert "cannot be kept" in caplog.text
    assert home.read_text() == "not a folder"


def test_weights_stay_in_memory_if_a_folder_has_the_name_of_the_file(home: Path, loaded: Checkpoint) -> None:
    prepare_and_compare(loaded)
    file = only_file(home)
    file.unlink()
    file.mkdir()
    assert not is_mapped(prepare_and_compare(loaded))
    assert list(file.parent.iterdir()) == [file]  # no unfinished file either


class FullFile:
    """A file on a disk that becomes full."""

    def __init__(self, file: IO[bytes]) -> None:
        self.name, self._file = file.name, file

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: memoryview) -> None:
        self._file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("when", ["made", "written", "named"])
def test_weights_stay_in_memory_if_the_disk_is_full_or_read_only(
    home: Path, loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    temporary = tempfile.NamedTemporaryFile
    with monkeypatch.context() as patch:
        if when == "made":
            patch.setattr(tempfile, "NamedTemporaryFile", refuse)
        elif when == "written":
            patch.setattr(tempfile, "NamedTemporaryFile", lambda **how: FullFile(temporary(**how)))
        else:
            patch.setattr(os, "replace", refuse)
        assert not is_mapped(prepare_and_compare(loaded))
    assert not [path for path in home.rglob("*") if path.is_file()]
    assert is_mapped(prepare_and_compare(loaded))  # the disk can be written again


WRITER = """
import sys, time
from pathlib import Path
from mercury_lsp.engine.backends.cpu import weights
from mercury_lsp.engine.backends.cpu.sources import PackedSource
from mercury_lsp.engine.checkpoints import checkpoint
class Killed:
    def __init__(self, file): self.file = file; self.name = file.name
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def write(self, data):
        self.file.write(data[: len(data) // 2]); self.file.flush()
        print("written", flush=True); time.sleep(999)
make = weights.tempfile.NamedTemporaryFile
weights.tempfile.NamedTemporaryFile = lambda **how: Killed(make(**how))
weights.PreparedWeights.of(PackedSource(checkpoint.read_checkpoint(Path(sys.argv[1]))))
"""


def test_an_unfinished_file_of_a_killed_server_is_not_read_and_deleted_later(
    home: Path, loaded: Checkpoint
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(loaded.folder)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        process.kill()
    half = only_file(home)
    assert half.name.startswith(weights.UNFINISHED_PREFIX) and half.stat().st_size > 0
    assert is_mapped(prepare_and_compare(loaded))
    assert half.exists()  # another process might still be writing it
    (own,) = set(half.parent.iterdir()) - {half}
    os.utime(half, (time.time() - weights.UNFINISHED_SECONDS - 60,) * 2)
    own.unlink()
    prepare_and_compare(loaded)
    assert list(half.parent.iterdir()) == [own]


def test_several_servers_can_prepare_weights_at_once(home: Path, loaded: Checkpoint) -> None:
    code = "import sys; from pathlib import Path; from mercury_lsp.engine.backends.cpu import weights; "
    code += "from mercury_lsp.engine.checkpoints import checkpoint; "
    code += "from mercury_lsp.engine.backends.cpu.sources import PackedSource; sys.stdin.readline(); "
    code += "assert weights.PreparedWeights.of(PackedSource(checkpoint.read_checkpoint(Path(sys.argv[1]))))"
    command = [sys.executable, "-c", code, str(loaded.folder)]
    several = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
    for process in several:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait() for process in several] == [0, 0, 0]
    # There is exactly one file.
    only_file(home)
    assert is_mapped(prepare_and_compare(loaded))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_weights_stay_in_memory_if_the_cache_folder_cannot_be_written(home: Path, loaded: Checkpoint) -> None:
    home.mkdir()
    home.chmod(0o500)
    assert not is_mapped(prepare_and_compare(loaded))


def test_mapped_weights_stay_readable_after_their_file_is_deleted(home: Path, loaded: Checkpoint) -> None:
    first = prepare_and_compare(loaded)
    shutil.rmtree(home, ignore_errors=sys.platform == "win32")
    prepare_and_compare(loaded)
    assert first.embed([3]).any()


def test_unpacked_weights_and_weights_of_8_bits_are_not_prepared(
    home: Path, unpacked_model: Path, tmp_path: Path
) -> None:
    assert PreparedWeights.of(PackedSource(checkpoint.read_checkpoint(unpacked_model))) is None
    fine = tmp_path / "fine"
    network = tiny_network(shape=PACKABLE)
    save(fine, "fine", network, TOKENIZER_JSON.read_text(encoding="utf-8"), {}, bits=lambda _: 8)
    assert PreparedWeights.of(PackedSource(checkpoint.read_checkpoint(fine))) is None
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_missing_weights_are_an_error(home: Path, packed_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(packed_model, tmp_path / "model")
    loaded = checkpoint.read_checkpoint(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(CheckpointError, match="weights are missing"):
        PreparedWeights.of(PackedSource(loaded))


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/c"}, "/c/mercury-lsp"),
        ("linux", {"HOME": "/h"}, "/h/.cache/mercury-lsp"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/mercury-lsp"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/mercury-lsp"),
    ],
)
def test_the_cache_folder_follows_the_conventions_of_the_system(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("XDG_CACHE_HOME")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
