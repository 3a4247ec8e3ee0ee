"""What is asked of a hub: which files, and what its cards say; over sockets see `test_fetch`."""

from __future__ import annotations

import pytest
from test_fetch import FETCHED, FILES

from mercury_lsp.models.hub import _license_text, is_wanted_file


@pytest.mark.parametrize("name", sorted(FILES))
def test_only_what_a_model_is_made_of_is_wanted(name: str) -> None:
    assert is_wanted_file(name) == (name in FETCHED)


@pytest.mark.parametrize("name", ["../a.json", "a\\b.json", "c:a.json", "..json", "a.json/b"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    assert not is_wanted_file(name)


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": "other", "license_name": "own  terms"}, "other, own terms"),
        ({"license": "other"}, "other"),
        ({"license": "other", "license_name": "x\x1b[2J\u202e"}, "other, x\\x1b[2J\\u202e"),
        ({"license": ["mit", "apache-2.0"]}, "['mit', 'apache-2.0']"),
        ({}, None),
        (None, None),
    ],
)
def test_the_license_is_what_the_card_says(card: object, license: str | None) -> None:
    assert _license_text(card) == license
