"""Measures the response times of a running `mercury-lsp serve` while n clients type at once.

Each client types in a bundled file, one request after another, with its own affinity key: so after the first request,
most of its prompt is in the KV cache, as in an editor. Run it as `python -m model.loadtest.traffic URL --clients
1,2,4,8`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2

from model import ROOT

SAMPLES = ROOT / "mercury_lsp" / "samples"
# Characters typed between two requests.
TYPED = 3
TOKENS = 32


@dataclass(frozen=True, slots=True)
class Keystroke:
    """One request of a client: the text around the cursor, and the client's affinity key."""

    prompt: str
    suffix: str
    key: str


def keystrokes(client: int, count: int, run: str) -> list[Keystroke]:
    """Return the requests of a client in order."""
    files = sorted(path for path in SAMPLES.iterdir() if path.is_file())
    text = files[client % len(files)].read_text(encoding="utf-8")
    start = len(text) // 2 + 40 * (client // len(files))
    places = range(start, start + TYPED * count, TYPED)
    end = text.find("\n", places[-1])
    return [Keystroke(text[:place], text[end:], f"{run}-{client}") for place in places]


def measure(url: str, clients: int, count: int, run: str) -> dict[str, float]:
    """Return requests per second and response times in ms.

    The first request of each client has no cache, so its time is reported separately.
    """

    def type_on(client: int) -> list[float]:
        times = []
        with httpx2.Client(base_url=url, timeout=120) as http:
            for stroke in keystrokes(client, count, run):
                body = {"prompt": stroke.prompt, "suffix": stroke.suffix, "max_tokens": TOKENS, "stop": "\n"}
                began = time.perf_counter()
                answer = http.post("/v1/fim/completions", json=body, headers={"X-Affinity-Key": stroke.key})
                answer.raise_for_status()
                times.append((time.perf_counter() - began) * 1e3)
        return times

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(type_on, range(clients)))
    took = time.perf_counter() - began
    warm = sorted(ms for times in each for ms in times[1:])
    return {
        "clients": clients,
        "requests_per_s": round(clients * count / took, 2),
        "p50_ms": round(warm[len(warm) // 2], 1),
        "p95_ms": round(warm[int(0.95 * (len(warm) - 1))], 1),
        "first_p50_ms": round(sorted(times[0] for times in each)[clients // 2], 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON object for each number of clients."""
    parser = argparse.ArgumentParser(prog="python -m model.loadtest.traffic", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", default="1,2,4,8")
    parser.add_argument("--requests", type=int, default=8, help="of each client")
    arguments = parser.parse_args(argv)
    for clients in map(int, arguments.clients.split(",")):
        figures = measure(arguments.url, clients, arguments.requests, f"{os.getpid()}-{clients}")
        print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
