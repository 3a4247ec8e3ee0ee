"""Reads the bodies of requests, and writes errors and event streams."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from mercury_lsp.http.completions import Refused
from mercury_lsp.http.settings import ServiceSettings

JSON = "application/json"
ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message", "type", "param", "code"]}},
}
STREAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "OK", "content": {JSON: {}, "text/event-stream": {}}}
}
# The status for the log and the counters if the client disconnects; nginx uses the same.
CLIENT_GONE_STATUS = 499
# After these statuses the connection is closed, because the rest of the body is not read.
CLOSING_STATUSES = frozenset({401, 403, 408, 413, 415, 431, 503})


class ClientGone(Exception):
    """Raised if the client has disconnected."""


class StreamedResponse(StreamingResponse):
    """A response of server-sent events.

    ``on_end`` is awaited at the end, even if the client disconnects before the first event.
    """

    def __init__(self, events: AsyncGenerator[str, None], on_end: Callable[[], Awaitable[None]]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._on_end()


def response_schemas(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of these statuses for the OpenAPI schema."""
    return {
        status: {"description": HTTPStatus(status).phrase}
        | ({} if status in (200, 503) else {"content": {JSON: {"schema": ERROR_SCHEMA}}})
        for status in statuses
    }


async def wait_for_disconnect(request: Request) -> None:
    """Return when the client disconnects. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request, settings: ServiceSettings) -> bytes:
    """Read the body of a request. Raises `Refused` as soon as it is too large or too late."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A web page may send any other type without a preflight request.
    if kind != JSON:
        raise Refused(415, "The body must be application/json.", code="unsupported_media_type")
    limit, parts, size = settings.body_bytes, list[bytes](), 0
    length = request.headers.get("content-length", "")
    too_large = Refused(413, f"The body has more than {limit} bytes.", code="request_too_large")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_large
    try:
        async with asyncio.timeout(settings.body_s):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refused(408, f"The body took more than {settings.body_s:g} s.", code="timeout") from None


def server_sent_event(value: object) -> str:
    """Return a value as a server-sent event with JSON data."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def error_response(error: Refused) -> Response:
    """Return the response of a refusal."""
    headers = {"Retry-After": str(math.ceil(error.wait))} if error.wait is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in CLOSING_STATUSES:
        headers["Connection"] = "close"
    return JSONResponse(error.body, error.status, headers)
