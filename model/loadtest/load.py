"""Simulates programmers who type bundled files, against any server with the HTTP interface of `serve`.

    python -m model.loadtest.load http://127.0.0.1:8000 --typists 8 --seconds 30
    python -m model.loadtest.load --replicas 2 --kill-one-at 10

Open loop (default): keys are pressed at the times of `typing_model`, whether or not answers have arrived; a key cancels
the request of the key before, as in editors, unless --patient. Closed loop (--closed): each programmer presses the next
key after the answer, which measures the largest throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from mercury_lsp.bench.scenes import Scene, scenes
from mercury_lsp.http.local import MAX_GPU_TASKS
from model.loadtest.typing_model import Typing, options, typing

# Seconds that an answer may take.
PATIENCE = 60.0
MOST_TYPISTS, MOST_SECONDS = 1000, 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a load test.

    ``closed``: the next key waits for the answer, and there are no pauses. ``patient``: a newer key cancels no request.
    ``first``: the number of the first programmer; a number determines the keys, the scene and the cache key.
    """

    typists: int = 8
    seconds: float = 30.0
    typing: Typing = field(default_factory=Typing)
    closed: bool = False
    patient: bool = False
    max_tokens: int = 32
    seed: int = 0
    first: int = 0


@dataclass(slots=True)
class Request:
    """One request.

    ``late``: the seconds from its key until it was sent. ``outcome``: answered, superseded, or the error: an HTTP
    status or an exception's name. ``ms``: the time from the key to the last byte of the answer.
    """

    first: bool = False
    late: float = 0.0
    outcome: str = ""
    ms: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0


class Page:
    """A bundled file that is typed from one of its scenes to its end, repeatedly."""

    def __init__(self, number: int) -> None:
        every = scenes()
        self._scene: Scene = every[number % len(every)]
        self._cursor = self._scene.start

    def key(self) -> tuple[str, str]:
        """Press a key; return the text before the cursor, and the text from the next line on."""
        text = self._scene.text
        self._cursor += 1
        if self._cursor >= len(text):
            self._cursor = self._scene.start + 1
        end = text.find("\n", self._cursor)
        return text[: self._cursor], text[end:] if end >= 0 else ""


class Run:
    """The requests of a plan to a server."""

    def __init__(self, url: str, plan: Plan, token: str = "") -> None:
        self.plan, self.requests = plan, list[Request]()
        self.began = self.ended = 0.0
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=2 * plan.typists)
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE, limits=limits)

    async def drive(self, aside: Callable[[], Awaitable[None]] | None = None) -> None:
        """Send all requests, and wait until each has an outcome. aside: runs meanwhile."""
        async with self._client:
            self.began = time.perf_counter()
            type_ = self._closed if self.plan.closed else self._open
            work = [type_(self.plan.first + number) for number in range(self.plan.typists)]
            await asyncio.gather(*work, *([aside()] if aside else []))
            self.ended = time.perf_counter()

    async def _open(self, number: int) -> None:
        times = self.plan.typing.times(self.plan.seconds, np.random.default_rng([self.plan.seed, number]))
        page, tasks, first = Page(number), list[asyncio.Task[None]](), True
        for at in times:
            await asyncio.sleep(max(0.0, self.began + at - time.perf_counter()))
            if tasks and not self.plan.patient:
                tasks[-1].cancel()
            request = Request(first)
            self.requests.append(request)
            tasks.append(asyncio.create_task(self._ask(request, number, *page.key(), self.began + at)))
            first = False
        await asyncio.gather(*tasks)

    async def _closed(self, number: int) -> None:
        page, first = Page(number), True
        while time.perf_counter() < self.began + self.plan.seconds:
            request = Request(first)
            self.requests.append(request)
            await self._ask(request, number, *page.key(), time.perf_counter())
            first = False

    async def _ask(self, request: Request, number: int, before: str, after: str, pressed: float) -> None:
        body = {
            "prompt": before,
            "suffix": after,
            "max_tokens": self.plan.max_tokens,
            "stop": ["\n"],
            "prompt_cache_key": f"typist-{number}",
        }
        request.late = time.perf_counter() - pressed
        try:
            reply = await self._client.post("/v1/completions", json=body)
            request.outcome = "answered" if reply.status_code == 200 else str(reply.status_code)
            if reply.status_code == 200:
                self._count(request, reply.json())
        except asyncio.CancelledError:
            request.outcome = "superseded"
        except (httpx.HTTPError, ValueError) as error:
            request.outcome = type(error).__name__
        request.ms = (time.perf_counter() - pressed) * 1e3

    def _count(self, request: Request, answer: dict[str, Any]) -> None:
        cost = answer.get("usage") or {}
        request.prompt_tokens = cost.get("prompt_tokens", 0)
        request.tokens = cost.get("completion_tokens", 0)
        request.cached_tokens = (cost.get("prompt_tokens_details") or {}).get("cached_tokens", 0)


def figures(run: Run) -> dict[str, Any]:
    """Return the figures of a run; times are in ms. ``lost``: requests that were neither cancelled nor answered."""
    outcomes = Counter(request.outcome for request in run.requests)
    done = [request for request in run.requests if request.outcome == "answered"]
    seconds = max(run.ended - run.began, 1e-9)
    read = sum(request.prompt_tokens for request in done)
    errors = {what: count for what, count in outcomes.items() if what not in ("answered", "superseded")}
    return {
        "loop": "closed" if run.plan.closed else "open",
        "typists": run.plan.typists,
        "seconds": round(seconds, 2),
        "sent": len(run.requests),
        "answered": len(done),
        "superseded": outcomes["superseded"],
        "lost": sum(errors.values()),
        "errors": errors,
        "answers_per_s": round(len(done) / seconds, 2),
        "tokens_per_s": round(sum(request.tokens for request in done) / seconds, 1),
        "ms": _percentiles([request.ms for request in done]),
        "sent_late_ms_p95": round(_percentile([1e3 * request.late for request in run.requests], 95), 1),
        "cached_share": round(sum(request.cached_tokens for request in done) / read, 4) if read else None,
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{share}": round(_percentile(values, share), 1) for share in (50, 95, 99)}


def _percentile(values: Sequence[float], share: float) -> float:
    return float(np.percentile(values, share)) if len(values) else 0.0


def retries(metrics: str) -> int | None:
    """Return the number of retried tasks, by the text of `/metrics`; None if it has no such metric."""
    found = [line for line in metrics.splitlines() if line.startswith("mercury_retries_total")]
    return int(float(found[0].split()[-1])) if found else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 if requests were lost."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        counts = [int(part) for part in given.replicas.split(",") if part]
        plan = _plan(given)
    except ValueError as error:
        parser.error(str(error))
    if bool(given.url) == bool(counts):
        parser.error("give a server's URL, or --replicas to start one here")
    if given.kill_one_at is not None and not counts:
        parser.error("--kill-one-at needs --replicas: only a replica that was started here is killed")
    reports = asyncio.run(_at(given.url, plan, given)) if given.url else _here(counts, plan, given)
    _tell(reports, given.json)
    return 1 if any(report["lost"] for report in reports) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.loadtest.load", description="Type at a completion service."
    )
    parser.add_argument("url", nargs="?", default="", help="a running server, such as http://127.0.0.1:8000")
    parser.add_argument(
        "--replicas", default="", metavar="N[,M]", help="start Ray Serve here with N replicas, then with M"
    )
    parser.add_argument("--kill-one-at", type=float, metavar="SECONDS", help="kill a replica at that time")
    parser.add_argument("--model", default="small", help="of the replicas started here (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of each such replica (%(default)s)")
    parser.add_argument(
        "--ongoing", type=int, default=MAX_GPU_TASKS, help="requests that each takes (%(default)s)"
    )
    parser.add_argument("--token", default="", help="the server's token")
    parser.add_argument("--typists", type=int, default=8, help="simulated programmers (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long they type (%(default)s)")
    parser.add_argument("--max-tokens", type=int, default=32, help="of each answer (%(default)s)")
    parser.add_argument("--closed", action="store_true", help="press the next key after the answer")
    parser.add_argument(
        "--patient", action="store_true", help="do not cancel a request when a newer key is pressed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options(parser)
    return parser


def _plan(given: argparse.Namespace) -> Plan:
    if not (1 <= given.typists <= MOST_TYPISTS and 0 < given.seconds <= MOST_SECONDS):
        raise ValueError(f"There are 1 to {MOST_TYPISTS} typists, for at most {MOST_SECONDS:.0f} seconds.")
    return Plan(
        given.typists, given.seconds, typing(given), given.closed, given.patient, given.max_tokens, given.seed
    )


async def _at(
    url: str, plan: Plan, given: argparse.Namespace, kill: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {given.token}"} if given.token else {}

    async def tried_again() -> int | None:
        async with httpx.AsyncClient(base_url=url, headers=headers) as client:
            return retries((await client.get("/metrics")).text)

    async def later() -> None:
        await asyncio.sleep(given.kill_one_at)
        await asyncio.to_thread(kill)  # type: ignore[arg-type]

    before = await tried_again()
    run = Run(url, plan, given.token)
    await run.drive(later if kill else None)
    after = await tried_again()
    return [figures(run) | {"retried": None if after is None or before is None else after - before}]


def _here(counts: Sequence[int], plan: Plan, given: argparse.Namespace) -> list[dict[str, Any]]:
    from model.loadtest.replicas import Service

    reports = []
    with Service(given.model, given.threads, given.ongoing) as service:
        for count in counts:
            service.scale(count)
            kill = service.kill_one if given.kill_one_at is not None else None
            (report,) = asyncio.run(_at(service.url, plan, given, kill))
            reports.append({"replicas": count, "killed": int(kill is not None)} | report)
    for report in reports[1:]:
        one = max(reports[0]["answers_per_s"], 1e-9)
        report["times_the_first"] = round(report["answers_per_s"] / one, 3)
    return reports


_COLUMNS = ("replicas", "sent", "answered", "superseded", "retried", "lost", "answers_per_s")


def _tell(reports: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"runs": reports}))
        return
    first = reports[0]
    table = Table(title=f"{first['typists']} typists, {first['loop']} loop")
    for name in (*_COLUMNS, "p50", "p95", "p99", "cached"):
        table.add_column(name.replace("_per_", "/"), justify="right")
    for report in reports:
        cached = report["cached_share"]
        table.add_row(
            *(str(report.get(name, "-")) for name in _COLUMNS),
            *(f"{report['ms'][name]:,.0f} ms" for name in ("p50", "p95", "p99")),
            "-" if cached is None else f"{cached:.0%}",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for report in reports:
        if "times_the_first" in report:
            print(f"{report['replicas']} replicas answer {report['times_the_first']:.2f} times as much.")
        if report["errors"]:
            print(f"errors: {report['errors']}")


if __name__ == "__main__":
    sys.exit(main())
