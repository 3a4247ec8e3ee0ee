"""Writes the options where users read them: the table of `docs/configuration.md`, and VS Code's `package.json`.

Run it after each change of an option: `make settings`, or `python -m editors.settings`. With `--check` nothing is
written, and the exit status is 1 if a file is stale. The meaning of the options is defined in `mercury_lsp/config.py`.
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
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}
MACHINE_SCOPED_PREFIXES = ("remote", "next_edit")
"""The prefixes of the options that decide which text leaves the machine, or that start a program."""
_TABLE = re.compile(
    r"(?<=\| Option \| Default \| Value \| Meaning \|\n\| --- \| --- \| --- \| --- \|\n)(\|.*\n)*"
)
# The server's options stand between the extension's own settings.
_PROPERTIES = re.compile(
    rf'(?<=\n        \}},\n)(        "{SECTION}\.(?!server\.|trace\.)\w+": {{\n(          .*\n)+        }},\n)*'
    rf'(?=        "{SECTION}\.trace\.)'
)


def table_row(option: Option) -> str:
    """Return an option's row in the table of `docs/configuration.md`."""
    return f"| `{option.name}` | `{json.dumps(option.default)}` | {option.expected} | {option.doc} |\n"


def json_schema(option: Option) -> dict[str, object]:
    """Return the JSON schema of an option for VS Code."""
    properties: dict[str, object] = {"type": JSON_TYPES[type(option.default)]}
    if isinstance(option.default, tuple):
        properties["items"] = {"type": "string"} | ({"enum": option.choices} if option.choices else {})
    properties["default"] = option.default
    if option.choices and not isinstance(option.default, tuple):
        properties["enum"] = option.choices
    if type(option.default) in (int, float):
        properties |= {"minimum": option.low, "maximum": option.high}
    if option.name.startswith(MACHINE_SCOPED_PREFIXES):
        # A project's own settings must neither send the user's text to another machine nor start a program.
        properties["scope"] = "machine"
    return properties | {"description": option.doc}


def package_entry(option: Option) -> str:
    """Return an option's entry in `package.json`, indented and with a trailing comma; each value takes one line."""
    lines = []
    for key, value in json_schema(option).items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict):
            text = f"{{ {text[1:-1]} }}"
        lines.append(f'          "{key}": {text}')
    return f'        "{SECTION}.{option.name}": {{\n' + ",\n".join(lines) + "\n        },\n"


GENERATED_FILES: tuple[tuple[str, re.Pattern[str], Callable[[Option], str]], ...] = (
    ("docs/configuration.md", _TABLE, table_row),
    ("editors/vscode/package.json", _PROPERTIES, package_entry),
)
"""Each file, the pattern of its generated part, and the function that writes an option there."""


def insert_options(text: str, pattern: re.Pattern[str], render_option: Callable[[Option], str]) -> str:
    """Return a file's text with the current options. Raises `ValueError` if the pattern does not occur in it."""
    if (match := pattern.search(text)) is None:
        raise ValueError("there is no place for the options")
    return text[: match.start()] + "".join(map(render_option, OPTIONS)) + text[match.end() :]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m editors.settings", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 where something would be"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    stale_files = []
    for name, pattern, render_option in GENERATED_FILES:
        path = options.root / name
        old_text = path.read_text(encoding="utf-8")
        if (new_text := insert_options(old_text, pattern, render_option)) != old_text:
            stale_files.append(name)
            if not options.check:
                path.write_text(new_text, encoding="utf-8", newline="\n")
    if stale_files:
        print(
            f"{'stale; run make settings' if options.check else 'written'}: {', '.join(stale_files)}",
            file=sys.stderr,
        )
    return 1 if stale_files and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
