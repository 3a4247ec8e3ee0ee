"""Fuzzes the JSON files of checkpoints: each loads and can be asked, or is refused fast with one short sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz_cases import fuzzed
from support.models.tiny_models import PACKABLE, TOKENIZER_JSON, tiny_network
from support.models.tiny_open_models import save_open

from mercury_lsp.engine import load
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.checkpoints.json_values import MAX_FILE_BYTES
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.decoding.mixture import Mixture
from mercury_lsp.engine.tokenizer import Prompt
from model.training.save import save

# Processor time for one folder, including its vocabulary of 49,152 tokens.
MOST_SECONDS = 3.0
LONGEST_SENTENCE = 700
GONE = object()
OPEN = ("dream", "a2d-bd3lm", "llada", "stable-diffcoder")
OPTIONAL = (
    "mask_token_id", "eos_token_id", "block_size", "rope_scaling", "rope_parameters", "rope_theta", "architectures",
    "layer_types", "hidden_act", "head_dim", "quantization_config", "mlp_ratio", "num_experts", "tie_word_embeddings",
)  # fmt: skip
WRONG = st.one_of(
    st.sampled_from([GONE, None, True, -1, 0, 1, 3, 2.5, 16_384, 1 << 30, 10**9, -(10**9), 10**400, -0.0,
                     float("nan"), float("inf"), "", "x", "%999999999d", "\x1b[2J", "\ud800", "x" * 100_000,
                     [], [1], [[[]]], [None], {}, {"a": 1}, {"type": "\u202e"}, {"": {"": []}}]),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
)  # fmt: skip


def value_paths(values: object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each value in an object, the empty path first."""
    yield at
    for name, value in values.items() if isinstance(values, dict) else ():
        yield from value_paths(value, (*at, name))


def with_value(values: Any, at: tuple[str, ...], value: object) -> Any:
    """Return the object with another value at a path."""
    if not at:
        return {} if value is GONE else value
    name, *rest = at
    old = dict(values) if isinstance(values, dict) else {}
    if not rest and value is GONE:
        return {key: kept for key, kept in old.items() if key != name}
    return old | {name: with_value(old.get(name), tuple(rest), value)}


def try_folder(folder: Path, ask: bool = True) -> None:
    """Load the model in a folder, and require that it works or is refused with one short sentence in time."""
    began = process_time()
    try:
        loaded = load.load_checkpoint(str(folder))
        if isinstance(loaded, OpenCheckpoint):
            masks = [] if loaded.mask is None else [loaded.mask]
            assert max(*masks, loaded.end_token, *loaded.stop_tokens) < loaded.shape.vocabulary
            assert min(*masks, loaded.end_token, *loaded.stop_tokens) >= 0 and 0 <= loaded.family.block <= 64
            assert loaded.family.causal == (loaded.mask is None)
        if ask:
            engine = load.load_engine(str(folder), "cpu", 1)
            engine.infill(Prompt("a.py", "def f", "", "\n"), Sampling(max_tokens=4, single_line=True))
    except CheckpointError as error:
        told = str(error).replace(str(folder), "")
        assert told.endswith(".") and told.isprintable() and len(told) < LONGEST_SENTENCE
    assert process_time() - began < MOST_SECONDS


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One valid checkpoint of each kind."""
    made = {family: tmp_path_factory.mktemp("open") / family for family in OPEN}
    for family, folder in made.items():
        save_open(folder, family)
    own = tmp_path_factory.mktemp("own")
    save(own, "own", tiny_network(), TOKENIZER_JSON.read_text(encoding="utf-8"), {})
    return made | {"own": own}


@pytest.mark.parametrize("family", OPEN)
def test_any_configuration_of_an_open_model_loads_or_is_refused_in_one_sentence(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / family
    shutil.copytree(folders[family], folder)
    files = [folder / "config.json", folder / "tokenizer_config.json"]
    sound = [json.loads(file.read_text()) if file.is_file() else {} for file in files]
    places = st.sampled_from([*value_paths(sound[0]), *((name,) for name in OPTIONAL)])

    @fuzzed(40)
    @given(st.lists(st.tuples(places, WRONG), min_size=1, max_size=2), WRONG)
    def check(changes: list[tuple[tuple[str, ...], object]], mask_name: object) -> None:
        config = sound[0]
        for at, value in changes:
            config = with_value(config, at, value)
        files[0].write_text(json.dumps(config))
        files[1].write_text(json.dumps(with_value(sound[1], ("mask_token",), mask_name)))
        try_folder(folder)

    check()


def test_any_configuration_of_an_own_checkpoint_loads_or_is_refused_in_one_sentence(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    shutil.copytree(folders["own"], folder)
    sound = json.loads((folder / "config.json").read_text())

    @fuzzed(10)
    @given(st.sampled_from(list(value_paths(sound))), WRONG)
    def check(at: tuple[str, ...], value: object) -> None:
        (folder / "config.json").write_text(json.dumps(with_value(sound, at, value)))
        try_folder(folder, ask=False)

    check()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff\xfe{\0}\0", b"[" * 100_000, b'{"a":' * 100_000, b'{"weight_map": [1]}',
     b'{"weight_map": {"x": "../../etc/passwd"}}', b'{"weight_map": {"x": "a\\u0000b"}}', b'{"weight_map": {"x": 7}}',
     b'{"added_tokens": 7}', b'{"added_tokens": ["x"]}', b'{"model": {"type": "BPE", "vocab": {"a": -1}}}',
     b'{"mask_token": {"content": [1]}}', b'{"mask_token": 7}'],
)  # fmt: skip
def test_any_content_of_the_other_files_loads_or_is_refused_in_one_sentence(
    name: str, content: bytes, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dream"
    shutil.copytree(folders["dream"], folder)
    (folder / name).write_bytes(content)
    try_folder(folder)


@pytest.mark.parametrize("kind", ["folder", "huge", "loop"])
def test_folders_loops_and_huge_files_are_not_read(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dream"
    shutil.copytree(folders["dream"], folder)
    file = folder / "tokenizer_config.json"
    file.unlink(missing_ok=True)
    if kind == "folder":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to(file)
    else:
        (folder / "config.json").unlink()
        with (folder / "config.json").open("wb") as sparse:
            sparse.truncate(MAX_FILE_BYTES + 1)
    try_folder(folder, ask=False)


@pytest.mark.parametrize("size", [64, 4096, 49_151])
def test_an_embedding_smaller_than_the_vocabulary_is_refused(size: int, tmp_path: Path) -> None:
    """The kernel would read rows beyond the end of the embedding."""
    network = tiny_network(shape=replace(PACKABLE, vocabulary=size))
    save(tmp_path, "small", network, TOKENIZER_JSON.read_text(encoding="utf-8"), {}, bits=lambda _: 6)
    with pytest.raises(CheckpointError, match="its tokenizer has 49152 tokens"):
        checkpoint.read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{", "{}", '{"format": 1}', "[" * 100_000, '{"format": 1, "features": 7}'],
)
def test_an_invalid_mixture_is_an_error_that_names_its_file(
    content: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    shutil.copytree(folders["own"], folder)
    (folder / Mixture.FILE).write_text(content)
    with pytest.raises(CheckpointError, match=Mixture.FILE.replace(".", r"\.")):
        load.load_engine(str(folder), "cpu", 1)
