"""python -m saccade.fleet: serves a checkpoint from many GPUs until a signal comes."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import signal
import sys
from types import FrameType
from typing import Any, Dict, List, Optional

from .._errors import Error, InvalidArgument
from . import Settings, application

NAME = "saccade"
OBJECT_STORE_BYTES = 100 << 20  # nothing large goes through it


def parse(arguments: List[str]) -> argparse.Namespace:
    """The fleet's own options; those of the engines follow the two dashes."""
    own, engines = arguments, []
    if "--" in arguments:
        cut = arguments.index("--")
        own, engines = arguments[:cut], arguments[cut + 1:]
    parser = argparse.ArgumentParser(
        prog="python -m saccade.fleet", description=__doc__,
        epilog="Options of `saccade serve` follow two dashes: -- --env libero")
    parser.add_argument("checkpoint")
    parser.add_argument("--replicas", type=int, metavar="N", help="engines; 1 if not given")
    parser.add_argument("--min-replicas", type=int, metavar="N", help="engines that always run")
    parser.add_argument("--max-replicas", type=int, metavar="N",
                        help="engines that run when many robots are there")
    parser.add_argument("--connections-per-replica", type=int, metavar="N",
                        default=Settings.connections_per_replica,
                        help="robots that share an engine at most (%(default)s)")
    parser.add_argument("--gpus-per-replica", type=float, metavar="N",
                        default=Settings.gpus_per_replica,
                        help="0 for engines on the CPU (%(default)s)")
    parser.add_argument("--host", default=Settings.host, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=Settings.port,
                        help="0: any that is free (%(default)s)")
    parser.add_argument("--address", help="of a Ray cluster; else one is started on this machine")
    parser.add_argument("--saccade-binary", metavar="FILE",
                        default=os.environ.get("SACCADE_BIN", Settings.saccade_binary),
                        help="the program on the engines' machines ($SACCADE_BIN, else the PATH)")
    parser.add_argument("--downscale-delay-s", type=float, metavar="S",
                        default=Settings.downscale_delay_s,
                        help="how long robots must be too few before an engine stops (%(default)s)")
    parser.add_argument("--drain-s", type=float, metavar="S", default=Settings.drain_s,
                        help="how long such an engine waits for its robots (%(default)s)")
    given = parser.parse_args(own)
    given.options = tuple(engines)
    return given


def settings_of(given: argparse.Namespace) -> Settings:
    """The settings that a command line stands for."""
    bounds = (given.min_replicas, given.max_replicas)
    if given.replicas is not None and bounds != (None, None):
        raise InvalidArgument("--replicas is a fixed number: give it, or --min-replicas and "
                              "--max-replicas")
    least, most = (given.replicas,) * 2 if given.replicas is not None else bounds
    least = 1 if least is None else least
    values = {**vars(given), "min_replicas": least, "max_replicas": least if most is None else most,
              "directory": os.getcwd()}
    return Settings(**{field.name: values[field.name] for field in dataclasses.fields(Settings)})


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    raise KeyboardInterrupt


def check_gpus(settings: Settings, gpus: float) -> None:
    """Raises where a cluster that does not grow has fewer GPUs than its engines ask for."""
    wanted = settings.min_replicas * settings.gpus_per_replica
    if wanted > gpus:
        raise InvalidArgument(
            f"{settings.min_replicas} engines with {settings.gpus_per_replica:g} GPUs each are "
            f"more than this machine's {gpus:g} GPUs: --replicas, --gpus-per-replica or --address")


def start(settings: Settings) -> str:
    """Runs the fleet on the cluster, and returns the address of its gateway."""
    from ray import serve

    # The gateway takes the place of Ray Serve's own proxies.
    serve.start(proxy_location="Disabled")
    try:
        gateway = serve.run(application(settings), name=NAME, route_prefix=None)
    except RuntimeError as error:
        deployments = serve.status().applications[NAME].deployments.values()
        reports = "\n".join(deployment.message for deployment in deployments)
        raise Error(reason_of(reports) or str(error)) from None
    return str(gateway.address.remote().result())


def reason_of(report: str) -> Optional[str]:
    """The sentence of an engine or a gateway, out of the stack traces that Ray Serve reports."""
    found = re.findall(r"^(?:saccade\._errors\.\w+|OSError): (.+)$", report, re.MULTILINE)
    return found[-1] if found else None


def serve_until_a_signal(settings: Settings, address: Optional[str]) -> None:
    """Runs the fleet, and takes it down in order when SIGTERM or SIGINT comes."""
    import ray
    from ray import serve
    from ray.serve.exceptions import RayServeException

    own: Dict[str, Any] = {}
    if not address:
        own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    ray.init(address=address, **own)
    signal.signal(signal.SIGTERM, _interrupt)  # in place of Ray's own
    try:
        if own:
            check_gpus(settings, ray.cluster_resources().get("GPU", 0))
        print(f"saccade.fleet: listening address={start(settings)}", file=sys.stderr, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        with contextlib.suppress(RayServeException):  # there is nothing to take down yet
            serve.delete(NAME)
        print("saccade.fleet: stopped", file=sys.stderr, flush=True)
    finally:
        # At once where starting has failed, or when a second signal does not wait for the robots.
        ray.shutdown()


def main(arguments: List[str]) -> int:
    """Returns the status of the process."""
    # Engines say the same things, and each of them counts. Ray reads it when it is imported.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    try:
        given = parse(arguments)
        settings = settings_of(given)
        application(settings)  # refuses what is wrong before a cluster is started
        serve_until_a_signal(settings, given.address)
    except (Error, ConnectionError) as error:
        print(f"saccade.fleet: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
