"""The options of a Saccade policy, as LeRobot's command lines and config.json hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.rtc.configuration_rtc import RTCConfig

NOT_TRAINED = ("Saccade runs policies and does not train them: train with LeRobot's own policy, "
               "then give its checkpoint to Saccade")


@PreTrainedConfig.register_subclass("saccade")
@dataclass
class SaccadeConfig(PreTrainedConfig):
    """Options that are None are the checkpoint's. Those that LeRobot's policies have are called as
    they are there, the others as in saccade.load. Features are the checkpoint's too: a policy
    fills them in when it is made."""

    checkpoint: str = ""  # a directory of LeRobot or openpi, a safetensors file, a Hub repository

    device: str | None = "cpu"  # of the tensors that come and go; the engine's is engine_device
    engine_device: str = "auto"  # "cpu", "cuda" or "auto": the GPU if one is there
    precision: str | None = None  # as saccade.load takes it; None: bf16 on a GPU, f32 on the CPU
    seed: int | None = None  # inference i has the noise of seed + i; None: of torch's generator

    chunk_size: int | None = None  # actions in a chunk
    n_action_steps: int | None = None  # of a chunk that select_action hands out before the next
    num_inference_steps: int | None = None  # denoising steps
    tokenizer_max_length: int | None = None  # the longest prompt

    rtc_config: RTCConfig | None = None  # real-time chunking, for who calls predict_action_chunk

    model: str | None = None
    mode: str | None = None
    vision_heads: int | None = None
    openpi_config: str | None = None
    statistics: str | None = None
    tokenizer: str | None = None

    action_feature_names: list[str] | None = None  # in the order of an action's values

    def engine_options(self) -> dict[str, Any]:
        """What saccade.load takes beside the checkpoint."""
        return {"device": self.engine_device, "precision": self.precision,
                "chunk": self.chunk_size, "steps": self.num_inference_steps,
                "max_prompt_tokens": self.tokenizer_max_length, "model": self.model,
                "mode": self.mode, "vision_heads": self.vision_heads,
                "openpi_config": self.openpi_config, "statistics": self.statistics,
                "tokenizer": self.tokenizer}

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None

    def validate_features(self) -> None:
        """Nothing: the policy checks them against the checkpoint."""

    def get_optimizer_preset(self) -> NoReturn:
        raise NotImplementedError(NOT_TRAINED)

    def get_scheduler_preset(self) -> None:
        return None
