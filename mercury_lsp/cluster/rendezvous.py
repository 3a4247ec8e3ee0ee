"""Which replica a document's requests go to: rendezvous hashing.

Owns the ranking, a pure function of a key and the replicas' names, so that all who route agree without a word. Where a
replica leaves, only its own keys move, each to the next of its ranking; one that comes takes its share of all others'
(Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996). Knows no Ray.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """The names, the one that the key belongs to first. Their order on entry does not matter."""
    return sorted(names, key=lambda name: _weight(key, name), reverse=True)


def _weight(key: str, name: str) -> bytes:
    # Not Python's hash: that differs from process to process. The length keeps (a, bc) and (ab, c) apart.
    return hashlib.blake2b(f"{len(key)}:{key}{name}".encode(), digest_size=8).digest()
