"""Refuses requests by their headers alone: too many bytes, or a web page of another site."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mercury_lsp.http.completions import Refused
from mercury_lsp.http.connections import MAX_HEADER_BYTES

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?", re.IGNORECASE)


class HeaderGuard:
    """ASGI middleware that checks headers. ``local``: no token is needed, so only programs of this machine are allowed.

    A browser runs pages of any site. Requests of such pages have an `Origin` of another machine, or a `Host` of another
    machine if the site's name resolves to 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, local: bool) -> None:
        self._app, self._local = app, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        refused = self._refused(scope["headers"]) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse(refused.body, refused.status, {"Connection": "close"})(scope, receive, send)

    def _refused(self, headers: list[tuple[bytes, bytes]]) -> Refused | None:
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            return Refused(431, f"The headers have more than {MAX_HEADER_BYTES} bytes.")
        if not self._local:
            return None
        for name, value in headers:
            text = value.decode("latin-1")
            if name == b"host" and not is_loopback_host(text):
                return Refused(403, "The Host must be this machine, as localhost or 127.0.0.1.")
            cross_site = name == b"sec-fetch-site" and text.strip().lower() == "cross-site"
            if cross_site or (name == b"origin" and not _is_loopback_origin(text)):
                return Refused(403, "Pages of other sites may not ask.")
        return None


def is_loopback_host(host: str) -> bool:
    """Return whether the value of a `Host` header names this machine's loopback, with or without a port."""
    match = _HOST.fullmatch(host.strip())
    return match is not None and is_loopback(match[1].strip("[]"))


def is_loopback(name: str) -> bool:
    """Return whether a name or address is this machine's loopback, without asking a name server."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _is_loopback_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin.strip())
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and is_loopback_host(parts.netloc)
