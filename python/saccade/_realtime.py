"""Real-time chunking: a chunk that continues the one which is being executed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Tuple

import numpy as np
import numpy.typing as npt

from . import _arrays
from . import _library as c
from ._errors import InvalidArgument


@dataclass(frozen=True, eq=False)
class RealTime:
    """What is left of the previous chunk, and how the new one continues it.

    Rows below inference_delay are held at the previous chunk, those up to execution_horizon are
    pulled towards it less and less, by the schedule, and the others are free.
    """

    previous_actions: Any  # [rows, action_dim] as infer() gave them; row i is the action at the
    #                        time of the new chunk's row i; without rows nothing is continued
    inference_delay: int  # actions that will be executed before the new chunk is there
    execution_horizon: int = 10  # previous actions that count, at most
    schedule: str = "linear"  # "linear", "exp", "ones" or "zeros", as LeRobot calls them
    max_guidance_weight: float = 10.0  # of the pull


def as_struct(wish: RealTime, action_dim: int) -> Tuple[c.Realtime, npt.NDArray[np.float32]]:
    """A wish as the C interface takes it, and the actions that it points to."""
    if not isinstance(wish, RealTime):
        raise InvalidArgument(f"realtime must be a saccade.RealTime, it is {type(wish)}")
    if wish.schedule not in c.SCHEDULES:
        raise InvalidArgument(f"schedule must be one of {', '.join(c.SCHEDULES)}, it is "
                              f"{wish.schedule!r}")
    previous = _arrays.actions(wish.previous_actions, action_dim)
    weight = wish.max_guidance_weight
    if not isinstance(weight, (int, float, np.integer, np.floating)) or not 0 < weight < np.inf:
        raise InvalidArgument(f"max_guidance_weight must be finite and positive, it is {weight!r}")
    horizon = _count(wish.execution_horizon, "execution_horizon")
    if horizon == 0:
        raise InvalidArgument("execution_horizon must be at least 1, it is 0")
    return c.Realtime(
        size=ctypes.sizeof(c.Realtime), mode=c.REALTIME_GUIDED,
        inference_delay=_count(wish.inference_delay, "inference_delay"),
        execution_horizon=horizon, previous_action_count=len(previous),
        previous_actions=previous.ctypes.data, schedule=c.SCHEDULES.index(wish.schedule),
        max_guidance_weight=float(weight),
    ), previous


def _count(value: Any, name: str) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value < 2**31:
        raise InvalidArgument(f"{name} must be a whole number of actions, it is {value!r}")
    return int(value)
