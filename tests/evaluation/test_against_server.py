"""Typing in project code with the server and a completion server: a whole run, and figures of made-up requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.models.tiny_corpus import write_corpus
from support.servers.completion_server import serving, writes

from mercury_lsp.engine.tokenizer import Tokenizer
from model.evaluation.against_server import COMPLETIONS, KEYS, LONG, Timed, figures, main

FILE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(5))


def test_both_sides_are_asked_at_each_key_and_each_line(
    tiny_model: Path, tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", "heldout", python={f"{i}.py": FILE for i in range(2)})
    details, picture = tmp_path / "details.jsonl", tmp_path / "times.png"
    with serving(writes(*tokenizer.encode("return 4"), newlines=tokenizer.newlines())) as (url, seen):
        given = [url, "--model", str(tiny_model), "--corpus", str(corpus), "--languages", "python", "--json"]
        assert main([*given, "--per-language", "2", "--threads", "1", "--details", str(details)]) == 0
        made = json.loads(capsys.readouterr().out)
        assert len(seen) == made[KEYS]["n"] + 2 * made[COMPLETIONS]["n"]
    assert made[COMPLETIONS]["n"] == 2 and made[KEYS]["n"] > 10
    assert made[KEYS]["ms"]["p50"] > 0 and made[KEYS]["server_ms"]["p50"] > 0
    assert len(details.read_text().splitlines()) == made[KEYS]["n"] + made[COMPLETIONS]["n"]
    assert main(["--again", str(details), "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert KEYS in capsys.readouterr().out


def test_times_are_compared_in_total_and_per_token() -> None:
    requests = [
        Timed(COMPLETIONS, "p", path, ms, tokens, 2 * ms, 2 * tokens, tokens > 10)
        for path, ms, tokens in (("a", 40.0, 30), ("b", 10.0, 10))
    ]
    made = figures(requests)
    assert made[KEYS] is None
    assert made[COMPLETIONS]["faster"] == {"value": 2.0, "interval": [2.0, 2.0]}
    assert made[COMPLETIONS]["faster_a_token"]["value"] == 1.0
    assert made[COMPLETIONS]["same_text"] == 0.5
    assert made[LONG]["n"] == 1


@pytest.mark.parametrize(
    ("options", "says"), [(("http://127.0.0.1:1", "--model", "nowhere"), "no model 'nowhere'")]
)
def test_a_missing_model_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    corpus = write_corpus(tmp_path / "corpus", "heldout", python={"a.py": FILE})
    assert main([*options, "--corpus", str(corpus)]) == 1
    assert says in " ".join(capsys.readouterr().err.split())
