"""Calibration fitted to recorded keystrokes: a known one is recovered, and the threshold keeps the bound."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from support.models.tiny_corpus import write_corpus

from model.evaluation.calibration import calibrate
from model.evaluation.calibration.calibrate import (
    FITTED,
    accounts,
    choose,
    halves,
    main,
    markdown,
    report,
    server_rule,
    share,
)
from model.evaluation.calibration.calibration import (
    agrees,
    beginnings,
    calibrated_outcomes,
    error,
    fit,
    reliability,
    tokens,
)
from model.evaluation.calibration.keystrokes import Keystrokes, Request, read, replay, write
from model.evaluation.calibration.odds import IDENTITY, Calibration, calibrated_probability
from model.evaluation.heldout.offers import Fit, Offer

WORDS = ["compute", "values", "canvas", "height", "return"]
CODE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(9))


def line(number: int, random: Random, calibration: Calibration, package: str = "p") -> Keystrokes:
    """Make a line of words with one request at its start; words are right as often as the calibration predicts."""
    text = " ".join(random.choice(WORDS) for _ in range(4))
    said, scored, right = "", [], True
    for i, word in enumerate(text.split()):
        logp = math.log(random.uniform(0.02, 0.98))
        right = right and random.random() < calibrated_probability(logp, calibration)
        said += (" " if i else "") + (word if right else "xyzzy")
        scored.append((len(said), logp))
    offer = Offer(
        said, True, math.exp(sum(logp for _, logp in scored)), tuple(scored), (Fit(len(said), said, 0),)
    )
    return Keystrokes("m", "python", package, f"{number}.py", 0, text, "", (Request(0, "", offer),))


def test_a_calibration_decides_what_is_shown() -> None:
    def shown(first: float, calibration: Calibration) -> bool:
        scored = ((3, math.log(first)), (7, math.log(0.9)))
        return (
            Offer("foo(bar", True, 0.1, scored, (Fit(7, "foo(bar", 0),)).shown(0.3, calibration) is not None
        )

    assert shown(0.2, (2.0, 1.0)) and not shown(0.2, IDENTITY)
    assert shown(0.5, IDENTITY) and not shown(0.5, (-2.0, 1.0))
    low, middle, high = (calibrated_probability(logp, IDENTITY) for logp in (-1e9, -1.0, 0.0))
    assert 0 < low < middle < high < 1


def lines(count: int, calibration: Calibration = IDENTITY, seed: int = 0) -> list[Keystrokes]:
    random = Random(seed)
    return [line(i, random, calibration, f"p{i % 2}") for i in range(count)]


def test_a_known_calibration_is_recovered() -> None:
    for known in (IDENTITY, (-0.8, 0.6), (0.5, 1.4)):
        seen = tokens(lines(4000, known))
        offset, slope = fit(seen)
        assert offset == pytest.approx(known[0], abs=0.12) and slope == pytest.approx(known[1], abs=0.12)
        fitted = error(reliability(calibrated_outcomes(seen, (offset, slope))))
        assert fitted < 0.02
        if known != IDENTITY:
            assert error(reliability(calibrated_outcomes(seen, IDENTITY))) > 2 * fitted


def test_one_sided_outcomes_have_a_finite_fit() -> None:
    offset, slope = fit([(-0.1, True)] * 20)
    assert math.isfinite(offset) and math.isfinite(slope) and offset > 0


def test_the_likelihood_of_a_beginning_is_that_of_all_its_words() -> None:
    seen = beginnings(lines(3000), IDENTITY)
    assert len(seen) == 4 * 3000 and error(reliability(seen)) < 0.02


def test_tokens_after_a_wrong_token_do_not_count() -> None:
    own = line(0, Random(0), IDENTITY)
    offer = Offer("return xyzzy values", True, 0.1, ((6, -0.1), (12, -0.2), (19, -0.3)), ())
    own = replace(own, text="return values", requests=(Request(0, "", offer), Request(3, "", None)))
    assert tokens([own]) == [(-0.1, True), (-0.2, False)]


def test_a_text_that_ends_within_a_word_is_wrong() -> None:
    assert agrees("count(x", 5, "count(y") and not agrees("count(x", 5, "counter")
    assert agrees("counter", 5, "counter") and not agrees("x", 1, "y")


@pytest.fixture
def few_thresholds(monkeypatch: pytest.MonkeyPatch) -> tuple[float, ...]:
    """Use fewer thresholds, to save time."""
    thresholds = (0.1, 0.3, 0.5, 0.7, 0.9)
    monkeypatch.setattr(calibrate, "THRESHOLDS", thresholds)
    return thresholds


@pytest.mark.parametrize("bound", [0.15, 0.3])
def test_the_threshold_saves_most_keys_within_the_bound(
    bound: float, few_thresholds: tuple[float, ...]
) -> None:
    made = lines(80)

    def told(least: float) -> tuple[float, float]:
        own = list(accounts(made, server_rule(least, IDENTITY)).values())
        return share(own, "wrong_of_shown"), share(own, "keys_spared")

    chosen, met = choose(made, IDENTITY, bound)
    figures = {least: told(least) for least in few_thresholds}
    assert met and figures[chosen][0] <= bound
    assert all(spared <= figures[chosen][1] for wrong, spared in figures.values() if wrong <= bound)
    assert any(wrong > bound for wrong, _ in figures.values())


def test_the_least_wrong_threshold_is_chosen_if_none_keeps_the_bound(
    few_thresholds: tuple[float, ...],
) -> None:
    # The calibration of a model that is far too confident.
    made = lines(80, (-3.0, 1.0))
    chosen, met = choose(made, IDENTITY, 0.05)
    wrong = {
        least: share(accounts(made, server_rule(least, IDENTITY)).values(), "wrong_of_shown")
        for least in few_thresholds
    }
    assert not met and wrong[chosen] == min(wrong.values()) > 0.05


def test_accounts_count_keys_like_the_ideal_typist() -> None:
    own = line(0, Random(0), IDENTITY)
    offer = Offer("return values", True, 0.5, ((6, -0.1), (13, -0.1)), (Fit(13, "return values", 0),))
    right = replace(own, text="return values", requests=(Request(0, "", offer),))
    begun = replace(right, path="b.py", text="return canvas")
    ((file, found), (_, half)) = accounts([right, begun], lambda offer: offer.whole).items()
    assert file == ("p", "0.py")
    assert (found.characters, found.spared, found.asked, found.shown, found.wrong) == (13, 12, 1, 1, 0)
    assert (half.spared, half.suggestions, half.wrong) == (5, 1, 0)
    (nothing,) = accounts([right], lambda offer: None).values()
    assert (nothing.spared, nothing.asked, nothing.shown) == (0, 1, 0)


def test_a_suggestion_that_agrees_with_typed_keys_is_counted_once() -> None:
    own = line(0, Random(0), IDENTITY)
    offer = Offer("rex", True, 0.5, ((3, -0.1),), (Fit(3, "rex", 0),))
    (keys,) = replay(
        [replace(own, text="return", requests=(Request(0, "", offer),))], lambda offer: offer.whole
    )
    assert [key.shown for key in keys] == ["rex", "ex", "x", None, None, None]
    assert [key.fresh for key in keys] == [True, False, False, False, False, False]


def test_an_offer_is_cut_like_by_the_server() -> None:
    offer = Offer(
        "a()\nbcd(", True, 0.1, ((4, -0.01), (8, -6.0)), (Fit(3, "a() {", 1), Fit(8, "a() {\nbcd(", 0))
    )
    assert offer.shown(0.0, IDENTITY) == Fit(8, "a() {\nbcd(", 0)
    assert offer.shown(0.3, IDENTITY) == Fit(3, "a() {", 1)
    assert replace(offer, scored=((4, -6.0), (8, -6.0))).shown(0.3, IDENTITY) is None
    assert replace(offer, fits=()).shown(0.0, IDENTITY) is None


def test_the_halves_have_no_project_in_common() -> None:
    made = [replace(own, package=f"p{i % 5}", language="ab"[i % 2]) for i, own in enumerate(lines(40))]
    one, other = halves(made)
    assert len(one) + len(other) == 40
    assert not {(x.language, x.package) for x in one} & {(x.language, x.package) for x in other}
    assert {x.package for x in one if x.language == "a"} == {"p0", "p2", "p4"}


def test_a_report_is_fitted_on_one_half_and_covers_both(few_thresholds: tuple[float, ...]) -> None:
    made = lines(60, (-0.8, 0.6))
    answer = report(made, 0.3)
    one, other = halves(made)
    assert answer["calibration"] == fit(tokens(one)) and answer["exchanged"]["calibration"] == fit(
        tokens(other)
    )
    assert answer["show_likelihood"] == choose(one, answer["calibration"], 0.3)[0]
    assert answer["reported_on"]["projects"] == ["p1"] and answer["reported_on"]["lines"] == 30
    figure = answer["reported_on"]["rules"][FITTED]["keys_spared"]
    assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
    assert f"show_likelihood = {answer['show_likelihood']}" in markdown(answer)


def test_the_command_records_and_reports_again(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], few_thresholds: tuple[float, ...]
) -> None:
    corpus = write_corpus(
        tmp_path / "corpus",
        "heldout",
        python={"a.py": CODE},
        go={"b.go": "package a\n\nfunc Sum() int {\n}\n"},
    )
    file = tmp_path / "keystrokes.jsonl"
    arguments = ["--record", str(file), "--corpus", str(corpus), "--model", str(tiny_model), "--threads", "1"]
    status = main([*arguments, "--languages", "python", "--per-language", "2", "--json"])
    assert status == 1 and "Too few projects" in capsys.readouterr().err
    made = read(file)
    assert len(made) == 2 and [request.at for request in made[0].requests][:3] == [0, 3, 6]
    for own in made:
        assert CODE[own.start :].startswith(own.text) and own.following in (
            "",
            CODE[own.start + len(own.text) :],
        )
    # With the lines below it, and without them.
    assert len({own.following == "" for own in made}) == 2
    write([*made, *(replace(own, package="q") for own in made)], file)
    assert main([str(file), "--json", "--markdown", str(tmp_path / "t.md")]) == 0
    assert json.loads(capsys.readouterr().out)["reported_on"]["projects"] == ["q"]
    assert "no cut" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_missing_and_foreign_records_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.jsonl")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "other.jsonl").write_text("{}\n", encoding="utf-8")
    assert main([str(tmp_path / "other.jsonl")]) == 1
    assert "was not written by model.evaluation.calibration.calibrate" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
