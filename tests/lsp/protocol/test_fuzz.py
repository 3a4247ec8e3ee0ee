"""A fuzz of the protocol with many messages, and checks that the fuzz finds what it looks for."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fuzz_cases import cases

from mercury_lsp.engine.backends.cpu.kernel import instruction_sets

from . import fuzzing
from .fuzzing import Found, Session, fuzz, run
from .messages import Messages, Sent, expected, frame

MESSAGES = cases(10_000)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/PID/status")
@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_the_server_answers_all_messages_of_the_fuzz_correctly(packed_model: Path, tmp_path: Path) -> None:
    """Fuzz with a random seed. After a failure, `python -m tests.lsp.protocol.fuzzing --seed SEED` reproduces it."""
    seed = str(random.randrange(10**6))
    print("seed", seed)
    fuzz(packed_model, MESSAGES, seed, tmp_path)


def test_the_same_seed_makes_the_same_messages() -> None:
    one, same, other = (Messages(seed, "utf-16") for seed in ("1", "1", "2"))
    messages = [one.next() for _ in range(3000)]
    assert messages == [same.next() for _ in range(3000)]
    assert messages != [other.next() for _ in range(3000)]
    assert one.mirrors["file:///w/mirror-0.py"].text == same.mirrors["file:///w/mirror-0.py"].text


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        (b'{"jsonrpc": "2.0", "id": 1, "method": "x"}', (1,)),
        (b'{"jsonrpc": "2.0", "id": "a", "method": 5}', ("a",)),
        (b'{"id": 1, "method": "x"}', (1,)),
        (b'{"jsonrpc": "2.0", "id": null, "method": "x"}', (None,)),
        (b'{"jsonrpc": "2.0", "id": true, "method": "x"}', (None,)),
        (b'{"jsonrpc": "2.0", "method": "x"}', ()),
        (b'{"method": "x"}', (None,)),
        (b'{"jsonrpc": "2.0", "id": 1, "result": 1}', ()),
        (b'{"jsonrpc": "2.0", "id": 1.5, "result": 1}', (None,)),
        (b"[]", (None,)),
        (b"{", (None,)),
    ],
)
def test_the_expected_answers_of_a_message(body: bytes, answers: tuple[object, ...]) -> None:
    assert expected(body) == answers


@pytest.mark.parametrize(
    ("attribute", "replacement", "found"),
    [
        (
            "_complete",
            lambda made: Sent(frame(b'{"jsonrpc":"2.0","id":"x","method":"x"}')),
            "nobody waits for",
        ),
        ("_complete", lambda made: Sent(frame(b'{"jsonrpc":"2.0","method":"x"}'), ("x",)), "never answered"),
        ("_complete", lambda made: Sent(frame(b'{"jsonrpc":"2.0","method":"exit"}')), "closed|exit status"),
        (
            "new_id",
            lambda made: (
                made.mirrors["file:///w/mirror-0.py"].edit(made.dice) and 10**6 + made.dice.randrange(10**9)
            ),
            "but the server has",
        ),
    ],
    ids=["an answer too many", "an answer too few", "an end", "another text"],
)
def test_each_kind_of_fault_is_found(
    attribute: str,
    replacement: Callable[[Messages], Sent],
    found: str,
    packed_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzzing, "PATIENCE", 3.0 if found == "never answered" else 120.0)
    monkeypatch.setattr(Messages, attribute, replacement)
    with pytest.raises(Found, match=found):
        run(packed_model, 2000, "1", "utf-16", True, tmp_path)


def test_errors_in_the_log_are_found(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("WARNING mercury_lsp.lsp.protocol: Refused a message: no.\n")
    fuzzing._check_log(log)
    log.write_text(
        "fine\nERROR mercury_lsp.lsp.server: An unexpected error while handling a message.\nTraceback\n"
    )
    with pytest.raises(Found, match="unexpected error"):
        fuzzing._check_log(log)


def test_noise_on_stdout_is_found(
    packed_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzing, "COMMAND", ["echo", "noise"])
    with (tmp_path / "log").open("wb") as log:
        session = Session("1", packed_model, log)
        with pytest.raises(Found, match="on stdout"):
            session.until(lambda: False)
        session.end()
