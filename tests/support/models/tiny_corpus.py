"""Writes a training corpus of one package, for tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

SOURCE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(9))


def write_corpus(folder: Path, split: str, **files: dict[str, str]) -> Path:
    """Write a corpus of one package and return its folder. files: by language, the texts of files by path."""
    folder.mkdir()
    (folder / "statistics.json").write_text("{}", encoding="utf-8")
    for language, texts in files.items():
        with gzip.open(folder / f"{split}-{language}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for path, text in texts.items():
                about = {"language": language, "package": "p", "version": "1", "licence": "MIT"}
                lines.write(json.dumps(about | {"path": path, "text": text}) + "\n")
    return folder
