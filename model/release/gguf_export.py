"""Writes a checkpoint as a GGUF file, so that llama.cpp runs the same model.

llama.cpp rotates neighboring values of a head together, our network the halves of a head: so the rows of queries and
keys are reordered. The end-of-text token is ``<eot>``; our other special tokens become control tokens, which a caller
has to forbid. As in `llama-quantize`, q4_0 stores the embedding, which is also the output matrix, in q8_0, unless
``--pure`` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.pack import Packed
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.tokenizer import Tokenizer

TYPES = {
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}
FILE_TYPES = {
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
EMBEDDING = "token_embd.weight"
PRE_TOKENIZER = "smollm"

Matrix = NDArray[np.float32]


def neighbors(rows: Matrix, heads: int) -> Matrix:
    """Interleave the first and second half of the rows of each head, (H D, W): rotated pairs become neighbors."""
    return rows.reshape(heads, 2, -1, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def tensors(source: checkpoint.Checkpoint) -> Iterator[tuple[str, Matrix]]:
    """Yield a checkpoint's weights with llama.cpp's names. Raises `CheckpointError`."""
    shape, read = source.shape, source.weights()
    ours = {name: part.matrix() if isinstance(part, Packed) else part for name, part in read.items()}
    yield EMBEDDING, ours["embedding.weight"]
    yield "output_norm.weight", ours["norm.weight"]
    for i in range(shape.layers):
        own, block = f"layers.{i}.", f"blk.{i}."
        ends = [heads * shape.head_width for heads in (shape.heads, shape.heads + shape.kv_heads)]
        q, k, v = np.split(ours[own + "attention.qkv.weight"], ends)
        gate, up = np.split(ours[own + "gate_up.weight"], 2)
        yield block + "attn_norm.weight", ours[own + "attention_norm.weight"]
        yield block + "attn_q.weight", neighbors(q, shape.heads)
        yield block + "attn_k.weight", neighbors(k, shape.kv_heads)
        yield block + "attn_v.weight", v
        yield block + "attn_output.weight", ours[own + "attention.out.weight"]
        yield block + "ffn_norm.weight", ours[own + "feed_norm.weight"]
        yield block + "ffn_gate.weight", gate
        yield block + "ffn_up.weight", up
        yield block + "ffn_down.weight", ours[own + "down.weight"]


def export(source: checkpoint.Checkpoint, file: Path, kind: str, pure: bool = False) -> None:
    """Write a checkpoint's weights and tokenizer to a GGUF file. kind: a name of `TYPES`. Raises `OSError`."""
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    writer.add_name(source.name)
    writer.add_description(f"mercury-lsp checkpoint {source.fingerprint[:12]}")
    writer.add_file_type(FILE_TYPES[kind])
    _describe(writer, source.shape)
    _spell(writer, source.folder / Tokenizer.FILE, source.tokenizer)
    for name, weight in tensors(source):
        values = np.ascontiguousarray(weight)
        chosen = _type(name, values, kind, pure)
        writer.add_tensor(name, gguf.quants.quantize(values, chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _type(name: str, values: Matrix, kind: str, pure: bool) -> gguf.GGMLQuantizationType:
    if values.ndim == 1:
        return gguf.GGMLQuantizationType.F32
    if name == EMBEDDING and kind == "q4_0" and not pure:
        return gguf.GGMLQuantizationType.Q8_0
    return TYPES[kind]


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.positions)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)


def _spell(writer: gguf.GGUFWriter, file: Path, tokenizer: Tokenizer) -> None:
    """Add the vocabulary and the merges; tokens that no text contains become control tokens."""
    found = json.loads(file.read_text(encoding="utf-8"))
    ids: dict[str, int] = found["model"]["vocab"] | {a["content"]: a["id"] for a in found["added_tokens"]}
    names = {number: token for token, number in ids.items()}
    special = {tokenizer.specials.eot, *tokenizer.forbidden}
    control, normal = int(gguf.TokenType.CONTROL), int(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([names[number] for number in range(len(names))])
    writer.add_token_types([control if number in special else normal for number in range(len(names))])
    merges = found["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.specials.eot)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.release.gguf_export",
        description="Write a checkpoint as a GGUF file for llama.cpp.",
    )
    parser.add_argument("checkpoint", help="a shipped model's name or a checkpoint's folder")
    parser.add_argument("--type", default="q8_0", choices=tuple(TYPES), help="(default: %(default)s)")
    parser.add_argument(
        "--pure", action="store_true", help="with q4_0: quantize the embedding to q4_0 too, not to q8_0"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="to write")
    given = parser.parse_args()
    try:
        source = checkpoint.read_checkpoint(checkpoint.find_model(given.checkpoint))
        export(source, given.out, given.type, given.pure)
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{given.out} cannot be written: {error.strerror}.")
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
