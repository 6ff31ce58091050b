"""Arguments as memory that the C interface can read. Nothing is copied that need not be."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import numpy as np
import numpy.typing as npt

from . import _dlpack
from ._errors import InvalidArgument, NotSupported


def as_array(value: Any, name: str) -> npt.NDArray[Any]:
    """A view of an array, of an object with __array_interface__ or of a DLPack tensor in CPU
    memory. Raises NotSupported for memory of a GPU."""
    if isinstance(value, np.ndarray):
        return value
    if _dlpack.is_on_gpu(value):
        raise NotSupported(f"{name} is in GPU memory, which this version cannot read: copy it to "
                           "the CPU first")
    if hasattr(value, "__dlpack__") and hasattr(np, "from_dlpack"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as error:
            raise InvalidArgument(f"{name} cannot be read through DLPack: {error}") from error
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} is no array: {error}") from error


def image(value: Any, camera: str, stream: Optional[int]) -> _dlpack.View:
    """The pixels of a camera, uint8 [height, width, 3] with those of a row side by side. On a GPU
    they are ready on the policy's stream; a policy without one reads no such memory."""
    name = f"image '{camera}'"
    if not _dlpack.is_on_gpu(value):
        array = as_array(value, name)
        pixels = _checked_image(_dlpack.view_of_array(array), name)
        if _row_is_dense(pixels):
            return pixels
        return _dlpack.view_of_array(np.ascontiguousarray(array))
    if stream is None:
        raise InvalidArgument(f"{name} is in GPU memory, the policy runs on the CPU")
    pixels = _checked_image(_dlpack.view(value, name, stream), name)
    if not _row_is_dense(pixels):
        raise InvalidArgument(f"{name} is in GPU memory, where the pixels of a row must lie side "
                              f"by side, its strides are {list(pixels.strides)} bytes")
    return pixels


def _checked_image(pixels: _dlpack.View, name: str) -> _dlpack.View:
    shape = pixels.shape
    if pixels.dtype == "uint8" and len(shape) == 3 and shape[2] == 3:
        return pixels
    turned = pixels.dtype == "uint8" and len(shape) == 3 and shape[0] == 3
    advice = ": channels come last, image.transpose(1, 2, 0) moves them there" if turned else ""
    raise InvalidArgument(f"{name} must be uint8 [height, width, 3], it is {pixels}{advice}")


def _row_is_dense(pixels: _dlpack.View) -> bool:
    row, pixel, channel = pixels.strides
    return channel == 1 and pixel == 3 and row >= 3 * pixels.shape[1]


def state(value: Any) -> npt.NDArray[np.float64]:
    """The robot's state as float64 [state_dim]."""
    array = as_array(value, "state")
    if array.ndim != 1 or (array.size and array.dtype.kind not in "fiu"):
        raise InvalidArgument(f"state must be numbers [state_dim], it is {array.dtype} "
                              f"{list(array.shape)}")
    return np.ascontiguousarray(array, np.float64)


def tokens(value: Any) -> npt.NDArray[np.int32]:
    """Token ids as int32 [tokens]."""
    array = as_array(value, "tokens")
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidArgument(f"tokens must be whole numbers [tokens], they are {array.dtype} "
                              f"{list(array.shape)}")
    narrows = array.dtype != np.int32 and array.size > 0
    if narrows and (array.min() < 0 or array.max() > np.iinfo(np.int32).max):
        raise InvalidArgument(f"tokens must be from 0 to {np.iinfo(np.int32).max}, they are from "
                              f"{array.min()} to {array.max()}")
    return np.ascontiguousarray(array, np.int32)


def noise(value: Any, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Noise as float32 of a given shape."""
    array = as_array(value, "noise")
    if array.dtype != np.float32 or array.shape != tuple(shape):
        raise InvalidArgument(f"noise must be float32 {list(shape)}, it is {array.dtype} "
                              f"{list(array.shape)}")
    return np.ascontiguousarray(array)


def actions(value: Any, action_dim: int) -> npt.NDArray[np.float32]:
    """Previous actions as float32 [rows, action_dim]."""
    array = as_array(value, "previous_actions")
    if array.ndim != 2 or array.shape[1] != action_dim or array.dtype.kind not in "fiu":
        raise InvalidArgument(f"previous_actions must be numbers [rows, {action_dim}], they are "
                              f"{array.dtype} {list(array.shape)}")
    return np.ascontiguousarray(array, np.float32)


def output(value: Optional[npt.NDArray[np.float32]],
           shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Where actions are written: the caller's array, else a new one."""
    if value is None:
        return np.empty(shape, np.float32)
    fits = (isinstance(value, np.ndarray) and value.dtype == np.float32
            and value.shape == tuple(shape) and value.flags.c_contiguous and value.flags.writeable)
    if not fits:
        raise InvalidArgument(f"out must be a writable, contiguous float32 array {list(shape)}")
    return value
