"""Tests of access tokens and rate limits."""

from __future__ import annotations

import pytest

from mercury_lsp.http.access import MAX_CLIENTS, Access
from mercury_lsp.http.completions import Refused


def test_a_valid_token_gives_its_name_and_others_are_denied() -> None:
    access = Access({"one": "ann", "two": "bob"})
    assert (access.name("Bearer one"), access.name("bearer  two")) == ("ann", "bob")
    for header in ("", "one", "Basic one", "Bearer \ud800", "Bearer", "Bearer on", "Bearer onee", "Bearer ü"):
        with pytest.raises(Refused) as refused:
            access.name(header)
        assert refused.value.status == 401
    assert Access({}).name("Bearer anything") == ""


def test_the_rate_limit_refuses_requests_and_gives_the_time_to_retry() -> None:
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


def test_the_number_of_remembered_clients_is_limited() -> None:
    access = Access({}, per_minute=1)
    for asker in range(MAX_CLIENTS + 10):
        access.take(str(asker))
    assert len(access._buckets) == MAX_CLIENTS
