"""Simulates replicas that answer keystrokes, and computes exact results for the queues that have them.

The simulation covers a request from key to answer: routing by document with overflow, waiting, batches, the cost of
texts that are not in the cache, and requests superseded by newer keys. The formulas are Erlang's for M/M/c (1917) and
Pollaczek's and Khinchine's for M/G/1 (1930, 1932), as in any textbook on queueing; tests compare the simulation with
them. Times are in seconds.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_WAITING, _RUNNING, _ANSWERED, _SUPERSEDED, _REFUSED = range(5)


@dataclass(frozen=True, slots=True)
class Service:
    """The service times of a replica.

    ``draw``: returns the seconds of one request alone whose text is in the cache. ``batches``: the time of a batch
    relative to one request, by its size from 1 on. ``cold``: additional seconds for a text that is not in the cache.
    ``sessions``: the number of texts that a replica keeps. ``stop``: seconds until a replica notices a cancellation.
    """

    draw: Callable[[], float]
    batches: Sequence[float] = (1.0,)
    cold: float = 0.0
    sessions: int = 1_000_000
    stop: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """``replicas`` that take ``ongoing`` requests each at once; at most ``queued`` further requests wait in one queue.

    ``affinity``: a document's requests go to the first replica by rendezvous hashing, or to the least loaded replica if
    the first is full; without affinity, always to the least loaded replica.
    """

    replicas: int
    ongoing: int = 1
    queued: int = 1_000_000
    affinity: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the requests after the warm-up.

    ``latencies``: those of the answered requests. ``waits``: their times until service began. ``paused``: the latencies
    of requests that no key followed for a while, infinite without an answer; only these answers are read, and no newer
    key hides a late answer. ``busy``: the share of the replicas' time in service. ``cold``: the share of the answers
    whose text was not in the cache.
    """

    requests: int
    superseded: int
    refused: int
    latencies: NDArray[np.float64]
    waits: NDArray[np.float64]
    paused: NDArray[np.float64]
    busy: float
    cold: float

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies in ``paused``; 0 if there are none."""
        return float(np.quantile(self.paused, share, method="higher")) if len(self.paused) else 0.0


@dataclass(slots=True)
class _Replica:
    queue: deque[int] = field(default_factory=deque)
    running: list[int] = field(default_factory=list)
    since: float = 0.0
    ends: float = 0.0
    # Counts the batches that were begun or broken off, so that events of earlier batches are recognized as stale.
    turn: int = 0
    # Requests that the replica holds.
    load: int = 0
    texts: OrderedDict[int, None] = field(default_factory=OrderedDict)


class _Run:
    """One simulation.

    ``times``: the sorted times of the keys. ``who``: the typist of each key. ``supersede``: whether a newer key cancels
    an older request. ``counted``: the interval in which the replicas' busy time counts.
    """

    def __init__(
        self,
        times: NDArray[np.float64],
        who: NDArray[np.int64],
        service: Service,
        fleet: Fleet,
        supersede: bool,
        seed: int,
        counted: tuple[float, float],
    ) -> None:
        self.times, self.who, self.service, self.fleet = times.tolist(), who.tolist(), service, fleet
        self.supersede = supersede
        self.replicas = [_Replica() for _ in range(fleet.replicas)]
        self.common: deque[int] = deque()
        self.state = [_WAITING] * len(self.times)
        self.place = [-1] * len(self.times)
        self.began = [math.nan] * len(self.times)
        self.ended = [math.nan] * len(self.times)
        self.is_cold = [False] * len(self.times)
        self.last: dict[int, int] = {}
        self.busy = 0.0
        self.counted = counted
        self.events: list[tuple[float, int, int]] = []
        people = int(who.max()) + 1 if len(who) else 0
        # A rendezvous hash ranks replicas like independent random numbers; only the first rank is needed here.
        self.home = np.random.default_rng(seed).integers(fleet.replicas, size=people).tolist()

    def run(self) -> None:
        arrivals = iter(range(len(self.times)))
        upcoming = next(arrivals, None)
        while upcoming is not None or self.events:
            if upcoming is not None and (not self.events or self.times[upcoming] <= self.events[0][0]):
                self._arrive(upcoming)
                upcoming = next(arrivals, None)
            else:
                now, index, turn = heapq.heappop(self.events)
                if self.replicas[index].turn == turn:
                    self._finish(index, now)

    def _arrive(self, request: int) -> None:
        now, typist = self.times[request], self.who[request]
        before = self.last.get(typist)
        self.last[typist] = request
        if self.supersede and before is not None:
            self._drop(before, now)
        index = self._route(typist)
        if index is not None:
            self._hold(request, index, now)
        elif len(self.common) < self.fleet.queued:
            self.common.append(request)
        else:
            self.state[request] = _REFUSED

    def _drop(self, request: int, now: float) -> None:
        """Supersede a request: remove it if it waits, and break off its batch if no other request needs the batch."""
        state, place = self.state[request], self.place[request]
        if state not in (_WAITING, _RUNNING):
            return
        self.state[request] = _SUPERSEDED
        if state == _WAITING:
            if place >= 0:
                self.replicas[place].queue.remove(request)
                self.replicas[place].load -= 1
                self._pull(place, now)
            else:
                self.common.remove(request)
            return
        replica = self.replicas[place]
        if all(self.state[one] == _SUPERSEDED for one in replica.running):
            self._until(place, min(replica.ends, now + self.service.stop))

    def _route(self, typist: int) -> int | None:
        ongoing = self.fleet.ongoing
        if self.fleet.affinity and self.replicas[self.home[typist]].load < ongoing:
            return int(self.home[typist])
        index = min(range(len(self.replicas)), key=lambda i: self.replicas[i].load)
        return index if self.replicas[index].load < ongoing else None

    def _hold(self, request: int, index: int, now: float) -> None:
        replica = self.replicas[index]
        self.place[request] = index
        replica.queue.append(request)
        replica.load += 1
        if not replica.running:
            self._begin(index, now)

    def _begin(self, index: int, now: float) -> None:
        replica, service = self.replicas[index], self.service
        replica.running = [
            replica.queue.popleft() for _ in range(min(len(replica.queue), len(service.batches)))
        ]
        spent, cold = 0.0, 0
        for request in replica.running:
            self.state[request], self.began[request] = _RUNNING, now
            spent += service.draw()
            self.is_cold[request] = self.who[request] not in replica.texts
            cold += self.is_cold[request]
            replica.texts[self.who[request]] = None
            replica.texts.move_to_end(self.who[request])
        while len(replica.texts) > service.sessions:
            replica.texts.popitem(last=False)
        size = len(replica.running)
        spent = spent / size * service.batches[size - 1] + cold * service.cold
        replica.since = now
        self._until(index, now + spent)

    def _until(self, index: int, end: float) -> None:
        """Schedule the end of a replica's work, which replaces an earlier schedule."""
        replica = self.replicas[index]
        replica.ends = end
        replica.turn += 1
        heapq.heappush(self.events, (end, index, replica.turn))

    def _finish(self, index: int, now: float) -> None:
        replica = self.replicas[index]
        self.busy += max(0.0, min(now, self.counted[1]) - max(replica.since, self.counted[0]))
        for request in replica.running:
            if self.state[request] == _RUNNING:
                self.state[request], self.ended[request] = _ANSWERED, now
        replica.load -= len(replica.running)
        replica.running = []
        self._pull(index, now)
        if replica.queue and not replica.running:
            self._begin(index, now)

    def _pull(self, index: int, now: float) -> None:
        """Take requests from the common queue while the replica has room."""
        replica = self.replicas[index]
        while self.common and replica.load < self.fleet.ongoing:
            self._hold(self.common.popleft(), index, now)


def simulate(
    arrivals: Sequence[NDArray[np.float64]],
    service: Service,
    fleet: Fleet,
    seed: int = 0,
    supersede: bool = True,
    warm_up: float = 0.1,
    pause: float = 1.0,
) -> Outcome:
    """Simulate requests. arrivals: the sorted times of each typist's requests.

    warm_up: the share of the time from the first to the last request that is not counted. pause: the seconds without a
    further key after which a request belongs to `Outcome.paused`.
    """
    times = np.concatenate([np.asarray(own, float) for own in arrivals])
    who = np.repeat(np.arange(len(arrivals)), [len(own) for own in arrivals])
    order = np.argsort(times, kind="stable")
    times, who = times[order], who[order]
    begin, end = float(times[0] + warm_up * (times[-1] - times[0])), float(times[-1])
    run = _Run(times, who, service, fleet, supersede, seed, (begin, end))
    run.run()
    state, ended = np.array(run.state), np.array(run.ended)
    counted = times >= begin
    answered = counted & (state == _ANSWERED)
    following = np.concatenate([np.append(np.diff(own), np.inf) for own in arrivals])[order]
    latency = np.where(state == _ANSWERED, ended - times, np.inf)
    return Outcome(
        requests=int(counted.sum()),
        superseded=int((counted & (state == _SUPERSEDED)).sum()),
        refused=int((counted & (state == _REFUSED)).sum()),
        latencies=latency[answered],
        waits=np.array(run.began)[answered] - times[answered],
        paused=latency[counted & (following >= pause)],
        busy=run.busy / max(end - begin, 1e-9) / fleet.replicas,
        cold=float(np.array(run.is_cold)[answered].mean()) if answered.any() else 0.0,
    )


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability that a request waits in M/M/c. offered: arrivals per second times seconds of service.

    Computed by the recursion for Erlang's B, which does not overflow. The result is 1 if the servers cannot keep up.
    """
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def wait_mmc(servers: int, rate: float, service: float) -> float:
    """Return the mean wait in M/M/c before service begins."""
    if rate * service >= servers:
        return math.inf
    return erlang_c(servers, rate * service) * service / (servers - rate * service)


def wait_mg1(rate: float, service: float, variance: float = 0.0) -> float:
    """Return the mean wait in M/G/1 by the Pollaczek-Khinchine formula. variance: of service times; 0 is M/D/1."""
    if rate * service >= 1:
        return math.inf
    return rate * (service**2 + variance) / (2 * (1 - rate * service))
