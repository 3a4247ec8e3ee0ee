"""Runs work in a thread that lets everything else go first: the engine, other programs, and the end of the process."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from mercury_lsp.engine.system import context_thread, lower_priority

NICE = 15
"""The thread's niceness, on systems where threads have one."""
ENGINE_WAIT_SECONDS = 5.0
"""How long the work waits for the engine at most, from one piece to the next."""
POLL_SECONDS = 0.02
SHOWN_AFTER_SECONDS = 1.0
"""Work that takes longer is shown to the user."""


class Background(ABC):
    """A thread that works whenever there is work. The state that it shares is guarded by ``_changed``.

    ``busy``: whether the engine works. ``show``: receives, from the thread, the done part of longer work, and at its
    end None. ``guard``: a context around all that the thread does, given what that is.
    """

    name = "mercury-background"

    def __init__(self) -> None:
        self.busy: Callable[[], bool] = lambda: False
        self.show: Callable[[float | None], None] = lambda fraction: None
        self.guard: Callable[[str], AbstractContextManager[None]] = lambda doing: nullcontext()
        self._changed = threading.Condition()
        self._resting = self._stop = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work. A second call does nothing."""
        with self._changed:
            if self._thread is None and not self._stop:
                self._thread = context_thread(self._run, self.name)
                self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        """End after the current piece of work; wait for that, in seconds, at most ``timeout``."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    @abstractmethod
    def _has_work(self) -> bool:
        """Whether there is work. Called with ``_changed`` held."""

    @abstractmethod
    def _work(self, due: bool) -> None:
        """Do what there is to do; not ``due``: `_interval_seconds` passed without any."""

    def _interval_seconds(self) -> float | None:
        """After how long the work is done although there seems to be none; None for never."""
        return None

    def _run(self) -> None:
        with self.guard("standing back"):
            lower_priority(NICE)
        while not self._stop:
            with self._changed:
                self._resting = True
                due = self._changed.wait_for(lambda: self._stop or self._has_work(), self._interval_seconds())
                self._resting = False
            self._work(due)

    def _wait_for_engine(self) -> None:
        until = time.monotonic() + ENGINE_WAIT_SECONDS
        while self.busy() and not self._stop and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[float], None]]:
        """Gives a function that shows the done part, once the work takes long."""
        began, shown = time.monotonic(), False

        def tell(done: float) -> None:
            nonlocal shown
            if time.monotonic() - began > SHOWN_AFTER_SECONDS:
                shown = True
                self.show(done)

        try:
            yield tell
        finally:
            if shown:
                self.show(None)
