"""Tests of options: each default is valid, and each wrong value gives one problem and keeps the default."""

from __future__ import annotations

import pytest

from mercury_lsp.config import OPTIONS, Config, parse_settings


def test_empty_settings_give_the_defaults_without_a_problem() -> None:
    assert parse_settings({}) == (Config(), ())


def test_every_default_is_a_valid_value_of_its_option() -> None:
    assert parse_settings({option.name: option.default for option in OPTIONS}) == (Config(), ())


def test_every_option_is_documented_and_bounded() -> None:
    for option in OPTIONS:
        assert option.doc.endswith("."), option.name
        if isinstance(option.default, (int, float)) and not isinstance(option.default, bool):
            assert option.low < option.high, option.name


def test_valid_settings_are_applied() -> None:
    config, problems = parse_settings(
        {"max_tokens": 16, "enabled": False, "disabled_languages": ["markdown"], "device": "cpu"}
    )
    assert problems == ()
    assert config == Config(max_tokens=16, enabled=False, disabled_languages=("markdown",), device="cpu")


def test_null_counts_as_unset_and_whole_floats_become_integers() -> None:
    config, problems = parse_settings({"max_tokens": None, "threads": 2.0, "show_likelihood": 1})
    assert problems == ()
    assert config == Config(threads=2, show_likelihood=1.0)
    assert isinstance(config.threads, int) and isinstance(config.show_likelihood, float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabled", 1),
        ("enabled", 0),
        ("enabled", 0.0),
        ("anticipate", 0),
        ("enabled", "true"),
        ("model", ""),
        ("model", 3),
        ("device", "gpu"),
        ("threads", True),
        ("threads", 65),
        ("threads", -1),
        ("threads", 2.5),
        ("max_tokens", "64"),
        ("max_tokens", float("nan")),
        ("max_tokens", float("inf")),
        ("max_tokens", 10**400),
        ("show_likelihood", -0.1),
        ("show_likelihood", [1]),
        ("multiline", "sometimes"),
        ("disabled_languages", "python"),
        ("disabled_languages", [1]),
        ("project_files", "some"),
        ("project_files", ["open"]),
        ("log_level", {}),
    ],
)
def test_a_wrong_value_gives_one_problem_and_keeps_the_other_settings(name: str, value: object) -> None:
    config, problems = parse_settings({name: value, "nice": 4})
    assert config == Config(nice=4)
    assert len(problems) == 1
    assert name in problems[0] and problems[0].count("\n") == 0


def test_the_problem_of_an_unknown_setting_names_the_most_similar_one() -> None:
    assert parse_settings({"max_token": 3}) == (
        Config(),
        ("There is no setting 'max_token'; did you mean max_tokens?",),
    )


def test_settings_of_the_editor_extension_are_not_a_problem() -> None:
    assert parse_settings({"trace": {"server": "verbose"}, "server": {"command": "x"}}) == (Config(), ())


@pytest.mark.parametrize("settings", [None, 5, "fast", ["max_tokens"]])
def test_settings_of_a_wrong_type_give_one_problem(settings: object) -> None:
    config, problems = parse_settings(settings)
    assert config == Config() and len(problems) == 1
