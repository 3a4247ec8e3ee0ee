"""The HTTP application: routes, and what stands between a request and the backend.

Owns who may ask, how large a request may be, how long an answer may take, and what is said of each request on the log:
its time, who, route, status, milliseconds, tokens and passes, and never a text or a key. Knows no engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from mercury_lsp import __version__
from mercury_lsp.http.access import Access, Denied, TooOften
from mercury_lsp.http.backend import Backend, Busy, Task, Unavailable, Update
from mercury_lsp.http.completions import Refused, Reply, body_schema, parse
from mercury_lsp.http.counts import Counts
from mercury_lsp.http.guard import Guard
from mercury_lsp.http.settings import ServiceSettings

RETRY = 1.0  # seconds, at least, after which one who was refused for a full queue may try again
JSON = "application/json"
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message", "type", "param", "code"]}},
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "OK", "content": {JSON: {}, "text/event-stream": {}}}
}
CLIENT_GONE = 499  # as nginx logs it; nobody sees it
UNREAD = frozenset({401, 403, 408, 413, 415, 431, 503})  # refusals after which the rest of a body is not read

log = logging.getLogger(__name__)
access_log = logging.getLogger("mercury_lsp.access")


@dataclass(slots=True)
class State:
    """What the process that serves an application sees of it, and tells it. ``stopping``: new requests get a 503."""

    running: int = 0
    stopping: bool = False


@dataclass(slots=True)
class _Visit:
    """One request to a route, from its arrival to its last byte."""

    route: str
    name: str = "-"
    status: int = 500
    last: Update = field(default_factory=lambda: Update(""))
    began: float = field(default_factory=time.perf_counter)
    whole: bool = False  # the request is, so that the server does not stop before it is answered


def application(backend: Backend, settings: ServiceSettings) -> FastAPI:
    """The application over a backend, which it closes when it ends. Its `State` is ``app.state.service``."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await backend.close()

    app = FastAPI(title="mercury-lsp", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = state = State()
    service = _Service(backend, settings, state)
    for path, fim in (("/v1/completions", False), ("/v1/fim/completions", True)):
        app.add_api_route(
            path,
            service.completions(path, fim),
            methods=["POST"],
            response_model=None,
            responses=STREAM | _described(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504),
            openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": body_schema()}}}},
        )
    for path, look, statuses, kind in (
        ("/v1/models", service.models, (200, 401, 403), JSONResponse),
        ("/health", service.health, (200, 403, 503), JSONResponse),
        ("/metrics", service.metrics, (200, 401, 403), PlainTextResponse),
    ):
        described = _described(*statuses)
        app.add_api_route(path, look, response_model=None, responses=described, response_class=kind)

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = {404: "There is no such route.", 405: "The route takes another method."}
        return _error(Refused(error.status_code, words.get(error.status_code, str(error.detail))))

    app.add_exception_handler(HTTPException, refused)
    app.add_middleware(Guard, local=not settings.tokens)
    return app


def _described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers with these statuses, for the service's description of itself."""
    return {
        status: {"description": HTTPStatus(status).phrase}
        | ({} if status in (200, 503) else {"content": {JSON: {"schema": ERROR}}})
        for status in statuses
    }


class _Service:
    """The routes' functions."""

    def __init__(self, backend: Backend, settings: ServiceSettings, state: State) -> None:
        self._backend, self._settings, self._state = backend, settings, state
        self._access = Access(settings.tokens, settings.per_minute)
        self._counts = Counts()

    def completions(self, path: str, fim: bool) -> Callable[[Request], Awaitable[Response]]:
        """The function of a route that completes."""

        async def completions(request: Request) -> Response:
            visit = _Visit(path)
            self._counts.running.inc()
            response: Response | None = None
            try:
                response = await self._complete(request, visit, fim)
                if not isinstance(response, _Streamed):
                    visit.status = response.status_code
            except Refused as error:
                visit.status = error.status
                response = _error(error)
            except _Gone:
                visit.status = CLIENT_GONE
                response = Response(status_code=CLIENT_GONE)
            except Exception:  # the boundary: one failing request costs its answer
                log.exception("A request failed.")
                visit.status = 500
                response = _error(Refused(500, "The server failed to answer.", kind="server_error"))
            finally:
                if not isinstance(response, _Streamed):
                    self._left(visit)
            return response

        return completions

    async def models(self, request: Request) -> Response:
        """The model that is served."""
        return self._plain(request, "/v1/models", self._models)

    def _models(self) -> Response:
        names = (self._backend.model, *self._settings.aliases)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "mercury-lsp"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def metrics(self, request: Request) -> Response:
        """What there is to count."""
        return self._plain(
            request,
            "/metrics",
            lambda: PlainTextResponse(
                self._counts.text() + self._backend.metrics(), media_type="text/plain; version=0.0.4"
            ),
        )

    async def health(self) -> Response:
        """Whether requests are answered now; needs no token."""
        if self._state.stopping:
            return JSONResponse({"status": "stopping"}, 503)
        ready = self._backend.ready
        return JSONResponse({"status": "ready" if ready else "loading"}, 200 if ready else 503)

    def _plain(self, request: Request, route: str, answer: Callable[[], Response]) -> Response:
        """A route that only looks."""
        try:
            self._enter(request, _Visit(route))
            return answer()
        except Refused as error:
            return _error(error)

    def _enter(self, request: Request, visit: _Visit) -> str:
        """Let a request in: to whom its caches belong. Raises `Refused`."""
        try:
            name = self._access.name(request.headers.get("authorization", ""))
        except Denied:
            raise Refused(
                401, "This needs a valid token.", code="invalid_api_key", kind="authentication_error"
            ) from None
        visit.name = name or "-"
        return name or (request.client.host if request.client else "")

    async def _complete(self, request: Request, visit: _Visit, fim: bool) -> Response:
        asker = self._enter(request, visit)
        if self._state.stopping:
            raise Refused(503, "The server is stopping.", kind="server_error", wait=RETRY)
        try:
            self._access.take(asker)
        except TooOften as error:
            raise Refused(
                429,
                "Too many requests.",
                code="rate_limit_exceeded",
                kind="rate_limit_error",
                wait=error.wait,
            ) from None
        body = await _body(request, self._settings)
        if self._state.stopping:
            raise Refused(503, "The server is stopping.", kind="server_error", wait=RETRY)
        visit.whole = True
        self._state.running += 1
        wanted = parse(body, (self._backend.model, *self._settings.aliases))
        affinity = request.headers.get("x-affinity-key", "") or wanted.affinity
        peer = request.client.host if request.client else ""
        task = wanted.task(_key(asker, affinity or peer), self._settings, _key(asker, ""))
        reply = Reply(self._backend.model, fim)
        updates = self._updates(request, task, visit)
        if not wanted.stream:
            async for _ in updates:
                pass
            return JSONResponse(reply.whole(visit.last))
        first = await anext(updates)  # an error before this has a status of its own
        visit.status = CLIENT_GONE  # unless the stream comes to its end

        async def over() -> None:
            self._left(visit)
            await updates.aclose()

        return _Streamed(self._stream(reply, first, updates, visit, task.drafts, wanted.with_usage), over)

    async def _stream(
        self,
        reply: Reply,
        update: Update,
        updates: AsyncGenerator[Update, None],
        visit: _Visit,
        drafts: bool,
        with_usage: bool,
    ) -> AsyncGenerator[str, None]:
        """Events: what is new of the committed text, or with ``drafts`` all of the text each time."""
        sent = 0
        try:
            while not update.finish:
                if drafts:
                    yield _event(reply.piece(update.text))
                elif update.committed > sent:
                    yield _event(reply.piece(update.text[sent : update.committed]))
                    sent = update.committed
                update = await anext(updates)
            yield _event(reply.piece(update.text[0 if drafts else sent :], update.finish))
            if with_usage:
                yield _event(reply.cost(update))
            visit.status = 200
            yield "data: [DONE]\n\n"
        except Refused as error:
            visit.status = error.status
            yield _event(error.body)
        except _Gone:
            return
        except Exception:
            log.exception("A request failed.")
            visit.status = 500
            yield _event(Refused(500, "The server failed to answer.", kind="server_error").body)

    async def _updates(self, request: Request, task: Task, visit: _Visit) -> AsyncGenerator[Update, None]:
        """The backend's updates, until the client is gone or the time is over. Raises `Refused`, `_Gone`."""
        ends = asyncio.get_running_loop().time() + self._settings.timeout_s
        gone = asyncio.create_task(_disconnected(request))
        running = self._backend.run(task)
        try:
            while not visit.last.finish:
                coming = asyncio.ensure_future(anext(running))
                left = ends - asyncio.get_running_loop().time()
                try:
                    done, _ = await asyncio.wait(
                        {coming, gone}, timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    if not coming.done():
                        coming.cancel()
                        with suppress(asyncio.CancelledError, StopAsyncIteration):
                            await coming
                if gone in done and coming not in done:
                    raise _Gone
                if not done:
                    raise Refused(504, "The answer took too long.", code="timeout", kind="server_error")
                visit.last = coming.result()
                yield visit.last
        except Busy as error:
            wait = max(RETRY, error.wait)
            raise Refused(429, "Too many requests are waiting.", kind="rate_limit_error", wait=wait) from None
        except Unavailable as error:
            raise Refused(503, str(error), kind="server_error", wait=RETRY) from None
        finally:
            gone.cancel()
            if isinstance(running, AsyncGenerator):
                await running.aclose()

    def _left(self, visit: _Visit) -> None:
        """A request has been answered, or given up."""
        self._state.running -= visit.whole
        counts, last, seconds = self._counts, visit.last, time.perf_counter() - visit.began
        counts.running.dec()
        counts.requests.labels(visit.route, str(visit.status)).inc()
        counts.seconds.labels(visit.route).observe(seconds)
        counts.cancelled.inc(visit.status == CLIENT_GONE)
        counts.tokens.inc(last.tokens)
        counts.passes.inc(last.forward_passes)
        counts.read.inc(last.prompt_tokens)
        counts.cached.inc(last.cached_tokens)
        access_log.info(
            "%s %s %d %.0f ms %d tokens %d passes",
            visit.name,
            visit.route,
            visit.status,
            seconds * 1e3,
            last.tokens,
            last.forward_passes,
        )


class _Gone(Exception):
    """The client does not wait any longer."""


class _Streamed(StreamingResponse):
    """An answer as server-sent events. ``over`` is awaited at its end, even where the client was gone before the first
    event, and so nothing ever asked for one."""

    def __init__(self, events: AsyncGenerator[str, None], over: Callable[[], Awaitable[None]]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._over()


async def _disconnected(request: Request) -> None:
    """Returns when the client is gone. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request, settings: ServiceSettings) -> bytes:
    """A request's body. Raises `Refused` as soon as it is too large or too late."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:  # a web page may send any other kind without asking first
        raise Refused(415, "The body must be application/json.", code="unsupported_media_type")
    most, parts, size = settings.body_bytes, list[bytes](), 0
    length = request.headers.get("content-length", "")
    too_large = Refused(413, f"The body has more than {most} bytes.", code="request_too_large")
    if length.isdecimal() and int(length[:20]) > most:
        raise too_large
    try:
        async with asyncio.timeout(settings.body_s):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refused(408, f"The body took more than {settings.body_s:g} s.", code="timeout") from None


def _key(asker: str, affinity: str) -> str:
    """A key of which two askers never share one, and which tells nothing of either."""
    return hashlib.sha256(json.dumps([asker, affinity]).encode()).hexdigest()[:32]


def _event(value: object) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _error(error: Refused) -> Response:
    headers = {"Retry-After": str(math.ceil(error.wait))} if error.wait is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in UNREAD:
        headers["Connection"] = "close"
    return JSONResponse(error.body, error.status, headers)
