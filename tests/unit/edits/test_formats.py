"""Tests of the formats of next-edit models: exact prompts, and well-formed and malformed answers."""

from __future__ import annotations

import pytest

from mercury_lsp.edits.formats import MERCURY, SWEEP, ZETA, Format
from mercury_lsp.edits.region import Change, Region, region_around
from mercury_lsp.syntax.document import Document

TEXT = "import re\n\n\ndef flag(board, row):\n    mark(b, row)\n"
CHANGES = [Change(3, ("def flag(b, row):",), ("def flag(board, row):",))]


def region(text: str = TEXT) -> Region:
    found = region_around(Document("", "a.py", "python", 1, text), text.index("board") + 5, 1_000)
    assert found is not None
    return found


def test_the_prompt_of_mercury() -> None:
    assert MERCURY.prompt("a.py", region(), CHANGES) == (
        "<|recently_viewed_code_snippets|>\n\n<|/recently_viewed_code_snippets|>\n\n"
        "<|current_file_content|>\ncurrent_file_path: a.py\n"
        "<|code_to_edit|>\nimport re\n\n\ndef flag(board<|cursor|>, row):\n    mark(b, row)\n\n<|/code_to_edit|>\n"
        "<|/current_file_content|>\n\n"
        "<|edit_diff_history|>\n--- a.py\n+++ a.py\n@@ -4,1 +4,1 @@\n-def flag(b, row):\n+def flag(board, row):\n\n"
        "<|/edit_diff_history|>"
    )
    lines = [f"line {number}" for number in range(14)]
    found = region("\n".join([*lines, "board", *lines]))
    prompt = MERCURY.prompt("a.py", found, [])
    assert prompt is not None
    assert "line 3\n<|code_to_edit|>\nline 4\n" in prompt
    assert "line 9\n<|/code_to_edit|>\nline 10\n" in prompt
    assert prompt.endswith("<|edit_diff_history|>\n\n<|/edit_diff_history|>")


def test_the_prompt_of_sweep() -> None:
    assert SWEEP.prompt("w/a.py", region(), CHANGES) == (
        "<|file_sep|>w/a.py.diff\noriginal:\ndef flag(b, row):\nupdated:\ndef flag(board, row):\n"
        "<|file_sep|>original/w/a.py\nimport re\n\n\ndef flag(b, row):\n    mark(b, row)\n\n"
        "<|file_sep|>current/w/a.py\nimport re\n\n\ndef flag(board, row):\n    mark(b, row)\n\n"
        "<|file_sep|>updated/w/a.py\n"
    )


def test_the_prompt_of_zeta() -> None:
    assert ZETA.prompt("a.py", region(), CHANGES) == (
        "### Instruction:\nYou are a code completion assistant and your task is to analyze user edits and then rewrite "
        "an excerpt that the user provides, suggesting the appropriate edits within the excerpt, taking into account "
        "the cursor location.\n\n"
        '### User Edits:\n\nUser edited "a.py":\n```diff\n@@ -4,1 +4,1 @@\n-def flag(b, row):\n'
        "+def flag(board, row):\n```\n\n"
        "### User Excerpt:\n\n```a.py\n<|start_of_file|>\n<|editable_region_start|>\nimport re\n\n\n"
        "def flag(board<|user_cursor_is_here|>, row):\n    mark(b, row)\n\n<|editable_region_end|>\n```\n\n"
        "### Response:\n"
    )


@pytest.mark.parametrize("kind", [MERCURY, SWEEP, ZETA])
def test_no_prompt_is_built_if_the_text_contains_the_marks_of_the_format(kind: Format) -> None:
    for mark in kind.marks:
        assert kind.prompt("a.py", region(TEXT + f"x = '{mark}'\n"), CHANGES) is None
        assert kind.prompt("a.py", region(), [Change(0, (mark,), ("a",))]) is None
        assert kind.prompt(f"{mark}.py", region(), CHANGES) is None
    assert kind.prompt("a\nb.py", region(), CHANGES) is None


@pytest.mark.parametrize(
    ("kind", "text", "lines"),
    [
        (MERCURY, "```\na\n  b\n```", ["a", "  b"]),
        (MERCURY, "```python\na\r\nb\n\n```\n", ["a", "b", ""]),
        (MERCURY, "Here it is:\n```\n<|code_to_edit|>\na<|cursor|>b\n<|/code_to_edit|>\n```", ["ab"]),
        (MERCURY, "```\n# a\n```sh\nb\n```\nc\n```", ["# a", "```sh", "b", "```", "c"]),
        (MERCURY, "a\nb", None),
        (MERCURY, "```\na\nb", None),
        (MERCURY, "", None),
        (MERCURY, "```\n\n```", None),
        (MERCURY, "```\na <|edit_diff_history|>\n```", None),
        (SWEEP, "a\nb\n<|file_sep|>x.py\nc", ["a", "b", ""]),
        (SWEEP, "a<|endoftext|>b", ["a"]),
        (SWEEP, "\n \n<|file_sep|>", None),
        (ZETA, "```\n<|editable_region_start|>\na<|user_cursor_is_here|>b\n\n<|editable_region_end|>\n", ["ab", ""]),
        (ZETA, "<|editable_region_start|>\na", None),
        (ZETA, "a\n<|editable_region_end|>", None),
        (ZETA, "<|editable_region_start|>\na\n<|editable_region_start|>\nb\n<|editable_region_end|>", None),
    ],
)  # fmt: skip
def test_answers_are_parsed_and_malformed_answers_are_dropped(
    kind: Format, text: str, lines: list[str] | None
) -> None:
    assert kind.answer(text) == lines
