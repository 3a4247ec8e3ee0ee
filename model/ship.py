"""``python -m model.ship CHECKPOINT``: packs a checkpoint into the few bits that the package carries.

Owns how many bits each kind of matrix gets. Knows nothing of training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mercury_lsp.engine import checkpoint
from mercury_lsp.engine.canvas import Tokenizer


def bits(name: str) -> int:
    """Five for the feed-forward, which is three fifths of the model and the least sensitive; six for all else."""
    return 5 if name.endswith(("gate_up.weight", "down.weight")) else 6


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.ship", description="Pack a checkpoint for shipping."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a trained checkpoint")
    parser.add_argument("--name", default="small", help="of the model (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write (default: the package's own of that name)")
    arguments = parser.parse_args()
    source = checkpoint.load(arguments.checkpoint)
    folder = arguments.out or checkpoint.SHIPPED / arguments.name
    tokenizer = (source.folder / Tokenizer.FILE).read_text(encoding="utf-8")
    found = checkpoint.save(folder, arguments.name, source.network, tokenizer, source.about, bits)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    print(f"{folder}: {size / 1e6:.1f} MB, fingerprint {found[:12]}")


if __name__ == "__main__":
    main()
