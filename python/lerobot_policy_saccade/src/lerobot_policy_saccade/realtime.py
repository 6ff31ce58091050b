"""LeRobot's real-time chunking as the engine takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lerobot.policies.rtc.configuration_rtc import RTCConfig

import saccade


def check_config(config: RTCConfig | None) -> None:
    """Raises saccade.NotSupported for what is not LeRobot's guided mode."""
    mode = getattr(config, "mode", "guided")  # LeRobot 0.4 has no other
    if mode != "guided":
        raise saccade.NotSupported(f"rtc.mode is {mode}, and this version, {saccade.__version__}, "
                                   "has guided only")


def wishes(config: RTCConfig | None, count: int, left: Any, delay: int | None,
           horizon: int | None) -> list[saccade.RealTime | None]:
    """What each inference of a batch continues. Without a config, LeRobot's defaults count.

    left  actions [rows, action_dim] or [batch, rows, action_dim] as predict_action_chunk gave
          them, in physical units, because nothing behind a Saccade policy scales them. Rows of
          zeros at the end are what LeRobot's rollout fills a short rest with, and no actions.
    """
    check_config(config)
    if left is None or (config is not None and not config.enabled):
        return [None] * count
    config = config or RTCConfig()
    horizon = config.execution_horizon if horizon is None else horizon
    rows = torch.as_tensor(left).detach().to("cpu", torch.float32)
    if rows.ndim == 2:
        rows = rows.expand(count, -1, -1)
    if rows.ndim != 3 or len(rows) != count:
        raise ValueError(f"prev_chunk_left_over must be [rows, action_dim], or that for each of "
                         f"{count} observations, it is {list(rows.shape)}")
    return [saccade.RealTime(
        previous_actions=_without_padding(actions),
        inference_delay=min(delay or 0, horizon),  # as LeRobot, where one falls behind
        execution_horizon=horizon,
        schedule=config.prefix_attention_schedule.value.lower(),
        max_guidance_weight=config.max_guidance_weight,
    ) for actions in rows.numpy()]


def _without_padding(actions: np.ndarray) -> np.ndarray:
    given = np.flatnonzero(actions.any(axis=1))
    return actions[:given[-1] + 1 if len(given) else 0]
