"""Runs work in a low-priority thread that waits for the engine and does not delay the end of the process."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from mercury_lsp.engine.system import context_thread, lower_priority

NICE = 15
"""The niceness of the thread, on systems where threads have one."""
ENGINE_WAIT_SECONDS = 5.0
"""The longest wait for the engine before each piece of work."""
POLL_SECONDS = 0.02
SHOWN_AFTER_SECONDS = 1.0
"""The progress of longer work is shown to the user."""


class Background(ABC):
    """A thread that waits for work and does it. The condition ``_changed`` guards the shared state.

    ``busy``: returns whether the engine is running. ``show``: receives, in the thread, the done fraction of longer
    work, and None at its end. ``guard``: returns a context manager for a step of the thread, given its description.
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
        """Start the thread. A second call does nothing."""
        with self._changed:
            if self._thread is None and not self._stop:
                self._thread = context_thread(self._run, self.name)
                self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        """Stop after the current piece of work, and wait at most ``timeout`` seconds for the thread's end."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    @abstractmethod
    def _has_work(self) -> bool:
        """Return whether there is work. Called with ``_changed`` held."""

    @abstractmethod
    def _work(self, due: bool) -> None:
        """Do the work. If ``due`` is false, there is none, but `_interval_seconds` have passed."""

    def _interval_seconds(self) -> float | None:
        """Return the time without work after which `_work` is called anyway; None for never."""
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
        """Yield a function that shows the done fraction of the work once it has taken `SHOWN_AFTER_SECONDS`."""
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
