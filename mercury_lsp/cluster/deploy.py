"""The application on Ray Serve: an ingress that speaks HTTP, and replicas of the model behind it.

Owns how many there are, what each may take, and when Ray scales, drains and replaces them. Knows neither routes nor
engines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig

from mercury_lsp.cluster.forward import TRIES, Forward
from mercury_lsp.cluster.replica import Replica
from mercury_lsp.cluster.router import AffinityRouter
from mercury_lsp.http.backend import Backend
from mercury_lsp.http.local import RUNNING
from mercury_lsp.http.settings import ServiceSettings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application, Deployment
    from ray.serve.handle import DeploymentHandle

NAME = "mercury"
REPLICA = "model"
INGRESS = "http"
ROUTER = (
    f"{AffinityRouter.__module__}.{AffinityRouter.__name__}"  # by its name, replicas and controller import it
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How many replicas there are and what each may take.

    ``replicas``: how many, or the fewest where ``most`` is above it; then Ray adds and removes some so that each has
    ``target`` requests at once, on average. ``ongoing``: requests that one takes at once, more overflow to others;
    ``queued``: requests that may wait at each ingress for room, or for Ray to place them; more are refused.
    ``cpus``, ``gpus``: that Ray sets aside for each replica, parts of one too; ``ingresses``: processes that speak
    HTTP. ``drain_s``: how long a replica that has to go may finish what it does; ``health_s``: between two looks at a
    replica's health.
    """

    replicas: int = 1
    most: int = 0
    ongoing: int = RUNNING
    queued: int = 64
    target: float = 2.0
    cpus: float = 1.0
    gpus: float = 0.0
    ingresses: int = 1
    drain_s: float = 20.0
    health_s: float = 5.0
    tries: int = TRIES
    upscale_delay_s: float = 10.0
    downscale_delay_s: float = 300.0

    def __post_init__(self) -> None:
        if self.replicas < 1 or self.ongoing < 1 or self.ingresses < 1 or self.tries < 1:
            raise ValueError("There must be one replica or more, and each must take one request or more.")
        if self.most and self.most < self.replicas:
            raise ValueError("The most replicas cannot be fewer than the fewest.")


def build(
    make: Callable[[], Backend],
    model: str,
    scale: Scale,
    settings: ServiceSettings | None = None,
) -> Application:
    """The application, to be run by ``serve.run``.

    make: makes a replica's backend, in the replica's process; model: its name, until a replica tells.
    """
    own = settings or ServiceSettings()
    replicas = _deployment(Replica).options(name=REPLICA, **_replica_options(scale))
    ingress = _deployment(serve.ingress(_ingress(model, own, scale.tries))())
    return ingress.options(
        name=INGRESS,
        num_replicas=scale.ingresses,
        # It only waits: whoever is too many is refused behind it, with a status and a word.
        max_ongoing_requests=scale.queued + scale.ongoing * max(scale.replicas, scale.most) + 16,
        ray_actor_options={"num_cpus": 0},
    ).bind(replicas.bind(make))


def deploy(
    make: Callable[[], Backend],
    model: str,
    scale: Scale,
    settings: ServiceSettings | None = None,
    name: str = NAME,
) -> DeploymentHandle[Any]:
    """Run the application on the Ray that this process has joined; returns the replicas' handle, when all is done.

    One that runs already is replaced, a few replicas at a time, while the others answer: a rolling restart, with the
    same code and settings or with new ones. Raises ``RuntimeError`` where Ray gives up.
    """
    serve.run(build(make, model, scale, settings), name=name)
    return serve.get_deployment_handle(REPLICA, app_name=name)


def _deployment(class_: type[Any]) -> Deployment:
    return cast("Deployment", serve.deployment(class_))  # its type leaves open whether it is a decorator


def _replica_options(scale: Scale) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        "max_ongoing_requests": scale.ongoing,
        "max_queued_requests": scale.queued,
        "health_check_period_s": scale.health_s,
        "health_check_timeout_s": 3 * scale.health_s,
        "graceful_shutdown_timeout_s": scale.drain_s,
        "graceful_shutdown_wait_loop_s": min(1.0, scale.drain_s),
        "request_router_config": RequestRouterConfig.model_validate({"request_router_class": ROUTER}),
    }
    if scale.most > scale.replicas:
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=scale.replicas,
            max_replicas=scale.most,
            target_ongoing_requests=scale.target,
            upscale_delay_s=scale.upscale_delay_s,
            downscale_delay_s=scale.downscale_delay_s,
        )
    else:
        options["num_replicas"] = scale.replicas
    return options


def _ingress(model: str, settings: ServiceSettings, tries: int) -> Callable[[], FastAPI]:
    """A function that makes the HTTP application in the ingress' process, where Ray calls it."""

    def made() -> FastAPI:
        from mercury_lsp.http.app import application

        backend = Forward(serve.get_deployment_handle(REPLICA), model, tries)
        app = application(backend, settings)
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def life(app: FastAPI) -> AsyncIterator[Any]:
            backend.start()
            async with inner(app) as state:
                yield state

        app.router.lifespan_context = life
        return app

    return made
