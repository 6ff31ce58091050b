"""Saccade runs robot policies, from the checkpoint that you already have to a chunk of actions.

    import saccade

    policy = saccade.load("my_policy")
    chunk = policy.infer(images={"front": frame}, state=state, prompt="pick up the cup")
    chunk.actions  # float32 [chunk, action_dim], physical units
"""

from . import ops
from ._errors import DeviceError, Error, InvalidArgument, NotSupported
from ._policy import ActionChunk, Policy, PolicyInfo, StageStats, Stats, load
from ._realtime import RealTime

__all__ = ["ActionChunk", "DeviceError", "Error", "InvalidArgument", "NotSupported", "Policy",
           "PolicyInfo", "RealTime", "StageStats", "Stats", "load", "ops"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from ._library import library

        return str(library().saccade_version().decode())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
