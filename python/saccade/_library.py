"""The C interface (saccade.h, saccade_ops.h): where the library is found, its functions and
structs."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Iterator

from ._errors import DeviceError, Error, InvalidArgument, NotSupported

ABI_VERSION = 1
MAX_STAGES = 16
HOST_MEMORY = 0
DEVICE_MEMORY = 1
REALTIME_GUIDED = 1
SCHEDULES = ("linear", "exp", "ones", "zeros")  # by their number

_ERRORS = {1: InvalidArgument, 2: DeviceError, 3: NotSupported, 4: MemoryError}


class Option(ctypes.Structure):
    _fields_ = [("key", ctypes.c_char_p), ("value", ctypes.c_char_p)]


class Frame(ctypes.Structure):
    _fields_ = [
        ("camera", ctypes.c_char_p),
        ("camera_index", ctypes.c_int32),
        ("memory", ctypes.c_int32),
        ("pixels", ctypes.c_void_p),
        ("row_stride", ctypes.c_int64),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("reserved", ctypes.c_uint64 * 2),
    ]


class Realtime(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("mode", ctypes.c_int32),
        ("inference_delay", ctypes.c_int32),
        ("execution_horizon", ctypes.c_int32),
        ("previous_action_count", ctypes.c_int32),
        ("previous_actions", ctypes.c_void_p),
        ("schedule", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("max_guidance_weight", ctypes.c_double),
    ]


class Observation(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("frames", ctypes.POINTER(Frame)),
        ("frame_count", ctypes.c_size_t),
        ("state", ctypes.c_void_p),
        ("state_count", ctypes.c_size_t),
        ("prompt", ctypes.c_char_p),
        ("tokens", ctypes.c_void_p),
        ("token_count", ctypes.c_size_t),
        ("seed", ctypes.c_uint64),
        ("noise", ctypes.c_void_p),
        ("noise_count", ctypes.c_size_t),
        ("realtime", ctypes.POINTER(Realtime)),
        ("stream", ctypes.c_void_p),
    ]


class StageTime(ctypes.Structure):
    _fields_ = [("stage", ctypes.c_char_p), ("ms", ctypes.c_double)]


class Chunk(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("values", ctypes.c_void_p),
        ("value_capacity", ctypes.c_size_t),
        ("actions", ctypes.c_int32),
        ("action_dim", ctypes.c_int32),
        ("tokens", ctypes.c_void_p),
        ("token_capacity", ctypes.c_size_t),
        ("token_count", ctypes.c_size_t),
        ("times", ctypes.POINTER(StageTime)),
        ("time_capacity", ctypes.c_size_t),
        ("time_count", ctypes.c_size_t),
        ("warnings", ctypes.c_char_p),
        ("warning_capacity", ctypes.c_size_t),
        ("warning_bytes", ctypes.c_size_t),
    ]


class StageStats(ctypes.Structure):
    _fields_ = [
        ("stage", ctypes.c_char_p),
        ("count", ctypes.c_uint64),
        ("last_ms", ctypes.c_double),
        ("p50_ms", ctypes.c_double),
        ("p99_ms", ctypes.c_double),
    ]


class Stats(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("inferences", ctypes.c_uint64),
        ("errors", ctypes.c_uint64),
        ("stages", ctypes.POINTER(StageStats)),
        ("stage_capacity", ctypes.c_size_t),
        ("stage_count", ctypes.c_size_t),
    ]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int32),
        ("memory", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 4),
    ]


# saccade_tensor.dtype of a type's name.
DTYPES = {"float32": 1, "bfloat16": 2, "float16": 3, "uint8": 4, "int32": 5, "float8_e4m3fn": 6}
ACTIVATIONS = ("none", "gelu", "silu", "geglu")  # by their number
FILTERS = ("antialias", "bilinear")

_POLICY = ctypes.c_void_p
_STREAM = ctypes.c_void_p
_TENSOR = ctypes.POINTER(Tensor)
_FUNCTIONS = {
    "saccade_version": (ctypes.c_char_p, []),
    "saccade_abi_version": (ctypes.c_int32, []),
    "saccade_error_message": (ctypes.c_char_p, []),
    "saccade_load": (
        ctypes.c_int32,
        [ctypes.c_char_p, ctypes.POINTER(Option), ctypes.c_size_t, ctypes.POINTER(_POLICY)],
    ),
    "saccade_free": (None, [_POLICY]),
    "saccade_describe": (ctypes.c_int32, [_POLICY, ctypes.POINTER(ctypes.c_char_p)]),
    "saccade_infer": (
        ctypes.c_int32,
        [_POLICY, ctypes.POINTER(Observation), ctypes.POINTER(Chunk)],
    ),
    "saccade_get_stats": (ctypes.c_int32, [_POLICY, ctypes.POINTER(Stats)]),
    "saccade_stream": (_STREAM, [_POLICY]),
    "saccade_ops_rms_norm": (
        ctypes.c_int32, [_TENSOR, _TENSOR, _TENSOR, ctypes.c_float, _TENSOR, _STREAM]),
    "saccade_ops_layer_norm": (
        ctypes.c_int32, [_TENSOR, _TENSOR, _TENSOR, ctypes.c_float, _TENSOR, _STREAM]),
    "saccade_ops_linear": (
        ctypes.c_int32,
        [_TENSOR, _TENSOR, _TENSOR, _TENSOR, _TENSOR, ctypes.c_int32, _TENSOR, _STREAM]),
    "saccade_ops_quantize": (ctypes.c_int32, [_TENSOR, _TENSOR, _TENSOR, _STREAM]),
    "saccade_ops_rope_table": (ctypes.c_int32, [ctypes.c_float, _TENSOR]),
    "saccade_ops_rope": (
        ctypes.c_int32, [_TENSOR, _TENSOR, _TENSOR, _TENSOR, _TENSOR, _TENSOR, _STREAM]),
    "saccade_ops_attention": (
        ctypes.c_int32, [_TENSOR, _TENSOR, _TENSOR, _TENSOR, ctypes.c_float, _TENSOR, _STREAM]),
    "saccade_ops_attention_packed": (
        ctypes.c_int32, [_TENSOR, ctypes.c_int32, ctypes.c_float, _TENSOR, _STREAM]),
    "saccade_ops_resize_with_pad": (ctypes.c_int32, [_TENSOR, ctypes.c_int32, _TENSOR, _STREAM]),
}


def _candidates() -> Iterator[str]:
    """Where the library may lie, best first. $SACCADE_LIBRARY is not a hint but an order."""
    given = os.environ.get("SACCADE_LIBRARY")
    if given:
        yield given
        return
    package = Path(__file__).resolve().parent
    yield str(package / "_lib" / "libsaccade.so")
    # In a checkout. Not every build/*: one with sanitizers ends a process that they did not start.
    for preset in ("cpu", "cuda"):
        yield str(package.parent.parent / "build" / preset / "lib" / "libsaccade.so")
    yield f"libsaccade.so.{ABI_VERSION}"


def _open() -> ctypes.CDLL:
    tried = []
    for candidate in _candidates():
        if os.path.isabs(candidate) and not os.path.exists(candidate):
            tried.append(f"{candidate}: there is no such file")
            continue
        try:
            # A CDLL gives up Python's interpreter lock while its functions run.
            return ctypes.CDLL(candidate)
        except OSError as error:
            tried.append(f"{candidate}: {error}")
    raise Error("libsaccade.so cannot be loaded; tried " + "; ".join(tried))


@functools.lru_cache(maxsize=None)
def library() -> ctypes.CDLL:
    """The library, loaded at the first call. Raises Error when there is none that fits."""
    loaded = _open()
    try:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
        abi = loaded.saccade_abi_version()
    except AttributeError as error:
        raise Error(f"{loaded._name} is not a libsaccade.so of this package: {error}") from None
    if abi != ABI_VERSION:
        raise Error(f"{loaded._name} has ABI version {abi}, this package needs {ABI_VERSION}")
    return loaded


def check(status: int) -> None:
    """Raises what a status of the C interface says."""
    if status != 0:
        message = library().saccade_error_message().decode("utf-8", "replace")
        raise _ERRORS.get(status, Error)(message)
