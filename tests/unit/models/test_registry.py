"""Tests of the table of known models: each is found by both of its names, and names are unique."""

from __future__ import annotations

import re

import pytest

from mercury_lsp.models.hub import _REPO
from mercury_lsp.models.registry import MODELS, KnownModel, find_known


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)
def test_each_entry_is_well_formed_and_found(entry: KnownModel) -> None:
    assert re.fullmatch(r"[a-z0-9.-]+", entry.name) and "--" not in entry.repo and _REPO.fullmatch(entry.repo)
    assert entry.name.startswith(entry.family)
    assert entry.parameters.lower() in entry.name
    assert entry.good_for.endswith(".")
    assert entry.license is None or entry.license == entry.license.lower()
    assert find_known(entry.name) is find_known(entry.repo) is find_known(entry.repo.upper()) is entry


def test_names_of_models_are_unique() -> None:
    names = [name.casefold() for entry in MODELS for name in (entry.name, entry.repo)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("model", ["small", "", "apple", "diffucoder", "/diffucoder-7b"])
def test_other_names_are_not_known(model: str) -> None:
    assert find_known(model) is None
