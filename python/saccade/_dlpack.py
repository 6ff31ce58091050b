"""Tensors of other libraries, through DLPack: where their elements lie, and what they are.

The tensor stays its owner's. A capsule that nobody renames to "used_dltensor" gives its tensor back
when it is dropped, so holding the capsule is all that reading needs.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, Optional, Tuple

import numpy as np
import numpy.typing as npt

from ._errors import InvalidArgument, NotSupported

CPU_DEVICES = {1, 3}  # kDLCPU, kDLCUDAHost
GPU_DEVICES = {2, 13}  # kDLCUDA, kDLCUDAManaged

# Of CUDA, and of DLPack, where 0 stands for nothing.
LEGACY_DEFAULT_STREAM = 1


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


# By DLPack's code and bits; the names are NumPy's where it has the type.
_DTYPES = {
    (0, 8): "int8", (0, 16): "int16", (0, 32): "int32", (0, 64): "int64",
    (1, 8): "uint8", (1, 16): "uint16", (1, 32): "uint32", (1, 64): "uint64",
    (2, 16): "float16", (2, 32): "float32", (2, 64): "float64",
    (4, 16): "bfloat16", (6, 8): "bool", (10, 8): "float8_e4m3fn",
}
_ITEM_BYTES = {name: bits // 8 for (_, bits), name in _DTYPES.items()}
_NUMPY_NAMES = {np.dtype(name): name for name in _ITEM_BYTES
                if name not in ("bfloat16", "float8_e4m3fn")}  # asking a dtype for it takes longer

# A prototype of its own: that of ctypes.pythonapi's attribute belongs to the whole process.
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


class View(NamedTuple):
    """Elements of somebody else's, which live at least as long as this."""

    pointer: int
    dtype: str  # "float32", "bfloat16", ...
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]  # bytes from an element to the next along each axis
    on_gpu: bool
    owner: Any  # what keeps them alive

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie row by row without gaps."""
        if 0 in self.shape:
            return True
        step = _ITEM_BYTES.get(self.dtype, 0)
        for extent, stride in zip(reversed(self.shape), reversed(self.strides)):
            if extent != 1 and stride != step:
                return False
            step *= extent
        return True


def is_on_gpu(value: Any) -> bool:
    """Whether an argument says that it is in memory which the CPU does not read."""
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[0]) not in CPU_DEVICES
    return getattr(value, "__cuda_array_interface__", None) is not None


def view_of_array(array: npt.NDArray[Any]) -> View:
    """A NumPy array as it lies."""
    dtype = _NUMPY_NAMES.get(array.dtype) or str(array.dtype)
    return View(array.ctypes.data, dtype, array.shape, array.strides, False, array)


def view(value: Any, name: str, stream: Optional[int] = None) -> View:
    """A tensor as it lies, NumPy arrays included. One in GPU memory may be read on the CUDA stream
    of that number, behind what its owner has still to write."""
    if isinstance(value, np.ndarray):
        return view_of_array(value)
    if not (hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")):
        raise InvalidArgument(f"{name} must be an array or have __dlpack__, it is {type(value)}")
    device = int(value.__dlpack_device__()[0])
    if device not in CPU_DEVICES | GPU_DEVICES:
        raise NotSupported(f"{name} is on a device of DLPack's type {device}, Saccade knows the "
                           "CPU and NVIDIA's GPUs")
    on_gpu = device in GPU_DEVICES
    try:
        capsule = value.__dlpack__(stream=stream) if on_gpu else value.__dlpack__()
    except (BufferError, RuntimeError, TypeError) as error:
        raise InvalidArgument(f"{name} cannot be read through DLPack: {error}") from error
    return _view_of_capsule(capsule, name, on_gpu)


def _view_of_capsule(capsule: Any, name: str, on_gpu: bool) -> View:
    try:
        address = _get_pointer(capsule, b"dltensor")
    except ValueError as error:
        raise InvalidArgument(f"{name} gives no DLPack tensor: {error}") from error
    tensor = _Tensor.from_address(address)
    dtype = tensor.dtype
    element = _DTYPES.get((dtype.code, dtype.bits)) if dtype.lanes == 1 else None
    if element is None:
        raise NotSupported(f"{name} has elements of DLPack's type {dtype.code} with {dtype.bits} "
                           f"bits and {dtype.lanes} lanes, which Saccade does not know")
    shape = tuple(tensor.shape[:tensor.ndim])
    item = _ITEM_BYTES[element]
    if tensor.strides:
        strides = tuple(item * stride for stride in tensor.strides[:tensor.ndim])
    else:
        strides = tuple(item * int(np.prod(shape[axis + 1:])) for axis in range(tensor.ndim))
    return View((tensor.data or 0) + tensor.byte_offset, element, shape, strides, on_gpu, capsule)
