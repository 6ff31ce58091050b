"""What a fleet is told, checked before any machine is asked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Dict, List, Optional, Tuple

from .._errors import InvalidArgument

# Options of `saccade serve` that the fleet sets itself, or that engines of a machine cannot share.
_OWN_OPTIONS = {
    "--host": "engines listen on their machine's own address",
    "--port": "engines take any free port, and --port of the fleet comes before the two dashes",
    "--max-connections": "--connections-per-replica decides",
    "--record": "engines would write into one directory",
}


@dataclass(frozen=True)
class Settings:
    """A fleet of engines that serve one checkpoint."""

    checkpoint: str
    options: Tuple[str, ...] = ()  # of `saccade serve`, which every engine gets
    min_replicas: int = 1  # engines, one GPU each
    max_replicas: int = 1
    connections_per_replica: int = 8  # robots that share an engine at most
    gpus_per_replica: float = 1
    host: str = "0.0.0.0"
    port: int = 8000  # 0: any that is free
    saccade_binary: str = "saccade"  # a path on the engines' machines, or a name on their PATH
    directory: Optional[str] = None  # where relative paths begin; else where Ray's workers run
    downscale_delay_s: float = 600  # of too few robots before an engine is stopped
    drain_s: float = 600  # that an engine which is to stop waits for its robots to leave

    def __post_init__(self) -> None:
        at_least = {"min_replicas": 1, "max_replicas": self.min_replicas,
                    "connections_per_replica": 1, "gpus_per_replica": 0, "port": 0,
                    "downscale_delay_s": 0, "drain_s": 0}
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise InvalidArgument(
                    f"{name} must be at least {least}, it is {getattr(self, name)}")
        if self.port > 65535:
            raise InvalidArgument(f"port must be at most 65535, it is {self.port}")
        for option in self.options:
            reason = _OWN_OPTIONS.get(option.split("=")[0])
            if reason:
                raise InvalidArgument(f"{option} is not for the engines of a fleet: {reason}")

    @staticmethod
    def of(given: Mapping[str, Any]) -> Settings:
        """The settings of a configuration file or of `serve run name=value`, where all is text."""
        types = {field.name: field.type for field in fields(Settings)}
        values: Dict[str, Any] = {}
        for name, value in given.items():
            if name not in types:
                raise InvalidArgument(f"'{name}' is no setting of a fleet: {', '.join(types)}")
            values[name] = _converted(name, types[name], value)
        if "checkpoint" not in values:
            raise InvalidArgument("checkpoint is missing")
        return Settings(**values)

    def command(self, binary: str, host: str) -> List[str]:
        """The command line of an engine that listens there."""
        # Twice as many as are let in: the engine may still hear the goodbye of those who left.
        return [binary, "serve", self.checkpoint, *self.options, "--host", host, "--port", "0",
                "--max-connections", str(2 * self.connections_per_replica)]


def _converted(name: str, kind: Any, value: Any) -> Any:
    """A value as the annotation of its field says."""
    if name == "options":
        return tuple(shlex.split(value) if isinstance(value, str) else map(str, value))
    if kind not in ("int", "float"):
        return str(value)
    try:
        return int(value) if kind == "int" else float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(f"{name} must be a number, it is {value!r}") from None
