"""The files wanted from a hub, and the licenses of its model cards; `test_fetch` tests downloads over sockets."""

from __future__ import annotations

import pytest
from test_fetch import FETCHED, FILES

from mercury_lsp.models.hub import _license_text, is_wanted_file


@pytest.mark.parametrize("name", sorted(FILES))
def test_only_the_files_of_a_model_are_wanted(name: str) -> None:
    assert is_wanted_file(name) == (name in FETCHED)


@pytest.mark.parametrize("name", ["../a.json", "a\\b.json", "c:a.json", "..json", "a.json/b"])
def test_a_file_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
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
def test_the_license_is_read_from_the_model_card(card: object, license: str | None) -> None:
    assert _license_text(card) == license
