"""Saccade as a policy of LeRobot.

LeRobot imports this package by its name, and so knows `--policy.type=saccade`. Only the
configuration is imported then; the policy comes when it is asked for.
"""

from importlib import import_module
from typing import Any

from .configuration_saccade import SaccadeConfig

__all__ = ["SaccadeConfig", "SaccadePolicy", "make_saccade_pre_post_processors"]

_LAZY = {"SaccadePolicy": ".modeling_saccade",
         "make_saccade_pre_post_processors": ".processor_saccade"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
