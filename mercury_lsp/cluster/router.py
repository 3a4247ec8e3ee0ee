"""Chooses a replica for a task: the replica with the document's KV cache, or else a replica with room.

`AffinityRouter` implements Ray's interface for custom routers (docs.ray.io, "Use Custom Algorithm for Request Routing",
marked alpha there). Ray keeps the queue lengths, takes the shortest queue of a rank's replicas, and goes to the next
rank if all replicas of a rank are full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from mercury_lsp.http.backend import Task


class AffinityRouter(RequestRouter):
    """Ranks the replicas: the task's own replica, then all others, then replicas that have failed the task before."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the ranks for one attempt. Ray asks again after a while if no replica has room."""
        if pending_request is None:
            return [candidate_replicas]
        # Ray waits before the next attempt.
        pending_request.routing_context.should_backoff = True
        # The arguments of `Replica.run`; calls of its other methods have none.
        task, avoided, *_ = (*pending_request.args, (), ())
        key = task.key if isinstance(task, Task) else ""
        replicas = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        names = rank_replicas(key, replicas) if key else list(replicas)
        healthy = [replicas[name] for name in names if name not in avoided]
        failed = [replicas[name] for name in names if name in avoided]
        n_preferred = 1 if key else 0
        return [rank for rank in (healthy[:n_preferred], healthy[n_preferred:], failed) if rank]


def rank_replicas(key: str, names: Iterable[str]) -> list[str]:
    """Rank the names of replicas for a document's key, best first, by rendezvous hashing.

    This is a pure function of the key and the set of names, so all routers agree without communication. If a replica
    leaves, only its own keys move (Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996).
    """

    def score(name: str) -> bytes:
        # Python's own hash differs between processes. The length distinguishes (a, bc) from (ab, c).
        return hashlib.blake2b(f"{len(key)}:{key}{name}".encode(), digest_size=8).digest()

    return sorted(names, key=score, reverse=True)
