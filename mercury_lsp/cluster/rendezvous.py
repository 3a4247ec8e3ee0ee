"""Ranks the replicas for a document's key by rendezvous hashing.

The ranking is a pure function of the key and the replicas' names, so that all routers agree without communication. If
a replica leaves, only its own keys move, each to the next of its ranking; a new replica takes its share of all others'
(Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """The names, best first; their order on entry does not matter."""
    return sorted(names, key=lambda name: _weight(key, name), reverse=True)


def _weight(key: str, name: str) -> bytes:
    # Not Python's hash, which differs between processes. The length keeps (a, bc) and (ab, c) apart.
    return hashlib.blake2b(f"{len(key)}:{key}{name}".encode(), digest_size=8).digest()
