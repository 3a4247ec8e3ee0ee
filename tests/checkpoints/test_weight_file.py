"""Weight files: read like the safetensors library reads them, and refused in one clause if they are damaged."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.fuzz_cases import cases
from support.models.tiny_open_models import save_open

from mercury_lsp.engine.backends.quantized_load import DTYPES, _tensor
from mercury_lsp.engine.checkpoints.weight_file import read_weight_index

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


def test_weights_equal_those_that_the_safetensors_library_reads(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    made = {str(kind): torch.randn(3, 5).to(kind) for kind in KINDS}
    made["one"] = torch.tensor(2.5)
    save_file(made, file, metadata={"format": "pt"})
    found = {name: _tensor(stored, name) for name, stored in read_weight_index(file).items()}
    assert {tensor.dtype for tensor in found.values()} == set(DTYPES.values())
    theirs = load_file(file)
    assert found.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert found[name].double().equal(tensor.double())


def write_weight_file(file: Path, header: Any, size: int = 8) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    return file


def entry(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


@pytest.mark.parametrize(
    "header",
    [
        entry(dtype="F33"), entry(dtype=["F32"]), entry(shape=[3]), entry(shape=[-1, -2]), entry(shape=[2.0]),
        entry(shape="2"), entry(shape=[True, 2]), entry(shape=None), entry(data_offsets=[0, 16], shape=[4]),
        entry(data_offsets=[-8, 0]), entry(data_offsets=[0]), entry(data_offsets=[4, 8], shape=[1]),
        entry(data_offsets=[8, 0]), entry(shape=[10**400]), entry(data_offsets={"0": 1, "1": 8}),
        {**entry(), "b": entry()["a"]}, {}, {"a": None}, [], None, b"{", b"\xff", b"[" * 100_000,
        b'{"a": ' * 5000, b"9" * 5000,
    ],
)  # fmt: skip
def test_an_invalid_header_is_refused_in_one_clause(header: Any, tmp_path: Path) -> None:
    assert read_weight_index(write_weight_file(tmp_path / "good", entry()))["a"].size == 8
    with pytest.raises(ValueError, match=r"^its file bad is damaged or incomplete") as told:
        read_weight_index(write_weight_file(tmp_path / "bad", header))
    assert len(str(told.value)) < 200


@pytest.mark.parametrize(
    "content", [b"", b"1234567", bytes(8), b"\xff" * 8, (1 << 40).to_bytes(8, "little"), b"x" * 99]
)
def test_a_file_without_a_header_is_refused_in_one_clause(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or incomplete"):
        read_weight_index(tmp_path / "bad")


def test_damaged_bytes_are_refused_in_one_clause_or_read_as_weights(tmp_path: Path) -> None:
    file, dice = tmp_path / "model.safetensors", random.Random(20)
    save_file({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, file)
    whole = file.read_bytes()
    for _ in range(cases(200)):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.choice((dice.randrange(256), *b'0123456789[]{}",:-'))
        file.write_bytes(damaged[: dice.choice((len(damaged), dice.randrange(len(damaged))))])
        said = ""
        try:
            for stored in read_weight_index(file).values():
                assert len(stored.read()) == stored.size
        except ValueError as error:
            said = str(error)
        assert not said or said.startswith("its file model.safetensors is damaged")


def test_a_file_whose_size_changed_after_its_header_was_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(2, 3)}, file)
    stored = read_weight_index(file)["a"]
    for size in (stored.file_bytes - 1, stored.file_bytes + 1, 0):
        os.truncate(file, size)
        with pytest.raises(ValueError, match="changed while it was read"):
            stored.read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_irregular_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for file in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a regular file"):
            read_weight_index(file)


CUT = """
import os, sys
from pathlib import Path
from mercury_lsp.context.prompt import build
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.backends.devices import executor_for
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.checkpoints.huggingface import read_open_checkpoint
from mercury_lsp.engine.open_models.engine import OpenModelEngine

folder, moment = Path(sys.argv[1]), sys.argv[2]
file = folder / "model.safetensors"

def cut(fraction):
    if moment == "during" and fraction > 0.2:
        os.truncate(file, 4096)

try:
    read = read_open_checkpoint(folder)
    if moment == "before":
        os.truncate(file, 100)
    engine = OpenModelEngine(read, executor_for(read, "cpu", 1, "none", cut))
except CheckpointError as error:
    print(error)
    sys.exit(3)
prompt = build("", "def f(", ")", engine.count, 512, 192, (), engine.stem_start)
first = engine.infill(prompt, Sampling(max_tokens=4, max_passes=8)).text
os.truncate(file, 0)
assert engine.infill(prompt, Sampling(max_tokens=4, max_passes=8)).text == first
print("alive")
"""


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_a_truncated_open_checkpoint_is_refused_or_no_longer_needed(moment: str, tmp_path: Path) -> None:
    save_open(tmp_path / "dream", "dream")
    command = [sys.executable, "-c", CUT, str(tmp_path / "dream"), moment]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if moment == "after":
        assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr
    else:
        assert done.returncode == 3, done.stderr
        assert done.stdout.startswith("The model in ") and done.stdout.count("\n") == 1
        assert "model.safetensors changed while it was read" in done.stdout
