"""Counts the lines of held-out packages that the filters take for secrets.

Published packages hardly contain secrets, so almost all these lines are false alarms. Both filters are measured: the
one for context, and the stricter one for text that leaves the machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mercury_lsp.arena.ratings import wilson_interval
from mercury_lsp.context.secrets import blank_secrets
from model.data.corpus import CorpusError, iter_documents

MOST = 0.001
"""The largest share of lines that the filters may blank."""


def blanked_lines(text: str, strict: bool) -> list[str]:
    """Return the lines of a text that the filter blanks."""
    kept = blank_secrets(text, strict).split("\n")
    return [one for one, other in zip(text.split("\n"), kept, strict=True) if one != other]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 if more than `MOST` of the lines are blanked."""
    parser = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.heldout_secrets",
        description="Count the held-out lines that are taken for secrets.",
    )
    parser.add_argument("--corpus", type=Path, help="folder of the corpus (default: in the cache folder)")
    parser.add_argument("--files", type=int, help="read at most so many files (default: all)")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print the first N lines that are taken for secrets"
    )
    given = parser.parse_args(arguments)
    try:
        texts = [source.text for source in iter_documents("heldout", None, given.corpus)][: given.files]
    except CorpusError as error:
        print(f"model.evaluation.heldout.heldout_secrets: {error}", file=sys.stderr)
        return 1
    total, held = sum(text.count("\n") + 1 for text in texts), True
    for name, strict in (("for context", False), ("for what leaves the machine", True)):
        found = [line for text in texts for line in blanked_lines(text, strict)]
        low, high = wilson_interval(len(found), total)
        print(
            f"{name}: {len(found):,} of {total:,} lines of {len(texts):,} files are blanked, "
            f"{len(found) / total:.4%} (95%: {low:.4%} to {high:.4%})"
        )
        for line in found[: given.show]:
            print("   ", line.strip()[:150])
        held = held and len(found) <= MOST * total
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
