"""The evaluation of next edits: steps of a change, its replay with offers, and whole runs of the command."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.judge import gain, pick_candidate
from mercury_lsp.edits.search import Candidate
from mercury_lsp.engine.likelihood import log_likelihoods
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.syntax.document import Document
from model.evaluation.edits import __main__ as command
from model.evaluation.edits import changes
from model.evaluation.edits.changes import Pair, apply_steps, change, steps
from model.evaluation.edits.figures import figures
from model.evaluation.edits.replay import alone, replay

OLD = "def f(count):\n    x = count\n    y = 1\n    return count + x\n" + "# end\n" * 8
NEW = "def f(total):\n    x = total\n    y = 2\n    return total + x\n" + "# end\n" * 8


def first(document: Document, found: Sequence[Candidate], edits: Sequence[Edit]) -> Candidate | None:
    return found[0] if found else None


def test_steps_turn_the_old_text_into_the_new_one() -> None:
    made = steps(OLD, NEW)
    assert [(step.before.strip(), step.after.strip()) for step in made] == [
        ("count", "total"), ("count", "total"), ("1", "2"), ("count", "total"),
    ]  # fmt: skip
    assert apply_steps(OLD, made) == NEW


@pytest.mark.parametrize(
    ("old", "new"),
    [("a\n", "a\nb\n"), ("a\nb\nc\n", "c\n"), ("f(a)\n", "f(a, b)\n"), ("", "a")],
)
def test_steps_of_insertions_and_deletions_give_the_new_text(old: str, new: str) -> None:
    assert apply_steps(old, steps(old, new)) == new


def test_equal_edits_have_the_same_key() -> None:
    old, new = "f(a)\nf(bb)\ng(a)\n", "f(1, a)\nf(1, bb)\ng(a, 2)\n"
    keys = [step.key for step in steps(old, new)]
    assert keys[0] == keys[1] != keys[2]


def test_a_replay_accepts_right_offers_and_dismisses_others() -> None:
    made = change("p", "a.py", OLD, NEW)
    assert made is not None
    told = replay(made, first)
    assert [offer.right for offer in told.shown] == [True, True]
    assert [(one.prior, one.offered) for one in told.made] == [(1, True), (2, True), (0, False)]
    wrong = change("p", "a.py", OLD, NEW.replace("return total", "return value"))
    assert wrong is not None
    assert [offer.right for offer in replay(wrong, first).shown] == [True, False]


def test_changes_that_nobody_types_are_left_out() -> None:
    assert change("p", "a.txt", OLD, NEW) is None
    assert change("p", "dist/a.js", OLD, NEW) is None
    assert change("p", "a.py", OLD, OLD) is None
    # A change of whitespace alone comes from a formatter.
    assert change("p", "a.py", OLD, OLD.replace("    y", "      y")) is None
    assert change("p", "a.py", OLD, "something\nelse\n") is None


def test_a_single_edit_is_offered_the_edits_that_repeat_it() -> None:
    made = change("p", "a.py", OLD, NEW)
    assert made is not None
    assert [len(line) for line in made.lines] == [1, 1, 1, 1]
    shown = [alone(made, number, first) for number in range(4)]
    assert [offer is not None for offer in shown] == [True, False, False, False]


def test_figures_are_counted_by_language_and_by_kind() -> None:
    made = change("p", "a.py", OLD, NEW)
    assert made is not None
    told = figures([replay(made, first)])
    assert told["languages"]["all"] == told["languages"]["python"]
    assert told["languages"]["all"]["precision"] == {"n": 2, "value": 1.0, "interval": [1.0, 1.0]}
    assert told["languages"]["all"]["recall_offered_after_2"]["n"] == 1
    assert told["kinds"]["parameter"]["n"] == 2


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> LocalEngine:
    return load_local_engine(str(tiny_model), "cpu", 1)


def test_likelihoods_do_not_depend_on_the_kv_cache(engine: LocalEngine) -> None:
    prompt = Prompt("a.py", "x = 1\ny =", "", "\nz = 3\n")
    texts = (" f(x) + 3", " f(x) + 3 - y", " 2", " f(x) + 3")
    every = log_likelihoods(engine, prompt, texts)
    assert every[0] == pytest.approx(every[3], abs=1e-3) and all(value < 0 for value in every)
    for some in (texts[:2], texts[1:3], texts[2:], (texts[0], texts[3])):
        engine.prefill(Prompt("other.py", "else", "", ""))
        alone = [every[texts.index(text)] for text in some]
        assert log_likelihoods(engine, prompt, some) == pytest.approx(alone, abs=1e-3)


def test_the_gain_of_the_reverse_edit_has_the_opposite_sign(engine: LocalEngine) -> None:
    document = Document("", "a.py", "python", 1, "a = 1\nb = f(x)\nc = 3\n")
    there = Candidate(10, 11, "g", "rename", 2, "f -> g")
    back = Candidate(10, 11, "f", "rename", 2, "g -> f")
    other = document.replace(10, 11, "g", 2)
    forth = gain(document, there, (), engine)
    assert forth is not None
    assert gain(other, back, (), engine) == pytest.approx(-forth, abs=1e-3)
    assert gain(document, Candidate(0, 20, "x\n" * 9, "replace", 2, ""), (), engine) is None


def test_the_judge_decides_only_on_kinds_that_need_it(engine: LocalEngine) -> None:
    document = Document("", "a.py", "python", 1, "a = 1\nb = f(x)\nc = 3\n")
    rename = Candidate(10, 11, "g", "rename", 2, "f -> g")
    sure = Candidate(10, 11, "g", "parameter", 1, "f -> g")
    assert pick_candidate(document, [rename, sure], (), None) == sure
    assert pick_candidate(document, [rename], (), engine, min_gains={"rename": -1e9}) == rename
    assert pick_candidate(document, [rename], (), engine, min_gains={"rename": 1e9}) is None


def archive(folder: Path, version: str, text: str) -> None:
    """Write an npm package like `fetch` does."""
    place = folder / "npm" / f"tiny={version}"
    place.mkdir(parents=True)
    with tarfile.open(place / "tiny.tgz", "w:gz") as bundle:
        info = tarfile.TarInfo("package/a.py")
        info.size = len(text)
        bundle.addfile(info, io.BytesIO(text.encode()))


def test_the_command_replays_a_change_and_writes_details(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive(tmp_path / "downloads", "1", OLD)
    archive(tmp_path / "downloads", "2", NEW)
    monkeypatch.setattr(command, "PAIRS", (Pair("npm", "tiny", "1", "2", "MIT", "report"),))
    details = tmp_path / "details.jsonl"
    options = [
        "--sources",
        "packages",
        "--downloads",
        str(tmp_path / "downloads"),
        "--model",
        str(tiny_model),
    ]
    assert command.main([*options, "--details", str(details), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["languages"]["all"]["precision"]["n"] == 2
    assert told["single_edits"] == {"n": 1, "offered": 0}
    assert len(details.read_text().splitlines()) == 2
    assert command.main([*options, "--no-judge"]) == 0
    assert "repeat nothing: 1" in capsys.readouterr().out


def test_changes_are_read_from_the_history_of_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    git("init")
    for text in (OLD, NEW):
        (tmp_path / "a.py").write_text(text)
        git("add", ".")
        git("commit", "-m", "x")
    monkeypatch.setattr(changes, "HISTORY", {"report": ("2000-01-01", "2090-01-01")})
    (found,) = changes.repository_changes("report", tmp_path)
    assert (found.path, len(found.steps)) == ("a.py", 4)
