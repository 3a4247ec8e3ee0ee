"""Tokens, and how often each may ask."""

from __future__ import annotations

import pytest

from mercury_lsp.http.access import MAX_CLIENTS, Access
from mercury_lsp.http.completions import Refused


def test_who_has_a_token_has_its_name_and_others_are_denied() -> None:
    access = Access({"one": "ann", "two": "bob"})
    assert (access.name("Bearer one"), access.name("bearer  two")) == ("ann", "bob")
    for header in ("", "one", "Basic one", "Bearer \ud800", "Bearer", "Bearer on", "Bearer onee", "Bearer ü"):
        with pytest.raises(Refused) as refused:
            access.name(header)
        assert refused.value.status == 401
    assert Access({}).name("Bearer anything") == ""


def test_a_rate_lets_so_many_through_and_tells_when_to_come_again() -> None:
    now = [0.0]
    access = Access({}, per_minute=12, clock=lambda: now[0])
    access.take("ann")
    access.take("ann")
    with pytest.raises(Refused) as refused:
        access.take("ann")
    assert refused.value.status == 429 and refused.value.wait == pytest.approx(5)
    access.take("bob")
    now[0] += refused.value.wait
    access.take("ann")
    with pytest.raises(Refused):
        access.take("ann")


def test_askers_are_forgotten_in_the_end() -> None:
    access = Access({}, per_minute=1)
    for asker in range(MAX_CLIENTS + 10):
        access.take(str(asker))
    assert len(access._buckets) == MAX_CLIENTS
