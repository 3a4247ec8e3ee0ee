"""The line to a server: one HTTP client on an event loop in a thread of its own, so that a request that nobody wants
any more is broken off within `POLL`, whatever it waits for.

Owns the connection, which is kept open between requests, the tries of one request, and what each failure is called.
What is sent is never logged, nor is the key; nor is what a server says of an error, for it may quote both. httpx2 is
the successor of HTTPX, and its API the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import httpx2

from mercury_lsp import __version__
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.remote.address import Address, RemoteError
from mercury_lsp.remote.key import Key
from mercury_lsp.remote.shapes import Piece, Reported, read

POLL = 0.01  # seconds between two looks at whether an answer is still wanted
TRIES = 3  # of one request
BACKOFF = 0.1  # seconds before the second try, and twice as many before the third, more or less a half
LONGEST = 1 << 20  # bytes of an answer
KEPT = 90.0  # seconds that a connection without a request is kept
_CODE = re.compile(r"[a-z]+(?:_[a-z]+){0,5}")  # such as model_not_found; no key and no text looks like that


class Failed(Exception):
    """There is no whole answer. The message is one clause for the user, without the host.

    `again`: seconds after which the same may be tried again, None where that is no use; `wish`: seconds that the server
    wants to be left alone; `status`: of HTTP, 0 where there was none.
    """

    def __init__(self, clause: str, again: float | None = None, wish: float = 0.0, status: int = 0) -> None:
        super().__init__(clause)
        self.again, self.wish, self.status = again, wish, status


class Link:
    """To one address. For one thread at a time; what it has open is closed once nobody knows it any more."""

    def __init__(self, address: Address, key: Key) -> None:
        self.address = address
        self._key = key
        self._loop = asyncio.new_event_loop()
        # A proxy of the environment's would see what goes there in clear, so for that there is none.
        self._client = httpx2.AsyncClient(
            headers={"User-Agent": f"mercury-lsp/{__version__}", "Accept-Encoding": "identity"},
            timeout=None,  # there is one for all that a request takes
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=4, max_keepalive_connections=1, keepalive_expiry=KEPT),
            trust_env=address.secure,
        )
        Thread(target=_run, args=(self._loop,), name="mercury-remote", daemon=True).start()
        self.close = weakref.finalize(self, _close, self._loop, self._client)

    def ask(
        self,
        path: str,
        body: dict[str, Any],
        affinity: str,
        seconds: float,
        cancelled: Callable[[], bool],
    ) -> Generator[Piece, None, None]:
        """The pieces of an answer, as they come. To close the iterator breaks the request off.

        affinity: requests of the same one had better come to the same cache; `mercury-lsp serve` sees to it.
        Raises `Failed`; and `Cancelled` soon after ``cancelled()`` is true.
        """
        inbox: SimpleQueue[Piece | None] = SimpleQueue()
        exchange = _exchange(self.address, self._client, self._key, path, body, affinity, seconds, inbox.put)
        future = asyncio.run_coroutine_threadsafe(exchange, self._loop)
        future.add_done_callback(lambda _: inbox.put(None))
        try:
            while True:
                if cancelled():
                    raise Cancelled
                try:
                    piece = inbox.get(timeout=POLL)
                except Empty:
                    continue
                if piece is None:
                    break
                yield piece
            try:
                future.result()
            except CancelledError:
                raise Failed("was left before it had answered") from None
        finally:
            future.cancel()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _close(loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient) -> None:
    async def end() -> None:
        with suppress(Exception):
            await client.aclose()
        loop.stop()

    with suppress(RuntimeError):  # the interpreter ends
        loop.call_soon_threadsafe(lambda: loop.create_task(end()))


async def _exchange(
    address: Address,
    client: httpx2.AsyncClient,
    key: Key,
    path: str,
    body: dict[str, Any],
    affinity: str,
    seconds: float,
    put: Callable[[Piece], None],
) -> None:
    """One request with all its tries. No reference to the link, lest a request keep it alive."""
    until, renewed, tried = asyncio.get_running_loop().time() + seconds, False, 0
    late = Failed(f"took longer than {seconds * 1e3:.0f} ms, which the option remote_timeout_ms sets")
    try:
        async with asyncio.timeout_at(until):
            while True:
                tried += 1
                try:
                    return await _once(address, client, key, path, body, affinity, put)
                except Failed as failed:
                    if failed.status == 401 and not renewed:
                        renewed = True
                        if await _with_key(key.renew):
                            continue
                    if failed.again is None or tried == TRIES:
                        raise
                    wait = max(failed.again, BACKOFF * 2 ** (tried - 1) * random.uniform(0.5, 1.5))
                    if asyncio.get_running_loop().time() + wait >= until:
                        raise
                await asyncio.sleep(wait)
    except TimeoutError:
        raise late from None


async def _with_key(call: Callable[[], Any]) -> Any:
    """What a call of `Key` returns, which may wait for a program."""
    try:
        return await asyncio.to_thread(call)
    except RemoteError as error:
        raise Failed(f"is not asked: {str(error).rstrip('.')}") from None


async def _once(
    address: Address,
    client: httpx2.AsyncClient,
    key: Key,
    path: str,
    body: dict[str, Any],
    affinity: str,
    put: Callable[[Piece], None],
) -> None:
    value = key.known if key.known is not None else await _with_key(key.read)
    headers = {"Accept": "text/event-stream, application/json", "X-Affinity-Key": affinity}
    if value:
        if not address.keeps_secrets:
            raise Failed(
                "is not asked: a key is sent over https only, or to this machine or a private address"
            )
        headers["Authorization"] = f"Bearer {value}"
    try:
        async with client.stream("POST", address.url + path, json=body, headers=headers) as response:
            if response.status_code != 200:
                raise await _refusal(response, bool(value), key)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                await _events(response, put)
            else:
                put(_parsed(await _whole(response), last=True))
    except httpx2.ConnectError as error:
        reason = " ".join(str(error).split())[:160]
        raise Failed(f"cannot be reached ({reason or type(error).__name__})", again=0.0) from None
    except httpx2.InvalidURL:  # its rules for names of other scripts are stricter than ours
        raise Failed("cannot be reached: its name is none that can be looked up") from None
    except httpx2.SSEError:
        raise Failed("answers with more than is taken for a suggestion") from None
    except httpx2.HTTPError:
        raise Failed("closed the connection before its answer was whole") from None


async def _events(response: httpx2.Response, put: Callable[[Piece], None]) -> None:
    """The pieces of a stream of server-sent events (WHATWG HTML, 9.2), to its end."""
    response.encoding = "utf-8"  # as the standard has it, whatever the server calls it
    size, finished = 0, False
    async for event in httpx2.EventSource(response, max_event_size=LONGEST):
        size += len(event.data)
        if size > LONGEST:
            raise Failed("answers with more than is taken for a suggestion")
        if event.data.strip() == "[DONE]":
            if not finished:
                put(Piece("", finish="stop"))
            return
        if event.data:
            piece = _parsed(event.data, last=False)
            finished = finished or piece.finish != ""
            put(piece)
    if not finished:
        raise Failed("closed the connection before its answer was whole")


async def _whole(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > LONGEST:
            raise Failed("answers with more than is taken for a suggestion")
    return bytes(content)


def _parsed(text: str | bytes, last: bool) -> Piece:
    try:
        piece = read(json.loads(text))
    except Reported:
        raise Failed("answers that there was an error on its side") from None
    except (ValueError, RecursionError):  # `Malformed`, too
        raise Failed("does not answer as a completion API does") from None
    return Piece(piece.text, piece.tokens, piece.finish or "stop", piece.counts) if last else piece


async def _refusal(response: httpx2.Response, has_key: bool, key: Key) -> Failed:
    """What an answer that is none is called."""
    status = response.status_code
    if response.is_redirect:
        where = response.next_request.url.host if response.next_request else ""
        if where and where != response.request.url.host:
            return Failed(f"sends us on to {where}, where neither key nor text goes", status=status)
        return Failed("sends us on to another address, which remote_url should name itself", status=status)
    code = await _code(response)
    told = f" ({status}{', ' + code if code else ''})"
    match status:
        case 401 | 403 if has_key:
            return Failed(f"refuses the key{told}", status=status)
        case 401 | 403:
            return Failed(f"wants a key{told}, and there is none in {key.source}", status=status)
        case 404:
            return Failed(f"knows no such model, or no such path{told}", status=status)
        case 413:
            return Failed(f"takes no text of this length{told}", status=status)
        case 429:
            wish = _retry_after(response.headers.get("retry-after", ""))
            return Failed(f"has had too many requests{told}", again=wish, wish=wish, status=status)
        case _ if status >= 500:
            wish = _retry_after(response.headers.get("retry-after", ""))
            return Failed(f"has trouble of its own{told}", again=wish, wish=wish, status=status)
    return Failed(f"refuses the request{told}", status=status)


async def _code(response: httpx2.Response) -> str:
    """The error's code in an answer, where it is one word as codes are."""
    try:
        error = json.loads(await _whole(response)).get("error")
        found = [error.get("code"), error.get("type")] if isinstance(error, dict) else [error]
    except (ValueError, RecursionError, AttributeError, Failed, httpx2.HTTPError):
        return ""
    codes = (code for code in found if isinstance(code, str) and len(code) <= 40 and _CODE.fullmatch(code))
    return next(codes, "")


def _retry_after(header: str) -> float:
    """Seconds in a Retry-After header, which has them or a date (RFC 9110, 10.2.3); 0 where it makes no sense."""
    if re.fullmatch(r"\d{1,9}", header.strip(), re.ASCII):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
