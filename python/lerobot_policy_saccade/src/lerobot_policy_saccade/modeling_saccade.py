"""Saccade with the methods of LeRobot's policies."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION

import saccade

from .configuration_saccade import NOT_TRAINED, SaccadeConfig
from .observation import STATE, feature_name, noise as noise_of, observations
from .processor_saccade import make_saccade_pre_post_processors
from .realtime import check_config, wishes

logger = logging.getLogger(__name__)


class SaccadePolicy(PreTrainedPolicy):
    """A policy that Saccade runs. Its actions are in physical units, so LeRobot's processors have
    nothing to scale. The inferences of a batch run one after the other."""

    config_class = SaccadeConfig
    name = "saccade"

    def __init__(self, config: SaccadeConfig, dataset_stats: Any = None,
                 dataset_meta: Any = None) -> None:
        """Loads config.checkpoint. What LeRobot knows of a data set is not looked at: the
        checkpoint has statistics of its own."""
        super().__init__(config)
        if not config.checkpoint:
            raise ValueError("a Saccade policy needs a checkpoint: --policy.checkpoint=DIR, or "
                             "SaccadeConfig(checkpoint=...)")
        folder = _on_disk(config.checkpoint)
        self.engine = saccade.load(folder, **config.engine_options())
        self._inferences = 0
        self._told: set[str] = set()
        self._tell(self.engine.info.warnings)
        self._fill_in(folder)
        self.reset()

    @classmethod
    def from_pretrained(cls, pretrained_name_or_path: str | Path | None, *,
                        config: SaccadeConfig | None = None, revision: str | None = None,
                        strict: bool = True, dataset_stats: Any = None, dataset_meta: Any = None,
                        **hub: Any) -> SaccadePolicy:
        """A policy from a checkpoint that another program trained, from what save_pretrained
        wrote, or from a repository of either on the Hub. A config that names a checkpoint of its
        own wins over the path. hub: arguments of huggingface_hub.snapshot_download."""
        if config is None or not config.checkpoint:
            if pretrained_name_or_path is None:
                raise ValueError("neither a checkpoint nor a config that names one is given")
            folder = _on_disk(pretrained_name_or_path, revision=revision, **hub)
            if _config_of(folder).get("type") == cls.name:
                if config is not None:
                    raise ValueError(f"{folder} holds a Saccade policy's own config, so none can "
                                     "be given beside it")
                config = PreTrainedConfig.from_pretrained(folder)
            else:
                config = config or SaccadeConfig()
                config.checkpoint = str(folder)
        policy = cls(config)
        policy.eval()
        return policy

    def _save_pretrained(self, save_directory: Path, **weights: Any) -> None:
        """Writes the config and the processors, no weights: they stay where they are."""
        self.config._save_pretrained(save_directory)
        for pipeline in make_saccade_pre_post_processors(self.config):
            pipeline.save_pretrained(save_directory)

    def reset(self) -> None:
        """Forgets what is left of the last chunk."""
        self._action_queue: deque[torch.Tensor] = deque()

    def supports_rtc(self) -> bool:
        return True

    def init_rtc_processor(self) -> None:
        """What LeRobot calls when it has changed config.rtc_config."""
        check_config(self.config.rtc_config)

    def predict_action_chunk(self, batch: Mapping[str, Any], noise: Any = None, *,
                             inference_delay: int | None = None,
                             prev_chunk_left_over: Any = None,
                             execution_horizon: int | None = None) -> torch.Tensor:
        """Actions [batch, chunk, action_dim] in physical units, on config.device.

        batch  observation.images.*: float [batch, 3, height, width] from 0 to 1 or uint8
               [batch, height, width, 3], of any size; observation.state [batch, state_dim];
               task: one text, or one for each observation.
        noise  [batch, chunk, max_action_dim]; else drawn from the seed.

        Real-time chunking, by config.rtc_config:
        prev_chunk_left_over  what is left of the last chunk, [rows, action_dim], as it came.
        inference_delay       rows that will be executed before the new chunk is there.
        execution_horizon     in place of the config's.
        """
        info = self.engine.info
        seen = observations(batch, info.cameras)
        drawn: Any = [None] * len(seen)
        if noise is not None:
            drawn = noise_of(noise, len(seen), (info.chunk, info.max_action_dim))
        actions = torch.empty((len(seen), info.chunk, info.action_dim), dtype=torch.float32)
        continued = wishes(self.config.rtc_config, len(seen), prev_chunk_left_over,
                           inference_delay, execution_horizon)
        for out, one, start, wish in zip(actions.numpy(), seen, drawn, continued, strict=True):
            seed = self._next_seed() if start is None else 0
            chunk = self.engine.infer(one.images, one.state, one.prompt, noise=start, seed=seed,
                                      out=out, realtime=wish)
            self._tell(chunk.warnings)
        return actions.to(self.config.device)

    def select_action(self, batch: Mapping[str, Any], noise: Any = None,
                      **realtime: Any) -> torch.Tensor:
        """The next action [batch, action_dim] of the chunk; a new chunk after n_action_steps."""
        rtc = self.config.rtc_config
        asked = any(value is not None for value in realtime.values())
        if asked or (rtc is not None and rtc.enabled):
            raise ValueError("real-time chunking is for programs that call predict_action_chunk: "
                             "select_action hands out a chunk to its end")
        if not self._action_queue:
            chunk = self.predict_action_chunk(batch, noise)
            self._action_queue.extend(chunk[:, :self.config.n_action_steps].unbind(1))
        return self._action_queue.popleft()

    def forward(self, batch: Mapping[str, Any]) -> NoReturn:
        raise NotImplementedError(NOT_TRAINED)

    def get_optim_params(self) -> NoReturn:
        raise NotImplementedError(NOT_TRAINED)

    def _next_seed(self) -> int:
        if self.config.seed is None:
            return int(torch.randint(2**63 - 1, ()))
        self._inferences += 1
        return self.config.seed + self._inferences - 1

    def _tell(self, warnings: tuple[str, ...]) -> None:
        """Logs each sentence once: that a prompt is cut would come with every inference."""
        for sentence in warnings:
            if sentence not in self._told:
                self._told.add(sentence)
                logger.warning("%s", sentence)

    def _fill_in(self, folder: str) -> None:
        """Puts what the checkpoint decides into the config, where LeRobot's programs look."""
        config, info = self.config, self.engine.info
        config.checkpoint = folder
        for name in ("statistics", "tokenizer"):
            if getattr(config, name):
                setattr(config, name, str(Path(getattr(config, name)).absolute()))
        steps = config.n_action_steps
        if steps is None:
            steps = min(_config_of(folder).get("n_action_steps", info.chunk), info.chunk)
        if not 1 <= steps <= info.chunk:
            raise ValueError(f"n_action_steps must be from 1 to the chunk's {info.chunk}, it is "
                             f"{steps}")
        config.chunk_size, config.n_action_steps = info.chunk, steps
        config.action_feature_names = list(info.action_names) or config.action_feature_names
        _check_length(config.output_features, ACTION, info.action_dim)
        _check_length(config.input_features, STATE, info.state_dim)
        picture = PolicyFeature(FeatureType.VISUAL, (3, info.image_size, info.image_size))
        config.input_features = {feature_name(camera): picture for camera in info.cameras}
        if info.state_dim:
            config.input_features[STATE] = PolicyFeature(FeatureType.STATE, (info.state_dim,))
        config.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (info.action_dim,))}


def _check_length(features: dict[str, PolicyFeature] | None, key: str, length: int) -> None:
    """That what LeRobot took from a robot, an environment or a data set fits the checkpoint."""
    shape = (features or {})[key].shape if key in (features or {}) else (length,)
    if length and tuple(shape) != (length,):
        raise ValueError(f"the checkpoint's {key} has {length} values, the robot's or the "
                         f"environment's is {list(shape)}")


def _config_of(folder: str | Path) -> dict[str, Any]:
    file = Path(folder) / "config.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def _on_disk(checkpoint: str | Path, **hub: Any) -> str:
    """The path of a checkpoint, which is downloaded if it is a repository of the Hub."""
    name = str(checkpoint)
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        return str(Path(name).expanduser().absolute())  # absolute, to be found again when saved
    from huggingface_hub import snapshot_download

    return snapshot_download(name, **hub)
