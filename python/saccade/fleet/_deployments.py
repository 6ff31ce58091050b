"""The deployments of a fleet: engines, and a gateway in front of them."""

from __future__ import annotations

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig

from ._engine import GATEWAY, Engine
from ._gateway import GOODBYE_S, Gateway
from ._settings import Settings

# A robot that waits for a place wants an engine soon; Ray Serve's own values suit short requests.
UPSCALE_DELAY_S = 2
LOOK_BACK_S = 5
METRICS_INTERVAL_S = 2
HEALTH_CHECK_PERIOD_S = 2
START_ATTEMPTS = 2


def deploy(settings: Settings) -> Application:
    """Engines on any machines with a GPU to give, and the gateway on the head's."""
    autoscaling = AutoscalingConfig(
        min_replicas=settings.min_replicas, max_replicas=settings.max_replicas,
        target_ongoing_requests=settings.connections_per_replica,
        upscale_delay_s=UPSCALE_DELAY_S, look_back_period_s=LOOK_BACK_S,
        metrics_interval_s=METRICS_INTERVAL_S,
        downscale_delay_s=settings.downscale_delay_s)
    common = {
        "max_constructor_retry_count": START_ATTEMPTS,
        # The engines' own logs tell of robots; leases and announcements are nobody's requests.
        "logging_config": LoggingConfig(enable_access_log=False),
    }
    engines = serve.deployment(Engine).options(
        autoscaling_config=autoscaling,
        max_ongoing_requests=settings.connections_per_replica,
        ray_actor_options={"num_gpus": settings.gpus_per_replica},
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_timeout_s=settings.drain_s, **common)
    gateway = serve.deployment(Gateway, name=GATEWAY).options(
        num_replicas=1,
        max_ongoing_requests=settings.max_replicas + 1,  # every engine at once, and the caller
        # Robots must know where it is. It needs no core of its own to wait for them.
        ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
        graceful_shutdown_timeout_s=2 * GOODBYE_S, **common)
    return gateway.bind(engines.bind(settings), settings)
