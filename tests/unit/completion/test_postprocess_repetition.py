"""Tests that text around the cursor is not suggested again. ¦ is the cursor."""

from __future__ import annotations

import pytest
from test_postprocess import text_of

HOSTS = "hosts:\n" + "".join(f"  - host{i}.example.org\n" for i in range(1, 9))
FRUIT = "x = [\n    'apples',\n    'pears',\n    ¦\n]\n"

LISTED = [
    ("yaml", f"{HOSTS}  - ¦", "host1.example.org\n  - host2.example.org", None),
    ("yaml", f"{HOSTS}  - ¦", "host9.example.org\n  - host1.example.org", "host9.example.org"),
    ("yaml", f"{HOSTS}¦", "  - host1.example.org\n  - host2.example.org", None),
    ("yaml", "a:\n  - name: x\n    v: 1\n  - ¦\n", "name: x\n    v: 2", "name: x\n    v: 2"),
    ("yaml", "a:\n  - name: x\n    v: 1\n  - ¦\n", "name: x\n    v: 1", None),
    ("yaml", "a:\n  - b c\nd:\n  - ¦\n", "b c", "b c"),  # another list
    ("markdown", "- apples\n- pears\n¦", "- apples\n- pears", None),
    ("markdown", "- apples\n- pears\n¦\n", "- plums\n- pears", "- plums"),
    ("markdown", "- apples\n¦\n- pears\n", "- plums\n- pears", "- plums"),  # below
    ("markdown", "- ¦\n", "- apples", "apples"),
    ("markdown", "1. apples\n2. pears\n¦\n", "3. apples", None),
    ("python", FRUIT, "'apples',\n    'plums',", None),
    ("python", FRUIT, "'plums',\n    'pears',", "'plums',"),
    ("python", FRUIT, "'apples'", None),
    ("c", "int x[] = {\n  0xff, 0xff,\n  ¦\n};\n", "0xff, 0x00,", "0xff, 0x00,"),
    ("ignore", "*.pyc\nbuild/\n¦\n", "dist/\n*.pyc", "dist/"),
    ("html", "<ul>\n  <li>One</li>\n  <li>Two</li>\n  ¦\n</ul>\n", "<li>One</li>", None),
    ("html", "<table>\n  <td>yes</td>\n  <td>no</td>\n  ¦\n</table>\n", "<td>yes</td>", "<td>yes</td>"),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), LISTED)
def test_items_of_a_list_are_not_suggested_again(
    language_id: str, marked: str, text: str, shown: str | None
) -> None:
    assert text_of(language_id, marked, text) == shown


@pytest.mark.parametrize(
    ("language_id", "document", "model"),
    [("yaml", HOSTS, HOSTS.partition("\n")[2]), ("markdown", "- apples\n- pears\n", "- apples\n- pears\n")],
)
def test_a_list_is_not_suggested_in_an_endless_loop(language_id: str, document: str, model: str) -> None:
    """The model always writes the list again; the user presses Enter and requests the next line."""
    for _ in range(3):
        shown = text_of(language_id, f"{document}¦", model)
        assert shown is None
        document += document.splitlines(keepends=True)[-1].replace("\n", "s\n")


@pytest.mark.parametrize(
    ("language_id", "marked", "text", "shown"),
    [
        ("go", "func f() {\n\tx := 1¦\n}\n", "0" * 57, None),
        ("markdown", "from 32 to 400¦\n", "0" * 57, None),
        ("python", "x = ¦\n", f"a + {'0' * 57}", None),
        ("python", 'null = "¦"\n', "0" * 40, "0" * 40),
        ("c", "int x = ¦;\n", f"0x{'f' * 48}", f"0x{'f' * 48}"),
        ("python", "x = ¦\n", "1000000", "1000000"),
    ],
)
def test_a_digit_is_not_suggested_in_an_endless_loop(
    language_id: str, marked: str, text: str, shown: str | None
) -> None:
    """Strings and hexadecimal numbers may have many equal digits."""
    assert text_of(language_id, marked, text) == shown


FLAT = '[\n{"id": 1,\n"name": "ab"},\n¦\n]'
ROWS = '[\n  {\n    "name": "x",\n    "size": 2\n  },\n  {\n    ¦\n  }\n]'
TABLES = '[[a]]\nname = "x"\nsize = 2\n\n[[a]]\n¦\n'
ELEMENTS = [
    # keys repeat in each object of a list, and most values may repeat
    ("json", '[{"a": 1, "b": 2}, {¦}]', '"a": 1, "b": 3', '"a": 1, "b": 3'),
    ("json", '[{"a": 1, "b": 2}, {"a": 3, ¦}]', '"b": 2', '"b": 2'),
    ("json", FLAT.replace("¦", '{"id": 2,\n¦'), '"name": "ab"}', '"name": "ab"}'),
    ("json", FLAT, '{"id": 2,\n"name": "ab"}', '{"id": 2,\n"name": "ab"}'),
    ("json", ROWS, '"name": "x",\n    "size": 4', '"name": "x",\n    "size": 4'),
    ("yaml", "- {name: x, size: 2}\n- {¦}\n", "name: x, size: 4", "name: x, size: 4"),
    ("yaml", "- name: x\n  size: 2\n- name: y\n  ¦\n", "size: 2", "size: 2"),
    ("toml", TABLES, 'name = "x"\nsize = 4', 'name = "x"\nsize = 4'),
    ("toml", "[[a]]\nsize = 2\n\n[[b]]\n¦\n", "size = 2", "size = 2"),
    ("ini", "[aa]\nname = x\nsize = 2\n[bb]\nname = y\n¦", "size = 2", "size = 2"),
    # a whole object does not repeat
    ("json", '[{"a": 1, "b": 2}, {¦}]', '"a": 1, "b": 2', None),
    ("json", '[{"a": 1, "b": 2}, ¦]', '{"a": 1, "b": 2}', None),
    ("json", '[{"a": 1, "b": 2}, ¦]', '{"a": 3}, {"a": 1, "b": 2}', '{"a": 3}'),
    ("json", '[{"a": 1, "b": 2}, ¦]', '{"a": 3}, {"a": 3}', '{"a": 3}'),
    ("json", '[¦, {"a": 1, "b": 2}]', '{"a": 1, "b": 2}', None),
    ("json", '[{"a": "}, {"}, ¦]', '{"a": "}, {"}', None),
    ("json", ROWS, '"name": "x",\n    "size": 2', None),
    ("json", FLAT, '{"id": 1,\n"name": "ab"}', None),
    ("json", "[[0, 1], ¦]", "[0, 1]", "[0, 1]"),
    ("yaml", "- {name: x, size: 2}\n- {¦}\n", "name: x, size: 2", None),
    ("toml", "a = [{name = 'x', size = 2}, {¦}]\n", "name = 'x', size = 2", None),
    ("toml", TABLES, 'name = "x"\nsize = 2', None),
    ("toml", TABLES, 'name = "y"\n\n[[a]]\nname = "x"\nsize = 2', 'name = "y"'),
    ("javascript", "x = [{ a: 1 }, { b: 1 }, ¦];\n", "{ a: 1 }", None),
    ("ini", "[aa]\nname = x\nsize = 2\n¦", "name = x", None),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), ELEMENTS)
def test_whole_elements_are_not_suggested_again_but_their_parts_may_be(
    language_id: str, marked: str, text: str, shown: str | None
) -> None:
    assert text_of(language_id, marked, text) == shown


LEFT = [
    (
        "python",
        "# Unless required by applicable law or agreed to in¦\n",
        "greed to in writing, software",
        " writing, software",
    ),
    ("python", "# Required by law or agreed to in ¦\n", "agreed to in writing", "writing"),
    ("markdown", "We go to the¦\n", " to the sea", " sea"),
    ("python", "def f():\n    return self.x¦\n", "return self.x + 1", " + 1"),
    ("python", "x = self.sum¦\n", "summary()", "mary()"),
    # not repetitions
    ("python", "x = ((¦\n", "((1))))", "((1))))"),
    ("python", "x = f(a) + ¦\n", "f(a) + 1", "f(a) + 1"),
    ("plaintext", "10¦\n", "100", "100"),
    ("restructuredtext", "Title of it\n-----¦\n", "------", "------"),
    ("python", "x = cancans(a)\ny = can¦\n", "cans(b)", "cans(b)"),
]


@pytest.mark.parametrize(("language_id", "marked", "text", "shown"), LEFT)
def test_text_left_of_the_cursor_is_not_suggested_again(
    language_id: str, marked: str, text: str, shown: str
) -> None:
    assert text_of(language_id, marked, text) == shown


@pytest.mark.parametrize(
    ("language_id", "marked", "text", "shown"),
    [
        ("php", "$a = ['[0-9][0¦\n];", "-9]" + "[0-9]" * 12 + "[", "-9][0"),
        ("php", "$a = ¦;", "'[0-9][0-9][0-9][0-9]'", "'[0-9][0-9][0-9][0-9]'"),
        ("python", "# Content + padding + ¦\n", "padding + padding", "padding"),
        ("c", "int x = ¦;\n", "0000000000000000000000000000", "0000000000000000000000000000"),
        ("markdown", "¦\n", "----------------------------", "----------------------------"),
    ],
)
def test_a_repeated_piece_is_shown_once(language_id: str, marked: str, text: str, shown: str) -> None:
    assert text_of(language_id, marked, text) == shown


@pytest.mark.parametrize(
    ("language_id", "marked", "text", "shown"),
    [
        ("python", "x = 1\n¦y = 2\n", "y =", None),
        ("python", "x = 1\n¦y = 2\n", "y", None),
        ("python", "x = 1\n¦y = 2\n", "y = z = ", "y = z = "),
        ("c", "unsigned ¦long x;\n", "long ", "long "),
        ("python", "f(¦name_of(x))\n", "name, ", "name, "),
    ],
)
def test_the_beginning_of_the_rest_of_the_line_is_not_suggested_before_it(
    language_id: str, marked: str, text: str, shown: str | None
) -> None:
    assert text_of(language_id, marked, text) == shown
