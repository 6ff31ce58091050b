"""The steps around a Saccade policy. None of them changes a number: the engine resizes, normalizes
and tokenizes, and its actions are in physical units."""

from __future__ import annotations

from typing import Any

from lerobot.processor import (AddBatchDimensionProcessorStep, DeviceProcessorStep,
                               PolicyProcessorPipeline, RenameObservationsProcessorStep)
from lerobot.processor.converters import (policy_action_to_transition,
                                          transition_to_policy_action)
from lerobot.utils.constants import (POLICY_POSTPROCESSOR_DEFAULT_NAME,
                                     POLICY_PREPROCESSOR_DEFAULT_NAME)

from .configuration_saccade import SaccadeConfig


def make_saccade_pre_post_processors(
    config: SaccadeConfig, dataset_stats: dict[str, Any] | None = None
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """What LeRobot's factory looks for by this name. The statistics of a data set are not looked
    at: those that the policy was trained with are in its checkpoint."""
    before = PolicyProcessorPipeline(
        # LeRobot's programs address these steps by name: a camera is renamed in the first.
        steps=[RenameObservationsProcessorStep(rename_map={}), AddBatchDimensionProcessorStep(),
               DeviceProcessorStep(device=config.device)],
        name=POLICY_PREPROCESSOR_DEFAULT_NAME,
    )
    after = PolicyProcessorPipeline(
        steps=[DeviceProcessorStep(device="cpu")],
        name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
