"""Computes how many replicas n programmers need, from measured service times, by simulation.

    python -m model.loadtest.queueing --url http://127.0.0.1:2088
    python -m model.loadtest.queueing --service-ms 42 --cold-ms 180 --batch-ms 42,60,80,96

The first command measures one replica on the hardware where it runs; measure on other hardware for its figures. The
simulation is in `queues`, the typing of programmers in `typing_model`; both are models. Costs are computed only if a
price is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mercury_lsp.http.local import MAX_GPU_TASKS
from model.loadtest.load import Plan, Run
from model.loadtest.queues import Fleet, Outcome, Service, simulate
from model.loadtest.typing_model import Typing, options, typing

PEOPLE = (10, 20, 50, 100, 200, 500, 1000)
# The least number of keys of a simulation, and its least duration in seconds.
KEYS = 20_000
MINUTE = 60.0
MOST_REPLICAS = 4096
# A batch that takes more than this share of the time of its requests one by one does not count as a batch.
ALONE = 0.95


@dataclass(frozen=True, slots=True)
class Times:
    """Service times in milliseconds.

    ``alone``: samples of an answer whose text is in the cache. ``cold``: the additional time to read the text.
    ``batches``: the time of a batch, by its size from 1 on.
    """

    alone: tuple[float, ...]
    cold: float
    batches: tuple[float, ...]

    def service(self, sessions: int, stop_ms: float, seed: int) -> Service:
        """Return the service times as parameters of the simulation."""
        random, alone = np.random.default_rng(seed), np.array(self.alone) / 1e3
        costs = [ms / self.batches[0] for ms in self.batches]
        together = [1.0]
        for size, cost in enumerate(costs[1:], 2):
            if cost > ALONE * size:
                break
            together.append(cost)
        return Service(
            lambda: float(alone[random.integers(len(alone))]),
            together,
            self.cold / 1e3,
            sessions,
            stop_ms / 1e3,
        )


async def measure(url: str, most: int, seconds: float, token: str, max_tokens: int) -> Times:
    """Measure the service times of one replica at a URL, with 1 to ``most`` programmers who each wait for an answer."""
    batches, alone, cold = [], [], []
    for size in range(1, most + 1):
        # Different programmers each time, so that the first request of each is cold.
        plan = Plan(size, seconds, closed=True, max_tokens=max_tokens, first=sum(range(size)))
        run = Run(url, plan, token)
        await run.drive()
        wrong = [request.outcome for request in run.requests if request.outcome != "answered"]
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {len(run.requests)} requests failed: {wrong[0]}")
        warm = [request.ms for request in run.requests if not request.first]
        if not warm:
            raise RuntimeError(f"no second answer came within {seconds:g} s: measure for longer")
        batches.append(fmean(warm))
        if size == 1:
            alone = warm
            cold = [request.ms for request in run.requests if request.first]
    return Times(tuple(alone), max(0.0, median(cold) - median(alone)), tuple(batches))


def fewest(
    people: int, model: Typing, times: Times, fleet: Fleet, given: argparse.Namespace
) -> tuple[int, Outcome]:
    """Return the fewest replicas that meet the target percentile, and the outcome of the simulation with them.

    The search is by doubling and bisection, which assumes that more replicas are never worse.
    """
    seconds = max(MINUTE, KEYS / (people * model.rate))
    arrivals = [model.times(seconds, np.random.default_rng([given.seed, one])) for one in range(people)]
    tried: dict[int, Outcome] = {}

    def met(replicas: int) -> bool:
        service = times.service(given.sessions, given.stop_ms, given.seed)
        tried[replicas] = simulate(arrivals, service, replace(fleet, replicas=replicas), given.seed)
        return bool(tried[replicas].percentile(given.percentile / 100) * 1e3 <= given.target_ms)

    high = 1
    while not met(high):
        high *= 2
        if high > MOST_REPLICAS:
            reached = tried[high // 2].percentile(given.percentile / 100) * 1e3
            raise RuntimeError(
                f"{high // 2} replicas are not enough for {people} people: with them it is {reached:.0f} ms instead of"
                f" {given.target_ms:g}. An answer alone takes too long here; give a larger --target-ms."
            )
    # Known not to be enough.
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if met(middle) else (middle, high)
    return high, tried[high]


def row(people: int, replicas: int, found: Outcome, price: float | None) -> dict[str, Any]:
    """Return the figures for one number of programmers; each replica is assumed to have its own GPU."""
    told: dict[str, Any] = {
        "people": people,
        "replicas": replicas,
        "people_per_replica": round(people / replicas, 2),
        "ms": {f"p{share}": _ms(found.percentile(share / 100)) for share in (50, 95, 99)},
        "utilisation": round(found.busy, 3),
        "superseded": round(found.superseded / found.requests, 3),
        "cold": round(found.cold, 4),
    }
    if price is not None:
        told |= {
            "per_hour": round(price * replicas, 2),
            "per_person_hour": round(price * replicas / people, 4),
        }
    return told


def _ms(seconds: float) -> float | None:
    return None if math.isinf(seconds) else round(seconds * 1e3, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        model = typing(given)
        if bool(given.url) == bool(given.service_ms):
            raise ValueError("give --url to measure, or --service-ms")
        if given.url:
            times = asyncio.run(measure(given.url, given.batch, given.seconds, given.token, given.max_tokens))
        else:
            batches = tuple(map(float, given.batch_ms.split(","))) if given.batch_ms else (given.service_ms,)
            times = Times((given.service_ms,), given.cold_ms, batches)
    except ValueError as error:
        parser.error(str(error))
    except RuntimeError as error:
        print(f"model.loadtest.queueing: {error}", file=sys.stderr)
        return 1
    fleet = Fleet(1, given.ongoing, given.queued, not given.no_affinity)
    rows = []
    for people in map(int, given.people.split(",")):
        try:
            rows.append(row(people, *fewest(people, model, times, fleet, given), given.price))
        except RuntimeError as error:
            print(f"model.loadtest.queueing: {error}", file=sys.stderr)
            return 1
    _tell(rows, times, model, given)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.loadtest.queueing", description="Compute how many replicas n programmers need."
    )
    measured = parser.add_argument_group("service times, measured or given")
    measured.add_argument("--url", default="", help="URL of one running replica to measure")
    measured.add_argument("--token", default="", help="its token")
    measured.add_argument("--batch", type=int, default=4, help="most requests at once measured (%(default)s)")
    measured.add_argument("--seconds", type=float, default=8.0, help="of each measurement (%(default)s)")
    measured.add_argument("--max-tokens", type=int, default=32, help="of each answer (%(default)s)")
    measured.add_argument("--service-ms", type=float, default=0.0, help="one answer alone, text in the cache")
    measured.add_argument("--cold-ms", type=float, default=0.0, help="additional time to read the text")
    measured.add_argument(
        "--batch-ms", default="", help="times of batches of 1, 2, ... requests, separated by commas"
    )
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--people", default=",".join(map(str, PEOPLE)), help="programmers (%(default)s)")
    asked.add_argument("--target-ms", type=float, default=100.0, help="for requests at a pause (%(default)s)")
    asked.add_argument("--percentile", type=float, default=95.0, help="of them (%(default)s)")
    asked.add_argument("--price", type=float, help="price of one replica's GPU per hour, in any currency")
    asked.add_argument(
        "--ongoing", type=int, default=MAX_GPU_TASKS, help="requests a replica takes (%(default)s)"
    )
    asked.add_argument(
        "--queued", type=int, default=1_000_000, help="requests that may wait in the common queue"
    )
    asked.add_argument("--sessions", type=int, default=256, help="texts a replica keeps (%(default)s)")
    asked.add_argument("--stop-ms", type=float, default=10.0, help="until a pass ends (%(default)s)")
    asked.add_argument("--no-affinity", action="store_true", help="any replica takes any request")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--json", action="store_true", help="print one JSON object")
    options(parser)
    return parser


def _tell(rows: list[dict[str, Any]], times: Times, model: Typing, given: argparse.Namespace) -> None:
    alone = {"mean_ms": round(fmean(times.alone), 1), "samples": len(times.alone)}
    batches = [round(ms, 1) for ms in times.batches]
    if given.json:
        told = {"alone": alone, "cold_ms": round(times.cold, 1), "batch_ms": batches, "typing": asdict(model)}
        print(json.dumps(told | {"target_ms": given.target_ms, "percentile": given.percentile, "rows": rows}))
        return
    names = ("people", "replicas", "people_per_replica", "utilisation", "superseded", "cold")
    costs = ("per_hour", "per_person_hour") if given.price is not None else ()
    table = Table(title=f"replicas for p{given.percentile:g} <= {given.target_ms:g} ms at a pause")
    for name in (*names, "p50", "p95", "p99", *costs):
        table.add_column(name.replace("_", " "), justify="right")
    for one in rows:
        cells = [one[name] for name in names] + [one["ms"][share] for share in ("p50", "p95", "p99")]
        table.add_row(*(str(cell) for cell in [*cells, *(one[name] for name in costs)]))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    print(
        f"Of one replica: {alone['mean_ms']} ms an answer, {times.cold:.1f} ms more where the text is not in the cache;"
        f" batches {batches} ms. {model.rate:.2f} keys a second each, as assumed."
    )


if __name__ == "__main__":
    sys.exit(main())
