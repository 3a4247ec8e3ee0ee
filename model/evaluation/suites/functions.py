"""Finds the end of a generated function, where the generation is stopped and the text is cut.

The search is lexical, from left to right, so a decision about a text holds for every continuation of the text; a parser
would take an unfinished string for code. In Python, a function ends before the first line at column 0 outside of
strings, brackets and comments; in the other languages, after its closing brace. The given beginning must end outside of
strings and comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_SLASHED = r"//[^\n]*|/\*(?:(?!\*/).)*+(?:\*/)?"
_STRING = r'"(?:\\.|[^"\\\n])*+"?|' + r"'(?:\\.|[^'\\\n])*+'?"
_LINES = r'"(?:\\.|[^"\\])*+"?|' + r"'(?:\\.|[^'\\])*+'?"
_QUOTED_LINES = r'"""(?:\\.|(?!""").)*+(?:""")?'
_RAW = r'R"(?P<mark>[^(\s]*)\(.*?(?:\)(?P=mark)"|\Z)' + r"|(?<=\d)'(?=\d)"
_SKIPPED = {
    "python": rf"#[^\n]*|\\\n|{_QUOTED_LINES}|'''(?:\\.|(?!''').)*+(?:''')?|{_STRING}",
    "java": rf"{_SLASHED}|{_QUOTED_LINES}|{_STRING}",
    "javascript": rf"{_SLASHED}|{_STRING}|`(?:\\.|[^`\\])*+`?",
    "typescript": rf"{_SLASHED}|{_STRING}|`(?:\\.|[^`\\])*+`?",
    "php": rf"{_SLASHED}|#(?!\[)[^\n]*|{_LINES}",
    "cpp": rf"{_SLASHED}|{_RAW}|{_STRING}",
}
_TOKENS = {name: re.compile(rf"(?P<skipped>{it})|\w+|\S", re.DOTALL) for name, it in _SKIPPED.items()}
_REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*+\]?|[^/\\\n\[])++/?")
_BEFORE_REGEX = frozenset("(,=:[!&|?{};+-*%<>~^") | {"", "return", "typeof", "case"}
"""The tokens after which a slash begins a regular expression in a script; after other tokens it is a division."""
_DEPTH = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}

LANGUAGES = tuple(_TOKENS)


def end(language: str, beginning: str, text: str) -> int | None:
    """Return the number of characters of ``text``, after ``beginning``, that belong to the function; None for all."""
    if language == "python":
        return _python_end(not beginning or beginning.endswith("\n"), text)
    around, depth = _around(language, beginning), _left_open(language, beginning)
    for token, start in _code(language, text):
        depth += _braces(token)
        if token == "}" and depth <= around:
            return start + 1
    return None


def cut(language: str, beginning: str, text: str) -> str:
    """Return the part of a text that belongs to the function."""
    return text[: end(language, beginning, text)]


def closing(language: str, beginning: str) -> str:
    """Return the text that closes the braces around the function: in Java, that of the class."""
    return "" if language == "python" else "\n}" * _around(language, beginning)


def is_looping(text: str, times: int = 5) -> bool:
    """Return whether a text ends with ``times`` repetitions of the same lines; such a function would never end."""
    for period in range(1, len(text) // times + 1):
        unit = text[-period:]
        if "\n" in unit and text.endswith(unit * times):
            return True
    return False


def _python_end(line_start: bool, text: str) -> int | None:
    depth = 0
    for token, start in _code("python", text):
        before = text[max(0, start - 2) : start]
        column_0 = before.endswith("\n") and before != "\\\n" if start else line_start
        if column_0 and depth == 0:
            return start
        depth = max(0, depth + _DEPTH.get(token, 0))
    return None


# Cached, since each pass of a generation calls it with the same beginning.
@lru_cache(maxsize=16)
def _left_open(language: str, beginning: str) -> int:
    return sum(_braces(token) for token, _ in _code(language, beginning))


def _around(language: str, beginning: str) -> int:
    """Return the number of open braces that are not the function's own."""
    return max(0, _left_open(language, beginning) - 1)


def _braces(token: str) -> int:
    return (token == "{") - (token == "}")


def _code(language: str, text: str) -> Iterator[tuple[str, int]]:
    """Yield the tokens of a text without comments, and their starts; a string is represented by a quote."""
    script = language in ("javascript", "typescript")
    at, before = 0, ""
    while match := _TOKENS[language].search(text, at):
        at, token = match.end(), match.group()
        if match["skipped"] is not None:
            if token[0] in "/#\\":  # a comment
                continue
            token = '"'
        elif script and token == "/" and before in _BEFORE_REGEX:
            regex = _REGEX.match(text, match.start())
            at, token = (regex.end(), '"') if regex else (at, token)
        yield token, match.start()
        before = token
