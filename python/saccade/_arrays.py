"""Arguments as memory that the C interface can read. Nothing is copied that need not be."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from ._errors import InvalidArgument, NotSupported

# Of DLPack: memory that the CPU reads.
_CPU_DEVICES = {1, 3}  # kDLCPU, kDLCUDAHost


def as_array(value: Any, name: str) -> npt.NDArray[Any]:
    """A view of an array, of an object with __array_interface__ or of a DLPack tensor in CPU
    memory. Raises NotSupported for memory of a GPU."""
    if isinstance(value, np.ndarray):
        return value
    on_gpu = getattr(value, "__cuda_array_interface__", None) is not None
    if not on_gpu and hasattr(value, "__dlpack_device__"):
        on_gpu = int(value.__dlpack_device__()[0]) not in _CPU_DEVICES
    if on_gpu:
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


def image(value: Any, camera: str) -> Tuple[npt.NDArray[np.uint8], int]:
    """The pixels of a camera as uint8 [height, width, 3], and the bytes from row to row."""
    name = f"image '{camera}'"
    pixels = as_array(value, name)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InvalidArgument(f"{name} must be uint8 [height, width, 3], it is "
                              f"{pixels.dtype} {list(pixels.shape)}{_advice(pixels)}")
    row, pixel, channel = pixels.strides
    if channel != 1 or pixel != 3 or row < 3 * pixels.shape[1]:
        pixels = np.ascontiguousarray(pixels)
        row = pixels.strides[0]
    return pixels, row


def _advice(pixels: npt.NDArray[Any]) -> str:
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[0] == 3:
        return ": channels come last, image.transpose(1, 2, 0) moves them there"
    return ""


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
