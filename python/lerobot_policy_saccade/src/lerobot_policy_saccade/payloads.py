"""Reads what LeRobot's RobotClient sends, which is pickle, without running what a pickle may say.

A pickle names classes and functions, calls them and sets their attributes. Here it may name those
of a table and nothing else, and for each it gets a stand-in: a type that cannot be changed, and
that only holds or checks values. LeRobot's own classes are made of what these hold.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

import numpy as np
from lerobot.async_inference import helpers

_DTYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"b1", "f2", "f4", "f8"}


class Refused(ValueError):
    """A message that is not what LeRobot's client sends."""


class _Sealed(type):
    """A type whose attributes nobody sets, as the BUILD of a pickle otherwise can."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise Refused(f"the message changes {cls.__name__}")


class _PolicyConfig(metaclass=_Sealed):
    """For RemotePolicyConfig; a pickle gives it its fields."""


class _Observation(metaclass=_Sealed):
    """For TimedObservation; a pickle gives it its fields."""


class _Dtype(metaclass=_Sealed):
    """For numpy.dtype, of numbers only."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if code not in _DTYPES:
            raise Refused("the message holds an array that is not of numbers")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array(metaclass=_Sealed):
    """For numpy's _reconstruct; what it makes gets its values as a state."""

    values = np.empty(0, np.uint8)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.values = _numbers(data, dtype, shape, "F" if fortran else "C")


class _FromBuffer(metaclass=_Sealed):
    """For numpy's _frombuffer, which newer pickles have for contiguous arrays."""

    def __new__(cls, data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Any:
        array = _Array()
        array.values = _numbers(data, dtype, shape, "F" if order == "F" else "C")
        return array


class _Scalar(metaclass=_Sealed):
    """For numpy's scalar."""

    def __new__(cls, dtype: Any, data: Any) -> Any:
        return _numbers(data, dtype, (), "C")[()]


class _Name(metaclass=_Sealed):
    """For numpy.ndarray, which is named and not called."""

    def __init__(self, *_: Any) -> None:
        raise Refused("the message calls numpy.ndarray")


_HELPERS = "lerobot.async_inference.helpers"
_ADMITTED = {
    (_HELPERS, "RemotePolicyConfig"): _PolicyConfig,
    (_HELPERS, "TimedObservation"): _Observation,
    ("numpy", "ndarray"): _Name,
    ("numpy", "dtype"): _Dtype,
} | {
    (f"numpy.{core}.{module}", name): stand_in
    for core in ("core", "_core")  # of NumPy 1 and 2
    for module, name, stand_in in (("multiarray", "_reconstruct", _Array),
                                   ("multiarray", "scalar", _Scalar),
                                   ("numeric", "_frombuffer", _FromBuffer))
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise Refused(f"the message names {module}.{name}, which is not admitted")
        return _ADMITTED[module, name]


def policy_config(data: bytes) -> helpers.RemotePolicyConfig:
    """What SendPolicyInstructions brings. Raises Refused."""
    fields = _fields(data, _PolicyConfig, "RemotePolicyConfig", {
        "policy_type": str, "pretrained_name_or_path": str, "lerobot_features": dict,
        "actions_per_chunk": int, "device": str, "rename_map": dict})
    if fields["actions_per_chunk"] < 1:
        raise Refused("actions_per_chunk must be at least 1")
    if not all(type(text) is str for pair in fields["rename_map"].items() for text in pair):
        raise Refused("rename_map must map texts to texts")
    for key, feature in fields["lerobot_features"].items():
        if not _is_feature(key, feature):
            raise Refused("lerobot_features must be those of a LeRobot robot: a dtype, a shape "
                          "and names for each key")
    return helpers.RemotePolicyConfig(**fields)


def timed_observation(data: bytes) -> helpers.TimedObservation:
    """What SendObservations brings. Raises Refused."""
    fields = _fields(data, _Observation, "TimedObservation", {
        "timestamp": float, "timestep": int, "observation": dict, "must_go": bool})
    fields["observation"] = {_text(key): _value(key, value)
                             for key, value in fields["observation"].items()}
    return helpers.TimedObservation(**fields)


def _fields(data: bytes, stand_in: type, name: str, types: dict[str, type]) -> dict[str, Any]:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # Python makes room for as many objects as the highest number that one is kept under.
            if opcode.name in ("PUT", "LONG_BINPUT") and not 0 <= argument <= len(data):
                raise Refused("the message keeps an object under a number beyond its size")
        message = _Unpickler(io.BytesIO(data)).load()
    except Refused:
        raise
    except Exception as error:  # of a broken pickle, many kinds come
        raise Refused(f"the message is no pickle of a {name}: {error}") from None
    if type(message) is not stand_in:
        raise Refused(f"the message must be a {name}")
    fields = vars(message)
    for field, kind in types.items():
        if type(fields.get(field)) is not kind:
            raise Refused(f"{name}.{field} must be of type {kind.__name__}")
    return {field: fields[field] for field in types}


def _is_feature(key: Any, feature: Any) -> bool:
    return (type(key) is str and type(feature) is dict and type(feature.get("dtype")) is str
            and type(feature.get("shape")) in (tuple, list)
            and type(feature.get("names")) in (tuple, list)
            and all(type(name) is str for name in feature["names"]))


def _text(key: Any) -> str:
    if type(key) is not str:
        raise Refused("the keys of an observation must be texts")
    return key


def _value(key: str, value: Any) -> Any:
    if type(value) is _Array:
        return value.values
    if type(value) in (bool, int, float, str) or isinstance(value, np.generic):
        return value
    raise Refused(f"observation '{key}' must be a number, a text or an array of numbers")


def _numbers(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    sized = type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape)
    if not (sized and type(dtype) is _Dtype and type(data) in (bytes, bytearray)):
        raise Refused("the message holds an array of parts that are not those of an array")
    # A copy, since what lies in the message cannot be written to, which torch warns about.
    return np.array(np.frombuffer(data, dtype.numpy).reshape(shape, order=order), order="C")
