"""A robot policy, loaded once and asked for one chunk of actions after the other."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
import numpy.typing as npt

from . import _arrays
from . import _library as c
from ._errors import Error, InvalidArgument
from ._library import check, library
from ._realtime import RealTime, as_struct

PathLike = Union[str, "os.PathLike[str]"]

_WARNING_BYTES = 4096
_WarningBuffer = ctypes.c_char * _WARNING_BYTES


@dataclass(frozen=True)
class PolicyInfo:
    """What a loaded policy is and expects."""

    model: str  # "pi0" or "pi05"
    mode: str  # whose preprocessing is followed: "openpi" or "lerobot"
    device: str  # "cpu" or "cuda"
    precision: str  # "f32", "bf16", "fp8", or a mix: "vision=bf16,prefix=bf16,expert=fp8"
    layout: str  # of the checkpoint: "lerobot", "openpi" or "orbax"
    steps: int  # denoising steps
    chunk: int  # actions in a chunk: the horizon
    state_dim: int  # 0: not known, any up to max_state_dim
    max_state_dim: int
    action_dim: int
    max_action_dim: int  # of the noise
    image_size: int  # frames of any size are resized to it
    max_prompt_tokens: int
    state_in_prompt: bool
    cameras: Tuple[str, ...]  # in the order the model sees them
    action_names: Tuple[str, ...]  # empty when the checkpoint has none
    parameters: int
    weight_bytes: int  # on the device
    buffer_bytes: int  # activations, caches, tables and inputs, on the device
    warnings: Tuple[str, ...]  # sentences of loading
    notes: Tuple[str, ...]  # sentences: what loading decided by measuring


@dataclass(frozen=True)
class StageStats:
    """Wall time of one stage in milliseconds, over the last 1024 inferences."""

    count: int  # inferences that p50_ms and p99_ms are of
    last_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Stats:
    """What a policy has done since it was loaded."""

    inferences: int  # that succeeded
    errors: int  # calls that the engine refused or failed
    stages: Dict[str, StageStats]  # by name; "total" is the whole call


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """The actions of one inference. np.asarray(chunk) is its actions."""

    actions: npt.NDArray[np.float32]  # float32 [chunk, action_dim], physical units
    tokens: npt.NDArray[np.int32]  # int32 [tokens], what the model was prompted with
    times: Dict[str, float]  # milliseconds by stage; "total" is the whole call
    warnings: Tuple[str, ...]  # sentences, such as that a prompt was cut

    def __len__(self) -> int:
        return len(self.actions)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> npt.NDArray[Any]:
        if copy:
            return np.array(self.actions, dtype)
        return np.asarray(self.actions, dtype)


class _Handle:
    """Owns a policy of the C interface. Whoever uses it holds a reference, so that a policy which
    another thread closes lives until the call that is under way returns."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        self._as_parameter_ = pointer
        self._free = library().saccade_free

    def __del__(self) -> None:
        self._free(self._as_parameter_)


class Policy:
    """A loaded policy; saccade.load() makes one.

    It may be used from several threads: inferences of one policy wait for each other, while other
    Python threads run on. Leaving a `with` block, or close(), frees its memory.
    """

    def __init__(self, handle: _Handle) -> None:
        self._library = library()
        self._handle: Optional[_Handle] = handle
        self._stream: Optional[int] = self._library.saccade_stream(handle)
        text = ctypes.c_char_p()
        check(self._library.saccade_describe(handle, ctypes.byref(text)))
        described = json.loads(text.value or b"{}")
        values: Dict[str, Any] = {}
        for field in fields(PolicyInfo):
            value = described[field.name]
            values[field.name] = tuple(value) if isinstance(value, list) else value
        self._info = PolicyInfo(**values)

    @property
    def info(self) -> PolicyInfo:
        """What the policy is and expects."""
        return self._info

    @property
    def stats(self) -> Stats:
        """Inferences, errors, and the time of each stage. Does not wait for an inference."""
        stages = (c.StageStats * c.MAX_STAGES)()
        stats = c.Stats(size=ctypes.sizeof(c.Stats), stages=stages, stage_capacity=c.MAX_STAGES)
        check(self._library.saccade_get_stats(self._open_handle(), ctypes.byref(stats)))
        return Stats(
            inferences=stats.inferences,
            errors=stats.errors,
            stages={stage.stage.decode(): StageStats(stage.count, stage.last_ms, stage.p50_ms,
                                                     stage.p99_ms)
                    for stage in stages[:stats.stage_count]},
        )

    def infer(self, images: Mapping[str, Any], state: Any = (), prompt: Optional[str] = None, *,
              tokens: Any = None, noise: Any = None, seed: int = 0,
              out: Optional[npt.NDArray[np.float32]] = None,
              realtime: Optional[RealTime] = None) -> ActionChunk:
        """Runs one inference and returns a chunk of actions.

        images  camera name to pixels, uint8 [height, width, 3], RGB: a NumPy array, a DLPack tensor
                such as torch's, or what has __array_interface__. Any size: the engine resizes. Read
                in place when pixels lie side by side in a row; other strides are copied. Cameras
                that are not given count as missing. Tensors in GPU memory need a policy on that
                GPU, which reads them in place, behind what their library has still to write; there
                other strides are refused.
        state   numbers [state_dim], physical units.
        prompt  what the robot is to do; else the policy's own prompt, if it has one.
        tokens  token ids in place of a prompt.
        noise   float32 [chunk, max_action_dim]; else drawn from the seed.
        seed    of the noise, from 0 to 2**64 - 1.
        out     float32 [chunk, action_dim] that the actions are written into; else a new array.
        realtime  a saccade.RealTime: the chunk that is being executed, which this one continues.

        Raises InvalidArgument when an argument does not fit the policy, DeviceError when the GPU
        fails, NotSupported for a state, tokens or noise in GPU memory.
        """
        handle, info = self._open_handle(), self._info
        if not isinstance(images, Mapping):
            raise InvalidArgument(f"images must map camera names to pixels, it is {type(images)}")
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise InvalidArgument(f"seed must be a whole number from 0 to 2**64 - 1, it is {seed}")
        observation = c.Observation(size=ctypes.sizeof(c.Observation), seed=int(seed))
        observation.stream = self._stream  # where DLPack's producers have their pixels ready
        held: List[Any] = []  # what the observation points to

        def memory(array: npt.NDArray[Any]) -> Tuple[int, int]:
            held.append(array)
            return array.ctypes.data, array.size

        if prompt is not None:
            observation.prompt = _text(prompt, "prompt")
        if tokens is not None:
            observation.tokens, observation.token_count = memory(_arrays.tokens(tokens))
        if noise is not None:
            shape = (info.chunk, info.max_action_dim)
            observation.noise, observation.noise_count = memory(_arrays.noise(noise, shape))
        if realtime is not None:
            wish, previous = as_struct(realtime, info.action_dim)
            memory(previous)
            observation.realtime = ctypes.pointer(wish)
        observation.state, observation.state_count = memory(_arrays.state(state))
        observation.frames = frames = (c.Frame * len(images))()
        observation.frame_count = len(images)
        for frame, (camera, value) in zip(frames, images.items()):
            frame.camera = _text(camera, "a camera's name")
            pixels = _arrays.image(value, camera, self._stream)
            held.append(pixels)
            frame.memory = c.DEVICE_MEMORY if pixels.on_gpu else c.HOST_MEMORY
            frame.pixels, frame.row_stride = pixels.pointer, pixels.strides[0]
            frame.height, frame.width = pixels.shape[:2]

        actions = _arrays.output(out, (info.chunk, info.action_dim))
        return self._run(handle, observation, actions)

    def _run(self, handle: _Handle, observation: c.Observation,
             actions: npt.NDArray[np.float32]) -> ActionChunk:
        tokens = np.empty(self._info.max_prompt_tokens, np.int32)
        times = (c.StageTime * c.MAX_STAGES)()
        warnings = _WarningBuffer()
        chunk = c.Chunk(
            size=ctypes.sizeof(c.Chunk), values=actions.ctypes.data, value_capacity=actions.size,
            tokens=tokens.ctypes.data, token_capacity=tokens.size,
            times=times, time_capacity=c.MAX_STAGES,
            warnings=ctypes.cast(warnings, ctypes.c_char_p), warning_capacity=_WARNING_BYTES,
        )
        check(self._library.saccade_infer(handle, ctypes.byref(observation), ctypes.byref(chunk)))
        sentences = warnings.value.decode("utf-8", "replace").splitlines()
        return ActionChunk(
            actions=actions,
            tokens=tokens[:chunk.token_count],
            times={time.stage.decode(): time.ms for time in times[:chunk.time_count]},
            warnings=tuple(sentences),
        )

    def close(self) -> None:
        """Frees the policy's memory, when calls of other threads have returned. It cannot be used
        after that; closing it again does nothing."""
        self._handle = None

    def __enter__(self) -> "Policy":
        self._open_handle()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self._info
        closed = " closed" if self._handle is None else ""
        return (f"<saccade.Policy{closed} {info.model}, {info.precision} on {info.device}: "
                f"{info.chunk} x {info.action_dim} actions>")

    def _open_handle(self) -> _Handle:
        handle = self._handle
        if handle is None:
            raise Error("the policy is closed")
        return handle


def load(checkpoint: PathLike, *, precision: Optional[str] = None, device: str = "auto",
         model: Optional[str] = None, mode: Optional[str] = None, steps: Optional[int] = None,
         chunk: Optional[int] = None, max_prompt_tokens: Optional[int] = None,
         vision_heads: Optional[int] = None, openpi_config: Optional[str] = None,
         statistics: Optional[PathLike] = None, tokenizer: Optional[PathLike] = None) -> Policy:
    """Loads a policy from the checkpoint that you already have.

    checkpoint         a LeRobot or openpi directory (PyTorch or JAX), or a safetensors file
    precision          "f32", "bf16" or "fp8"; a mix such as "prefix=bf16,expert=fp8", whose stages
                       vision, prefix and expert are bf16 where they are not named; or "auto": the
                       fastest whose actions differ from the most exact one's by at most 5 % of
                       their norm ("auto:0.02": 2 %), which loads the checkpoint several times and
                       says in info.notes what it measured; else bf16 on a GPU, f32 on the CPU
    device             "cpu", "cuda" or "auto": the GPU if one is there
    model              "pi0" or "pi05", if the checkpoint does not say
    mode               "openpi" or "lerobot": whose preprocessing is followed; else by the layout
    steps              denoising steps; else the checkpoint's, else 10
    chunk              actions in a chunk; else the checkpoint's, else 50
    max_prompt_tokens  longest prompt; else the checkpoint's, else 48 (pi0) or 200 (pi05)
    vision_heads       SigLIP's heads, where the tensors do not tell
    openpi_config      name of an openpi train config, such as "pi05_libero"
    statistics         norm_stats.json or a LeRobot statistics file
    tokenizer          a SentencePiece model

    Raises InvalidArgument with one sentence that names the file, tensor or option that is wrong,
    and DeviceError when the GPU that was asked for is missing or too small.
    """
    given = {"precision": precision, "device": device, "model": model, "mode": mode, "steps": steps,
             "chunk": chunk, "max_prompt_tokens": max_prompt_tokens, "vision_heads": vision_heads,
             "openpi_config": openpi_config, "statistics": statistics, "tokenizer": tokenizer}
    named = {key: value for key, value in given.items() if value is not None}
    options = (c.Option * len(named))()
    for option, (key, value) in zip(options, named.items()):
        option.key, option.value = key.encode(), _option_text(value, key)
    pointer = ctypes.c_void_p()
    check(library().saccade_load(_option_text(checkpoint, "checkpoint"), options, len(named),
                                 ctypes.byref(pointer)))
    return Policy(_Handle(pointer))


def _option_text(value: Any, name: str) -> bytes:
    if isinstance(value, (str, os.PathLike)):
        return _no_zero_byte(os.fsencode(value), name)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value)).encode()
    raise InvalidArgument(f"{name} must be a text, a path or a whole number, it is {value!r}")


def _text(value: Any, name: str) -> bytes:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be a str, it is {value!r}")
    try:
        return _no_zero_byte(value.encode(), name)
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name} is no valid Unicode: {error}") from None


def _no_zero_byte(text: bytes, name: str) -> bytes:
    if b"\0" in text:
        raise InvalidArgument(f"{name} holds a zero byte")
    return text
