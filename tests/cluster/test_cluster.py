"""Replicas on a real local Ray: affinity, overflow, killed replicas, a rolling restart, and autoscaling."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from support.servers import replica_backends

from mercury_lsp.cluster.router import rank_replicas
from mercury_lsp.http.backend import Task

SCALE = {"replicas": 2, "max_ongoing": 3, "max_queued": 2, "health_s": 1.0, "cpus": 0.5, "drain_s": 10.0}
PATIENCE = 120
pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install 'mercury-lsp[cluster]'"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Start an empty Ray Serve on this machine; yield its address."""
    from mercury_lsp.cluster.command import ray_session

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ray_session(cpus=4, port=port):
        from ray import cloudpickle

        # Ray's processes cannot import the tests.
        cloudpickle.register_pickle_by_value(replica_backends)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def slow(url: str) -> Any:
    """Deploy two slow replicas; return their handle."""
    from mercury_lsp.cluster.deploy import Scale, deploy

    return deploy(replica_backends.Slow, "slow", Scale(**SCALE))


def names() -> list[str]:
    """Return the names of the live replicas."""
    import ray

    every = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"].rpartition("#")[2] for one in every if "::mercury#model#" in one["name"]]


def actor(name: str) -> Any:
    import ray

    return ray.get_actor(f"SERVE_REPLICA::mercury#model#{name}", namespace="serve")


def kill(name: str) -> None:
    import ray

    ray.kill(actor(name))


def running(name: str) -> int:
    """Return the number of requests that a replica is working on."""
    import ray

    return int(ray.get(actor(name).get_num_ongoing_requests.remote()))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.1)


def served_by(handle: Any, key: str) -> str:
    """Return the replica that answers a task with this key."""
    # One word is left to write.
    task = Task(replica_backends.ALL.rpartition("w")[0], key=key)
    updates = list(handle.options(stream=True).run.remote(task))
    assert updates[-1].finish == "stop"
    return str(updates[-1].replica)


def complete(url: str, prompt: str = "a", **more: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json={"prompt": prompt, **more}, timeout=PATIENCE)


def test_each_key_stays_at_one_replica_and_the_keys_are_distributed(slow: Any) -> None:
    live = names()
    assert len(live) == 2
    keys = [f"key-{number}" for number in range(12)]
    homes = {key: served_by(slow, key) for key in keys}
    assert homes == {key: rank_replicas(key, live)[0] for key in keys}
    assert {key: served_by(slow, key) for key in keys} == homes
    assert set(homes.values()) == set(live)


def test_a_full_replica_overflows_to_the_other(slow: Any) -> None:
    """Each replica runs three tasks at once: of five with one key, two go to the other replica."""
    handle, task = slow.options(stream=True), Task("a", key="one")
    streams = [handle.run.remote(task) for _ in range(5) if not time.sleep(0.1)]  # type: ignore[func-returns-value]
    homes = Counter(list(stream)[-1].replica for stream in streams)
    first, second = rank_replicas("one", names())
    assert homes == {first: 3, second: 2}


def test_requests_above_the_queue_limit_are_refused_with_429(slow: Any, url: str) -> None:
    with ThreadPoolExecutor(30) as pool:
        replies = list(pool.map(lambda _: complete(url, user="one"), range(30)))
    statuses = Counter(reply.status_code for reply in replies)
    assert set(statuses) == {200, 429} and statuses[200] >= SCALE["max_queued"]
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.json()["error"]["type"] == "rate_limit_error" and refused.headers["retry-after"] == "1"


def test_http_answers_equal_those_of_a_single_process(slow: Any, url: str) -> None:
    """Send the same requests to the same application and backend without Ray."""
    from starlette.testclient import TestClient

    from mercury_lsp.http.app import application
    from mercury_lsp.http.settings import ServiceSettings

    def told(reply: Any) -> tuple[int, str, Any]:
        body = re.sub(r'"id": ?"cmpl-[^"]+"|"created": ?[1-9]\d+', "", reply.text)
        return reply.status_code, reply.headers["content-type"], body

    asked: list[tuple[str, str, dict[str, object]]] = [
        ("GET", "/v1/models", {}),
        ("GET", "/health", {}),
        ("GET", "/nothing", {}),
        ("POST", "/v1/completions", {"prompt": "a"}),
        (
            "POST",
            "/v1/completions",
            {"prompt": "a", "stream": True, "stream_options": {"include_usage": True}},
        ),
        ("POST", "/v1/fim/completions", {"prompt": "a", "stream": True}),
        ("POST", "/v1/completions", {"prompt": "a", "n": 2}),
        ("POST", "/v1/completions", {"prompt": 1}),
        ("POST", "/v1/completions", {"prompt": "busy"}),
        ("POST", "/v1/completions", {"prompt": "unavailable"}),
    ]
    until(lambda: httpx.get(f"{url}/health").status_code == 200)
    with TestClient(application(replica_backends.Slow(), ServiceSettings()), base_url=url) as alone:
        for method, path, body in asked:
            more = {"json": body} if method == "POST" else {}
            ours = told(httpx.request(method, url + path, timeout=PATIENCE, **more))  # type: ignore[arg-type]
            assert ours == told(alone.request(method, path, **more)), (path, body)


def test_a_client_that_disconnects_frees_the_replica(slow: Any, url: str) -> None:
    # More requests than both replicas accept.
    for _ in range(8):
        with httpx.stream("POST", f"{url}/v1/completions", json={"prompt": "a", "stream": True}) as reply:
            next(reply.iter_lines())
    began = time.monotonic()
    assert complete(url, replica_backends.ALL[: replica_backends.ALL.rindex("w")]).status_code == 200
    # The request did not wait for the end of the abandoned ones.
    assert time.monotonic() - began < 10


def answered_by(url: str) -> Counter[str]:
    """Return the number of tasks that each replica has answered."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("mercury_replica_tasks_total{")]
    return Counter({line.split('"')[1]: int(float(line.split()[-1])) for line in found})


def counter(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[-1])


def home(url: str, user: str) -> str:
    """Return the replica that answers this user."""
    before = answered_by(url)
    assert complete(url, replica_backends.ALL.rpartition("w")[0], user=user).status_code == 200
    (replica,) = answered_by(url) - before
    return replica


def both_answer(url: str) -> bool:
    """Return whether both replicas answer. That 20 users share a replica by chance is less likely than 1 in 500,000."""
    homes = set[str]()
    return any(len(homes := homes | {home(url, f"v{number}")}) == 2 for number in range(20))


def test_a_stream_whose_replica_is_killed_continues_without_a_gap(slow: Any, url: str) -> None:
    until(lambda: len(names()) == 2)
    counters = ("mercury_retries_total", "mercury_lost_total")
    (retried, lost), text, replica = (counter(url, name) for name in counters), "", home(url, "one")
    body = {"prompt": "a", "user": "one", "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=PATIENCE) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
                if text.count("w") == 5:
                    kill(replica)
    assert text == replica_backends.ALL
    assert [counter(url, name) for name in counters] == [retried + 1, lost]


def test_no_request_is_lost_when_a_replica_is_killed(slow: Any, url: str) -> None:
    until(lambda: len(set(names())) == 2 and both_answer(url))
    before, live = counter(url, "mercury_retries_total"), names()
    with ThreadPoolExecutor(4) as pool:
        replies = []
        for number in range(4):
            replies.append(pool.submit(complete, url, "gently", user=f"u{number}"))
            # A request that Ray has not placed yet counts as waiting.
            time.sleep(0.1)
        until(lambda: any(map(running, live)))
        kill(max(live, key=running))
    answers = [reply.result() for reply in replies]
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    assert [answer.json()["choices"][0]["text"] for answer in answers] == [replica_backends.ALL] * 4
    assert counter(url, "mercury_retries_total") > before
    # Ray replaces the killed replica.
    until(lambda: len(set(names())) == 2)


def test_if_every_replica_fails_the_answer_is_503(slow: Any, url: str) -> None:
    reply = complete(url, "unavailable")
    assert (reply.status_code, reply.json()["error"]["message"]) == (503, "It is out of order.")
    assert counter(url, "mercury_lost_total") >= 1


def test_a_rolling_restart_replaces_all_replicas_and_fails_no_request(slow: Any, url: str) -> None:
    from mercury_lsp.cluster.deploy import Scale, deploy

    old, stop = set(names()), threading.Event()
    statuses = Counter[int]()

    def ask() -> None:
        while not stop.is_set():
            statuses[complete(url, user=str(statuses.total())).status_code] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    deploy(partial(replica_backends.Slow, 0.04), "slow", Scale(**SCALE))
    stop.set()
    thread.join(PATIENCE)
    until(lambda: len(names()) == 2)
    assert not old & set(names())
    # All requests during the restart were answered.
    assert set(statuses) == {200}


def test_ray_adds_a_replica_under_load(slow: Any, url: str) -> None:
    """Scale up from one replica. The test does not wait until Ray scales down again."""
    from mercury_lsp.cluster.deploy import Scale, deploy

    few = replace(
        Scale(**SCALE),
        replicas=1,
        max_replicas=2,
        target_ongoing=1.0,
        upscale_delay_s=0.0,
        downscale_delay_s=0.1,
    )
    deploy(replica_backends.Slow, "slow", few)
    until(lambda: len(names()) == 1)
    with ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(complete, url, user=str(number)) for number in range(4)]
        began = time.monotonic()
        while len(names()) < 2 and time.monotonic() < began + PATIENCE:
            replies += [pool.submit(complete, url, user="more") for _ in range(3)]
            time.sleep(1)
        assert len(names()) == 2


def test_an_engine_in_a_replica_answers_as_in_this_process(url: str, packed_model: Path) -> None:
    """Compare the answers of a real engine. The second prompt is cached. Must run last: it replaces the deployment."""
    from starlette.testclient import TestClient

    from mercury_lsp.cluster.deploy import Scale, deploy
    from mercury_lsp.cluster.replica import local_backend_factory
    from mercury_lsp.http.app import application
    from mercury_lsp.http.local import LocalOptions
    from mercury_lsp.http.settings import ServiceSettings

    make = local_backend_factory(str(packed_model), LocalOptions(device="cpu", threads=1, memory_mb=64))
    deploy(make, "packed", Scale(**SCALE | {"replicas": 1}))
    body = {"prompt": "def f(other):\n    return ", "suffix": "\n", "max_tokens": 8, "user": "one"}
    with TestClient(application(make(), ServiceSettings()), base_url=url) as alone:
        for cached in (False, True):
            ours, theirs = complete(url, **body).json(), alone.post("/v1/completions", json=body).json()
            assert ours["choices"] == theirs["choices"] and ours["usage"] == theirs["usage"]
            assert (ours["usage"]["prompt_tokens_details"]["cached_tokens"] > 0) is cached
    until(lambda: httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "packed")
