"""The typing benchmark: its figures, and whole runs against a scripted server and the real one."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.models.tiny_corpus import write_corpus

from model.data.corpus import iter_documents
from model.evaluation.heldout.cursors import BEGUN, KEYWORDS, draw
from model.evaluation.heldout.records import DetailsError
from model.evaluation.typing import __main__ as typing
from model.evaluation.typing import workspace as typing_workspace
from model.evaluation.typing.__main__ import Plan, Run, main
from model.evaluation.typing.ideal_typist import Action, Key, Verdict
from model.evaluation.typing.records import BegunWord, TypedLine, read_records, record_line
from model.evaluation.typing.report import report, typing_figures, typing_gain, word_figures, word_gain
from model.evaluation.typing.workspace import without_lines

ABOVE = "def area(width, height):\n"
TYPED = "return width * height"
BELOW = "\n\n\n# the end\n"
SCRIPT = ROOT / "tests" / "support" / "servers" / "scripted_server.py"


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a server to read the workspace."""
    monkeypatch.setattr(typing_workspace, "SETTLED", 0.05)
    monkeypatch.setattr(typing_workspace, "POLL", 0.01)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    text = "# the start\n" + "    " + TYPED + BELOW
    return write_corpus(tmp_path / "corpus", "heldout", python={"a.py": text, "b.py": "# nothing\n"})


def command_of_scripted_server(*arguments: str) -> str:
    return shlex.join([sys.executable, str(SCRIPT), *arguments])


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def key(at: int, verdict: Verdict = "", did: Action = "typed", keys: int = 1, **more: Any) -> Key:
    usual: dict[str, Any] = {
        "shown": "x" if verdict else None,
        "replaced": 0,
        "ms": 10.0,
        "fresh": bool(verdict),
        "held": None,
        "word": None,
    }
    return Key(at=at, verdict=verdict, did=did, keys=keys, **(usual | more))


LINE = TypedLine(
    "m",
    "go",
    "p",
    "a.go",
    9,
    True,
    "abcdefghij",
    (key(0, "wrong"), key(1, "right", "whole", shown="bcdefghij")),
)
OTHER = replace(
    LINE,
    language="c",
    path="b.c",
    keys=(
        key(0, "begins", "words", 2, ms=1.0),
        key(4, "wrong", fresh=False, held=True, ms=300.0),
        *(key(at, word=at == 7) for at in range(5, 9)),
        key(9, held=False),
    ),
)


def test_typing_figures_equal_those_computed_manually() -> None:
    answer = typing_figures([LINE, OTHER])
    assert (answer["n"], answer["files"], answer["characters"], answer["pressed"]) == (2, 2, 20, 10)
    assert answer["keys_spared"] == 0.5 and answer["interval"] == [0.2, 0.8]
    assert (answer["requests"], answer["shown"]) == (9, 0.4444)
    assert (answer["suggestions"], answer["wrong_of_shown"], answer["wrong_per_100_keys"]) == (
        3,
        0.3333,
        10.0,
    )
    assert (answer["changed"], answer["within_word"]) == (0.5, 0.25)
    assert answer["accepted"] == {"whole": 1, "words": 2}
    assert (answer["from_memory"], answer["late"]) == (0.1111, 0.1111)
    assert answer["ms"] == {"p50": 10.0, "p95": 300.0}
    nothing = typing_figures([replace(LINE, keys=tuple(key(at) for at in range(10)))])
    assert (nothing["keys_spared"], nothing["wrong_of_shown"], nothing["changed"]) == (0, None, None)


def test_text_accepted_beyond_the_line_is_counted_separately() -> None:
    line = replace(LINE, keys=(key(0, "right", "whole", shown="abcdefghij\nkl"),))
    assert (line.beyond, line.pressed, line.spared) == (3, 1, 9)


def test_figures_are_reported_by_language_and_by_project() -> None:
    answer = report([LINE, OTHER, replace(LINE, package="q")], typing_figures)
    assert answer["languages"]["go"]["n"] == 2 and answer["languages"]["c"]["keys_spared"] == 0.2
    assert answer["projects"]["p"]["n"] == 2 and answer["projects"]["q"]["keys_spared"] == 0.8


def test_two_runs_are_paired_by_line() -> None:
    slow = replace(LINE, model="n", keys=tuple(key(at, "wrong") for at in range(10)))
    gain = typing_gain([LINE, OTHER, replace(LINE, start=50)], [slow, replace(OTHER, model="n")])
    assert gain is not None
    assert (gain["n"], gain["first"], gain["second"]) == (2, "m", "n")
    assert gain["keys_spared"] == {"difference": 0.4, "interval": [0.0, 0.8]}
    assert gain["wrong_per_100_keys"]["difference"] == round(100 * (1 / 10 - 10 / 18), 4)
    assert gain["wrong_per_100_characters"]["difference"] == -45
    assert typing_gain([LINE], [replace(slow, below=False)]) is None


WORD = BegunWord("m", "go", "p", "a.go", 9, True, "\tto", "tal += 1", "tal += 1", True, True, 20.0)


def test_word_figures_equal_those_computed_manually() -> None:
    half = replace(WORD, path="b.go", shown="tal = 0", line=False)
    none = replace(WORD, path="c.go", shown=None, word=False, line=False)
    answer = word_figures([WORD, half, none])
    assert (answer["n"], answer["shown"], answer["word_right"], answer["line_right"]) == (
        3,
        0.6667,
        0.6667,
        0.3333,
    )
    gain = word_gain([WORD, half], [replace(WORD, model="n"), replace(half, word=False)])
    assert gain is not None and gain["word_right"] == {"difference": 0.5, "interval": [0.0, 1.0]}


def test_written_records_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "details.jsonl"
    file.write_text(record_line(LINE) + record_line(OTHER), encoding="utf-8")
    assert read_records(file, TypedLine) == [LINE, OTHER]
    with pytest.raises(DetailsError, match="was not written"):
        read_records(file, BegunWord)
    with pytest.raises(DetailsError, match="cannot be read"):
        read_records(tmp_path / "none", TypedLine)


def test_lines_to_be_typed_are_removed_from_files() -> None:
    text = "a\n  b\nc\nd"
    assert without_lines(text, [4], True) == "a\nc\nd"
    assert without_lines(text, [4, 8], True) == "a\nc\n"
    assert without_lines(text, [8, 4], False) == "a\n"
    assert without_lines(text, [], False) == text


def test_begun_words_are_within_identifiers(tmp_path: Path) -> None:
    text = 'import thing\n\nfor value in range(9):\n    print("some words", value, thing)  # more words\n'
    folder = write_corpus(tmp_path / "words", "heldout", python={f"{i}.py": text for i in range(20)})
    places = draw(iter_documents("heldout", None, folder), ("python",), 20, 0, (BEGUN,))
    assert len(places) == 20
    for (cursor,) in places:
        begun = text[: cursor.start].rpartition("\n")[2]
        word = begun.replace(",", " ").replace("(", " ").split(" ")[-1]
        rest = (
            cursor.hole.replace(",", " ").replace("(", " ").replace(")", " ").replace(":", " ").split(" ")[0]
        )
        whole = word + rest.strip()
        assert word and rest and whole not in KEYWORDS and whole in ("thing", "value", "range", "print")
        assert text[cursor.end] == "\n"


def test_a_line_is_typed_with_a_server_and_runs_are_compared(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details, log = tmp_path / "details.jsonl", tmp_path / "log.jsonl"
    server = command_of_scripted_server(
        json.dumps({"": "raise it", "ret": "urn width", TYPED[:13]: "x"}), str(log)
    )
    arguments = ("--corpus", corpus, "--languages", "python", "--per-language", 1)
    answer = run(capsys, *arguments, "--server", server, "--details", details)
    (line,) = read_records(details, TypedLine)
    assert (line.text, line.model, line.path) == (TYPED, "scripted", "a.py")
    assert [(one.at, one.did) for one in line.keys[:4]] == [
        (0, "typed"),
        (1, "typed"),
        (2, "typed"),
        (3, "whole"),
    ]
    assert line.pressed == 4 + len(TYPED) - 12
    assert answer["keys_spared"] == round((len(TYPED) - line.pressed) / len(TYPED), 4)
    assert (answer["suggestions"], answer["wrong_of_shown"], answer["model"]) == (3, 0.6667, "scripted")
    assert answer["languages"].keys() == {"python"} and answer["projects"].keys() == {"p"}
    opened = json.loads(log.read_text().splitlines()[-1])
    assert opened["text"] == "# the start" + BELOW
    assert opened["disk"] == {"a.py": "# the start" + BELOW, "b.py": "# nothing\n"}

    assert run(capsys, "--again", details)["keys_spared"] == answer["keys_spared"]
    same = run(capsys, "--again", details, "--against", details)["gain"]
    assert same["n"] == 1 and same["keys_spared"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    both = run(capsys, *arguments, "--server", server, "--other-server", command_of_scripted_server("{}"))
    assert both["other"]["keys_spared"] == 0
    assert both["gain"]["keys_spared"]["difference"] == answer["keys_spared"]
    assert main(["--again", str(details), "--against", str(details)]) == 0
    assert "keys_spared" in capsys.readouterr().out


def test_suggestions_at_the_end_of_a_file_may_have_further_lines(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    arguments = ("--corpus", corpus, "--languages", "python", "--per-language", 1)
    server = command_of_scripted_server(json.dumps({"": TYPED + BELOW.rstrip()}), str(log))
    answer = run(capsys, *arguments, "--end", "--server", server)
    assert (answer["pressed"], answer["beyond"]) == (1, len(BELOW.rstrip()))
    assert json.loads(log.read_text().splitlines()[-1])["text"] == "# the start"
    below = run(capsys, *arguments, "--server", server)
    # The lines below are in the document already.
    assert below["accepted"]["whole"] == 0 and below["accepted"]["words"] > 0


def test_begun_words_are_completed_by_manual_requests(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"!" + TYPED[:end]: TYPED[end:] for end in range(len(TYPED))}
    arguments = ("--corpus", corpus, "--languages", "python", "--per-language", 1, "--words")
    right = run(capsys, *arguments, "--server", command_of_scripted_server(json.dumps(texts)))
    assert (right["n"], right["word_right"], right["line_right"]) == (1, 1.0, 1.0)
    half = {left: text + "s" for left, text in texts.items()}
    details = tmp_path / "words.jsonl"
    answer = run(
        capsys, *arguments, "--server", command_of_scripted_server(json.dumps(half)), "--details", details
    )
    assert (answer["shown"], answer["line_right"]) == (1.0, 0.0)
    assert main([*map(str, arguments), "--again", str(details)]) == 0
    assert "word right" in capsys.readouterr().out


def test_a_line_is_typed_with_the_real_server(
    corpus: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tmp_path / "details.jsonl"
    arguments = ("--corpus", corpus, "--languages", "python", "--per-language", 1, "--details", details)
    answer = run(capsys, *arguments, "--model", model, "--setting", "threads=1")
    assert answer["model"] == "word" and answer["shown"] > 0  # the model suggests `value` wherever it fits
    (line,) = read_records(details, TypedLine)
    assert {one.shown for one in line.keys} >= {"value"}
    assert answer["keys_spared"] == 0 and answer["pressed"] == len(TYPED)


def test_an_interrupted_run_keeps_its_details(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    details = tmp_path / "details.jsonl"

    async def interrupted(plan: Plan, runs: list[Run], progress: object) -> None:
        runs[0].take(LINE)
        raise KeyboardInterrupt

    monkeypatch.setattr(typing, "measure", interrupted)
    assert main(["--corpus", str(corpus), "--languages", "python", "--details", str(details)]) == 130
    assert read_records(details, TypedLine) == [LINE]
    assert "Interrupted" in capsys.readouterr().err


def test_invalid_arguments_are_errors(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--corpus", str(tmp_path / "none")]) == 1
    assert "there is no corpus" in capsys.readouterr().err
    assert main(["--corpus", str(corpus), "--languages", "rust"]) == 1
    assert "rust" in capsys.readouterr().err
    assert main(["--corpus", str(corpus), "--languages", "python", "--server", "/nowhere/server"]) == 1
    assert "cannot be started" in capsys.readouterr().err
    for arguments in (["--setting", "speed=9"], ["--against", "x", "--other-model", "mini"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
