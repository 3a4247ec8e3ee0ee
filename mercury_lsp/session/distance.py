"""Measures how far files are from the open documents, and chooses which ones make room for a nearer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MAX_FILES = 5_000
"""Files of a workspace that are kept."""


def distance(folder: str, places: Sequence[str]) -> int:
    """Steps, up and down, from the nearest of some folders; from the root if there are none."""
    parts = folder.split("/")
    return min((_steps(parts, place.split("/")) for place in places), default=len(parts))


def _steps(one: Sequence[str], other: Sequence[str]) -> int:
    common = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        common += 1
    return len(one) + len(other) - 2 * common


def making_room(
    sizes: Mapping[str, int], size: int, limit: int, away: int, places: Sequence[str]
) -> list[str] | None:
    """The files to drop, so that one more of ``size`` bytes, ``away`` steps away, fits into ``limit`` bytes.

    sizes: bytes by file. Only files that are further away are dropped; None if these are not enough.
    """
    excess, room = sum(sizes.values()) + size - limit, len(sizes) + 1 - MAX_FILES
    dropped: list[str] = []
    for steps_away, file in sorted(
        ((distance(f.rpartition("/")[0], places), f) for f in sizes), reverse=True
    ):
        if steps_away <= away or (excess <= 0 and len(dropped) >= room):
            break
        dropped.append(file)
        excess -= sizes[file]
    return None if excess > 0 or len(dropped) < room else dropped
