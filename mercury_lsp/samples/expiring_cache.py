"""A cache that keeps the most recently used values, each for a limited time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass
class Statistics:
    hits: int = 0
    misses: int = 0
    evictions: int = 0

    @property
    def requests(self) -> int:
        return self.hits + self.misses

    @property
    def hit_rate(self) -> float:
        if self.requests == 0:
            return 0.0
        return self.hits / self.requests


@dataclass
class Entry(Generic[Value]):
    value: Value
    expires_at: float

    def is_expired(self, now: float) -> bool:
        return now >= self.expires_at


class ExpiringCache(Generic[Value]):
    """At most `capacity` values; the one that was used least recently makes room for a new one."""

    def __init__(
        self,
        capacity: int = 128,
        lifetime: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be positive, not {capacity}")
        if lifetime <= 0:
            raise ValueError(f"lifetime must be positive, not {lifetime}")
        self.capacity = capacity
        self.lifetime = lifetime
        self.statistics = Statistics()
        self._clock = clock
        self._entries: OrderedDict[Hashable, Entry[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and not entry.is_expired(self._clock())

    def get(self, key: Hashable, default: Value | None = None) -> Value | None:
        """The value of a key, or the default where there is none or it is too old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self.statistics.misses += 1
                return default
            if entry.is_expired(self._clock()):
                del self._entries[key]
                self.statistics.misses += 1
                return default
            self._entries.move_to_end(key)
            self.statistics.hits += 1
            return entry.value

    def put(self, key: Hashable, value: Value, lifetime: float | None = None) -> None:
        """Keep a value, for its own lifetime if one is given."""
        expires_at = self._clock() + (self.lifetime if lifetime is None else lifetime)
        with self._lock:
            if key in self._entries:
                del self._entries[key]
            while len(self._entries) >= self.capacity:
                self._entries.popitem(last=False)
                self.statistics.evictions += 1
            self._entries[key] = Entry(value, expires_at)

    def get_or_create(self, key: Hashable, create: Callable[[], Value]) -> Value:
        """The value of a key; where there is none, the one that `create` returns is kept."""
        value = self.get(key)
        if value is None:
            value = create()
            self.put(key, value)
        return value

    def remove(self, key: Hashable) -> bool:
        """Forget a key; False if it was not there."""
        with self._lock:
            return self._entries.pop(key, None) is not None

    def purge(self) -> int:
        """Drop all that is too old, and return how many entries that were."""
        with self._lock:
            now = self._clock()
            expired = [key for key, entry in self._entries.items() if entry.is_expired(now)]
            for key in expired:
                del self._entries[key]
            return len(expired)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.statistics = Statistics()

    def items(self) -> Iterator[tuple[Hashable, Value]]:
        """Keys and values that are not too old, the least recently used first."""
        with self._lock:
            entries = list(self._entries.items())
        now = self._clock()
        for key, entry in entries:
            if not entry.is_expired(now):
                yield key, entry.value
