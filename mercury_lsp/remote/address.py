"""Parses the address of a hosted model, and decides whether a key may be sent there unencrypted.

Names are not resolved, because a name may resolve to another address by the time of the request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from mercury_lsp.errors import Failure

_NAME = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.IGNORECASE)
# The longest host name (RFC 1035).
MAX_HOST_BYTES = 253
# The paths of the APIs: hosted infilling models, next-edit models, and OpenAI's completions; see `api_formats`.
FIM_PATH, EDIT_PATH, OPENAI_PATH = "/fim/completions", "/edit/completions", "/completions"
_PATH = re.compile(r"[\w./~%+-]*", re.ASCII)


class RemoteError(Failure):
    """Raised if the options of a hosted model are invalid. The message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address.

    ``url``: the URL of the API, without a slash at its end. ``host``: the host for messages, with the port unless it is
    the default. ``secure``: by TLS. ``is_private``: this machine, or a private address. ``openai``: the server has
    OpenAI's completions API.
    """

    url: str
    host: str
    secure: bool
    is_private: bool
    openai: bool = False

    @classmethod
    def of(cls, url: str) -> Address:
        """Parse the option `remote_url`, whose path may end with that of an API. Raises `RemoteError`."""
        example = "such as https://api.example.com/v1"
        if not url.strip():
            raise RemoteError(f"The option remote_url is needed for a hosted model, {example}.")
        invalid = RemoteError(
            f"The option remote_url must be an address {example}, without a query or fragment."
        )
        try:
            parts = urlsplit(url.strip())
            name, port = parts.hostname or "", parts.port
        except ValueError:
            raise invalid from None
        # The message does not repeat the user information, because it may contain a password.
        if "@" in parts.netloc:
            raise RemoteError("The option remote_url must have no name and no password in it.")
        if parts.scheme not in ("http", "https") or not _is_host(name) or parts.query or parts.fragment:
            raise invalid
        if not _PATH.fullmatch(parts.path):
            raise invalid
        secure = parts.scheme == "https"
        host = f"[{name}]" if ":" in name else name
        if port not in (None, 443 if secure else 80):
            host += f":{port}"
        path = parts.path.rstrip("/").removesuffix(EDIT_PATH)
        openai = path.endswith(OPENAI_PATH) and not path.endswith(FIM_PATH)
        if not path.endswith(OPENAI_PATH):
            path += FIM_PATH
        return cls(f"{parts.scheme}://{host}{path}", host, secure, _is_private_host(name), openai)

    @property
    def edit_address(self) -> Address:
        """The address of the next-edit API of the same server."""
        base = self.url.removesuffix(OPENAI_PATH if self.openai else FIM_PATH)
        return replace(self, url=base + EDIT_PATH, openai=False)

    @property
    def keeps_secrets(self) -> bool:
        """Whether nobody between this machine and the server can read the request."""
        return self.secure or self.is_private


def _is_host(name: str) -> bool:
    """Return whether a name has valid characters, a valid length, and labels of valid lengths (RFC 1035)."""
    if not _NAME.fullmatch(name):
        return False
    try:
        return ":" in name or len(name.encode("idna")) <= MAX_HOST_BYTES
    except UnicodeError:
        return False


def host(url: str) -> str:
    """Return the host of the option `remote_url` for messages, or "" if the option is empty or invalid."""
    try:
        return Address.of(url).host
    except RemoteError:
        return ""


def _is_private_host(name: str) -> bool:
    """Return whether a name or address is this machine or in a private network, without resolving the name."""
    # RFC 6761 reserves these names for this machine.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_private or address.is_link_local
