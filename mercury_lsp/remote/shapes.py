"""The two shapes in which hosted models are asked to fill in a middle, and the forms of their answers.

Owns the names in requests and replies. Knows no HTTP. Pure.

`fim` is `POST /fim/completions`. Mistral publishes it for Codestral (docs.mistral.ai, "FIM completion": model, prompt,
suffix, max_tokens, stop, temperature, stream; a reply has choices[0].message.content and finish_reason, a stream of
events delta.content, ended by [DONE]). Inception Labs' hosted Mercury takes the same at api.inceptionlabs.ai/v1
(docs.inceptionlabs.ai; LiteLLM's page on the provider), and clients of it read choices[0].text as well. With
`"diffusing": true` hosted Mercury sends whole drafts as delta.content, each in the place of the one before. It is
published for its chat, not for this path, so it is asked for only where the user wants to see drafts.

`openai` is `POST /completions` with a `suffix` (OpenAI's API reference, "Completions"; also DeepSeek's FIM completion
at /beta, Ollama and others): choices[0].text, and with `logprobs` the lists tokens and token_logprobs. Not all who
serve that path take a suffix: vLLM answers that it is not supported, and then nothing can be filled in there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mercury_lsp.remote.outgoing import Outgoing

PATHS = {"fim": "/fim/completions", "openai": "/completions"}
LARGEST = 10**9  # tokens, or nats: no text has more
LIMITS = ("length", "model_length", "max_tokens")  # what finish_reason is where a limit ended the text


class Malformed(ValueError):
    """A reply is of no form that is known."""


class Reported(ValueError):
    """A reply, or an event of one that had begun well, tells of an error."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, or all of it. ``tokens``: texts and log-probabilities, where they are told; ``finish``: why
    the text ends with it, "" where it does not; ``counts``: tokens of the prompt and of the middle so far, 0 where
    they are not told."""

    text: str
    tokens: tuple[tuple[str, float], ...] = ()
    finish: str = ""
    counts: tuple[int, int] = (0, 0)


def body(
    api: str, model: str, sent: Outgoing, max_tokens: int, single_line: bool, scores: bool, drafts: bool
) -> dict[str, Any]:
    """A request for the likeliest middle, streamed. ``scores``: with log-probabilities, where the API has them."""
    asked: dict[str, Any] = {
        "prompt": sent.prefix,
        "suffix": sent.suffix,
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
    }
    if model:
        asked["model"] = model
    if single_line:
        asked["stop"] = ["\n"]
    if api == "openai" and scores:
        asked["logprobs"] = 1
    if api == "fim" and drafts:
        asked["diffusing"] = True
    return asked


def read(value: object) -> Piece:
    """What a reply, or one event of a streamed one, says. Raises `Malformed`, `Reported`."""
    if not isinstance(value, Mapping):
        raise Malformed
    if value.get("error"):
        raise Reported
    usage = value.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    counts = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    match value.get("choices"):
        case [Mapping() as choice, *_]:
            finish = choice.get("finish_reason")
            finish = finish if isinstance(finish, str) else ""
            return Piece(_text(choice), _tokens(choice.get("logprobs")), finish, counts)
        case []:  # an event that has nothing but the usage
            return Piece("", counts=counts)
    raise Malformed


def _text(choice: Mapping[str, Any]) -> str:
    for inner in ("message", "delta"):
        if isinstance(part := choice.get(inner), Mapping):
            return _content(part.get("content"))
    if "text" in choice:
        return _content(choice["text"])
    raise Malformed


def _content(content: object) -> str:
    match content:
        case None:  # an event that tells only who speaks
            return ""
        case str():
            return content
        case [*chunks]:  # Mistral's content may be a list of such
            texts = [chunk.get("text") for chunk in chunks if isinstance(chunk, Mapping)]
            return "".join(text for text in texts if isinstance(text, str))
    raise Malformed


def _tokens(logprobs: object) -> tuple[tuple[str, float], ...]:
    """Tokens with their log-probabilities; none where any of them lacks it."""
    match logprobs:
        case {"tokens": [*texts], "token_logprobs": [*values]} if len(texts) == len(values):
            if all(isinstance(text, str) for text in texts) and all(map(_is_logp, values)):
                return tuple((text, float(logp)) for text, logp in zip(texts, values, strict=True))
    return ()


def _is_logp(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= 1e-3


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST else 0
