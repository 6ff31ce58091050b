"""LeRobot's batches as the engine takes observations: 8-bit pictures, states, prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

STATE = "observation.state"
TASK = "task"
_CAMERA = "observation.images."


@dataclass(frozen=True)
class Observation:
    """What one inference sees; its fields are arguments of saccade.Policy.infer."""

    images: dict[str, np.ndarray]
    state: np.ndarray
    prompt: str | None


def feature_name(camera: str) -> str:
    """LeRobot's key of one of the engine's cameras."""
    return camera if camera.startswith("observation.") else _CAMERA + camera


def camera_names(keys: Iterable[str], cameras: Sequence[str]) -> dict[str, str]:
    """The pictures among the keys of an observation, with the engine's names for them.

    A robot may have more cameras than the policy, as with LeRobot's own policies. But when one of
    the policy's is missing, the others stay, and the engine refuses them by name: a camera that is
    called wrongly must not pass for one that is not there."""
    names = {}
    for key in keys:
        if key.startswith("observation.image") and not key.endswith("_is_pad"):
            names[key] = key if key in cameras else key.removeprefix(_CAMERA)
    known = {key: name for key, name in names.items() if name in cameras}
    return known if set(known.values()) == set(cameras) else names


def observations(batch: Mapping[str, Any], cameras: Sequence[str]) -> list[Observation]:
    """A batch, one by one. Tensors may lack the dimension of the batch. Raises ValueError with one
    sentence that names the key that does not fit."""
    if any(key.startswith("observation.language") for key in batch):
        raise ValueError("the observation is tokenized, so it comes from another policy's "
                         "processors: make them with make_pre_post_processors(policy.config)")
    images = {name: _pixels(batch[key], key) for key, name in camera_names(batch, cameras).items()}
    sizes = {name: len(pixels) for name, pixels in images.items()}
    states = None
    if batch.get(STATE) is not None:
        states = _states(batch[STATE])
        sizes[STATE] = len(states)
    tasks = batch.get(TASK)
    if isinstance(tasks, (list, tuple)):
        sizes[TASK] = len(tasks)
    count = max(sizes.values(), default=1)
    if any(size != count for size in sizes.values()):
        raise ValueError(f"the parts of a batch must be of one size, they are {sizes}")
    return [
        Observation(
            images={name: pixels[i] for name, pixels in images.items()},
            state=np.empty(0) if states is None else states[i],
            prompt=tasks[i] if isinstance(tasks, (list, tuple)) else tasks,
        )
        for i in range(count)
    ]


def noise(values: Any, count: int, shape: tuple[int, int]) -> np.ndarray:
    """Noise as float32 [count, chunk, action], which one of a single inference may lack the first
    dimension of."""
    given = torch.as_tensor(values).detach().to("cpu", torch.float32)
    if given.ndim == 2:
        given = given[None]
    if given.shape != (count, *shape):
        raise ValueError(f"noise must be {[count, *shape]}, it is {list(given.shape)}")
    return given.contiguous().numpy()


def _states(value: Any) -> np.ndarray:
    state = torch.as_tensor(value).detach()
    if state.ndim == 1:
        state = state[None]
    if state.ndim != 2:
        raise ValueError(f"{STATE} must be [batch, state_dim], it is {list(state.shape)}")
    return state.to("cpu", torch.float64).numpy()


def _pixels(value: Any, key: str) -> np.ndarray:
    """uint8 [batch, height, width, 3]."""
    image = torch.as_tensor(value).detach()
    given = f"{str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
    if image.ndim == 3:
        image = image[None]
    channels_first = image.ndim == 4 and image.shape[1] == 3
    if image.is_floating_point() and channels_first:
        return _levels(image.to("cpu", torch.float32).numpy(), key)
    if image.dtype == torch.uint8 and image.ndim == 4 and image.shape[3] == 3:
        return image.cpu().contiguous().numpy()
    if image.dtype == torch.uint8 and channels_first:
        return np.ascontiguousarray(image.cpu().numpy().transpose(0, 2, 3, 1))
    raise ValueError(f"{key} must be float [batch, 3, height, width] from 0 to 1 or uint8 "
                     f"[batch, height, width, 3], it is {given}")


def _levels(image: np.ndarray, key: str) -> np.ndarray:
    """The 8-bit picture that LeRobot divided by 255, to the bit. In NumPy and channel by channel,
    which takes a millisecond; torch's threads wait for each other several times as long on a
    machine that is busy with a robot."""
    batch, channels, height, width = image.shape
    pixels = np.empty((batch, height, width, channels), np.uint8)
    if pixels.size == 0:
        raise ValueError(f"{key} is empty, it is {list(image.shape)}")
    for channel in range(channels):
        levels = np.rint(image[:, channel] * np.float32(255))
        if not (levels.min() >= 0 and levels.max() <= 255):  # NaN is neither
            raise ValueError(f"{key} must be from 0 to 1, it is from {image.min():g} to "
                             f"{image.max():g}")
        pixels[..., channel] = levels
    return pixels
