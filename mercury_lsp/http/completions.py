"""Defines the JSON of requests, answers and errors, in OpenAI's format and in that of hosted infilling models.

`/v1/completions` has OpenAI's format. A choice of `/v1/fim/completions` contains its text twice: as ``text``, as hosted
Mercury does, and as ``message`` or ``delta``, as Codestral does.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mercury_lsp.http.backend import Task, Update
from mercury_lsp.http.settings import ServiceSettings

MAX_STOPS = 4
MAX_STOP_CHARACTERS = 256
MAX_PATH_CHARACTERS = 256


class Refused(Exception):
    """Raised to answer a request with an error.

    ``kind``, ``param``, ``code``: the fields of OpenAI's errors; ``wait``: seconds before a retry.
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        wait: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.wait = status, wait
        self.body = {"error": {"message": sentence, "type": kind, "param": param, "code": code}}


class _StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


_ONE: dict[str, Any] = {"minimum": 1, "maximum": 1}
Stop = Annotated[str, Field(max_length=MAX_STOP_CHARACTERS)]


class CompletionRequest(BaseModel):
    """The body of a request. Other fields are ignored."""

    model_config = ConfigDict(strict=True)

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    suffix: str | None = None
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    diffusing: bool | None = None
    path: Annotated[str, Field(max_length=MAX_PATH_CHARACTERS)] | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    n: Annotated[int | None, Field(json_schema_extra=_ONE)] = None
    best_of: Annotated[int | None, Field(json_schema_extra=_ONE)] = None
    echo: Annotated[bool | None, Field(json_schema_extra={"enum": [False, None]})] = None
    logprobs: Annotated[
        Annotated[int, Field(ge=0)] | bool | None, Field(json_schema_extra={"enum": [0, False, None]})
    ] = None

    @property
    def affinity(self) -> str:
        """The client's cache key, used if no header gives one."""
        return self.prompt_cache_key or self.user or ""

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def task(self, key: str, settings: ServiceSettings, client: str = "") -> Task:
        """Return the task for the backend, with ``max_tokens`` cut to the limit."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Task(
            prefix=self.prompt if isinstance(self.prompt, str) else self.prompt[0],
            suffix=self.suffix or "",
            key=key,
            max_tokens=min(self.max_tokens or settings.default_tokens, settings.max_tokens),
            stop=tuple(filter(None, stops)),
            temperature=self.temperature or 0.0,
            seed=self.seed,
            drafts=bool(self.stream and self.diffusing),
            path=self.path or "",
            client=client,
        )


def parse_request(body: bytes, models: tuple[str, ...]) -> CompletionRequest:
    """Parse the body of a request. Raises `Refused`, whose message quotes no text of the body."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise Refused(400, "The body is not a JSON object.")
    try:
        request = CompletionRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = str(first["loc"][0])
        if param == "prompt" and "prompt" in fields:
            raise Refused(400, "prompt must be a text, or a list of one.", param) from None
        raise Refused(400, f"{param}: {first['msg']}.", param) from None
    try:
        for text in (request.prompt, request.suffix, request.path, request.stop):
            "".join(text or "").encode()
    except UnicodeEncodeError:
        raise Refused(400, "A text has half of a surrogate pair, which is no character.") from None
    for param in ("n", "best_of"):
        number = getattr(request, param)
        if number is not None and number < 1:
            raise Refused(422, f"{param} must be 1 at least.", param)
    for param, most in (("n", 1), ("best_of", 1), ("echo", False), ("logprobs", 0)):
        value = getattr(request, param)
        if value is not None and (value is True or value > most):
            raise Refused(400, f"{param} is not supported here.", param, "unsupported_parameter")
    if request.model not in (None, "", *models):
        raise Refused(404, f"There is no such model here; there is {models[0]}.", "model", "model_not_found")
    return request


def body_schema() -> dict[str, Any]:
    """Return the JSON schema of a request's body, with references resolved, for the OpenAPI schema."""
    schema = CompletionRequest.model_json_schema()
    parts = {f"#/$defs/{name}": part for name, part in schema.pop("$defs", {}).items()}

    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [resolve(part) for part in value]
        if not isinstance(value, dict):
            return value
        return resolve(parts[value["$ref"]]) if "$ref" in value else {k: resolve(v) for k, v in value.items()}

    described: dict[str, Any] = resolve(schema)
    return described


@dataclass(frozen=True, slots=True)
class CompletionFormat:
    """The format of the answer to one request. ``fim``: that of `/v1/fim/completions`."""

    model: str
    fim: bool
    id: str = field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def response(self, update: Update) -> dict[str, Any]:
        """Return the answer to a request without a stream."""
        return self._object(self._choice(update.text, update.finish, "message")) | {"usage": usage(update)}

    def chunk(self, text: str, finish: str = "") -> dict[str, Any]:
        """Return a chunk of a stream: the new text, or the whole text with drafts."""
        return self._object(self._choice(text, finish, "delta"))

    def usage_chunk(self, update: Update) -> dict[str, Any]:
        """Return the chunk with a stream's usage."""
        return self._object() | {"usage": usage(update)}

    def _object(self, *choices: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": list(choices),
        }

    def _choice(self, text: str, finish: str, codestral: Literal["message", "delta"]) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish or None}
        return choice | ({codestral: {"role": "assistant", "content": text}} if self.fim else {})


def usage(update: Update) -> dict[str, Any]:
    """Return the usage of a task in tokens."""
    return {
        "prompt_tokens": update.prompt_tokens,
        "completion_tokens": update.tokens,
        "total_tokens": update.prompt_tokens + update.tokens,
        "prompt_tokens_details": {"cached_tokens": update.cached_tokens},
    }
