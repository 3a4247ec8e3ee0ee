"""Measures the memory that a second server takes next to a first one (Linux).

Owns the measuring: both servers complete, then the system tells what each has for itself and what they share. Knows
nothing of what takes the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.scenes import SAMPLES_FOLDER, scenes

KEYS = 3  # typed at each place
PAUSE = 1.5  # seconds after the last completion, when a server has given back what it freed


def megabytes(pid: int) -> dict[str, float]:
    """Of a process by Linux's names: `Rss` is what is in memory, `Private` what no other process shares, `Pss` that and
    its part of what is shared. Raises ``OSError`` where the system does not tell."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {
        "Rss": found["Rss"],
        "Private": found["Private_Clean"] + found["Private_Dirty"],
        "Pss": found["Pss"],
    }


async def work(editor: Editor, places: int) -> None:
    """Complete at some places and behind the keys typed there."""
    for scene in scenes()[:places]:
        buffer = Buffer(editor, scene.uri, scene.language_id, scene.cut)
        for cursor, key in enumerate(scene.original[:KEYS], scene.start):
            await buffer.complete(cursor)
            buffer.replace(cursor, cursor, key)
        buffer.close()


async def measure(model: str, places: int = 12) -> dict[str, dict[str, float] | float]:
    """`first` and `second`: `megabytes` of two servers that have worked; `costs`: what the second adds to them all."""
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
