"""How Ray Serve chooses a replica for a task: the one that keeps its document's text, or else one that has room.

Owns that order, by Ray's interface for routers of one's own (docs.ray.io, "Use Custom Algorithm for Request Routing",
marked alpha there). Ray keeps the queue lengths, takes the shortest queue of a rank's replicas, and goes to the next
rank where all of one are full. Knows no engine.
"""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from mercury_lsp.cluster.rendezvous import ranked
from mercury_lsp.http.backend import Task


class AffinityRouter(RequestRouter):
    """Ranks: the task's own replica; all others; at last those that have failed it before."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The ranks for one attempt. Ray asks again, after a while, where no replica of any rank had room."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # so that asking again waits
        key, avoided = _asked(pending_request)
        replicas = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        names = ranked(key, replicas) if key else list(replicas)
        good = [replicas[name] for name in names if name not in avoided]
        bad = [replicas[name] for name in names if name in avoided]
        own = 1 if key else 0
        return [rank for rank in (good[:own], good[own:], bad) if rank]


def _asked(request: PendingRequest) -> tuple[str, frozenset[str]]:
    """The key of the task that a request carries, and the replicas to avoid; neither for another method's request."""
    if request.args and isinstance(request.args[0], Task):
        avoided = request.args[1] if len(request.args) > 1 else ()
        return request.args[0].key, frozenset(avoided)
    return "", frozenset()
