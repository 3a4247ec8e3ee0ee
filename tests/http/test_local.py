"""The service over real engines, on a real socket, asked as its clients ask: openai's own, and two editor plugins'."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from support.models.tiny_open_models import save_open
from support.servers.http_service import counted, served

from mercury_lsp.context.prompt import build
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.backends.cpu.kernel import instruction_sets
from mercury_lsp.engine.backends.quantized_load import load_network
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.batching import ContinuousBatcher, SlotRows
from mercury_lsp.engine.checkpoints.huggingface import OpenCheckpoint, read_open_checkpoint
from mercury_lsp.engine.load import load_checkpoint
from mercury_lsp.engine.open_models.engine import OpenModelEngine
from mercury_lsp.http.backend import Task, Unavailable
from mercury_lsp.http.local import MAX_CPU_TASKS, PATH_TOKENS, LocalBackend, LocalOptions, truncate_path
from mercury_lsp.http.settings import ServiceSettings

SOURCE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(9))
PREFIX = "def add(a, b):\n    return "
SUFFIX = "\n\n\nprint(add(1, 2))\n"
PATIENCE = 60


def loaded(folder: str | Path, options: LocalOptions | None = None) -> LocalBackend:
    # Slots of a batch are made at once; the usual 2 GB for each test would add up.
    options = replace(options or LocalOptions(threads=1), memory_mb=128)
    backend = LocalBackend(load_checkpoint(str(folder)), options)
    ends = time.monotonic() + PATIENCE
    while not backend.ready:
        assert not backend.failure
        assert time.monotonic() < ends
        time.sleep(0.01)
    return backend


def until(client: httpx2.Client, name: str, value: float) -> None:
    ends = time.monotonic() + PATIENCE
    while counted(client, name) != value:
        assert time.monotonic() < ends, f"{name} is {counted(client, name)}"


@pytest.fixture(scope="module")
def tiny(unpacked_model: Path) -> Iterator[httpx2.Client]:
    with served(loaded(unpacked_model)) as client:
        yield client


@pytest.fixture(scope="module")
def small() -> Iterator[httpx2.Client]:
    settings = ServiceSettings(aliases=("mercury-coder",), default_tokens=16)
    with served(loaded("small"), settings) as client:
        yield client


def ask(client: httpx2.Client, key: str, prompt: str = SOURCE, **fields: object) -> dict[str, Any]:
    body = {"prompt": prompt, "suffix": "\n", "max_tokens": 4} | fields
    answer = client.post("/v1/completions", json=body, headers={"X-Affinity-Key": key})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def cached(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def test_openais_client_completes_in_the_middle(small: httpx2.Client) -> None:
    client = openai.OpenAI(base_url=f"{small.base_url}/v1", api_key="any", max_retries=0)
    assert [model.id for model in client.models.list()] == ["small", "mercury-coder"]
    whole = client.completions.create(model="small", prompt=PREFIX, suffix=SUFFIX, max_tokens=16)
    assert whole.choices[0].text == "a + b"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 4  # with the end
    stream = client.completions.create(
        model="mercury-coder",
        prompt=[PREFIX],
        suffix=SUFFIX,
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "a + b"
    assert chunks[-1].usage == whole.usage.model_copy(
        update={
            "prompt_tokens_details": chunks[-1].usage.prompt_tokens_details
        }  # the second time it is cached
    )
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.completions.create(model="gpt-4", prompt=PREFIX)
    with pytest.raises(openai.BadRequestError, match="n is not supported"):
        client.completions.create(model="small", prompt=PREFIX, n=2)


def test_stop_texts_end_an_answer_and_are_not_in_it(small: httpx2.Client) -> None:
    asked = {"prompt": PREFIX, "suffix": SUFFIX, "stop": [" +", "zzz"]}
    answer = small.post("/v1/fim/completions", json=asked).json()
    assert answer["choices"][0] | {"message": None} == {
        "index": 0,
        "text": "a",
        "logprobs": None,
        "finish_reason": "stop",
        "message": None,
    }
    streamed = small.post("/v1/fim/completions", json=asked | {"stream": True}).text
    texts = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in texts) == "a"


def test_minuets_requests_are_answered_as_it_reads_answers(small: httpx2.Client) -> None:
    """minuet-ai.nvim's provider openai_fim_compatible: some equal requests at once, by curl; the text is what the
    lines of a stream have in their first choice, put together."""
    body = (
        b'{"prompt":"def add(a, b):\\n    return ","top_p":0.9,"model":"small","stream":true,'
        b'"suffix":"\\n\\n\\nprint(add(1, 2))\\n","max_tokens":56,"stop":["\\n\\n"]}'
    )
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Authorization": "Bearer TERM",
        "User-Agent": "curl/8.5.0",
    }

    def complete(_: int) -> str:
        text = ""
        for line in small.post("/v1/completions", content=body, headers=headers).text.split("\n"):
            try:
                found = json.loads(line.removeprefix("data:"))["choices"][0]["text"]
            except (ValueError, LookupError):
                continue
            text += found
        return text

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(complete, range(3))) == ["a + b"] * 3


def test_llm_nvims_requests_are_answered_as_it_reads_answers(small: httpx2.Client) -> None:
    """llm.nvim's backend openai, which sends what is before the cursor only, where fim is not enabled."""
    body = b'{"model":"small","prompt":"def add(a, b):\\n    return ","stream":false,"temperature":0.2,"top_p":0.95}'
    headers = {"Content-Type": "application/json", "User-Agent": "llm-ls/0.5.3; rust/unknown; ide/Neovim"}
    answer = small.post("/v1/completions", content=body, headers=headers).json()
    assert "error" not in answer
    assert [choice["text"] for choice in answer["choices"]] == [answer["choices"][0]["text"]]
    assert answer["choices"][0]["text"].startswith("a")


def test_drafts_sharpen_into_the_text(small: httpx2.Client) -> None:
    asked = {"prompt": PREFIX, "suffix": SUFFIX, "stream": True, "diffusing": True}
    answer = small.post("/v1/fim/completions", json=asked).text
    drafts = [
        json.loads(line[6:])["choices"][0] for line in answer.splitlines() if line.startswith("data: {")
    ]
    assert len(drafts) > 1
    assert drafts[-1]["text"] == "a + b"
    assert [draft["finish_reason"] for draft in drafts] == [None] * (len(drafts) - 1) + ["stop"]
    assert drafts[-2]["text"].startswith("a")


def test_two_editors_keep_their_caches(tiny: httpx2.Client) -> None:
    mine, yours = SOURCE, SOURCE.replace("area", "volume")
    assert cached(ask(tiny, "mine", mine)) == cached(ask(tiny, "yours", yours)) == 0
    for key, prompt in (("mine", mine), ("yours", yours)):
        answer = ask(tiny, key, prompt + "d")
        assert cached(answer) > 0.9 * answer["usage"]["prompt_tokens"]
    assert cached(ask(tiny, "third", mine)) == 0


def test_a_seed_repeats_a_text_and_none_does_not(tiny: httpx2.Client) -> None:
    def text(key: str, **fields: object) -> str:
        return str(ask(tiny, key, max_tokens=8, temperature=1.0, **fields)["choices"][0]["text"])

    assert text("s1", seed=5) == text("s2", seed=5) != text("s3", seed=6)
    assert text("s4") != text("s5")


def test_special_strings_are_text(tiny: httpx2.Client) -> None:
    plain, special = (
        ask(tiny, key, text)["usage"]["prompt_tokens"] for key, text in (("p", "x"), ("q", "<fim_middle>"))
    )
    assert special > plain + 2


def test_a_path_takes_no_more_rows_than_are_kept_for_it(tiny: httpx2.Client) -> None:
    usual, wide = "src/größe/lib.py", "\U0001fae5" * 240 + "/größe/lib.py"
    assert truncate_path(usual, len) == usual
    part = truncate_path(wide, lambda text: len(text.encode()))
    assert part.endswith("/größe/lib.py") and PATH_TOKENS - 4 < len(part.encode()) <= PATH_TOKENS
    answer = ask(tiny, "path", "x = ", path=wide)
    assert answer["usage"]["prompt_tokens"] < PATH_TOKENS + 16


def test_a_client_that_goes_away_ends_its_decoding_between_two_passes(unpacked_model: Path) -> None:
    backend = loaded(unpacked_model)
    assert isinstance(backend.slots, ContinuousBatcher)
    batch, passes, eighth, go_on = backend.slots._batch, count(1), threading.Event(), threading.Event()
    run = batch.run

    def gated(parts: Sequence[SlotRows]) -> Sequence[Any]:
        if next(passes) == 8:
            eighth.set()
            assert go_on.wait(PATIENCE)
        return run(parts)

    batch.run = gated  # type: ignore[method-assign]
    with served(backend) as client:
        asked = {"prompt": SOURCE, "max_tokens": 200, "stream": True}
        with client.stream("POST", "/v1/completions", json=asked) as answer:
            lines = answer.iter_lines()  # kept, for with it the connection would be closed
            assert next(lines) and eighth.wait(PATIENCE)
        until(client, "mercury_requests_cancelled_total", 1)
        assert counted(client, "mercury_tasks_running") == 1  # a pass is still to end
        go_on.set()
        until(client, "mercury_tasks_cancelled_total", 1)
        assert counted(client, "mercury_tasks_running") == 0
        assert cached(ask(client, "other")) == 0


def test_a_pass_that_fails_costs_one_answer(unpacked_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = loaded(unpacked_model)
    assert isinstance(backend.slots, ContinuousBatcher)
    with served(backend) as client:
        assert cached(ask(client, "key")) == 0
        with monkeypatch.context() as patch:
            patch.setattr(backend.slots._batch, "run", lambda parts: 1 / 0)
            answer = client.post(
                "/v1/completions", json={"prompt": SOURCE}, headers={"X-Affinity-Key": "key"}
            )
            assert answer.status_code == 500
        assert cached(ask(client, "key")) == 0  # its session was not to be trusted
        assert counted(client, "mercury_tasks_failed_total") == 1


def test_sessions_are_bounded_and_the_oldest_goes(unpacked_model: Path) -> None:
    with served(loaded(unpacked_model, LocalOptions(threads=1, sessions=2))) as client:
        for key in ("a", "b", "c"):
            assert cached(ask(client, key)) == 0
        assert counted(client, "mercury_sessions") == 2
        assert cached(ask(client, "b")) > 0
        assert cached(ask(client, "a")) == 0


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_on_a_processor_sessions_share_the_kernels_passes(packed_model: Path) -> None:
    backend = loaded(packed_model)
    with served(backend) as client, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: ask(client, str(i), max_tokens=8), range(4)))
        assert len({answer["choices"][0]["text"] for answer in found}) == 1
        passes, shared = (counted(client, f"mercury_pass_sessions_{part}") for part in ("count", "sum"))
        assert 4 < passes < shared


def gated(backend: LocalBackend) -> threading.Event:
    """What its passes wait for."""
    slots, go_on = backend.slots, threading.Event()
    assert slots is not None
    run = slots._batch.run

    def wait(parts: Sequence[SlotRows]) -> Any:
        assert go_on.wait(PATIENCE)
        return run(parts)

    slots._batch.run = wait  # type: ignore[method-assign]
    return go_on


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
@pytest.mark.parametrize(("running", "most"), [(None, MAX_CPU_TASKS), (1, 1), (6, 6)])
def test_so_many_take_turns_and_the_others_wait(running: int | None, most: int, packed_model: Path) -> None:
    backend = loaded(packed_model, LocalOptions(threads=1, running=running))
    go_on = gated(backend)
    with served(backend) as client, ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(ask, client, str(number)) for number in range(10)]
        until(client, "mercury_tasks_waiting", 10 - most)
        assert counted(client, "mercury_tasks_running") == most
        go_on.set()
        assert all(answer.result()["choices"] for answer in answers)


@pytest.mark.skipif(not instruction_sets(), reason="the kernel is not compiled for this machine")
def test_who_gets_no_turn_in_time_is_429_and_not_504(packed_model: Path) -> None:
    backend = loaded(packed_model, LocalOptions(threads=1, running=1, wait_s=0.2))
    go_on = gated(backend)
    with served(backend) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, client, "first")
        until(client, "mercury_tasks_running", 1)
        late = client.post("/v1/completions", json={"prompt": SOURCE, "user": "late"})
        go_on.set()
        assert late.status_code == 429 and int(late.headers["retry-after"]) >= 1
        assert first.result()["choices"]
        assert ask(client, "late")["choices"]


async def test_before_it_is_loaded_and_after_its_end_it_is_unavailable(unpacked_model: Path) -> None:
    backend = LocalBackend(load_checkpoint(str(unpacked_model)), LocalOptions(threads=1, device="cuda:7"))
    with pytest.raises(Unavailable):
        await anext(backend.run(Task("a")))
    while not backend.failure:
        await asyncio.sleep(0.01)
    assert "cpu" in backend.failure
    assert not backend.ready
    await backend.close()
    with pytest.raises(Unavailable, match="stopping"):
        await anext(backend.run(Task("a")))


@pytest.mark.parametrize("family", ["dream", "fast-dllm-v2"])
def test_open_models_share_passes_and_write_what_they_write_alone(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that sees both ways, and one that fills in blocks. In fp32 and whole, whatever the machine computes in and
    has room for: random weights have near ties, which a batch may round otherwise."""
    monkeypatch.setattr("mercury_lsp.engine.backends.torch_executor.dtype_for", lambda device: torch.float32)
    monkeypatch.setattr("mercury_lsp.engine.backends.quantized_load.free_memory", lambda device: math.inf)
    save_open(tmp_path / family, family)
    alone = OpenModelEngine(read := read_open_checkpoint(tmp_path / family), network_alone(read))
    sampling = Sampling(max_tokens=8, max_passes=16)
    prefixes = [f"def area_{i}(width, height):\n    return " for i in range(3)]
    wanted = [
        alone.infill(build("", prefix, SUFFIX, alone.count, 512, 192, (), alone.stem_start), sampling).text
        for prefix in prefixes
    ]
    backend = loaded(tmp_path / family, LocalOptions(threads=1))
    assert isinstance(backend.slots, ContinuousBatcher)
    with served(backend) as client, ThreadPoolExecutor(3) as pool:

        def text(prefix: str) -> str:
            body = {"prompt": prefix, "suffix": SUFFIX, "max_tokens": 8}
            answer = client.post("/v1/completions", json=body, headers={"X-Affinity-Key": prefix[4:10]})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["choices"][0]["text"])

        assert list(pool.map(text, prefixes)) == wanted


def network_alone(read: OpenCheckpoint) -> TorchExecutor:
    network = load_network(read, "cpu", torch.float32)
    return TorchExecutor(network, read.forbidden, "cpu", 1)
