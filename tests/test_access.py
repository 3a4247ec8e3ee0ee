"""Tokens, and how often each may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from mercury_lsp.service.access import REMEMBERED, Access, Denied, TooOften, parse_tokens, read_tokens


def test_a_token_a_line_with_a_name_or_a_number(tmp_path: Path) -> None:
    text = "# the team\nsecret-1 ann\n\n  secret-2  \nsecret-3 bob b\n"
    wanted = {"secret-1": "ann", "secret-2": "token-2", "secret-3": "bobb"}
    assert parse_tokens(text) == wanted
    (tmp_path / "tokens").write_text(text)
    assert read_tokens(tmp_path / "tokens", {}) == read_tokens(None, {"MERCURY_TOKENS": text}) == wanted
    assert read_tokens(None, {}) == {}
    with pytest.raises(ValueError, match="twice"):
        parse_tokens("a x\na y\n")


def test_who_has_a_token_has_its_name_and_others_are_denied() -> None:
    access = Access({"one": "ann", "two": "bob"})
    assert (access.name("Bearer one"), access.name("bearer  two")) == ("ann", "bob")
    for header in ("", "one", "Basic one", "Bearer", "Bearer on", "Bearer onee", "Bearer ü"):
        with pytest.raises(Denied):
            access.name(header)
    assert Access({}).name("Bearer anything") == ""


def test_a_rate_lets_so_many_through_and_tells_when_to_come_again() -> None:
    now = [0.0]
    access = Access({}, per_minute=12, clock=lambda: now[0])
    access.take("ann")
    access.take("ann")
    with pytest.raises(TooOften) as refused:
        access.take("ann")
    assert refused.value.wait == pytest.approx(5)
    access.take("bob")
    now[0] += refused.value.wait
    access.take("ann")
    with pytest.raises(TooOften):
        access.take("ann")


def test_askers_are_forgotten_in_the_end() -> None:
    access = Access({}, per_minute=1)
    for asker in range(REMEMBERED + 10):
        access.take(str(asker))
    assert len(access._left) == REMEMBERED
