"""Writes the options where users read them: the table of `docs/configuration.md`, and VS Code's `package.json`.

Run after each change of an option: `make settings`, or `python -m editors.settings`; with `--check` nothing is
written, and the exit status is 1 where something would be. Owns how an option is told, and nothing of what it means:
that is said once, in `mercury_lsp/config.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from mercury_lsp.config import OPTIONS, SECTION, Option

ROOT = Path(__file__).resolve().parent.parent
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}
ELSEWHERE = ("remote", "next_edit")
"""How the names of those options begin that decide what leaves the machine, or start a program."""
_TABLE = re.compile(
    r"(?<=\| Option \| Default \| Value \| Meaning \|\n\| --- \| --- \| --- \| --- \|\n)(\|.*\n)*"
)
# What the extension has for itself stands around what it has for the server.
_PROPERTIES = re.compile(
    rf'(?<=\n        \}},\n)(        "{SECTION}\.(?!server\.|trace\.)\w+": {{\n(          .*\n)+        }},\n)*'
    rf'(?=        "{SECTION}\.trace\.)'
)


def row(option: Option) -> str:
    """An option's row in the table of `docs/configuration.md`."""
    return f"| `{option.name}` | `{json.dumps(option.default)}` | {option.expected} | {option.doc} |\n"


def schema(option: Option) -> dict[str, object]:
    """What VS Code is told of an option: a JSON schema."""
    told: dict[str, object] = {"type": TYPES[type(option.default)]}
    if isinstance(option.default, tuple):
        told["items"] = {"type": "string"} | ({"enum": option.choices} if option.choices else {})
    told["default"] = option.default
    if option.choices and not isinstance(option.default, tuple):
        told["enum"] = option.choices
    if type(option.default) in (int, float):
        told |= {"minimum": option.low, "maximum": option.high}
    if option.name.startswith(ELSEWHERE):
        # A project that is merely opened must neither send its user's text anywhere nor start a program.
        told["scope"] = "machine"
    return told | {"description": option.doc}


def entry(option: Option) -> str:
    """An option in `package.json`, where it stands, with a comma behind it. A value takes one line."""
    lines = []
    for key, value in schema(option).items():
        written = json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict):
            written = f"{{ {written[1:-1]} }}"
        lines.append(f'          "{key}": {written}')
    return f'        "{SECTION}.{option.name}": {{\n' + ",\n".join(lines) + "\n        },\n"


FILES: tuple[tuple[str, re.Pattern[str], Callable[[Option], str]], ...] = (
    ("docs/configuration.md", _TABLE, row),
    ("editors/vscode/package.json", _PROPERTIES, entry),
)
"""Each file, what in it is generated, and what that has for an option."""


def generated(text: str, place: re.Pattern[str], told: Callable[[Option], str]) -> str:
    """A file's text with the options as they are now. Raises `ValueError` where it has no place for them."""
    if (found := place.search(text)) is None:
        raise ValueError("there is no place for the options")
    return text[: found.start()] + "".join(map(told, OPTIONS)) + text[found.end() :]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m editors.settings", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 where something would be"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    stale = []
    for name, place, told in FILES:
        path = options.root / name
        old = path.read_text(encoding="utf-8")
        if (new := generated(old, place, told)) != old:
            stale.append(name)
            if not options.check:
                path.write_text(new, encoding="utf-8", newline="\n")
    if stale:
        print(
            f"{'stale; run make settings' if options.check else 'written'}: {', '.join(stale)}",
            file=sys.stderr,
        )
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
