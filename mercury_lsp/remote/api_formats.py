"""Builds requests for a middle in the two formats of hosted models, and parses the answers.

`fim` is `POST /fim/completions`. Mistral publishes it for Codestral (docs.mistral.ai, "FIM completion": model, prompt,
suffix, max_tokens, stop, temperature, stream; a reply has choices[0].message.content and finish_reason, a stream of
events delta.content, ended by [DONE]). Inception Labs' hosted Mercury takes the same at api.inceptionlabs.ai/v1
(docs.inceptionlabs.ai; LiteLLM's page on the provider), and clients of it read choices[0].text as well. With
`"diffusing": true` hosted Mercury sends whole drafts as delta.content, each replacing the one before. It is
published for its chat, not for this path, so it is used only if the user wants to see drafts.

`openai` is `POST /completions` with a `suffix` (OpenAI's API reference, "Completions"; also DeepSeek's FIM completion
at /beta, Ollama and others): choices[0].text, and with `logprobs` the lists tokens and token_logprobs. Not all
servers of that path take a suffix: vLLM answers that it is not supported, and then nothing can be filled in there.

`edit` is `POST /edit/completions`, which Inception Labs publishes for Mercury Edit (docs.inceptionlabs.ai, "Next
Edit"): model and one message of the user, not streamed; choices[0].message.content has the lines of a region,
rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mercury_lsp.engine.api import Sampling

# An upper bound of token counts and of log-probabilities in nats; values above it are invalid.
MAX_COUNT = 10**9
# The values of finish_reason that mean that a limit ended the text.
LIMIT_REASONS = ("length", "model_length", "max_tokens")


class MalformedAnswer(ValueError):
    """Raised if the answer has an unknown format."""


class ReportedError(ValueError):
    """Raised if the answer, or an event of a stream, reports an error."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of an answer, or the whole answer.

    ``tokens``: texts and log-probabilities, if the server returns them. ``finish``: the reason if the text ends here,
    otherwise "". ``counts``: tokens of the prompt and of the middle so far, 0 if unknown.
    """

    text: str
    tokens: tuple[tuple[str, float], ...] = ()
    finish: str = ""
    counts: tuple[int, int] = (0, 0)


def request_body(
    model: str, prefix: str, suffix: str, sampling: Sampling, logprobs: bool, drafts: bool
) -> dict[str, Any]:
    """Return the body of a request for the likeliest middle, as a stream.

    ``logprobs``: with log-probabilities, in OpenAI's format. ``drafts``: as whole drafts, from hosted Mercury.
    """
    request: dict[str, Any] = {
        "prompt": prefix,
        "suffix": suffix,
        "max_tokens": sampling.max_tokens,
        "temperature": 0,
        "stream": True,
    }
    if model:
        request["model"] = model
    if sampling.single_line:
        request["stop"] = ["\n"]
    if logprobs:
        request["logprobs"] = 1
    if drafts:
        request["diffusing"] = True
    return request


def edit_body(model: str, content: str, max_tokens: int) -> dict[str, Any]:
    """Return the body of a request for the next edit. `content`: the user's message."""
    request: dict[str, Any] = {"messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}
    return {"model": model, **request} if model else request


def parse_answer(value: object) -> Chunk:
    """Parse an answer, or one event of a stream. Raises `MalformedAnswer`, `ReportedError`."""
    if not isinstance(value, Mapping):
        raise MalformedAnswer
    if value.get("error"):
        raise ReportedError
    usage = value.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    counts = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    match value.get("choices"):
        case [Mapping() as choice, *_]:
            finish = choice.get("finish_reason")
            finish = finish if isinstance(finish, str) else ""
            return Chunk(_text(choice), _tokens(choice.get("logprobs")), finish, counts)
        case []:
            # An event that has only the usage.
            return Chunk("", counts=counts)
    raise MalformedAnswer


def _text(choice: Mapping[str, Any]) -> str:
    for inner in ("message", "delta"):
        if isinstance(part := choice.get(inner), Mapping):
            return _content(part.get("content"))
    if "text" in choice:
        return _content(choice["text"])
    raise MalformedAnswer


def _content(content: object) -> str:
    match content:
        case None:
            # An event that has only the role.
            return ""
        case str():
            return content
        case [*chunks]:
            # Mistral's content may be a list of chunks.
            texts = [chunk.get("text") for chunk in chunks if isinstance(chunk, Mapping)]
            return "".join(text for text in texts if isinstance(text, str))
    raise MalformedAnswer


def _tokens(logprobs: object) -> tuple[tuple[str, float], ...]:
    """Return tokens with their log-probabilities, or none if any token lacks one."""
    match logprobs:
        case {"tokens": [*texts], "token_logprobs": [*values]} if len(texts) == len(values):
            if all(isinstance(text, str) for text in texts) and all(map(_is_logp, values)):
                return tuple((text, float(logp)) for text, logp in zip(texts, values, strict=True))
    return ()


def _is_logp(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -MAX_COUNT <= value <= 1e-3


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_COUNT else 0
