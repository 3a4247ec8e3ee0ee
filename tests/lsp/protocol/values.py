"""Random values for the messages of the fuzz: odd texts, numbers and positions, and values of the protocol's types.

Knows nothing of messages.
"""

from __future__ import annotations

import enum
import random
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .mirror import FAR, PIECES, Mirror

Message = dict[str, Any]
TEXTS = (
    "",
    "\0",
    "\ud83d",
    "\udc00x",
    "\u202e",
    "x" * 3000,
    "a\0b",
    "<mask>",
    "<fim_middle>",
    "%",
    "../..",
    "1e9",
)
NUMBERS = (
    0,
    1,
    -1,
    2**31 - 1,
    2**31,
    -(2**31),
    2**53,
    2**64,
    10**40,
    1.5,
    -0.0,
    1e300,
    float("inf"),
    float("nan"),
)
PLACES = (
    "file:///w/v%d.py",
    "untitled:V%d",
    "file:///c%%3A/W/v%d.ts",
    "vscode-notebook-cell:/w/n.ipynb#%d",
    "\ud83d%d",
)


class Values:
    """Draws random values. ``commands``: the names for `workspace/executeCommand`."""

    def __init__(self, dice: random.Random, commands: Sequence[str]) -> None:
        self.dice = dice
        self._commands = [*commands, "mercury.unknown"]
        self._uris = [place % i for i, place in enumerate(PLACES * 2)]

    def uri(self) -> str:
        """Return the URI of a document whose text is not compared."""
        return self.dice.choice(self._uris)

    def text(self, pieces: int = 20) -> str:
        """Return a random text of at most ``pieces`` pieces, or an odd one."""
        if self.dice.random() < 0.1:
            return self.dice.choice(TEXTS)
        return "".join(self.dice.choices(PIECES, k=self.dice.randint(0, pieces)))

    def position(self, mirror: Mirror | None = None) -> Message:
        """Return a random position, near or in the mirror's text if there is a mirror."""
        if mirror is not None:
            line, character = mirror.place(self.dice)
        else:
            line, character = (self.dice.choice((0, 0, 1, 2, 5, 40, *FAR)) for _ in range(2))
        return {"line": line, "character": character}

    def range(self) -> Message:
        """Return a random range; its end may be before its start."""
        return {"start": self.position(), "end": self.position()}

    def made(self, hint: Any, depth: int) -> Any:
        """Return a random value of a type of the protocol."""
        dice, inner = self.dice, typing.get_args(hint)
        if hint is str:
            return dice.choice((self.uri(), self.text(2), dice.choice(self._commands)))
        if hint in (int, float):
            return dice.choice((0, 1, 2, 3, *FAR))
        if hint is bool:
            return dice.random() < 0.5
        if hint is type(None):
            return None
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return dice.choice(list(hint)).value
        if isinstance(hint, type) and attrs.has(hint):
            attrs.resolve_types(hint)
            names = {
                field.name: re.sub(r"_(\w)", lambda m: m[1].upper(), field.name)
                for field in attrs.fields(hint)
            }
            return {
                names[field.name]: self.made(field.type, depth + 1)
                for field in attrs.fields(hint)
                if field.default is attrs.NOTHING or (depth < 4 and dice.random() < 0.5)
            }
        origin = typing.get_origin(hint)
        if origin is typing.Literal:
            return dice.choice(inner)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {}
        if isinstance(origin, type) and issubclass(origin, Sequence) and inner:
            return [self.made(inner[0], depth + 1) for _ in range(dice.randint(0, 2))]
        if inner and hint is not Any:
            return self.made(dice.choice(inner), depth)
        return self.json(2)

    def json(self, depth: int) -> Any:
        """Return a random JSON value."""
        kind = self.dice.randrange(7 if depth else 4)
        if kind == 0:
            return self.dice.choice(NUMBERS)
        if kind == 1:
            return self.text(2)
        if kind in (2, 3):
            return self.dice.choice((None, True, False, self.uri()))
        if kind == 4:
            return [self.json(depth - 1) for _ in range(self.dice.randint(0, 3))]
        names = ("uri", "textDocument", "position", "line", "text", "x")
        return {self.dice.choice(names): self.json(depth - 1) for _ in range(self.dice.randint(0, 3))}
