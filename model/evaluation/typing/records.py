"""Defines the records of the typing benchmark, each a line of the details, and reads them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from model.evaluation.heldout.records import DetailsError
from model.evaluation.typing.ideal_typist import Key

T = TypeVar("T", "TypedLine", "BegunWord")


@dataclass(frozen=True, slots=True)
class TypedLine:
    """A line that was typed: ``text`` without its indentation, at offset ``start`` of its file.

    ``below``: whether the lines below were in the file.
    """

    model: str
    language: str
    package: str
    path: str
    start: int
    below: bool
    text: str
    keys: tuple[Key, ...]

    @property
    def file(self) -> tuple[str, str]:
        """The file of the line; lines of the same file are not independent."""
        return self.package, self.path

    @property
    def place(self) -> tuple[str, str, int, bool]:
        """The same for two runs at the same place."""
        return self.package, self.path, self.start, self.below

    @property
    def pressed(self) -> int:
        """The keys pressed for the line, including those for accepting."""
        return sum(key.keys for key in self.keys)

    @property
    def spared(self) -> int:
        """The characters of the line that took no key, minus the keys for accepting."""
        return len(self.text) - self.pressed

    @property
    def beyond(self) -> int:
        """The characters of following lines that were accepted with the line; no other figure counts them."""
        last = self.keys[-1]
        accepted = last.at + len(last.shown or "") if last.did == "whole" else 0
        return max(0, accepted - len(self.text))

    @property
    def wrong(self) -> int:
        """The number of distinct suggestions that were wrong from their first word."""
        return sum(key.fresh and key.verdict == "wrong" for key in self.keys)


@dataclass(frozen=True, slots=True)
class BegunWord:
    """A manual request within a word: the line ends after ``begun``, and the author went on with ``rest``.

    ``word``: the suggestion completes the word; ``line``: its first line is the rest of the line.
    """

    model: str
    language: str
    package: str
    path: str
    start: int
    below: bool
    begun: str
    rest: str
    shown: str | None
    word: bool
    line: bool
    ms: float

    @property
    def file(self) -> tuple[str, str]:
        """The file of the word."""
        return self.package, self.path

    @property
    def place(self) -> tuple[str, str, int, bool]:
        """The same for two runs at the same place."""
        return self.package, self.path, self.start, self.below


def record_line(record: TypedLine | BegunWord) -> str:
    """Return a record as one line of JSON."""
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"


def read_records(file: Path, kind: type[T]) -> list[T]:
    """Read the records of a file of details. Raises `DetailsError`."""
    try:
        with file.open(encoding="utf-8") as lines:
            return [kind(**_with_keys(json.loads(line))) for line in lines]
    except OSError as error:
        raise DetailsError(f"{file} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DetailsError(
            f"{file} was not written by this mode of model.evaluation.typing: {error}"
        ) from error


def _with_keys(values: dict[str, Any]) -> dict[str, Any]:
    if "keys" in values:
        values["keys"] = tuple(Key(**key) for key in values["keys"])
    return values
