"""Tests of completion requests: valid bodies, and the errors for invalid ones."""

from __future__ import annotations

import json

import pytest

from mercury_lsp.http.backend import Update
from mercury_lsp.http.completions import CompletionFormat, Refused, parse_request
from mercury_lsp.http.settings import ServiceSettings

MODELS = ("small", "mercury")
SETTINGS = ServiceSettings(max_tokens=100, default_tokens=30)


def body(**fields: object) -> bytes:
    return json.dumps({"prompt": "a"} | fields).encode()


def test_the_fields_of_a_request_become_a_task() -> None:
    wanted = parse_request(
        body(
            prompt=["x = "],
            suffix="\ny",
            model="mercury",
            max_tokens=7,
            stop=["\n", ""],
            temperature=0.5,
            top_p=0.9,
            seed=3,
            stream=True,
            diffusing=True,
            path="a.py",
            n=1,
            best_of=1,
            echo=False,
            logprobs=None,
            presence_penalty=1.5,
        ),
        MODELS,
    )
    task = wanted.task("key", SETTINGS)
    assert (task.prefix, task.suffix, task.key, task.path) == ("x = ", "\ny", "key", "a.py")
    assert (task.max_tokens, task.stop, task.temperature, task.seed) == (7, ("\n",), 0.5, 3)
    assert task.drafts


def test_missing_fields_have_defaults_and_max_tokens_is_limited() -> None:
    task = parse_request(body(suffix=None), MODELS).task("", SETTINGS)
    assert (task.suffix, task.max_tokens, task.stop, task.temperature) == ("", 30, (), 0)
    assert not task.drafts
    assert parse_request(body(max_tokens=5000, stop="a"), MODELS).task("", SETTINGS).max_tokens == 100
    assert not parse_request(body(diffusing=True), MODELS).task("", SETTINGS).drafts  # without a stream


def test_the_affinity_key_is_the_prompt_cache_key_or_the_user() -> None:
    assert parse_request(body(user="u", prompt_cache_key="k"), MODELS).affinity == "k"
    assert parse_request(body(user="u"), MODELS).affinity == "u"
    assert parse_request(body(), MODELS).affinity == ""


@pytest.mark.parametrize(
    ("given", "status", "param"),
    [
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b"[" * 100_000, 400, None),
        (b"[]", 400, None),
        (b"{}", 400, "prompt"),
        (body(prompt=["a", "b"]), 400, "prompt"),
        (body(prompt=[1, 2]), 400, "prompt"),
        (body(prompt=None), 400, "prompt"),
        (body(suffix=1), 400, "suffix"),
        (body(max_tokens="9"), 400, "max_tokens"),
        (body(max_tokens=0), 400, "max_tokens"),
        (body(max_tokens=1.5), 400, "max_tokens"),
        (body(stop=["a", "b", "c", "d", "e"]), 400, "stop"),
        (body(temperature=3), 400, "temperature"),
        (b'{"prompt": "a", "temperature": NaN}', 400, "temperature"),
        (b'{"prompt": "a", "temperature": 1e999}', 400, "temperature"),
        (b'{"prompt": "a", "temperature": -1e-320}', 400, "temperature"),
        (body(stream="yes"), 400, "stream"),
        (body(stream_options=[]), 400, "stream_options"),
        (body(stop="x" * 257), 400, "stop"),
        (body(stop=["a", "x" * 1_000_000]), 400, "stop"),
        (body(n=2), 400, "n"),
        (body(n=0), 422, "n"),
        (body(n=-5), 422, "n"),
        (body(n=-(10**30)), 422, "n"),
        (body(best_of=0), 422, "best_of"),
        (body(logprobs=-1), 400, "logprobs"),
        (body(best_of=3), 400, "best_of"),
        (body(echo=True), 400, "echo"),
        (body(logprobs=2), 400, "logprobs"),
        (body(logprobs=True), 400, "logprobs"),
        (body(prompt="\ud800"), 400, None),
        (body(model="gpt-4"), 404, "model"),
        (body(path="x" * 300), 400, "path"),
    ],
)
def test_errors_have_the_format_of_openai(given: bytes, status: int, param: str | None) -> None:
    with pytest.raises(Refused) as refused:
        parse_request(given, MODELS)
    assert refused.value.status == status
    error = refused.value.body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert isinstance(error["message"], str) and error["message"].endswith(".")


def test_errors_do_not_quote_the_request() -> None:
    for given in (body(prompt=["secret", "b"]), body(stop={"secret": 1}), body(suffix=["secret"])):
        with pytest.raises(Refused) as refused:
            parse_request(given, MODELS)
        assert "secret" not in json.dumps(refused.value.body)


def test_an_answer_has_its_text_in_the_fields_that_each_kind_of_client_reads() -> None:
    update = Update("x", 1, "stop", 10, 4, 2)
    openai, fim = (CompletionFormat("small", fim).response(update) for fim in (False, True))
    assert openai["object"] == "text_completion"
    assert openai["choices"] == [{"index": 0, "text": "x", "logprobs": None, "finish_reason": "stop"}]
    assert fim["choices"][0]["message"]["content"] == fim["choices"][0]["text"] == "x"
    assert openai["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    piece = CompletionFormat("small", True).chunk("y")
    assert piece["choices"][0]["delta"]["content"] == piece["choices"][0]["text"] == "y"
    assert piece["choices"][0]["finish_reason"] is None
