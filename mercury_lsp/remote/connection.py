"""Sends requests to a server, by one HTTP client on an event loop in its own thread.

A cancelled request is aborted within `POLL_SECONDS`. The connection stays open between requests. The log never contains
the request's text, the key, or the server's error message, which may quote both. httpx2 is the successor of HTTPX, with
the same API.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import weakref
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import httpx2

from mercury_lsp import __version__
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.remote.address import Address, RemoteError
from mercury_lsp.remote.api_formats import Chunk, ReportedError, parse_answer
from mercury_lsp.remote.key import Key

# The time between two checks of `cancelled`.
POLL_SECONDS = 0.01
MAX_TRIES = 3
# The wait before the second try, doubled before the third, with a jitter of one half.
BACKOFF_SECONDS = 0.1
MAX_ANSWER_BYTES = 1 << 20
KEEPALIVE_SECONDS = 90.0
# How long running requests may take to end when the connection is closed.
END_SECONDS = 1.0
# An error code such as model_not_found, which cannot be mistaken for a key or a text.
_CODE = re.compile(r"[a-z]+(?:_[a-z]+){0,5}")


class RequestFailed(Exception):
    """Raised if there is no complete answer. The message is one clause for the user, without the host.

    `retry_after`: seconds after which a retry may help, None if it cannot. `requested_pause`: the pause in seconds that
    the server asks for. `status`: the HTTP status, or 0 if there is none.
    """

    def __init__(
        self, clause: str, retry_after: float | None = None, requested_pause: float = 0.0, status: int = 0
    ) -> None:
        super().__init__(clause)
        self.retry_after, self.requested_pause, self.status = retry_after, requested_pause, status


class Connection:
    """The connection to one address, for one thread at a time; closed when the object is collected."""

    def __init__(self, address: Address, key: Key) -> None:
        self.address = address
        self._key = key
        self._loop = asyncio.new_event_loop()
        # Unencrypted requests do not use a proxy from the environment, because it could read them.
        self._client = httpx2.AsyncClient(
            headers={"User-Agent": f"mercury-lsp/{__version__}", "Accept-Encoding": "identity"},
            # `_send_with_retries` has a timeout for all tries together.
            timeout=None,
            follow_redirects=False,
            limits=httpx2.Limits(
                max_connections=4, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_SECONDS
            ),
            trust_env=address.secure,
        )
        Thread(target=_run_loop, args=(self._loop,), name="mercury-remote", daemon=True).start()
        self.close = weakref.finalize(self, _close, self._loop, self._client)

    def ask(
        self, body: dict[str, Any], affinity: str, seconds: float, cancelled: Callable[[], bool]
    ) -> Generator[Chunk, None, None]:
        """Yield the chunks of an answer as they arrive. Closing the iterator aborts the request.

        ``affinity``: requests of one affinity should reach the same cache, as they do with `mercury-lsp serve`.
        ``seconds``: the timeout. Raises `RequestFailed`, and `Cancelled` soon after ``cancelled()`` turns true.
        """
        inbox: SimpleQueue[Chunk | None] = SimpleQueue()
        # Holds no reference to the connection, so that a request does not keep it alive.
        attempt = partial(_send_once, self.address, self._client, self._key, body, affinity, inbox.put)
        exchange = _send_with_retries(attempt, self._key, seconds)
        future = asyncio.run_coroutine_threadsafe(exchange, self._loop)
        future.add_done_callback(lambda _: inbox.put(None))
        try:
            while True:
                if cancelled():
                    raise Cancelled
                try:
                    chunk = inbox.get(timeout=POLL_SECONDS)
                except Empty:
                    continue
                if chunk is None:
                    break
                yield chunk
            try:
                future.result()
            except CancelledError:
                if cancelled():
                    raise Cancelled from None
                raise RequestFailed("was left before it had answered") from None
        finally:
            future.cancel()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _close(loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient) -> None:
    async def end() -> None:
        # Cancel the tasks, so that their futures end: nothing runs on the loop after this.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=END_SECONDS)
        with suppress(Exception):
            await client.aclose()
        loop.stop()

    # The interpreter may be ending.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: loop.create_task(end()))


async def _send_with_retries(attempt: Callable[[], Awaitable[None]], key: Key, seconds: float) -> None:
    deadline, renewed, tries = asyncio.get_running_loop().time() + seconds, False, 0
    timed_out = RequestFailed(f"took longer than {seconds * 1e3:.0f} ms")
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                tries += 1
                try:
                    return await attempt()
                except RequestFailed as failed:
                    if failed.status == 401 and not renewed:
                        renewed = True
                        if await _call_key(key.renew):
                            continue
                    if failed.retry_after is None or tries == MAX_TRIES:
                        raise
                    wait = max(
                        failed.retry_after, BACKOFF_SECONDS * 2 ** (tries - 1) * random.uniform(0.5, 1.5)
                    )
                    if asyncio.get_running_loop().time() + wait >= deadline:
                        raise
                except Exception as error:
                    # No answer of a server may count as a failure of the engine, which would then be loaded again.
                    raise RequestFailed(
                        f"answers with what cannot be read ({type(error).__name__})"
                    ) from None
                await asyncio.sleep(wait)
    except TimeoutError:
        raise timed_out from None


async def _call_key(call: Callable[[], Any]) -> Any:
    """Call a method of `Key`, which may wait for a program, in another thread."""
    try:
        return await asyncio.to_thread(call)
    except RemoteError as error:
        raise RequestFailed(f"is not asked: {str(error).rstrip('.')}") from None


async def _send_once(
    address: Address,
    client: httpx2.AsyncClient,
    key: Key,
    body: dict[str, Any],
    affinity: str,
    on_chunk: Callable[[Chunk], None],
) -> None:
    value = key.known if key.known is not None else await _call_key(key.read)
    headers = {"Accept": "text/event-stream, application/json", "X-Affinity-Key": affinity}
    if value:
        if not address.keeps_secrets:
            raise RequestFailed(
                "is not asked: a key is sent over https only, or to this machine or a private address"
            )
        headers["Authorization"] = f"Bearer {value}"
    try:
        async with client.stream("POST", address.url, json=body, headers=headers) as response:
            if response.status_code != 200:
                raise await _status_error(response, bool(value), key)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                await _read_events(response, on_chunk)
            else:
                on_chunk(_parse_chunk(await _read_content(response), last=True))
    except httpx2.ConnectError as error:
        reason = " ".join(str(error).split())[:160]
        raise RequestFailed(
            f"cannot be reached ({reason or type(error).__name__})", retry_after=0.0
        ) from None
    except httpx2.InvalidURL:
        # Its rules for non-ASCII names are stricter than ours.
        raise RequestFailed("cannot be reached: its name is none that can be looked up") from None
    except httpx2.SSEError:
        raise RequestFailed("answers with more than is taken for a suggestion") from None
    except httpx2.HTTPError:
        raise RequestFailed("closed the connection before its answer was whole") from None


async def _read_events(response: httpx2.Response, on_chunk: Callable[[Chunk], None]) -> None:
    """Read a stream of server-sent events (WHATWG HTML, 9.2), whose encoding is always UTF-8."""
    response.encoding = "utf-8"
    size, finished = 0, False
    async for event in httpx2.EventSource(response, max_event_size=MAX_ANSWER_BYTES):
        size += len(event.data)
        if size > MAX_ANSWER_BYTES:
            raise RequestFailed("answers with more than is taken for a suggestion")
        if event.data.strip() == "[DONE]":
            if not finished:
                on_chunk(Chunk("", finish="stop"))
            return
        if event.data:
            chunk = _parse_chunk(event.data, last=False)
            finished = finished or chunk.finish != ""
            on_chunk(chunk)
    if not finished:
        raise RequestFailed("closed the connection before its answer was whole")


async def _read_content(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise RequestFailed("answers with more than is taken for a suggestion")
    return bytes(content)


def _parse_chunk(text: str | bytes, last: bool) -> Chunk:
    try:
        chunk = parse_answer(json.loads(text))
    except ReportedError:
        raise RequestFailed("answers that there was an error on its side") from None
    except (ValueError, RecursionError):
        # `MalformedAnswer` is a ValueError.
        raise RequestFailed("does not answer as a completion API does") from None
    return Chunk(chunk.text, chunk.tokens, chunk.finish or "stop", chunk.counts) if last else chunk


async def _status_error(response: httpx2.Response, has_key: bool, key: Key) -> RequestFailed:
    """Return the failure for an answer with a status other than 200."""
    status = response.status_code
    if response.is_redirect:
        where = response.next_request.url.host if response.next_request else ""
        if where and where != response.request.url.host:
            return RequestFailed(f"sends us on to {where}, where neither key nor text goes", status=status)
        return RequestFailed(
            "sends us on to another address, which remote_url should name itself", status=status
        )
    code = await _error_code(response)
    details = f" ({status}{', ' + code if code else ''})"
    match status:
        case 401 | 403 if has_key:
            return RequestFailed(f"refuses the key{details}", status=status)
        case 401 | 403:
            return RequestFailed(f"wants a key{details}, and there is none in {key.source}", status=status)
        case 404:
            return RequestFailed(f"knows no such model, or no such path{details}", status=status)
        case 413:
            return RequestFailed(f"takes no text of this length{details}", status=status)
        case 429:
            pause = _retry_after(response.headers.get("retry-after", ""))
            return RequestFailed(
                f"has had too many requests{details}", retry_after=pause, requested_pause=pause, status=status
            )
        case _ if status >= 500:
            pause = _retry_after(response.headers.get("retry-after", ""))
            return RequestFailed(
                f"has trouble of its own{details}", retry_after=pause, requested_pause=pause, status=status
            )
    return RequestFailed(f"refuses the request{details}", status=status)


async def _error_code(response: httpx2.Response) -> str:
    """Return the error code in an answer, or "" if nothing in it looks like a code."""
    try:
        error = json.loads(await _read_content(response)).get("error")
        candidates = [error.get("code"), error.get("type")] if isinstance(error, dict) else [error]
    except (ValueError, RecursionError, AttributeError, RequestFailed, httpx2.HTTPError):
        return ""
    codes = [code for code in candidates if isinstance(code, str) and len(code) <= 40]
    return next(filter(_CODE.fullmatch, codes), "")


def _retry_after(header: str) -> float:
    """Return the seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3); 0 if it is invalid."""
    if re.fullmatch(r"\d{1,9}", header.strip(), re.ASCII):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError):
        return 0.0
