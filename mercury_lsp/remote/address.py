"""Where a hosted model is, and whether a key may be sent there as it is.

Pure: no name is looked up, for what a name stands for may be another address by the time that it is called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

_NAME = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.IGNORECASE)
LONGEST_HOST = 253  # bytes, by RFC 1035
_PATH = re.compile(r"[\w./~%+-]*", re.ASCII)


class RemoteError(Exception):
    """What the settings say of a hosted model makes no sense. The message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address. ``url`` has no slash at its end; ``host`` is as people are told, with a port that is not
    the usual one; ``secure``: by TLS; ``near``: this machine, or a private address."""

    url: str
    host: str
    secure: bool
    near: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """An address from the option `remote_url`. Raises `RemoteError`."""
        example = "such as https://api.example.com/v1"
        if not url.strip():
            raise RemoteError(f"The option remote_url is needed for a hosted model, {example}.")
        wrong = RemoteError(
            f"The option remote_url must be an address {example}, without anything behind it."
        )
        try:
            parts = urlsplit(url.strip())
            name, port = parts.hostname or "", parts.port
        except ValueError:
            raise wrong from None
        if "@" in parts.netloc:  # what is in there is not repeated: it may be a password
            raise RemoteError("The option remote_url must have no name and no password in it.")
        if parts.scheme not in ("http", "https") or not _is_host(name) or parts.query or parts.fragment:
            raise wrong
        if not _PATH.fullmatch(parts.path):
            raise wrong
        secure = parts.scheme == "https"
        host = f"[{name}]" if ":" in name else name
        if port not in (None, 443 if secure else 80):
            host += f":{port}"
        return cls(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", host, secure, _near(name))

    @property
    def keeps_secrets(self) -> bool:
        """Whether nobody on the way to it can read along."""
        return self.secure or self.near


def _is_host(name: str) -> bool:
    """Whether a name can be looked up at all: its characters, and its length and that of each label (RFC 1035)."""
    if not _NAME.fullmatch(name):
        return False
    try:
        return ":" in name or len(name.encode("idna")) <= LONGEST_HOST
    except UnicodeError:
        return False


def host(url: str) -> str:
    """The host in the option `remote_url`, as people are told; "" where there is none."""
    try:
        return Address.of(url).host
    except RemoteError:
        return ""


def _near(name: str) -> bool:
    """Whether a name or address stays on this machine or in a private network. A name is not looked up: see above."""
    if name == "localhost" or name.endswith(".localhost"):  # kept for this machine: RFC 6761
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_private or address.is_link_local
