"""The ablation of context sources: the whole command on a small corpus with a tiny network, and its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.models.tiny_corpus import write_corpus

from mercury_lsp.completion.pipeline import build_prompt
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.retrieval.ranking import Related
from mercury_lsp.engine.api import never_cancelled
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.tokenizer import encode_prompt
from mercury_lsp.syntax.document import Document
from model.data.sources import SOURCES
from model.evaluation.heldout.ablation import (
    ALL,
    NOTHING,
    SCORED,
    Trial,
    cost_of,
    main,
    read,
    report,
    variants,
)
from model.evaluation.heldout.records import Record

AREAS = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(4))
USES = "from areas import area_1, area_2\n\n\ndef total(width, height):\n    print(area_1(width, height))\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", "heldout", python={"areas.py": AREAS, "uses.py": USES})


def test_a_run_compares_each_source_with_no_related_text(
    corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = tmp_path / "details.jsonl"
    command = ["--corpus", str(corpus), "--model", str(tiny_model), "--device", "cpu", "--threads", "1"]
    command += ["--languages", "python", "--per-language", "4", "--kinds", "next", "--details", str(details)]
    assert main([*command, "--sources", "definitions,opened", "--budgets", "40,80", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = [f"{name} {budget}" for budget in (40, 80) for name in ("definitions", "opened", ALL)]
    assert list(answer) == [NOTHING, *names]
    assert all(answer[name]["n"] == 4 for name in answer)
    tokens = [answer[name]["tokens"] for name in (NOTHING, "definitions 40", f"{ALL} 40", f"{ALL} 80")]
    assert 0 == tokens[0] < tokens[1] <= tokens[2] <= 40 and tokens[2] <= tokens[3]
    assert all({"gains", "nats", "cold_ms", "typing_ms"} <= answer[name].keys() for name in names)
    trials = read(details)
    assert len(trials) == 4 * 7 and all(trial.nats > 0 and trial.tokens > 0 for trial in trials)
    assert main(["--again", str(details), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["opened 40"]["nats"] == answer["opened 40"]["nats"] and "cold_ms" not in again["opened 40"]
    assert main(["--again", str(details)]) == 0
    assert "definitions 80" in capsys.readouterr().out


def test_invalid_arguments_are_errors(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--corpus", str(corpus), "--languages", "rust"]) == 1
    assert "rust" in capsys.readouterr().err
    assert main(["--again", str(corpus / "statistics.json")]) == 1
    assert "was not written by model.evaluation.heldout.ablation" in capsys.readouterr().err
    for arguments in (["--kinds", "half"], ["--sources", "edits"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2


def test_variants_differ_only_in_their_sources() -> None:
    made = variants([64], ["header", "opened"])
    assert list(made) == [NOTHING, "header 64", "opened 64", f"{ALL} 64"]
    assert made["header 64"] == Related(64, SOURCES["header"])


def test_the_cost_of_a_text_is_the_sum_of_the_costs_of_its_tokens(tiny_model: Path) -> None:
    engine = load_local_engine(str(tiny_model), "cpu", 1)
    document = Document("file:///a.py", "a.py", "python", 1, USES)
    prompt = build_prompt(Snapshot(document, Config()), len(USES) - 1, engine)
    ids, passes = list(encode_prompt(prompt, engine.tokenizer)), engine.cached_model
    hole = [*engine.tokenizer.encode("print(area_2(1, 2))"), engine.tokenizer.specials.eot]
    expected = 0.0
    for i, token in enumerate(hole):
        whole = [*ids, *hole[:i]]
        row = passes.extend(whole[passes.reuse(whole[:-1]) :], never_cancelled)
        expected -= float(passes.scores(row)[0, token])
    nats, tokens = cost_of(engine, prompt, "print(area_2(1, 2))")
    assert tokens == len(hole) > 5
    assert nats == pytest.approx(expected, rel=1e-3)
    assert cost_of(engine, prompt, "x = 1\n" * 200)[1] == SCORED


def record(exact: bool, path: str) -> Record:
    zero = {
        "tokens": 1,
        "passes": 1,
        "confidence": 1.0,
        "ms": 1.0,
        "keys": 10,
        "spared": 0,
        "spared_by_word": 0,
    }
    said = {"hole": "x", "text": "x", "shown": "x", "one_line": True, "finished": True, "first_line": exact}
    about = {
        "model": "m",
        "seed": 0,
        "language": "go",
        "package": "p",
        "path": path,
        "kind": "next",
        "start": 0,
    }
    return Record(**about, **said, **zero, exact=exact, ending="right")  # type: ignore[arg-type]


def test_figures_of_variants_are_paired_by_hole() -> None:
    trials = [
        Trial(NOTHING, 0, 8.0, 4, record(False, "a")),
        Trial(NOTHING, 0, 2.0, 4, record(True, "b")),
        Trial("opened 96", 90, 4.0, 4, record(True, "a")),
        Trial("opened 96", 0, 2.0, 4, record(True, "b")),
    ]
    answer = report(
        trials, {NOTHING: [(100.0, 10.0), (90.0, 11.0)], "opened 96": [(150.0, 10.5), (140.0, 12.0)]}
    )
    row = answer["opened 96"]
    assert (row["n"], row["exact"], row["tokens"], row["beside"]) == (2, 1.0, 45.0, 0.5)
    assert row["gains"]["all"]["exact"]["difference"] == 0.5
    assert row["nats"]["difference"] == 0.5
    assert (row["cold_ms"], row["typing_ms"]) == (50.0, 0.8)
