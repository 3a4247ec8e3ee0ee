"""Prints the suggestions at random places of real files, next to the original text.

The places are drawn with a seed, so nobody picks the good ones. Each place is completed by the command ``mercury-lsp
complete``, with the rest of its line removed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import for_document
from mercury_lsp.syntax.tree import Syntax


def draw(text: str, count: int, random: Random) -> list[tuple[int, int]]:
    """Draw lines and columns, from 0, after a blank, a bracket or a dot in lines of code."""
    lines = text.split("\n")
    places = []
    for number, line in enumerate(lines):
        code = line.strip()
        start = len(line) - len(line.lstrip())
        cuts = [i + 1 for i in range(start + 3, len(line) - 3) if line[i] in " (."]
        if len(code) > 14 and cuts and not code.startswith(("#", "//", "/*", "*", '"', "'")):
            places.append((number, cuts))
    return [(number, random.choice(cuts)) for number, cuts in sorted(random.sample(places, count))]


def complete(file: Path, line: int, column: int, folder: Path) -> dict[str, object]:
    """Return the command's answer at a place, after removing the rest of the line.

    ``parses`` tells whether the completed file has no more syntax errors than the original.
    """
    lines = file.read_text(encoding="utf-8").split("\n")
    original = lines[line][column:]
    lines[line] = lines[line][:column]
    copy = folder / file.name
    copy.write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "mercury_lsp", "complete", f"{copy}:{line + 1}:{column + 1}", "--json"]
    answer: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    shown = answer["shown"]
    whole = "\n".join(
        [*lines[:line], lines[line] + (original if shown is None else str(shown)), *lines[line + 1 :]]
    )
    before = "\n".join([*lines[:line], lines[line] + original, *lines[line + 1 :]])
    answer |= {"original": original, "before": lines[line].strip()}
    return answer | {"parses": errors(file, whole) <= errors(file, before)}


def errors(file: Path, text: str) -> int:
    """Count the syntax errors of a text by tree-sitter."""
    if for_document("", file.name) is None:
        sys.exit(f"{file}: its language has no grammar here.")
    return Syntax.of(Document("", file.name, "", 0, text)).error_count()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.evaluation.heldout.spot_check", description="Complete random places of files."
    )
    parser.add_argument("files", nargs="+", help="FILE, or FILE=N for N places (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random = Random(given.seed)
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for word in given.files:
            name, _, count = word.partition("=")
            file = Path(name)
            for line, column in draw(file.read_text(encoding="utf-8"), int(count or 1), random):
                answer = complete(file, line, column, Path(folder))
                answers.append(answer)
                print(f"{file.name}:{line + 1}:{column + 1}  {answer['before']}|")
                print(f"    original  {answer['original']!r}")
                print(f"    shown     {answer['shown']!r}  parses: {answer['parses']}", end="  ")
                print(
                    f"{answer['forward_passes']} passes for {answer['tokens']} tokens, {answer['ms']:.0f} ms"
                )
    shown = [answer for answer in answers if answer["shown"] is not None]
    parsing = sum(bool(answer["parses"]) for answer in shown)
    passes = sum(int(str(answer["forward_passes"])) for answer in answers)
    tokens = sum(int(str(answer["tokens"])) for answer in answers)
    print(f"shown {len(shown)} of {len(answers)}, parse {parsing}; passes {passes} for {tokens} tokens")


if __name__ == "__main__":
    main()
