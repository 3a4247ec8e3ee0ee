"""Training code repeated in suggestions: runs of equal tokens are found with their exact length."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_records import RECORD

from model.data.corpus import Source
from model.evaluation.heldout.verbatim import WIDTH, Search, figures, main

FILE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(20))
PART = FILE[: FILE.index("def area_1")]


def source(text: str, path: str = "a.py") -> Source:
    return Source("python", "p", "1", "MIT", path, text)


def longest(text: str, *files: str) -> int:
    search = Search([text])
    for number, file in enumerate(files):
        search.look(source(file, f"{number}.py"))
    return search.longest(0)


def test_a_run_is_found_at_its_full_length_regardless_of_whitespace() -> None:
    text = "return width * height * 7 def area_8(width"
    assert Search([text]).sizes == [10]
    assert longest(text, FILE) == 10
    assert longest(f"x = y; {text} = other", FILE) == 10
    # The run ends at the first difference.
    assert longest("height): return width * height * 7 def area_9(width", FILE) == 10


def test_runs_shorter_than_the_width_are_not_found() -> None:
    assert longest("return width * height * 7", FILE) == 0
    assert longest("", FILE) == 0
    assert longest(FILE, "return width") == 0


def test_a_run_is_contiguous_within_one_file() -> None:
    words = [f"word{i}" for i in range(30)]
    whole, front, back = " ".join(words), " ".join(words[:12]), " ".join(words[12:])
    assert longest(whole, front, back) == 18  # not 30: the parts are in two files
    assert longest(whole, f"{back} {front}") == 18  # nor in the wrong order
    assert longest(whole, f"{front} between {back}") == 18
    assert longest(whole, f"{front} {back}") == 30


def test_repeated_code_is_not_counted_as_a_longer_run() -> None:
    once = " ".join(f"word{i}" for i in range(WIDTH))
    assert longest(f"{once} {once} {once}", once) == WIDTH
    assert longest(once, f"{once} {once} {once}") == WIDTH
    assert longest("a " * 20, "a " * 12) == 12


def test_shares_are_relative_to_texts_that_are_long_enough() -> None:
    texts = [
        "return width",
        PART,
        PART + " other",
        "def unknown(one, two, three, four): return five",
    ]
    search = Search(texts)
    search.look(source(FILE))
    found = figures(search, range(4), 12)
    assert found["whole of 8 tokens"] == {
        "long_enough": 3,
        "verbatim": 1,
        "share": 0.3333,
        "share_of_all": 0.25,
    }
    assert found["whole of 32 tokens"]["long_enough"] == 0
    assert found["run of ten lines"]["verbatim"] == 2
    assert search.runs[1].source.path == "a.py"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    counts = {"splits": {"train": {"python": {"files": 1, "bytes": len(FILE)}}}}
    (folder / "statistics.json").write_text(json.dumps(counts), encoding="utf-8")
    for split, text in (("train", FILE), ("heldout", "held = out(of, all, that, was, ever, trained, on)\n")):
        about = {"language": "python", "package": "p", "version": "1", "licence": "MIT", "path": "a.py"}
        with gzip.open(folder / f"{split}-python.jsonl.gz", "wt", encoding="utf-8") as lines:
            lines.write(json.dumps(about | {"text": text}) + "\n")
    return folder


def test_the_command_counts_verbatim_runs_in_suggestions_and_in_the_original_text(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "details.jsonl"
    long = FILE[: FILE.index("def area_9")]
    unknown = "held = out(of, all, that, was, ever, trained, on)"
    shown = (long, "return width * height * 7 def area_8(", unknown, None)
    records = [replace(RECORD, shown=text, hole=unknown) for text in shown]
    file.write_text("".join(record.line() for record in records), encoding="utf-8")
    assert main([str(file), "--corpus", str(corpus), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["suggestions"] == 3
    assert answer["corpus"] == {"files": 1, "tokens": 280, "tokens_a_line": 7.0}
    assert answer["ten_lines"] == 70
    assert answer["suggested"]["run of ten lines"]["verbatim"] == 1
    assert answer["suggested"]["whole of 8 tokens"]["verbatim"] == 2
    assert answer["written"]["whole of 8 tokens"] | {"share": 0} == {
        "long_enough": 4,
        "verbatim": 0,
        "share": 0,
        "share_of_all": 0,
    }
    first = answer["longest"][0]
    assert (first["tokens"], first["of"], first["package"], first["path"]) == (126, 126, "p", "a.py")
    assert main([str(file), "--corpus", str(corpus)]) == 0
    assert "suggested, run of ten lines" in capsys.readouterr().out


def test_the_details_of_a_suite_are_accepted_too(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "evaluated.jsonl"
    file.write_text(json.dumps({"task_id": "t", "completion": FILE, "raw": FILE}) + "\n", encoding="utf-8")
    assert main([str(file), "--corpus", str(corpus), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["suggested"]["run of ten lines"] == {
        "long_enough": 1,
        "verbatim": 1,
        "share": 1.0,
        "share_of_all": 1.0,
    }
    assert "written" not in answer


def test_invalid_files_and_a_missing_corpus_are_errors(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "details.jsonl"
    for text, sentence in (
        ("{}\n", "was written by neither"),
        ("[]\n", "was written by neither"),
        ("", "no suggestion"),
    ):
        file.write_text(text, encoding="utf-8")
        assert main([str(file), "--corpus", str(corpus)]) == 1
        assert sentence in capsys.readouterr().err
    file.write_text(RECORD.line(), encoding="utf-8")
    assert main([str(file), "--corpus", str(tmp_path / "none")]) == 1
    assert "there is no corpus" in capsys.readouterr().err
