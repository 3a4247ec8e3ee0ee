"""The tests that docs/security.md names exist."""

from __future__ import annotations

import re

from support import ROOT


def test_every_test_that_the_threat_model_names_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", page)
    assert len({name for _, name in named if name}) > 20
    wrong = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file()
        or (name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert not wrong
