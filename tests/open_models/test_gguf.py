"""GGUF files: the network equals that of transformers, drafts change no text, and damaged files are refused."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from support.gguf_files import model_of, save_gguf
from support.models.tiny_open_models import QWEN, save_open, write_tokenizer
from tokenizers import pre_tokenizers

from mercury_lsp.context.memory.project import ProjectMemory
from mercury_lsp.context.memory.segment import Segment, dtype_for
from mercury_lsp.engine.api import Run, Sampling
from mercury_lsp.engine.backends.attention import TokenLayout, attention_mask
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.backends.cpu.network import NativeExecutor, NativeNetwork
from mercury_lsp.engine.backends.cpu.rounding import HALF_BYTE_TYPES, unpack_half_bytes
from mercury_lsp.engine.backends.cpu.sources import OpenSource
from mercury_lsp.engine.backends.cpu.weights import PreparedWeights
from mercury_lsp.engine.backends.devices import executor_for
from mercury_lsp.engine.backends.quantized_load import load_network
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.checkpoints.gguf_checkpoint import read_gguf_checkpoint
from mercury_lsp.engine.checkpoints.gguf_file import read_gguf
from mercury_lsp.engine.checkpoints.gguf_tokenizer import tokenizer_of
from mercury_lsp.engine.checkpoints.huggingface import read_open_checkpoint
from mercury_lsp.engine.checkpoints.open_checkpoint import OpenCheckpoint
from mercury_lsp.engine.load import load_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Hint, Prompt

KINDS = ("llama", "qwen2", "qwen3", "granite")
IDS = torch.randint(0, 290, (1, 40), generator=torch.Generator().manual_seed(1))
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 256},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
}  # fmt: skip
needs_kernel = pytest.mark.skipif(
    not instruction_sets(), reason="the kernel is not compiled for this machine"
)


def logits_of_transformers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(IDS).logits[0]
        return logits


def logits_of_torch(loaded: OpenCheckpoint) -> torch.Tensor:
    network, rows = load_network(loaded, "cpu", torch.float32), TokenLayout.clean(0, 40)
    with torch.no_grad():
        mask = torch.from_numpy(attention_mask(rows, rows))[None]
        return network.logits(network(IDS, torch.from_numpy(rows.position)[None], mask)[0])


def scores_of_kernel(
    loaded: OpenCheckpoint, quantization: str = "int8", instructions: str | None = None
) -> Any:
    prepared = PreparedWeights.of(OpenSource(loaded, quantization))
    assert prepared is not None
    executor = NativeExecutor(NativeNetwork(prepared, (), 2, instructions))
    return executor.scores(np.array(executor.run(IDS[0].tolist(), TokenLayout.clean(0, 40), 0)))


def assert_near(scores: Any, logits: torch.Tensor, nats: float) -> None:
    """Assert that the mean absolute difference of the log-probabilities of all tokens is small."""
    expected = logits.log_softmax(-1).numpy()
    assert expected.std() > 0.5  # otherwise any two models would agree
    assert np.abs(scores - expected).mean() < nats


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_of_a_file_equals_that_of_transformers(kind: str, dtype: str, tmp_path: Path) -> None:
    expected = logits_of_transformers(save_gguf(tmp_path / "a.gguf", kind, dtype))
    loaded = read_gguf_checkpoint(tmp_path / "a.gguf")
    torch.testing.assert_close(logits_of_torch(loaded), expected, atol=1e-3, rtol=0)
    if instruction_sets():
        assert_near(scores_of_kernel(loaded), expected, 0.05)


@needs_kernel
@pytest.mark.parametrize("instructions", instruction_sets())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", [64, 128])
def test_every_instruction_set_computes_networks_of_every_kind(
    kind: str, head: int, instructions: str, tmp_path: Path
) -> None:
    model = model_of(kind, head_dim=head, tie_word_embeddings=False, vocab_size=515)
    folder = tmp_path / "open"
    write_tokenizer(folder, QWEN)
    model.save_pretrained(folder)
    loaded = read_open_checkpoint(folder)
    assert (loaded.shape.tied, loaded.shape.head_width) == (False, head)
    scores = scores_of_kernel(loaded, "int8", instructions)
    assert scores.shape == (40, 515)
    assert_near(scores, logits_of_transformers(model), 0.05)
    assert_near(scores_of_kernel(loaded, "int4", instructions), logits_of_transformers(model), 0.6)


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_scaled_positions_equal_those_of_transformers(kind: str, rope: str, tmp_path: Path) -> None:
    from support.gguf_files import model_of

    scaling = ROPES[rope] | {"rope_theta": 10_000.0}
    model = model_of(kind, rope_parameters=scaling)
    write_tokenizer(tmp_path, QWEN)
    model.save_pretrained(tmp_path)
    loaded = read_open_checkpoint(tmp_path)
    assert loaded.shape.rope_factors
    torch.testing.assert_close(logits_of_torch(loaded), logits_of_transformers(model), atol=1e-3, rtol=0)


def test_scaled_positions_are_read_from_the_metadata(tmp_path: Path) -> None:
    scaling = ROPES["linear"] | {"rope_theta": 10_000.0}
    words = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    model = save_gguf(tmp_path / "a.gguf", "llama", metadata=words, rope_parameters=scaling)
    loaded = read_gguf_checkpoint(tmp_path / "a.gguf")
    assert loaded.shape.rope_factors == (4.0,) * 32
    torch.testing.assert_close(logits_of_torch(loaded), logits_of_transformers(model), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", sorted(HALF_BYTE_TYPES))
def test_four_bit_levels_keep_the_values_of_the_file(dtype: str) -> None:
    kind = gguf.GGMLQuantizationType[dtype]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(3).integers(0, 256, (5, 512 // block * size), np.uint8)
    heads = raw.reshape(5, -1, size)
    scales = np.random.default_rng(4).uniform(0.001, 0.1, (5, 512 // block, 2)).astype(np.float16)
    heads[..., : (2 if dtype == "Q4_0" else 4)] = scales.view(np.uint8)[..., : (2 if dtype == "Q4_0" else 4)]
    found = unpack_half_bytes(dtype, raw)
    assert found.offsets is not None
    levels = found.levels.reshape(5, -1, 32).astype(np.float32)
    values = levels * found.scales[..., None].astype(np.float32) + found.offsets[..., None].astype(np.float32)
    expected = gguf.quants.dequantize(raw, kind)
    # Products of two fp16 numbers are rounded to fp16.
    np.testing.assert_allclose(values.reshape(5, -1), expected, atol=2e-3 * np.abs(expected).max())


def engine_of(path: Path) -> LocalEngine:
    engine = load_engine(str(path), "cpu", 1)
    assert isinstance(engine, LocalEngine)
    return engine


PROMPT = Prompt("shape.py", "def area(width, height):\n    return ", "", "\n\nclass Shape:\n    pass\n")


@pytest.mark.parametrize("kind", KINDS)
def test_drafts_do_not_change_the_text(kind: str, tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf", kind)
    engine = engine_of(tmp_path / "a.gguf")
    alone = engine.infill(PROMPT, Sampling(mode="autoregressive", max_tokens=24))
    drafted = engine.infill(PROMPT, Sampling(max_tokens=24))
    hinted = engine.infill(PROMPT, Sampling(max_tokens=24), Run(hint=Hint(alone.text)))
    assert alone.tokens > 4
    assert alone.text == drafted.text == hinted.text
    assert alone.confidence == pytest.approx(drafted.confidence, rel=0.02)
    assert hinted.forward_passes < alone.forward_passes


def test_the_prompt_uses_the_fim_tokens_of_the_model(tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf", "qwen2")
    engine = engine_of(tmp_path / "a.gguf")
    names = {number: name for name, number in engine.tokenizer.added.items()}
    ids = engine.layout.encode(PROMPT)
    spelt = "".join(names.get(number) or engine.tokenizer.decode([number]) for number in ids)
    assert spelt == (
        f"<|fim_prefix|>{PROMPT.prefix}<|fim_suffix|>{PROMPT.rest}{PROMPT.following}<|fim_middle|>"
    )
    assert engine.tokenizer.decode(engine.layout.prefix(ids)) == PROMPT.prefix


def test_fim_tokens_are_read_from_the_metadata(tmp_path: Path) -> None:
    tokens = ("<|endoftext|>", "<A>", "<B>", "<C>")
    first = 300
    words = {
        "tokenizer.ggml.fim_pre_token_id": first + 1,
        "tokenizer.ggml.fim_suf_token_id": first + 2,
        "tokenizer.ggml.fim_mid_token_id": first + 3,
    }
    save_gguf(tmp_path / "a.gguf", "qwen2", tokens=tokens, metadata=words)
    loaded = read_gguf_checkpoint(tmp_path / "a.gguf")
    assert loaded.fim is not None
    added = loaded.tokenizer.added
    assert [added[name] for name in (loaded.fim.prefix, loaded.fim.suffix, loaded.fim.middle)] == [
        first + 1, first + 2, first + 3
    ]  # fmt: skip


def test_a_model_without_fim_tokens_is_refused_in_one_sentence(tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf", "llama", tokens=("<|endoftext|>",))
    with pytest.raises(CheckpointError, match=r"no tokens for infilling.*such as Qwen2\.5-Coder\.$"):
        read_gguf_checkpoint(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"general.architecture": "mamba"}, "it is of type mamba"),
        ({"tokenizer.ggml.model": "llama"}, "only byte-level BPE can be read"),
        ({"tokenizer.ggml.pre": "tekken"}, "splits texts in the way 'tekken'"),
        ({"qwen2.attention.head_count": 3}, "do not fit each other|where .* is expected"),
        ({"qwen2.rope.dimension_count": 16}, "rotates a part of a head"),
        ({"qwen2.expert_count": 4}, "mixture of experts"),
        ({"split.count": 2}, "one of several parts; join them"),
        ({"qwen2.block_count": 3}, "blk.2.* is missing"),
        ({"qwen2.context_length": None}, "."),
    ],
)
def test_unsupported_files_are_refused_in_one_line(
    words: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    save_gguf(tmp_path / "a.gguf", "qwen2", metadata=words)
    if problem == ".":
        read_gguf_checkpoint(tmp_path / "a.gguf")
        return
    with pytest.raises(CheckpointError, match=problem) as caught:
        read_gguf_checkpoint(tmp_path / "a.gguf")
    assert "\n" not in str(caught.value)


def test_a_file_truncated_at_any_length_is_refused(tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf", "qwen2")
    content = (tmp_path / "a.gguf").read_bytes()
    rng = np.random.default_rng(5)
    for length in (0, 3, 4, 8, 23, 24, len(content) - 1, *rng.integers(25, len(content), 40)):
        (tmp_path / "b.gguf").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="cannot be used"):
            read_gguf_checkpoint(tmp_path / "b.gguf")


def test_damaged_headers_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf", "qwen2")
    content = bytearray((tmp_path / "a.gguf").read_bytes())
    start = min(stored.start for stored in read_gguf(tmp_path / "a.gguf")[1].values())
    rng = np.random.default_rng(6)
    for _ in range(200):
        changed = bytearray(content)
        for at in rng.integers(4, start, 3):
            changed[at] = rng.integers(0, 256)
        if rng.random() < 0.3:
            at = int(rng.integers(4, start - 8))
            changed[at : at + 8] = b"\xff" * 8
        (tmp_path / "b.gguf").write_bytes(changed)
        with suppress(CheckpointError):
            read_gguf_checkpoint(tmp_path / "b.gguf")


def test_a_folder_with_an_autoregressive_model_is_loaded_and_infills(tmp_path: Path) -> None:
    from support.gguf_files import model_of

    write_tokenizer(tmp_path, QWEN)
    model_of("qwen2").save_pretrained(tmp_path)
    engine = engine_of(tmp_path)
    assert engine.device == "cpu"
    assert engine.infill(PROMPT, Sampling(max_tokens=8)).tokens


@needs_kernel
def test_a_block_causal_model_runs_in_the_kernel(tmp_path: Path) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 2, "num_key_value_heads": 1}
    save_open(tmp_path, "fast-dllm-v2", **sizes)
    loaded = read_open_checkpoint(tmp_path)
    assert isinstance(executor_for(loaded, "cpu", 1), NativeExecutor)
    assert not isinstance(executor_for(loaded, "cpu", 1, "none"), NativeExecutor)


@needs_kernel
def test_rows_that_pad_the_vocabulary_are_zero(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, QWEN)
    model_of("llama", vocab_size=515).save_pretrained(tmp_path)
    prepared = PreparedWeights.of(OpenSource(read_open_checkpoint(tmp_path), "int8"))
    assert prepared is not None
    assert prepared.output.outputs == 768
    assert not prepared.output.rows(np.arange(515, 768)).any()


def test_drafts_from_the_project_memory_save_passes_and_change_no_text(tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf", "qwen2")
    engine = engine_of(tmp_path / "a.gguf")
    vocabulary = engine.vocabulary
    assert vocabulary is engine.tokenizer
    greedy = Sampling(mode="autoregressive", max_tokens=24)
    alone = engine.infill(PROMPT, greedy)
    assert engine._last is not None
    # The text is not valid UTF-8, so the tokens are used directly.
    written = [*vocabulary.encode(PROMPT.prefix), *engine._last.middle.tokens]
    known = np.array(written, dtype_for(vocabulary.size))
    before, after = (
        np.array(vocabulary.encode(text), known.dtype) for text in (PROMPT.prefix, PROMPT.following)
    )
    project = ProjectMemory((Segment.build([("b.py", known)], known.dtype),), (frozenset(),), vocabulary)
    memory = project.for_document("shape.py", before, after)
    # The prompt has no repetition to look up, so all drafts come from the project memory.
    drafted = engine.infill(PROMPT, replace(greedy, mode="diffusion", draft_lookup=0), Run(memory=memory))
    assert drafted.text == alone.text
    assert drafted.forward_passes < alone.forward_passes / 2
    assert drafted.confidence == pytest.approx(alone.confidence, rel=0.02)


def test_an_array_that_is_too_long_is_refused(tmp_path: Path) -> None:
    key = b"tokenizer.ggml.tokens"
    for item, count in ((8, 1 << 62), (8, 30_000_000), (0, 250_000_000), (4, 1 << 61)):
        head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key
        (tmp_path / "a.gguf").write_bytes(head + struct.pack("<IIQ", 9, item, count))
        with (tmp_path / "a.gguf").open("r+b") as file:
            # A sparse file, which takes no space on the disk.
            file.truncate(300 << 20)
        with pytest.raises(CheckpointError, match="an array that is too long"):
            read_gguf_checkpoint(tmp_path / "a.gguf")


def test_a_token_outside_the_byte_alphabet_stands_for_no_bytes() -> None:
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "日本"]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": ["a b"],
    }
    tokenizer = tokenizer_of(metadata, ())
    assert tokenizer.token_bytes()[-2:] == [b"ab", b""]
    assert tokenizer.decode(tokenizer.encode("日本 ab")) == "日本 ab"
