"""Truncating a file while it is mapped ends no process: each test does so in a process of its own."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mercury_lsp.engine.backends.cpu import mapping
from mercury_lsp.engine.backends.cpu.mapping import MappedFile

SIZE = 10 * 4096 + 100

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody cut a mapped file off")


def write_weights(folder: Path) -> Path:
    file = folder / "weights"
    file.write_bytes(np.arange(SIZE, dtype=np.uint8).tobytes())
    return file


def open_(file: Path) -> MappedFile:
    with file.open("rb") as opened:
        return MappedFile(opened, SIZE)


def test_a_mapping_has_the_content_of_the_file(tmp_path: Path) -> None:
    # Unmap the models of other tests, because only a limited number of mappings is guarded.
    gc.collect()
    made = open_(write_weights(tmp_path))
    assert made.shared and not made.lost
    assert (made.blob == np.arange(SIZE, dtype=np.uint8)).all()


def test_without_a_guard_the_file_is_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("nobody can cut it off there")
    monkeypatch.setattr(mapping, "kernel_library", lambda: None)
    file = write_weights(tmp_path)
    made = open_(file)
    os.truncate(file, 0)
    assert not made.shared and not made.lost
    assert (made.blob == np.arange(SIZE, dtype=np.uint8)).all()


def test_a_file_that_is_too_short_is_not_mapped(tmp_path: Path) -> None:
    file = write_weights(tmp_path)
    os.truncate(file, SIZE - 1)
    with pytest.raises((OSError, ValueError)):
        open_(file)


CUT = """
import os, sys
import numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_mapping import SIZE, open_
file = Path(sys.argv[1])
made, other = open_(file), open_(file)
os.truncate(file, 4096)
assert int(made.blob[:4096].sum()) > 0 and not made.lost
assert made.blob[SIZE - 1] == 0 and made.lost
assert not made.blob.any()  # all of it, so that nothing is read that somebody else has written
made.restore(np.arange(SIZE, dtype=np.uint8))
assert not made.lost and (made.blob == np.arange(SIZE, dtype=np.uint8)).all()
assert not other.lost and other.blob[SIZE - 1] == 0 and other.lost
file.write_bytes(bytes(SIZE))
assert all(open_(file).shared for _ in range(120))  # ranges are free again
kept = [open_(file) for _ in range(80)]
assert kept[0].shared and not kept[-1].shared  # there are not so many: the others are read into memory
os.truncate(file, 0)
assert not any(each.blob.any() for each in kept)
print("alive")
"""


@posix_only
def test_a_truncated_mapping_reads_as_zeros_and_can_be_restored(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CUT, str(write_weights(tmp_path)), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr


UNGUARDED = """
import os, sys
import numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_mapping import open_
file = Path(sys.argv[1])
made = open_(file)
bare = np.memmap(file, np.uint8, "r")
os.truncate(file, 0)
bare[-1]
"""


@posix_only
def test_a_fault_outside_guarded_mappings_still_ends_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", UNGUARDED, str(write_weights(tmp_path)), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGBUS


PASS = """
import os, sys
from pathlib import Path
import numpy as np
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.backends.cpu.network import NativeExecutor, NativeNetwork
from mercury_lsp.engine.backends.cpu.sources import PackedSource
from mercury_lsp.paths import cache_folder
from mercury_lsp.engine.backends.attention import TokenLayout
loaded = checkpoint.read_checkpoint(Path(sys.argv[1]))
executor = NativeExecutor(NativeNetwork.of(PackedSource(loaded), loaded.forbidden, 2))
def answer(ids, past):
    hidden = executor.run(ids, TokenLayout.clean(past, len(ids)), past)
    return hidden.copy(), executor.scores(hidden).copy()
first, then = answer([5, 3, 7], 0), answer([9], 3)
(file,) = cache_folder().rglob("*.bin")
for cut in (4096, 0):
    assert all(map(np.array_equal, answer([5, 3, 7], 0), first))
    os.truncate(file, cut)
    assert all(map(np.array_equal, answer([9], 3), then))  # what was read before is still kept
assert all(map(np.array_equal, answer([5, 3, 7], 0), first))
print("alive")
"""


@posix_only
def test_a_model_keeps_working_if_its_file_is_truncated(
    packed_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = [sys.executable, "-c", PASS, str(packed_model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr
    assert "truncated while in use" in done.stderr
