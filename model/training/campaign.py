"""Trains for days in the background, at idle priority: ``python -m model.training.campaign``.

    make train-background     start the run, or resume it; ARGS="--commit HEAD" moves it to newer code
    make train-pause          pause the run for a measurement; train-background continues it
    make train-stop           save the run and end it
    make train-status         show rows, nats, speed and hours left

The run trains in its own git worktree at a pinned commit, so edits do not disturb it, and uses only CPU time that no
other process wants (idle scheduling). All its files are in the user's cache folder: ``campaign/tree`` is the worktree,
``campaign/log`` the run's output, ``runs/RECIPE`` its checkpoint, optimizer state, metrics and learning curve. The
process holds a lock while it lives, so at most one run exists, however the last run ended.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mercury_lsp.paths import cache_folder
from model import ROOT
from model.training.recipe import Recipe

RECIPE = "model/recipes/small-campaign.toml"
# The run finishes its pass first, then writes 2 GB, at the lowest priority.
STOP_SECONDS = 300
# How long to wait until the worker processes of a killed run have ended.
LEFT_SECONDS = 20
ENVIRONMENT = {
    # The recipe's lanes use all cores.
    "OMP_NUM_THREADS": "1",
    # Temporary tensors use huge pages, which fault once for each 2 MB instead of each 4 KB.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
# The status averages speed and nats over these steps.
RECENT_STEPS = 20


class CampaignError(Exception):
    """The campaign cannot carry out an action; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A run in the background.

    source: the repository. folder: holds the worktree, the log and the lock. runs: see `model.training.train`.
    """

    source: Path
    folder: Path
    runs: Path
    recipe: str = RECIPE

    @property
    def tree(self) -> Path:
        """The worktree that contains the run's code."""
        return self.folder / "tree"

    @property
    def run(self) -> Path:
        """The folder of the run's state."""
        return self.runs / Path(self.recipe).stem

    def start(self, commit: str = "", options: Sequence[str] = ()) -> str:
        """Start the run, or continue a paused run; return a message for the user.

        Raises `CampaignError` if the run is running already. commit: the commit of the code; by default that of the
        existing worktree, or HEAD. options: further options for `model.training.train`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            if not self._clear(lock):
                return self._go_on()
            pinned = self._pin(commit)
            command = [sys.executable, "-m", self._trainer(), self.recipe, "--runs", str(self.runs), *options]
            environment = os.environ | {"PYTHONPATH": str(self.tree)} | ENVIRONMENT
            with (self.folder / "log").open("ab") as log:
                process = subprocess.Popen(
                    [*command, "--threads", str(os.cpu_count() or 1)],
                    cwd=self.tree,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock.fileno(),),
                    start_new_session=True,
                    preexec_fn=_give_way,
                )
            (self.folder / "pid").write_text(str(process.pid), encoding="utf-8")
        return f"started at commit {pinned}, process {process.pid}, log {self.folder / 'log'}"

    def _trainer(self) -> str:
        """Return the name of the training module, which older commits have at another place."""
        moved = (self.tree / "model" / "training" / "train.py").exists()
        return "model.training.train" if moved else "model.train"

    def _clear(self, lock: IO[str]) -> bool:
        """Take the lock; end the worker processes that a killed run left. Return False if a run holds the lock."""
        end = time.monotonic() + LEFT_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError:
                pid = int((self.folder / "pid").read_text(encoding="utf-8"))
                if Path(f"/proc/{pid}").exists():
                    return False
                # The group keeps the id of its first process, and no other process gets this id meanwhile.
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                time.sleep(0.1)
        return False

    def _go_on(self) -> str:
        pid = self.pid()
        if pid is None or not _paused(pid):
            raise CampaignError("the campaign is running already: see 'make train-status'")
        os.killpg(pid, signal.SIGCONT)
        return f"process {pid} goes on"

    def _pin(self, commit: str) -> str:
        """Create the worktree, or move it to another commit; return the worktree's commit."""
        if not self.tree.is_dir():
            self._git("worktree", "prune")
            self._git("worktree", "add", "--detach", str(self.tree), commit or "HEAD")
        elif commit:
            wanted = self._git("rev-parse", "--verify", f"{commit}^{{commit}}")
            self._git("-C", str(self.tree), "checkout", "--quiet", "--detach", wanted)
        return self._git("-C", str(self.tree), "rev-parse", "--short", "HEAD")

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.source, capture_output=True, text=True)
        if done.returncode:
            raise CampaignError(f"git {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def pid(self) -> int | None:
        """Return the id of the run's process, or None if no run is alive."""
        try:
            with (self.folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return None
        except FileNotFoundError:
            return None
        except OSError:
            return int((self.folder / "pid").read_text(encoding="utf-8"))

    def stop(self, seconds: float = STOP_SECONDS) -> str:
        """Tell the run to save and end, and wait. Raises `CampaignError` if the run does not end within ``seconds``."""
        pid = self.pid()
        if pid is None:
            return "the campaign is not running"
        os.kill(pid, signal.SIGTERM)
        os.killpg(pid, signal.SIGCONT)
        end = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > end:
                raise CampaignError(
                    f"process {pid} was asked to end, and has not ended within {seconds:.0f} s"
                )
            time.sleep(0.2)
        return "saved and ended"

    def pause(self) -> str:
        """Pause the run; its process stays in memory."""
        pid = self.pid()
        if pid is None:
            return "the campaign is not running"
        os.killpg(pid, signal.SIGSTOP)
        # A process at idle priority stops only when it is scheduled next.
        end = time.monotonic() + STOP_SECONDS
        while not _paused(pid) and self.pid() is not None and time.monotonic() < end:
            time.sleep(0.02)
        return f"process {pid} is halted; 'make train-background' continues it"

    def status(self) -> dict[str, Any]:
        """Return the run's state, steps, rows, nats, speed, hours left and learning curve."""
        pid = self.pid()
        made: dict[str, Any] = {
            "state": "stopped" if pid is None else "paused" if _paused(pid) else "running",
            "pid": pid,
            "run": str(self.run),
        }
        lines = _lines(self.run / "metrics.jsonl")
        if lines:
            last, recent = lines[-1], lines[-RECENT_STEPS:]
            recipe = Recipe.read(self.tree / self.recipe)
            before = lines[-len(recent) - 1] if len(lines) > len(recent) else {"minutes": 0.0, "rows": 0}
            minutes = last["minutes"] - before["minutes"]
            speed = (last["rows"] - before["rows"]) / (60 * minutes) if minutes else 0.0
            rows = last["rows"] / last["step"] * recipe.steps
            made |= {
                "step": last["step"],
                "steps": recipe.steps,
                "rows": last["rows"],
                "rows_wanted": round(rows),
                "next_token": round(sum(line["next_token"] for line in recent) / len(recent), 4),
                "rows_per_s": round(speed, 1),
                "hours_spent": round(last["minutes"] / 60, 2),
                "hours_left": round((rows - last["rows"]) / speed / 3600, 1) if speed else None,
            }
        made["curve"] = [
            {name: point[name] for name in ("rows", "nats", "interval")}
            for point in _lines(self.run / "curve.jsonl")
        ]
        return made


def _give_way() -> None:
    """Give the calling process the lowest priority, so that it uses only idle CPU time."""
    os.nice(19)
    if sys.platform != "linux":
        return
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # If memory runs out, the kernel should kill this process, because it can resume.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    # Linux divides CPU time among sessions first, then among the processes of a session.
    group = Path("/proc/self/autogroup")
    if group.is_file():
        group.write_text("19", encoding="ascii")


def _paused(pid: int) -> bool:
    """Return whether a process is stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _lines(file: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    )


def describe(status: dict[str, Any]) -> str:
    """Format a status as text."""
    lines = [f"campaign: {status['state']}" + (f", process {status['pid']}" if status["pid"] else "")]
    if "step" in status:
        left = "?" if status["hours_left"] is None else status["hours_left"]
        lines += [
            f"step {status['step']} of {status['steps']}, {status['rows'] / 1e6:.2f} of "
            f"{status['rows_wanted'] / 1e6:.0f} million rows in {status['hours_spent']} h",
            f"next token {status['next_token']} nats, {status['rows_per_s']} rows/s, {left} h left at that speed",
        ]
    for point in status["curve"]:
        low, high = point["interval"]
        lines.append(
            f"held-out middles at {point['rows'] / 1e6:6.2f}M rows: {point['nats']} ({low} to {high})"
        )
    return "\n".join([*lines, f"run: {status['run']}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model.training.campaign", description="Train in the background, at idle priority."
    )
    parser.add_argument("action", choices=("start", "stop", "pause", "status"))
    parser.add_argument("--recipe", default=RECIPE, help="path in the repository (default: %(default)s)")
    parser.add_argument(
        "--commit", default="", help="commit of the training code (default: that of the last start)"
    )
    parser.add_argument("--steps", type=int, help="number of steps (default: the recipe's)")
    parser.add_argument("--json", action="store_true", help="print the status as one JSON object")
    given = parser.parse_args(arguments)
    cache = cache_folder()
    campaign = Campaign(ROOT, cache / "campaign", cache / "runs", given.recipe)
    options = ["--steps", str(given.steps)] if given.steps else []
    try:
        if given.action == "status":
            status = campaign.status()
            print(json.dumps(status) if given.json else describe(status))
        elif given.action == "start":
            print(campaign.start(given.commit, options))
        else:
            print(campaign.stop() if given.action == "stop" else campaign.pause())
    except CampaignError as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
