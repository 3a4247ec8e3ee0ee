"""The speed of decoders: whole runs on a small corpus with a tiny network, and figures of made-up decodings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.models.tiny_corpus import write_corpus

from model.evaluation.decoders import BASELINE, CONTENDERS, Decoding, figures, main

FILE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(5))


def test_a_run_compares_all_decoders_at_the_same_places(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", "heldout", python={f"{i}.py": FILE for i in range(2)})
    table = tmp_path / "table.md"
    arguments = [
        "--corpus",
        str(corpus),
        "--model",
        str(tiny_model),
        "--threads",
        "1",
        "--languages",
        "python",
    ]
    assert main([*arguments, "--per-language", "2", "--markdown", str(table), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["decoders"]
    assert found.keys() == CONTENDERS.keys()
    assert len({own["n"] for own in found.values()}) == 1 and found[BASELINE]["n"] > 0
    assert all(own["tokens_per_s"] > 0 for own in found.values())
    assert found[BASELINE]["speed_over_baseline"] == {"value": 1.0, "interval": [1.0, 1.0]}
    assert table.read_text(encoding="utf-8").count("\n") == 2 + len(CONTENDERS)


def test_speeds_cover_all_tokens_and_are_paired_by_file() -> None:
    made = [
        Decoding(name, ("p", file), tokens, passes, ms)
        for name, tokens, passes, ms in ((BASELINE, 10, 10, 100.0), ("diffusion", 12, 4, 60.0))
        for file in ("a", "b")
    ]
    found = figures(made)
    assert found["diffusion"]["tokens_per_pass"] == {"value": 3.0, "interval": [3.0, 3.0]}
    assert found["diffusion"]["tokens_per_s"] == 200
    assert found["diffusion"]["speed_over_baseline"]["value"] == 2.0


def test_a_missing_corpus_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--corpus", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
