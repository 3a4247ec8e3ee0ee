"""Measures the memory that a second server takes in addition to a first one (Linux).

Both servers make completions; then the private and the shared memory of each process are read from the system.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.scenes import SAMPLES_FOLDER, scenes

# Keys typed at each place.
KEYS = 3
# Seconds after the last completion, within which a server returns freed memory to the system.
PAUSE = 1.5


def megabytes(pid: int) -> dict[str, float]:
    """Return the memory of a process in MiB, by Linux's names.

    `Rss` is resident memory, `Private` the part that no other process shares, `Pss` the private part and the process's
    proportion of shared memory. Raises ``OSError`` if the system does not report them.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {
        "Rss": found["Rss"],
        "Private": found["Private_Clean"] + found["Private_Dirty"],
        "Pss": found["Pss"],
    }


async def work(editor: Editor, places: int) -> None:
    """Complete at some places, and after each key typed there."""
    for scene in scenes()[:places]:
        buffer = Buffer(editor, scene.uri, scene.language_id, scene.cut)
        for cursor, key in enumerate(scene.original[:KEYS], scene.start):
            await buffer.complete(cursor)
            buffer.replace(cursor, cursor, key)
        buffer.close()


async def measure(model: str, places: int = 12) -> dict[str, dict[str, float] | float]:
    """Return the `megabytes` of two servers after some work, and the memory that the second server adds, `costs`."""
    async with Editor.start(SAMPLES_FOLDER, {"model": model, "device": "cpu"}) as first:
        await first.wait_until_loaded()
        await work(first, places)
        await asyncio.sleep(PAUSE)
        alone = megabytes(first.pid)
        async with Editor.start(SAMPLES_FOLDER, {"model": model, "device": "cpu"}) as second:
            await second.wait_until_loaded()
            await work(second, places)
            await asyncio.sleep(PAUSE)
            both = megabytes(first.pid), megabytes(second.pid)
    return {"first": both[0], "second": both[1], "costs": both[0]["Pss"] + both[1]["Pss"] - alone["Pss"]}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m model.loadtest.second_server", description=__doc__)
    parser.add_argument("model", help="a shipped model's name or a checkpoint's folder")
    print(json.dumps(asyncio.run(measure(parser.parse_args().model))))


if __name__ == "__main__":
    main()
