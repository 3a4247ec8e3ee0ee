"""Reads the access tokens of clients and compares them in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import string
from collections.abc import Mapping
from pathlib import Path

TOKENS_VARIABLE = "MERCURY_TOKENS"
MAX_FILE_BYTES = 1 << 20
MAX_NAME_CHARACTERS = 64
_VISIBLE_ASCII = frozenset(string.ascii_letters + string.digits + string.punctuation)


def read_tokens(file: Path | None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Read client names by token from a file, or else from the variable `TOKENS_VARIABLE`.

    The result is empty only if neither is given: a file or a variable without any token is an error, so that it does
    not open the server to everyone. Raises ``OSError``, or ``ValueError`` with a message that quotes no part of the
    text.
    """
    if file is not None:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"there are more than {MAX_FILE_BYTES} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError("the text is not UTF-8") from None
    elif TOKENS_VARIABLE in environment:
        text = environment[TOKENS_VARIABLE]
    else:
        return {}
    tokens = parse_tokens(text)
    if not tokens:
        raise ValueError("there is no token")
    return tokens


def parse_tokens(text: str) -> dict[str, str]:
    """Parse lines ``TOKEN [NAME]`` into client names by token; a line that starts with # is a comment.

    A token without a name is named by its number. Raises ``ValueError`` for a token that occurs twice or does not fit
    into an HTTP header, and for a name that could forge a log line.
    """
    tokens: dict[str, str] = {}
    for number, line in enumerate(text.replace("\r", "\n").split("\n"), 1):
        token, *words = line.split(maxsplit=1) or [""]
        if not token or token.startswith("#"):
            continue
        name = "".join("".join(words).split())
        if not _VISIBLE_ASCII.issuperset(token):
            raise ValueError(f"the token in line {number} has characters that are not visible ASCII")
        if not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
            raise ValueError(
                f"the name in line {number} is not printable or has over {MAX_NAME_CHARACTERS} characters"
            )
        if token in tokens:
            raise ValueError(f"the token in line {number} is there twice")
        tokens[token] = name or f"token-{len(tokens) + 1}"
    return tokens


class Tokens:
    """A set of tokens, kept as hashes; `name` compares all of them, so that its time reveals nothing about them."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = [(_hash(token), name) for token, name in names.items()]

    def __bool__(self) -> bool:
        return bool(self._names)

    def name(self, token: str) -> str | None:
        """Return the name of the client with this token, or None if the token is unknown."""
        hashed = _hash(token)
        names = [name for known, name in self._names if hmac.compare_digest(known, hashed)]
        return names[0] if names else None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
