"""Requests to a hosted model over a real socket: what is sent, what returns, and the sentence for each failure."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.servers.hosted_server import WAIT, Hosted, cut, goes_on, hosting, refuse, silent, streamed, whole

from mercury_lsp.completion.pipeline import complete
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.engine.api import Infill, Progress, Run, Sampling
from mercury_lsp.engine.tokenizer import Prompt, Snippet
from mercury_lsp.engine.worker import Cancelled, NoResult
from mercury_lsp.remote import connection
from mercury_lsp.remote.address import Address, RemoteError
from mercury_lsp.remote.breaker import FAILURES_BEFORE_PAUSE, PAUSE_SECONDS, Breaker
from mercury_lsp.remote.engine import RemoteEngine
from mercury_lsp.remote.key import Key
from mercury_lsp.remote.outgoing import outgoing
from mercury_lsp.syntax.document import Document

KEY = "sk-test-123-secret-key"
PROMPT = Prompt("src/sum.py", "def add(a, b):\n    return ", "", "\n\nprint(add(1, 2))\n")
LINE, LINES = Sampling(single_line=True), Sampling()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCURY_API_KEY", KEY)
    monkeypatch.setattr(connection, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("mercury_lsp.remote.engine.ANSWER_SECONDS", 30.0)


def engine(hosted: Hosted | str, drafts: bool = False, **options: Any) -> RemoteEngine:
    url = hosted if isinstance(hosted, str) else hosted.url
    given = {"remote_model": "m", **options}
    return RemoteEngine.of(Config(remote="always", remote_url=url, **given), drafts)


def test_a_request_to_a_fim_api_has_the_documented_form() -> None:
    with hosting(whole("a + b")) as hosted:
        infill = engine(hosted).infill(PROMPT, LINE)
    assert (infill.text, infill.finished, infill.confidence) == ("a + b", True, 1.0)
    (seen,) = hosted.seen
    assert seen["path"] == "/v1/fim/completions"
    assert seen["headers"]["Authorization"] == f"Bearer {KEY}"
    assert seen["body"] == {
        "model": "m", "prompt": PROMPT.prefix, "suffix": PROMPT.following, "max_tokens": 64, "temperature": 0,
        "stream": True, "stop": ["\n"],
    }  # fmt: skip


def test_a_request_to_an_openai_api_returns_log_probabilities() -> None:
    told = {"tokens": ["a", " + b"], "token_logprobs": [-0.1, -0.3]}
    with hosting(whole("a + b", key="text", logprobs=told)) as hosted:
        infill = engine(f"{hosted.url}/completions").infill(PROMPT, LINES)
    assert infill.tokens == 2 and infill.confidence == pytest.approx(math.exp(-0.2))
    assert hosted.seen[0]["path"] == "/v1/completions" and hosted.bodies[0]["logprobs"] == 1
    assert "stop" not in hosted.bodies[0]


def test_a_server_that_refuses_logprobs_is_asked_again_without_them() -> None:
    with hosting(refuse(400), whole("a", key="text")) as hosted:
        remote = engine(f"{hosted.url}/completions")
        assert [remote.infill(PROMPT, LINE).text for _ in range(2)] == ["a", "a"]
    assert ["logprobs" in body for body in hosted.bodies] == [True, False, False]


@pytest.mark.parametrize("key", ["delta", "text"])
def test_a_stream_reports_its_text_as_it_arrives(key: str) -> None:
    drafts: list[Progress] = []
    with hosting(streamed("a", " +", " b\nx", key=key)) as hosted:
        infill = engine(hosted).infill(PROMPT, LINES, Run(on_progress=drafts.append))
    assert (infill.text, infill.finished) == ("a + b\nx", True)
    assert [draft.committed.text for draft in drafts][:3] == ["a", "a +", "a + b\nx"]
    assert not drafts[0].committed.finished


def test_a_surrogate_pair_split_between_two_pieces_is_one_character() -> None:
    with hosting(streamed("'\ud83d", "\ude00' \ude00")) as hosted:
        assert engine(hosted).infill(PROMPT, LINE).text == "'\U0001f600' \ude00"


def test_an_answer_that_ended_by_its_token_limit_is_unfinished() -> None:
    with hosting(streamed("a +", finish="length")) as hosted:
        assert not engine(hosted).infill(PROMPT, LINES).finished


def test_a_single_line_request_closes_the_stream_at_the_end_of_the_line() -> None:
    with hosting(goes_on("a + b", "\nmore")) as hosted:
        infill = engine(hosted).infill(PROMPT, LINE)
        assert (infill.text, infill.finished) == ("a + b", True)
        assert hosted.left.wait(WAIT)


def test_each_diffusion_draft_replaces_the_one_before() -> None:
    drafts: list[Progress] = []
    with hosting(streamed("x ? y", "a ? b", "a + b")) as hosted:
        asked = engine(hosted, remote_model="mercury-coder", drafts=True)
        assert asked.infill(PROMPT, LINE, Run(on_progress=drafts.append)).text == "a + b"
    assert hosted.bodies[0]["diffusing"] is True
    assert [draft.text for draft in drafts][:2] == ["x ? y", "a ? b"]
    # No part of a draft is committed yet.
    assert drafts[0].committed.text == ""
    # Other models may refuse an unknown field, so it is not sent.
    with hosting(whole("a")) as hosted:
        engine(hosted, drafts=True).infill(PROMPT, LINE)
    assert "diffusing" not in hosted.bodies[0]


@pytest.mark.parametrize("answer", [silent, goes_on("a")])
def test_a_cancelled_request_closes_its_connection(answer: Any) -> None:
    cancel = threading.Event()
    with hosting(answer) as hosted:
        stop = threading.Thread(target=lambda: hosted.asked.wait(WAIT) and cancel.set())
        stop.start()
        remote = engine(hosted)
        with pytest.raises(Cancelled):
            remote.infill(PROMPT, LINES, Run(cancel.is_set))
        # The server sees that the connection is closed.
        assert hosted.left.wait(WAIT)
        assert remote.remote_status.last_error == "" and remote.remote_status.breaker == "closed"
        stop.join()


def test_a_connection_is_reused() -> None:
    with hosting(whole("a")) as hosted:
        remote = engine(hosted)
        for _ in range(3):
            remote.infill(PROMPT, LINE)
    assert len(hosted.seen) == 3 and len(hosted.connections) == 1


def test_the_text_received_before_a_disconnect_or_timeout_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosting(cut("a +"), goes_on("a +"), cut()) as hosted:
        remote = engine(hosted)
        assert (part := remote.infill(PROMPT, LINES)).text == "a +" and not part.finished
        assert "before its answer was whole" in remote.remote_status.last_error
        late = engine(hosted)
        monkeypatch.setattr("mercury_lsp.remote.engine.ANSWER_SECONDS", 0.2)
        assert (part := late.infill(PROMPT, LINES)).text == "a +" and not part.finished
        assert "200 ms" in late.remote_status.last_error
        monkeypatch.setattr("mercury_lsp.remote.engine.ANSWER_SECONDS", 30.0)
        with pytest.raises(NoResult, match="before its answer was whole"):
            remote.infill(PROMPT, LINES)


def test_an_answer_longer_than_max_tokens_is_cut() -> None:
    with hosting(streamed(*["x y " * 25_000] * 9), whole("x" * 900_000)) as hosted:
        for _ in range(2):
            part = engine(hosted).infill(PROMPT, Sampling(max_tokens=8))
            assert len(part.text) <= 8 * 12 and not part.finished


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refuse(401, json.dumps({"error": {"message": KEY, "code": "invalid_api_key"}}).encode()), "refuses the key"),
        (refuse(404), "no such model"),
        (refuse(422), "refuses the request"),
        (refuse(413), "takes no text of this length"),
        (refuse(200, b"<html>"), "does not answer as a completion API does"),
        (refuse(200, b"[]"), "does not answer as a completion API does"),
        (refuse(200, b'{"choices": [{}]}'), "does not answer as a completion API does"),
        (refuse(200, b"[" * 100_000), "does not answer as a completion API does"),
        (refuse(200, b'{"error": {"message": "x"}}'), "an error on its side"),
        (refuse(200, b" " * (connection.MAX_ANSWER_BYTES + 1)), "more than is taken"),
        (refuse(307, location="http://elsewhere.example/v1"), "sends us on to elsewhere.example, where neither"),
        (refuse(308, location="/v2"), "sends us on to another address"),
        (refuse(429, retry_after="3600"), "too many requests"),
    ],
)  # fmt: skip
def test_each_failure_is_described_by_one_clause(answer: Any, said: str) -> None:
    with hosting(answer) as hosted:
        remote = engine(hosted)
        with pytest.raises(NoResult, match=said) as failure:
            remote.infill(PROMPT, Sampling(max_tokens=8)) if "more" not in said else _raise_trouble(remote)
    told = f"{failure.value}{remote.remote_status}{remote!r}"
    assert KEY not in told and "\n" not in told
    # A retry would not help in any of these cases.
    assert len(hosted.seen) == 1


def _raise_trouble(remote: RemoteEngine) -> None:
    """Request an infill whose answer is too long, and raise its failure, although part of the text was received."""
    remote.infill(PROMPT, LINES)
    raise NoResult(remote.remote_status.last_error)


def test_temporary_failures_are_retried() -> None:
    with hosting(refuse(500), refuse(429, retry_after="0"), whole("a")) as hosted:
        remote = engine(hosted)
        assert remote.infill(PROMPT, LINE).text == "a"
        assert len(hosted.seen) == 3 and remote.remote_status.last_error == ""
    with hosting(refuse(503)) as hosted:
        with pytest.raises(NoResult, match="trouble of its own"):
            engine(hosted).infill(PROMPT, LINE)
        assert len(hosted.seen) == connection.MAX_TRIES


@pytest.mark.parametrize(
    "date",
    ["Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "Mon, 99 Jan 2024 00:00:00 GMT", "soon", "\xb2"],
)
def test_an_invalid_retry_after_header_is_ignored(date: str) -> None:
    with hosting(refuse(429, retry_after=date)) as hosted:
        remote = engine(hosted)
        for _ in range(FAILURES_BEFORE_PAUSE):
            with pytest.raises(NoResult, match="too many requests"):
                remote.infill(PROMPT, LINE)
        assert remote.remote_status.breaker == "open"


def test_an_exception_while_reading_an_answer_is_reported_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise AttributeError(KEY)

    monkeypatch.setattr(connection, "parse_answer", fail)
    with hosting(whole("a")) as hosted, pytest.raises(NoResult, match="cannot be read") as failure:
        engine(hosted).infill(PROMPT, LINE)
    assert KEY not in str(failure.value)


def test_a_server_that_cannot_be_reached_is_a_failure() -> None:
    with hosting(silent) as hosted:
        pass
    with pytest.raises(NoResult, match="cannot be reached"):
        engine(hosted).infill(PROMPT, LINE)


def test_after_repeated_failures_requests_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    with hosting(*[refuse(404)] * FAILURES_BEFORE_PAUSE, whole("a")) as hosted:
        remote = engine(hosted)
        for _ in range(FAILURES_BEFORE_PAUSE):
            with pytest.raises(NoResult):
                remote.infill(PROMPT, LINE)
        assert remote.remote_status.breaker == "open"
        with pytest.raises(NoResult, match="left alone for another"):
            remote.infill(PROMPT, LINE)
        assert len(hosted.seen) == FAILURES_BEFORE_PAUSE
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 2 * PAUSE_SECONDS)
        assert remote.remote_status.breaker == "half-open"
        assert remote.infill(PROMPT, LINE).text == "a"
        assert remote.remote_status.breaker == "closed"


def test_a_breaker_pauses_longer_each_time_and_as_long_as_the_server_requests() -> None:
    breaker = Breaker()
    breaker.record_failure(0.0, requested_pause=30.0)
    assert (breaker.state(29.0), breaker.state(31.0)) == ("open", "closed")
    for _ in range(FAILURES_BEFORE_PAUSE - 1):
        breaker.record_failure(100.0)
    assert breaker.pause_left(100.0) == PAUSE_SECONDS
    breaker.record_failure(200.0)
    assert breaker.pause_left(200.0) == 2 * PAUSE_SECONDS and breaker.state(300.0) == "half-open"
    breaker.record_success()
    assert breaker.state(200.0) == "closed"


def test_a_key_is_not_sent_unencrypted_to_a_public_address() -> None:
    with pytest.raises(NoResult, match="https only"):
        engine("http://192.88.99.1/v1").infill(PROMPT, LINE)


@pytest.mark.parametrize(
    ("url", "host", "safe"),
    [
        ("https://api.example.com/v1/", "api.example.com", True),
        ("http://api.example.com:8000", "api.example.com:8000", False),
        ("http://localhost:8000/v1", "localhost:8000", True),
        ("http://10.1.2.3", "10.1.2.3", True),
        ("http://[::1]:80/", "[::1]", True),
        ("http://[::ffff:8.8.8.8]/", "[::ffff:8.8.8.8]", False),
        ("http://8.8.8.8", "8.8.8.8", False),
        ("http://localhost.example.com", "localhost.example.com", False),
        ("http://127.1", "127.1", False),
    ],
)
def test_only_https_and_private_addresses_keep_secrets(url: str, host: str, safe: bool) -> None:
    address = Address.of(url)
    assert (address.host, address.keeps_secrets) == (host, safe)
    assert address.url.endswith("/fim/completions") and not address.openai


@pytest.mark.parametrize(
    ("url", "asked", "openai"),
    [
        ("https://a.b", "https://a.b/fim/completions", False),
        ("https://a.b/v1/", "https://a.b/v1/fim/completions", False),
        ("https://a.b/v1/fim/completions", "https://a.b/v1/fim/completions", False),
        ("https://a.b/v1/completions/", "https://a.b/v1/completions", True),
    ],
)
def test_the_path_of_an_address_selects_the_api(url: str, asked: str, openai: bool) -> None:
    address = Address.of(url)
    assert (address.url, address.openai) == (asked, openai)


@pytest.mark.parametrize(
    "url",
    ["", "api.example.com", "ftp://a.b", "https://u:hunter22@a.b", "https://a.b?x=1", "https://a b/", "http://a:x/", "https://"],
)  # fmt: skip
def test_invalid_addresses_are_refused(url: str) -> None:
    with pytest.raises(RemoteError) as error:
        Address.of(url)
    assert "remote_url" in str(error.value) and "hunter22" not in str(error.value)


def test_after_a_key_is_refused_its_program_runs_again(tmp_path: Path) -> None:
    script = tmp_path / "key.py"
    script.write_text(
        "import pathlib\np = pathlib.Path(__file__).with_name('count')\n"
        "n = int(p.read_text()) + 1 if p.exists() else 1\np.write_text(str(n))\nprint(f'key-{n}')\n"
    )
    with hosting(whole("a"), whole("a"), refuse(401), whole("b")) as hosted:
        remote = engine(hosted, remote_key_command=(sys.executable, str(script)))
        assert [remote.infill(PROMPT, LINE).text for _ in range(3)] == ["a", "a", "b"]
    keys = [one["headers"]["Authorization"] for one in hosted.seen]
    assert keys == ["Bearer key-1"] * 3 + ["Bearer key-2"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(3)", "status 3"),
        ("print()", "prints no key"),
        ("print('two words')", "is no key"),
        ("import time; time.sleep(60)", "has not ended"),
        ("import os, time; os.close(1); time.sleep(60)", "has not ended"),
        (
            "import subprocess, sys\nsubprocess.Popen((sys.executable, '-c', 'import time; time.sleep(60)'))",
            "has not ended",
        ),
        ("while True: print('x' * 10_000)", "prints more than 65,536 bytes"),
    ],
)
def test_a_program_that_prints_no_key_is_an_error(
    code: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mercury_lsp.remote.key.PROGRAM_SECONDS", 0.3 if "sleep" in code else WAIT)
    with pytest.raises(RemoteError, match=said):
        Key("X", (sys.executable, "-c", code)).read()


def test_a_key_is_never_shown_and_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Key("MERCURY_API_KEY")
    assert found.read() == KEY and KEY not in repr(found) + found.source
    monkeypatch.delenv("MERCURY_API_KEY")
    with hosting(whole("a"), refuse(401)) as hosted:
        remote = engine(hosted)
        assert remote.infill(PROMPT, LINE).text == "a"
        assert "Authorization" not in hosted.seen[0]["headers"]
        with pytest.raises(NoResult, match=r"wants a key.*MERCURY_API_KEY"):
            remote.infill(PROMPT, LINE)


TOKEN = "ghp_" + "a1B2c3D4" * 5
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nQk3x\n-----END PRIVATE KEY-----\n"


def test_lines_with_secrets_are_sent_blank() -> None:
    before, after = f'token = "{TOKEN}"\nx = ', f'\n{PEM}password = "hunter2!Xy9z"\ny = 1\n'
    sent = outgoing(Prompt("a.py", before, "", after, (Snippet("b.py", "related"),)))
    assert sent is not None
    prefix, suffix = sent
    assert prefix.endswith("\nx = ") and suffix.endswith("\ny = 1\n")
    assert (len(prefix), len(suffix)) == (len(before), len(after))
    for secret in (TOKEN, "MIIE", "Qk3x", "hunter2", "related", "b.py"):
        assert secret not in prefix + suffix
    plain = Prompt("a.py", "x = ", "(1)", "\ny\n")
    assert outgoing(plain) == ("x = ", "(1)\ny\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'key = "{TOKEN}", ', "\n"),
        ("x = ", f'"{TOKEN}"\n'),
        (f'key = "{TOKEN[:15]}', f'{TOKEN[15:]}"\n'),
        (PEM.partition("Qk")[0], "Qk3x\n-----END PRIVATE KEY-----\n"),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nQk3x", "Qk3x\n-----END PRIVATE KEY-----\n"),
    ],
)
def test_nothing_is_sent_if_the_cursors_line_contains_a_secret(before: str, after: str) -> None:
    rest, end, following = after.partition("\n")
    asked = Prompt("", before, rest, end + following)
    assert outgoing(asked) is None
    with hosting(whole("a")) as hosted:
        with pytest.raises(NoResult, match="looks like a secret"):
            engine(hosted).infill(asked, LINE)
        assert not hosted.seen


def test_a_partial_private_key_at_the_start_of_the_window_is_sent_blank() -> None:
    sent = outgoing(Prompt("", f"{PEM.partition(chr(10))[2]}x = ", "", "\n"))
    assert sent is not None and "MIIE" not in sent[0] and "Qk3x" not in sent[0]
    assert sent[0].endswith("x = ")


def test_only_the_text_around_the_cursor_is_sent() -> None:
    """Run the whole pipeline: no text of other files, no path and no name is sent."""
    text = "import helpers_of_ours\n\nvalue = "
    document = Document("file:///home/user42/w/deep/app.py", "deep/app.py", "python", 1, text)
    with hosting(whole("1")) as hosted:
        config = Config(remote="always", remote_url=hosted.url)
        snapshot = Snapshot(document, config, ("/home/user42/w",))
        found = complete(snapshot, len(text), RemoteEngine.of(config))
        assert found is not None and found.shown == "1"
        raw = json.dumps(hosted.seen[0]["headers"]) + hosted.seen[0]["raw"]
        private = Document("file:///w/.env", ".env", "plaintext", 1, "A=")
        assert complete(Snapshot(private, config), 2, RemoteEngine.of(config)) is None
        ignored = Snapshot(document, config, ignored=True)
        assert complete(ignored, len(text), RemoteEngine.of(config)) is None
        # As if the settings changed to this engine after the snapshot.
        late = replace(ignored, config=Config())
        with pytest.raises(NoResult, match="ignored"):
            complete(late, len(text), RemoteEngine.of(config))
    assert len(hosted.seen) == 1
    for word in ("user42", "deep", "app.py", "/home"):
        assert word not in raw


def test_there_is_no_prefill_and_there_are_no_alternatives() -> None:
    with hosting(whole("a")) as hosted:
        remote = engine(hosted)
        assert remote.prefill(PROMPT) == 0
        first = Infill("a", 1, 1, 1, 1.0, 0.0, 1.0, 0, 1, 1.0, True)
        assert list(remote.alternatives(PROMPT, LINE, first)) == []
        assert not hosted.seen
        assert (remote.count(""), remote.count("abcd"), remote.device) == (0, 2, "remote")


def test_closing_the_engine_ends_its_event_loop() -> None:
    with hosting(whole("a")) as hosted:
        remote = engine(hosted)
        remote.infill(PROMPT, LINE)
        loop = remote._connection._loop
        remote.close()
        until = time.monotonic() + WAIT
        while not loop.is_closed() and time.monotonic() < until:
            time.sleep(0.01)
        assert loop.is_closed()


def test_each_document_of_each_engine_has_an_affinity_key_of_its_own() -> None:
    with hosting(whole("1")) as hosted:
        first, later = engine(hosted), engine(hosted)
        for asked, path in ((first, "a.py"), (first, "b.py"), (first, "a.py"), (later, "a.py")):
            asked.infill(replace(PROMPT, path=path), LINE)
        a, b, again, anew = (seen["headers"]["X-Affinity-Key"] for seen in hosted.seen)
    assert a == again
    assert len({a, b, anew}) == 3
