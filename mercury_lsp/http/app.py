"""Defines the HTTP application: its routes, access control, limits and log.

The log has one line for each request: client, route, status, milliseconds, tokens and passes; never a text or a key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from mercury_lsp import __version__
from mercury_lsp.http.access import Access
from mercury_lsp.http.backend import Backend, Busy, Task, Unavailable, Update
from mercury_lsp.http.completions import CompletionFormat, Refused, body_schema, parse_request
from mercury_lsp.http.counts import Counts
from mercury_lsp.http.guard import HeaderGuard
from mercury_lsp.http.messages import (
    CLIENT_GONE_STATUS,
    JSON,
    STREAM_RESPONSES,
    ClientGone,
    StreamedResponse,
    error_response,
    read_body,
    response_schemas,
    server_sent_event,
    wait_for_disconnect,
)
from mercury_lsp.http.settings import ServiceSettings

# The shortest wait that is advised to a client whose request is refused because the queue is full.
MIN_RETRY_SECONDS = 1.0
log = logging.getLogger(__name__)
access_log = logging.getLogger("mercury_lsp.access")
_FAILED = Refused(500, "The server failed to answer.", kind="server_error")


@dataclass(slots=True)
class ServiceState:
    """The state shared by an application and its process.

    ``running``: the number of running requests. ``stopping``: new requests get a 503.
    """

    running: int = 0
    stopping: bool = False


@dataclass(slots=True)
class _RequestRecord:
    """One request to a route, from its arrival to its last byte."""

    route: str
    name: str = "-"
    status: int = 500
    last: Update = field(default_factory=lambda: Update(""))
    began: float = field(default_factory=time.perf_counter)
    # The whole body has arrived, so the server waits for the answer before it stops.
    body_read: bool = False


def application(backend: Backend, settings: ServiceSettings) -> FastAPI:
    """Return the application of a backend, which it closes at its end. ``app.state.service`` is a `ServiceState`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await backend.close()

    app = FastAPI(title="mercury-lsp", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = state = ServiceState()
    service = _Service(backend, settings, state)
    for path, fim in (("/v1/completions", False), ("/v1/fim/completions", True)):
        app.add_api_route(
            path,
            service.completions(path, fim),
            methods=["POST"],
            response_model=None,
            responses=STREAM_RESPONSES
            | response_schemas(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504),
            openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": body_schema()}}}},
        )
    for path, handler, statuses, kind in (
        ("/v1/models", service.models, (200, 401, 403), JSONResponse),
        ("/health", service.health, (200, 403, 503), JSONResponse),
        ("/metrics", service.metrics, (200, 401, 403), PlainTextResponse),
    ):
        described = response_schemas(*statuses)
        app.add_api_route(path, handler, response_model=None, responses=described, response_class=kind)

    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            words = {404: "There is no such route.", 405: "The route takes another method."}
            error = Refused(error.status_code, words.get(error.status_code, str(error.detail)))
        assert isinstance(error, Refused)
        return error_response(error)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Refused, refused)
    app.add_middleware(HeaderGuard, local=not settings.tokens)
    return app


class _Service:
    def __init__(self, backend: Backend, settings: ServiceSettings, state: ServiceState) -> None:
        self._backend, self._settings, self._state = backend, settings, state
        self._access = Access(settings.tokens, settings.per_minute)
        self._counts = Counts()

    def completions(self, path: str, fim: bool) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler of a completion route."""

        async def completions(request: Request) -> Response:
            record = _RequestRecord(path)
            self._counts.running.inc()
            response: Response | None = None
            try:
                response = await self._complete(request, record, fim)
                if not isinstance(response, StreamedResponse):
                    record.status = response.status_code
            except Refused as error:
                record.status = error.status
                response = error_response(error)
            except ClientGone:
                record.status = CLIENT_GONE_STATUS
                response = Response(status_code=CLIENT_GONE_STATUS)
            except Exception:
                # The error boundary: a failing request costs only its answer.
                log.exception("A request failed.")
                record.status = 500
                response = error_response(_FAILED)
            finally:
                if not isinstance(response, StreamedResponse):
                    self._finish(record)
            return response

        return completions

    async def models(self, request: Request) -> Response:
        """List the served model and its aliases."""
        self._client(request)
        names = (self._backend.model, *self._settings.aliases)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "mercury-lsp"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def metrics(self, request: Request) -> Response:
        """The counters in Prometheus' text format."""
        self._client(request)
        text = self._counts.text() + self._backend.metrics()
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def health(self) -> Response:
        """Whether the service answers requests now; needs no token."""
        if self._state.stopping:
            return JSONResponse({"status": "stopping"}, 503)
        ready = self._backend.ready
        return JSONResponse({"status": "ready" if ready else "loading"}, 200 if ready else 503)

    def _client(self, request: Request) -> str:
        """Return the name of the client with the request's token, or "" if no token is needed. Raises `Refused`."""
        return self._access.name(request.headers.get("authorization", ""))

    def _refuse_if_stopping(self) -> None:
        if self._state.stopping:
            raise Refused(503, "The server is stopping.", kind="server_error", wait=MIN_RETRY_SECONDS)

    async def _complete(self, request: Request, record: _RequestRecord, fim: bool) -> Response:
        name, peer = self._client(request), request.client.host if request.client else ""
        record.name = name or "-"
        # The client that owns the request's cache.
        client = name or peer
        self._refuse_if_stopping()
        self._access.take(client)
        body = await read_body(request, self._settings)
        self._refuse_if_stopping()
        record.body_read = True
        self._state.running += 1
        parsed = parse_request(body, (self._backend.model, *self._settings.aliases))
        affinity = request.headers.get("x-affinity-key", "") or parsed.affinity
        task = parsed.task(_key(client, affinity or peer), self._settings, _key(client, ""))
        reply = CompletionFormat(self._backend.model, fim)
        updates = self._updates(request, task, record)
        if not parsed.stream:
            async for _ in updates:
                pass
            return JSONResponse(reply.response(record.last))
        # Errors before the first update get an HTTP status of their own; later ones become events of the stream.
        first = await anext(updates)
        # The status unless the stream reaches its end.
        record.status = CLIENT_GONE_STATUS

        async def on_end() -> None:
            self._finish(record)
            await updates.aclose()

        events = self._stream(reply, first, updates, record, task.drafts, parsed.with_usage)
        return StreamedResponse(events, on_end)

    async def _stream(
        self,
        reply: CompletionFormat,
        update: Update,
        updates: AsyncGenerator[Update, None],
        record: _RequestRecord,
        drafts: bool,
        with_usage: bool,
    ) -> AsyncGenerator[str, None]:
        """Yield the events: the newly committed text, or with ``drafts`` the whole text each time."""
        sent = 0
        try:
            while not update.finish:
                if drafts:
                    yield server_sent_event(reply.chunk(update.text))
                elif update.committed > sent:
                    yield server_sent_event(reply.chunk(update.text[sent : update.committed]))
                    sent = update.committed
                update = await anext(updates)
            yield server_sent_event(reply.chunk(update.text[0 if drafts else sent :], update.finish))
            if with_usage:
                yield server_sent_event(reply.usage_chunk(update))
            record.status = 200
            yield "data: [DONE]\n\n"
        except Refused as error:
            record.status = error.status
            yield server_sent_event(error.body)
        except ClientGone:
            return
        except Exception:
            log.exception("A request failed.")
            record.status = 500
            yield server_sent_event(_FAILED.body)

    async def _updates(
        self, request: Request, task: Task, record: _RequestRecord
    ) -> AsyncGenerator[Update, None]:
        """Yield the backend's updates until the client disconnects or the timeout. Raises `Refused`, `ClientGone`."""
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_s
        disconnected = asyncio.create_task(wait_for_disconnect(request))
        running = self._backend.run(task)
        try:
            while not record.last.finish:
                next_update = asyncio.ensure_future(anext(running))
                left = max(0, deadline - asyncio.get_running_loop().time())
                try:
                    done, _ = await asyncio.wait(
                        {next_update, disconnected}, timeout=left, return_when="FIRST_COMPLETED"
                    )
                finally:
                    if not next_update.done():
                        next_update.cancel()
                        with suppress(asyncio.CancelledError, StopAsyncIteration):
                            await next_update
                if disconnected in done and next_update not in done:
                    raise ClientGone
                if not done:
                    raise Refused(504, "The answer took too long.", code="timeout", kind="server_error")
                record.last = next_update.result()
                yield record.last
        except Busy as error:
            wait = max(MIN_RETRY_SECONDS, error.wait)
            raise Refused(429, "Too many requests are waiting.", kind="rate_limit_error", wait=wait) from None
        except Unavailable as error:
            raise Refused(503, str(error), kind="server_error", wait=MIN_RETRY_SECONDS) from None
        finally:
            disconnected.cancel()
            if isinstance(running, AsyncGenerator):
                await running.aclose()

    def _finish(self, record: _RequestRecord) -> None:
        self._state.running -= record.body_read
        counts, last, seconds = self._counts, record.last, time.perf_counter() - record.began
        counts.running.dec()
        counts.requests.labels(record.route, str(record.status)).inc()
        counts.seconds.labels(record.route).observe(seconds)
        counts.cancelled.inc(record.status == CLIENT_GONE_STATUS)
        counts.tokens.inc(last.tokens)
        counts.passes.inc(last.forward_passes)
        counts.read.inc(last.prompt_tokens)
        counts.cached.inc(last.cached_tokens)
        numbers = record.status, seconds * 1e3, last.tokens, last.forward_passes
        access_log.info("%s %s %d %.0f ms %d tokens %d passes", record.name, record.route, *numbers)


def _key(client: str, affinity: str) -> str:
    """Return a key that differs between clients and reveals nothing about them."""
    return hashlib.sha256(json.dumps([client, affinity]).encode()).hexdigest()[:32]
