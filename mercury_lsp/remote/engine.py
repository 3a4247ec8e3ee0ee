"""Runs a hosted model as an engine: sends the text around the cursor, and reads the middle while it is written.

Only the text of a hosted model is known, so:

- `count` assumes three bytes for a token. Most tokenizers need fewer tokens for code, so the sent text tends to be too
  short rather than too long.
- A forward pass stands for a request, because the real number is unknown.
- There is no project memory, because the tokens are unknown.
- `prefill` does nothing, so nothing is sent without a request of the user. There are no alternatives: each would be
  another request to pay for, and a user who types on would rarely see its result.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import accumulate

from mercury_lsp.config import Config
from mercury_lsp.engine.api import (
    DEFAULT_RUN,
    Engine,
    Infill,
    Line,
    Progress,
    Run,
    Sampling,
    ScoredToken,
)
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.remote.address import Address
from mercury_lsp.remote.api_formats import LIMIT_REASONS, Chunk, request_body
from mercury_lsp.remote.breaker import ANSWER_SECONDS
from mercury_lsp.remote.connection import RequestFailed
from mercury_lsp.remote.hosted_model import HostedModel
from mercury_lsp.remote.key import Key
from mercury_lsp.remote.outgoing import outgoing

# See the module's docstring.
BYTES_PER_TOKEN = 3
# No text has more on average; a longer answer is cut.
MAX_CHARACTERS_PER_TOKEN = 12

log = logging.getLogger(__name__)


class RemoteEngine(HostedModel, Engine):
    """Asks one hosted model. ``drafts``: whether to request its drafts during denoising, which hosted Mercury sends."""

    device = "remote"
    threads = 0

    def __init__(self, address: Address, key: Key, model: str, drafts: bool = False) -> None:
        self.name = model or address.host
        super().__init__(address, key, model)
        self._drafts = drafts and not address.openai and model.lower().startswith("mercury")
        # Whether log-probabilities are requested; false after the server has refused them.
        self._wants_logprobs = address.openai
        self._salt = secrets.token_bytes(16)

    @classmethod
    def of(cls, config: Config, drafts: bool = False) -> RemoteEngine:
        """Return the engine of the options, without sending a request. Raises `RemoteError`."""
        address = Address.of(config.remote_url)
        key = Key(config.remote_key_env, config.remote_key_command)
        return cls(address, key, config.remote_model, drafts)

    def count(self, text: str) -> int:
        """Return an estimate of the number of tokens of a text."""
        return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)

    def stem_start(self, text: str) -> int:
        """Return the end of the text: no hosted API can restrict the first tokens, so there is no stem."""
        return len(text)

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = DEFAULT_RUN) -> Infill:
        """Request the middle of a prompt. Of an answer that breaks off, the received part is used.

        Raises `NoResult` if there is no text or nothing may be sent, and `Cancelled` soon after ``run.cancelled()``
        turns true.
        """
        host = self._connection.address.host
        if sampling.local_only:
            raise NoResult(f"the document is ignored, so it is not sent to {host}")
        sent = outgoing(prompt)
        if sent is None:
            raise NoResult(f"something in the cursor's line looks like a secret, so it is not sent to {host}")
        answer = _Answer(sampling, self._drafts, self.count("".join(sent)), self.count)
        try:
            with self._request():
                self._read(sent, prompt.path, sampling, run, answer)
        except NoResult:
            # No token of a draft is committed.
            if not answer.text or self._drafts:
                raise
        return answer.infill(answer.text)

    def _affinity(self, path: str) -> str:
        """Return a document's key for a server's cache: it does not reveal the path, and changes with each start."""
        return hashlib.blake2b(path.encode(errors="replace"), key=self._salt, digest_size=8).hexdigest()

    def _read(
        self,
        sent: tuple[str, str],
        path: str,
        sampling: Sampling,
        run: Run,
        answer: _Answer,
    ) -> None:
        """Read the answer until its end, or until the end of the wanted text. Raises `RequestFailed`, `Cancelled`."""
        body = request_body(self._model, *sent, sampling, self._wants_logprobs, self._drafts)
        try:
            affinity = self._affinity(path)
            with closing(self._connection.ask(body, affinity, ANSWER_SECONDS, run.cancelled)) as chunks:
                for chunk in chunks:
                    answer.add(chunk)
                    if run.on_progress is not None:
                        run.on_progress(answer.progress())
                    if answer.complete:
                        return
        except RequestFailed as failed:
            if not self._wants_logprobs or failed.status not in (400, 422):
                raise
            # The server may not support log-probabilities.
            self._wants_logprobs = False
            self._read(sent, path, sampling, run, answer)


class _Answer:
    """The answer so far. With `drafts`, each chunk replaces the earlier ones."""

    def __init__(
        self, sampling: Sampling, drafts: bool, prompt_tokens: int, count: Callable[[str], int]
    ) -> None:
        self.text = ""
        self._max_characters = MAX_CHARACTERS_PER_TOKEN * sampling.max_tokens
        # Whether the wanted text is complete.
        self.complete = False
        self._single_line, self._drafts, self._count = sampling.single_line, drafts, count
        # None after a chunk without log-probabilities.
        self._scored: list[tuple[str, float]] | None = None if drafts else []
        self._finish = ""
        self._began, self._first = time.perf_counter(), 0.0
        self._counts = prompt_tokens, 0

    def add(self, chunk: Chunk) -> None:
        """Add a chunk."""
        if chunk.text:
            self._first = self._first or time.perf_counter()
            self.text = chunk.text if self._drafts else self.text + chunk.text
            if self._scored is not None:
                texts = "".join(text for text, _ in chunk.tokens)
                self._scored = [*self._scored, *chunk.tokens] if texts == chunk.text else None
            if "\udc00" <= chunk.text[0] <= "\udfff":
                self.text, self._scored = _join_surrogates(self.text), None
        if len(self.text) > self._max_characters:
            self.text, self._scored = self.text[: self._max_characters], None
            self._finish, self.complete = "length", not self._drafts
        if not self.complete:
            self._finish = chunk.finish or self._finish
        self._counts = chunk.counts[0] or self._counts[0], chunk.counts[1] or self._counts[1]
        if self._single_line and "\n" in self.text and (not self._drafts or self._finish):
            self.text = self.text.partition("\n")[0]
            if self._scored is not None:
                # Up to the token with the newline, which counts as the stop token.
                end = next((i for i, (text, _) in enumerate(self._scored) if "\n" in text), len(self._scored))
                self._scored = self._scored[: end + 1]
            self._finish, self._counts, self.complete = "stop", (self._counts[0], 0), True

    def progress(self) -> Progress:
        """Return the progress so far. Nothing of an unfinished draft is committed, because the next one replaces it."""
        tokens = self._count(self.text)
        if self._drafts and not self._finish:
            return Progress(self.text, 0, tokens, 1, self.infill(""))
        return Progress(self.text, tokens, tokens, 1, self.infill(self.text))

    def infill(self, text: str) -> Infill:
        """Return the infill with a text, which is the whole received text or ""."""
        now = time.perf_counter()
        first = self._first or now
        finished = self._finish not in ("", *LIMIT_REASONS)
        scored = self._scored or ()
        logp = sum(value for _, value in scored)
        return Infill(
            text=text,
            tokens=len(scored) or self._counts[1] or self._count(text) + finished,
            steps=1,
            forward_passes=1,
            ms=(now - self._began) * 1e3,
            ms_prefill=(first - self._began) * 1e3,
            ms_denoise=(now - first) * 1e3,
            cached_tokens=0,
            prompt_tokens=self._counts[0],
            confidence=math.exp(logp / len(scored)) if scored else 1.0,
            finished=finished,
            lines=tuple(line for line in _lines(scored) if line.end < len(text)),
            scored=tuple(
                ScoredToken(min(end, len(text)), value)
                for end, (_, value) in zip(accumulate(len(own) for own, _ in scored), scored, strict=True)
            ),
        )


def _join_surrogates(text: str) -> str:
    """Join surrogate pairs whose halves arrived in two chunks."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _lines(scored: Sequence[tuple[str, float]]) -> Iterator[Line]:
    """Yield the lines that end within the scored tokens."""
    at, logp = 0, 0.0
    for i, (text, value) in enumerate(scored):
        logp += value
        if "\n" in text:
            yield Line(at + text.find("\n"), i + 1, logp)
        at += len(text)
