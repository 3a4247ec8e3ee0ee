"""Deploys the application on Ray Serve: an HTTP ingress, and replicas of the model to which it forwards tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig

from mercury_lsp.cluster.forward import ForwardingBackend
from mercury_lsp.cluster.replica import Replica
from mercury_lsp.cluster.router import AffinityRouter
from mercury_lsp.http.backend import Backend
from mercury_lsp.http.local import MAX_GPU_TASKS
from mercury_lsp.http.settings import ServiceSettings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Deployment
    from ray.serve.handle import DeploymentHandle

NAME = "mercury"
REPLICA = "model"
INGRESS = "http"
# The replicas and the controller import the router by its name.
ROUTER = f"{AffinityRouter.__module__}.{AffinityRouter.__name__}"


@dataclass(frozen=True, slots=True)
class Scale:
    """The number of replicas and the resources of each.

    ``replicas``: the number of replicas. If ``max_replicas`` is higher, Ray scales between both numbers, so that each
    replica has ``target_ongoing`` requests at once on average, and changes the number after ``upscale_delay_s`` or
    ``downscale_delay_s`` seconds. ``max_ongoing``: the most requests of one replica at once; further requests go to
    other replicas. ``max_queued``: the most requests that wait at the ingress; further requests are refused. ``cpus``,
    ``gpus``: the resources that are reserved for each replica, possibly fractions. ``drain_s``: seconds in which a
    stopped replica may finish its requests. ``health_s``: seconds between two health checks.
    """

    replicas: int = 1
    max_replicas: int = 0
    max_ongoing: int = MAX_GPU_TASKS
    max_queued: int = 64
    target_ongoing: float = 2.0
    cpus: float = 1.0
    gpus: float = 0.0
    drain_s: float = 20.0
    health_s: float = 5.0
    upscale_delay_s: float = 10.0
    downscale_delay_s: float = 300.0


def deploy(
    make_backend: Callable[[], Backend], model: str, scale: Scale, settings: ServiceSettings | None = None
) -> DeploymentHandle[Any]:
    """Run the application on this process's Ray, and return the replicas' handle after all replicas are ready.

    make_backend: makes a replica's backend in the replica's process. model: the model's name until a replica answers. A
    running application is replaced by a rolling restart, a few replicas at a time. Raises ``RuntimeError`` if Ray gives
    up.
    """
    web = serve.ingress(_ingress_factory(model, settings or ServiceSettings()))()
    # Ray's annotations cover only the decorator with arguments.
    replica, ingress = (cast("Deployment", serve.deployment(part)) for part in (Replica, web))
    app = ingress.options(
        name=INGRESS,
        # The ingress accepts excess requests, because the application refuses them with a status and a message.
        max_ongoing_requests=scale.max_queued
        + scale.max_ongoing * max(scale.replicas, scale.max_replicas)
        + 16,
        ray_actor_options={"num_cpus": 0},
    ).bind(replica.options(name=REPLICA, **_replica_options(scale)).bind(make_backend))
    serve.run(app, name=NAME)
    return serve.get_deployment_handle(REPLICA, app_name=NAME)


def _replica_options(scale: Scale) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        "max_ongoing_requests": scale.max_ongoing,
        "max_queued_requests": scale.max_queued,
        "health_check_period_s": scale.health_s,
        "health_check_timeout_s": 3 * scale.health_s,
        "graceful_shutdown_timeout_s": scale.drain_s,
        "graceful_shutdown_wait_loop_s": min(1.0, scale.drain_s),
        "request_router_config": RequestRouterConfig.model_validate({"request_router_class": ROUTER}),
    }
    if scale.max_replicas > scale.replicas:
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=scale.replicas,
            max_replicas=scale.max_replicas,
            target_ongoing_requests=scale.target_ongoing,
            upscale_delay_s=scale.upscale_delay_s,
            downscale_delay_s=scale.downscale_delay_s,
        )
    else:
        options["num_replicas"] = scale.replicas
    return options


def _ingress_factory(model: str, settings: ServiceSettings) -> Callable[[], FastAPI]:
    """Return a function that makes the HTTP application; Ray calls the function in the ingress's process."""

    def make_app() -> FastAPI:
        from mercury_lsp.http.app import application

        backend = ForwardingBackend(serve.get_deployment_handle(REPLICA), model)
        app = application(backend, settings)
        inner_lifespan = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
            backend.start()
            async with inner_lifespan(app) as state:
                yield state

        app.router.lifespan_context = lifespan
        return app

    return make_app
