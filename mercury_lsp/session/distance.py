"""Measures how far files are from the open documents, and selects the ones that are dropped for a nearer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import commonprefix

MAX_FILES = 5_000
"""The largest number of files of a workspace that are kept."""


def distance(folder: str, folders: Sequence[str]) -> int:
    """Return the steps up and down from a folder to the nearest of `folders`; from the root if there are none."""
    here, others = folder.split("/"), (place.split("/") for place in folders)
    steps = (len(here) + len(there) - 2 * len(commonprefix([here, there])) for there in others)
    return min(steps, default=len(here))


def files_to_drop(
    sizes: Mapping[str, int], size: int, limit: int, away: int, folders: Sequence[str]
) -> list[str] | None:
    """Return the files to drop so that one more of ``size`` bytes, ``away`` steps away, fits into ``limit`` bytes.

    ``sizes``: bytes by file. Only files that are further away are dropped; None if dropping them is not enough.
    """
    excess, room = sum(sizes.values()) + size - limit, len(sizes) + 1 - MAX_FILES
    dropped: list[str] = []
    for steps_away, file in sorted(
        ((distance(f.rpartition("/")[0], folders), f) for f in sizes), reverse=True
    ):
        if steps_away <= away or (excess <= 0 and len(dropped) >= room):
            break
        dropped.append(file)
        excess -= sizes[file]
    return None if excess > 0 or len(dropped) < room else dropped
