"""Tests of series: a line that continues a series is suggested wherever the series occurs."""

from __future__ import annotations

import pytest
from support.typing_edits import Typist

CLASS = """class P:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def to_dict(self):
        return {
            "x": self.x,
            "y": self.y,
        }

    @classmethod
    def of(cls, d):
        p = cls.__new__(cls)
        p.x = d["x"]
        p.y = d["y"]
        return p
"""


def test_a_new_field_is_suggested_at_the_other_lists_of_fields() -> None:
    typist = Typist("python", CLASS)
    typist.type("        self.y = y\n", "        self.y = y\n        self.z = z\n")
    assert [offer.kind for offer in typist.offers()] == ["series", "series"]
    typist.take_all()
    assert typist.text == (
        CLASS.replace("self.y = y\n", "self.y = y\n        self.z = z\n")
        .replace('"y": self.y,\n', '"y": self.y,\n            "z": self.z,\n')
        .replace('p.y = d["y"]\n', 'p.y = d["y"]\n        p.z = d["z"]\n')
    )


def test_names_are_recognized_in_several_forms() -> None:
    text = "a.one = get(one, ONE)\na.two = get(two, TWO)\n\nif (x) {\n  use(one, ONE);\n  use(two, TWO);\n}\n"
    typist = Typist("javascript", text)
    typist.type("\n\nif", "\na.three = get(three, THREE)\n\nif")
    typist.take_all()
    assert "  use(two, TWO);\n  use(three, THREE);\n}" in typist.text


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("o.a = 1\no.b = 1\n\nf(a)\nf(b)\nx\n", "o.b = 1\n", "o.b = 1\no.c = 2\n"),
        ("o.a = 1\no.b = 1\n\nf(b)\nf(a)\nx\n", "o.b = 1\n", "o.b = 1\no.c = 1\n"),
        ("o.a = 1\no.b = 1\n\nf(a)\nf(b)\nf(c)\n", "o.b = 1\n", "o.b = 1\no.c = 1\n"),
        ("o.a = 1\no.b = 1\n\nf(a)\ng(b)\nx\n", "o.b = 1\n", "o.b = 1\no.c = 1\n"),
        ("o.a = 1\no.b = 1\n\nf(a, b)\nf(b, b)\nx\n", "o.b = 1\n", "o.b = 1\no.c = 1\n"),
        # No attribute is assigned.
        ("a = 1\nb = 1\n\nf(a)\nf(b)\nx\n", "b = 1\n", "b = 1\nc = 1\n"),
        ("o.a = 1\no.b = 1\ns = '''\nf(a)\nf(b)\nx\n'''\n", "o.b = 1\n", "o.b = 1\no.c = 1\n"),
    ],
)
def test_nothing_is_suggested_if_the_series_do_not_correspond(text: str, old: str, new: str) -> None:
    typist = Typist("python", text)
    typist.type(old, new)
    assert typist.offers() == []
