"""The ops that policies are made of, one at a time, on NumPy arrays and on DLPack tensors.

    import saccade.ops

    y = saccade.ops.rms_norm(x, weight)                                  # NumPy in, NumPy out
    saccade.ops.linear(x, weight, bias, activation="gelu", out=y)        # torch on a GPU

Operands are NumPy arrays or objects with __dlpack__, such as torch's tensors, contiguous and all in
one memory. Arrays on the CPU are computed by the reference. Tensors on an NVIDIA GPU are computed
by the kernels: the call enqueues them on a CUDA stream and returns at once.

`out` is written in place, and returned. Without it a new NumPy array is returned; on a GPU, and for
bfloat16, which NumPy lacks, `out` must be given: nothing is allocated there.

`stream` is the number of a CUDA stream, such as torch.cuda.current_stream().cuda_stream. Without it
the kernels run on the legacy default stream, which is torch's own unless another one was chosen.
They run behind what the operands' library has enqueued to write them; whoever reads results on
another stream makes that stream wait for this one. Tensors live until the stream has passed.

e4m3, eight bits with four of exponent and three of mantissa, is float8_e4m3fn, or uint8 for the
same bits. Sums are in float32, whatever the types; linear() has two exceptions on Hopper, which
saccade_ops.h names.

Every wrong argument raises saccade.InvalidArgument with a sentence that names it. The C functions
are those of saccade_ops.h.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from . import _dlpack
from . import _library as c
from ._errors import InvalidArgument
from ._library import check, library

__all__ = ["attention", "attention_packed", "layer_norm", "linear", "quantize",
           "resize_with_pad", "rms_norm", "rope", "rope_table"]

_SCALE_BLOCK = 128  # neighbours in a row that share a scale
_FLOATING = ("float32", "bfloat16", "float16")


class _Call:
    """The operands of one call of an op, which it keeps alive until it has returned."""

    def __init__(self, op: str, stream: Optional[int]) -> None:
        if stream is not None and (not isinstance(stream, int) or stream < 0):
            raise InvalidArgument(f"[{op}] stream must be the number of a CUDA stream, it is "
                                  f"{stream!r}")
        self.op = op
        self._stream = stream
        self._views: List[_dlpack.View] = []

    def view(self, value: Any, name: str) -> _dlpack.View:
        """An operand as it lies; the op's own checks come later."""
        view = _dlpack.view(value, f"[{self.op}] {name}",
                            self._stream or _dlpack.LEGACY_DEFAULT_STREAM)
        self._views.append(view)
        return view

    def tensor(self, view: _dlpack.View, name: str, is_e4m3: bool = False) -> c.Tensor:
        """An operand as the C interface takes it. With is_e4m3, bytes are e4m3."""
        dtype = "float8_e4m3fn" if is_e4m3 and view.dtype == "uint8" else view.dtype
        if dtype not in c.DTYPES:
            raise InvalidArgument(f"[{self.op}] {name} must be one of {', '.join(c.DTYPES)}, it is "
                                  f"{dtype}")
        if not 1 <= len(view.shape) <= 4:
            raise InvalidArgument(f"[{self.op}] {name} must have 1 to 4 axes, it is {view}")
        if not view.is_contiguous:
            raise InvalidArgument(f"[{self.op}] {name} must be contiguous, it is {view} with "
                                  f"strides of {list(view.strides)} bytes")
        return c.Tensor(
            data=view.pointer, dtype=c.DTYPES[dtype],
            memory=c.DEVICE_MEMORY if view.on_gpu else c.HOST_MEMORY, rank=len(view.shape),
            shape=(ctypes.c_int64 * 4)(*view.shape))

    def take(self, value: Any, name: str, is_e4m3: bool = False) -> Optional[c.Tensor]:
        """An operand that is only read; None where it is absent."""
        return None if value is None else self.tensor(self.view(value, name), name, is_e4m3)

    def result(self, out: Any, name: str, shape: Sequence[int], dtype: str,
               is_e4m3: bool = False) -> Tuple[Any, c.Tensor]:
        """What an op writes: the caller's `out`, else a new array of this shape and type."""
        if out is None:
            if any(view.on_gpu for view in self._views):
                raise InvalidArgument(f"[{self.op}] {name} must be given: the operands are in GPU "
                                      "memory, where nothing is allocated")
            if dtype == "bfloat16":
                raise InvalidArgument(f"[{self.op}] {name} must be given: it would be bfloat16, "
                                      "which NumPy lacks")
            out = np.empty(tuple(shape), np.uint8 if is_e4m3 else dtype)
        elif isinstance(out, np.ndarray) and not out.flags.writeable:
            raise InvalidArgument(f"[{self.op}] {name} must be writable")
        view = self.view(out, name)
        if view.shape != tuple(shape):
            raise InvalidArgument(f"[{self.op}] {name} must be {list(shape)}, it is "
                                  f"{list(view.shape)}")
        return out, self.tensor(view, name, is_e4m3)

    def run(self, *arguments: Any) -> None:
        """Calls the function of the op's name."""
        pointers = [ctypes.byref(argument) if isinstance(argument, c.Tensor) else argument
                    for argument in arguments]
        check(getattr(library(), f"saccade_ops_{self.op}")(*pointers, self._stream))

    def extents(self, view: _dlpack.View, name: str, axes: str) -> Tuple[int, ...]:
        """The extents of an operand whose axes have these names."""
        if len(view.shape) != len(axes.split(", ")):
            raise InvalidArgument(f"[{self.op}] {name} must be [{axes}], it is {list(view.shape)}")
        return view.shape

    def number(self, value: Any, name: str) -> float:
        """A finite number."""
        if not isinstance(value, (int, float, np.integer, np.floating)) or not np.isfinite(value):
            raise InvalidArgument(f"[{self.op}] {name} must be a finite number, it is {value!r}")
        return float(value)

    def count(self, value: Any, name: str) -> int:
        """A whole number from 1 on."""
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not 1 <= value < 2**31:
            raise InvalidArgument(f"[{self.op}] {name} must be a whole number from 1 on, it is "
                                  f"{value!r}")
        return int(value)

    def choice(self, value: Any, name: str, words: Sequence[str]) -> int:
        """The index of a word."""
        if value not in words:
            raise InvalidArgument(f"[{self.op}] {name} must be one of {', '.join(words)}, it is "
                                  f"{value!r}")
        return words.index(value)


def rms_norm(x: Any, weight: Any, shift: Any = None, *, eps: float = 1e-6, out: Any = None,
             stream: Optional[int] = None) -> Any:
    """out[r, :] = x[r, :] / rms(x[r, :]) * weight + shift,  rms(v) = sqrt(mean(v^2) + eps)

    x, out  [rows, dim], float32, bfloat16 or float16, each of its own type; out may be x. A new
            array has x's type.
    weight  float32 [dim]. Gemma's norms store weight - 1.
    shift   float32 [dim], or None for 0.
    """
    return _norm(_Call("rms_norm", stream), x, {"weight": weight, "shift": shift}, eps, out)


def layer_norm(x: Any, weight: Any, bias: Any, *, eps: float = 1e-6, out: Any = None,
               stream: Optional[int] = None) -> Any:
    """out[r, :] = (x[r, :] - mean(x[r, :])) / sqrt(var(x[r, :]) + eps) * weight + bias

    x, out        [rows, dim], float32, bfloat16 or float16, each of its own type; out may be x. A
                  new array has x's type.
    weight, bias  float32 [dim].
    """
    return _norm(_Call("layer_norm", stream), x, {"weight": weight, "bias": bias}, eps, out)


def linear(x: Any, weight: Any, bias: Any = None, *, activation: str = "none",
           x_scales: Any = None, weight_scales: Any = None, out: Any = None,
           stream: Optional[int] = None) -> Any:
    """out = activation(x weight^T + bias)

    x           [m, k], float32, bfloat16, float16, or e4m3 with scales.
    weight      [n, k] of any of these types, as PyTorch's Linear stores it; [2n, k] for "geglu": n
                gate rows, then n up rows.
    bias        float32 [n], or [2n] for "geglu"; None for 0.
    activation  "none"; "gelu", in its tanh form; "silu"; or "geglu", which is
                gelu(x gate^T) * (x up^T).
    x_scales, weight_scales
                float32 scales of operands in e4m3, as quantize() gives them: [1, m] or
                [ceil(k / 128), m] for x, [1, n] for weight.
    out         [m, n], float32, bfloat16 or float16. A new array has x's type, or is float32 where
                that is e4m3.
    """
    call = _Call("linear", stream)
    number = call.choice(activation, "activation", c.ACTIVATIONS)
    given, matrix = call.view(x, "x"), call.view(weight, "weight")
    m, _ = call.extents(given, "x", "m, k")
    rows, _ = call.extents(matrix, "weight", "n, k")
    if activation == "geglu" and rows % 2:
        raise InvalidArgument(f"[linear] weight must have n gate rows and n up rows, it has {rows}")
    arguments = (call.tensor(given, "x", x_scales is not None), call.take(x_scales, "x_scales"),
                 call.tensor(matrix, "weight", weight_scales is not None),
                 call.take(weight_scales, "weight_scales"), call.take(bias, "bias"))
    dtype = given.dtype if given.dtype in _FLOATING else "float32"
    n = rows // 2 if activation == "geglu" else rows
    out, result = call.result(out, "out", (m, n), dtype)
    call.run(*arguments, number, result)
    return out


def quantize(x: Any, *, per_block: bool = False, out: Optional[Tuple[Any, Any]] = None,
             stream: Optional[int] = None) -> Tuple[Any, Any]:
    """scales[b, r] = max |x[r, block b]| / 448;  values[r, i] = x[r, i] / scales[block of i, r]

    x       [rows, columns], float32, bfloat16 or float16.
    values  e4m3 [rows, columns]; a new array holds their bits in uint8.
    scales  float32 [1, rows], one for a row; with per_block [ceil(columns / 128), rows], one for
            each 128 neighbours of a row. 1 where they would be below 2^-126.
    out     (values, scales), which are also what is returned.

    Rounds to nearest even; 448 is the largest e4m3.
    """
    call = _Call("quantize", stream)
    given = call.view(x, "x")
    rows, columns = call.extents(given, "x", "rows, columns")
    values, scales = (None, None) if out is None else _parts(call, out, 2, "(values, scales)")
    blocks = -(-columns // _SCALE_BLOCK) if per_block else 1
    argument = call.tensor(given, "x")
    values, bits = call.result(values, "values", (rows, columns), "float8_e4m3fn", is_e4m3=True)
    scales, factors = call.result(scales, "scales", (blocks, rows), "float32")
    call.run(argument, bits, factors)
    return values, scales


def rope_table(positions: int, head_dim: int, *, base: float = 10000.0) -> npt.NDArray[np.float32]:
    """table[p, i] = cos(p f_i), table[p, head_dim/2 + i] = sin(p f_i),
    f_i = base^(-2 i / head_dim): float32 [positions, head_dim], which rope() rotates by. For a GPU
    it is copied there once. head_dim is even."""
    call = _Call("rope_table", None)
    shape = call.count(positions, "positions"), call.count(head_dim, "head_dim")
    if shape[1] % 2:
        raise InvalidArgument(f"[rope_table] head_dim must be even, it is {head_dim}")
    table = np.empty(shape, np.float32)
    tensor = call.tensor(call.view(table, "table"), "table")
    check(library().saccade_ops_rope_table(call.number(base, "base"), ctypes.byref(tensor)))
    return table


def rope(qkv: Any, positions: Any, table: Any, *, kv_heads: Optional[int] = None,
         out: Optional[Tuple[Any, Any, Any]] = None,
         stream: Optional[int] = None) -> Tuple[Any, Any, Any]:
    """Splits the rows of a merged projection into heads, and rotates queries and keys by position:

        y[i]              = x[i] cos - x[i + head_dim/2] sin
        y[i + head_dim/2] = x[i + head_dim/2] cos + x[i] sin

    qkv        [rows, (heads + 2 kv_heads) head_dim], float32, bfloat16 or float16: the queries of
               all heads, then the keys, then the values.
    positions  int32 [rows], each below the rows of table and k. Not checked on a GPU.
    table      float32 [positions, head_dim], from rope_table().
    kv_heads   of new arrays; with out it follows from k.
    out        (q, k, v), which are also what is returned: q [rows, heads, head_dim]; k and v
               [cache rows, kv_heads, head_dim], of which row positions[r] is written. New k and v
               have as many rows as the table, and zeros where nothing is written.
    """
    call = _Call("rope", stream)
    given, angles = call.view(qkv, "qkv"), call.view(table, "table")
    rows, width = call.extents(given, "qkv", "rows, (heads + 2 kv_heads) head_dim")
    cache_rows, head_dim = call.extents(angles, "table", "positions, head_dim")
    arguments = (call.tensor(given, "qkv"), call.take(positions, "positions"),
                 call.tensor(angles, "table"))
    if out is None:
        kv_heads = call.count(kv_heads, "kv_heads")
        cache_shape: Tuple[int, ...] = (cache_rows, kv_heads, head_dim)
        q, k, v = None, None, None
    else:
        q, k, v = _parts(call, out, 3, "(q, k, v)")
        cache_shape = call.extents(call.view(k, "k"), "k", "cache rows, kv_heads, head_dim")
    heads = width // head_dim - 2 * cache_shape[1]
    if heads < 1:
        raise InvalidArgument(f"[rope] qkv is {list(given.shape)}, which has no queries beside "
                              f"keys and values of {cache_shape[1]} kv heads of {head_dim}")
    q, queries = call.result(q, "q", (rows, heads, head_dim), given.dtype)
    k, keys = call.result(k, "k", cache_shape, given.dtype)
    v, values = call.result(v, "v", cache_shape, given.dtype)
    if out is None:
        k[:], v[:] = 0, 0
    call.run(*arguments, queries, keys, values)
    return q, k, v


def attention(q: Any, k: Any, v: Any, visible: Any = None, *, scale: Optional[float] = None,
              out: Any = None, stream: Optional[int] = None) -> Any:
    """out[r, h, :] = sum_j softmax_j(scale q[r, h, :] . k[j, g, :]) v[j, g, :],  j < visible[r]

    Query head h reads kv head g = h / (heads / kv_heads): multi-query attention where kv_heads is
    1. `visible` expresses every block-causal mask: a row sees all keys of its own and of earlier
    blocks.

    q        [rows, heads, head_dim], float32, bfloat16 or float16.
    k, v     [kv_rows, kv_heads, head_dim] of q's type; heads is a multiple of kv_heads.
    visible  int32 [rows] from 1 to kv_rows, or None: every row sees all. Not checked on a GPU.
    scale    of the logits, or None for 1 / sqrt(head_dim).
    out      [rows, heads head_dim] of q's type.
    """
    call = _Call("attention", stream)
    given = call.view(q, "q")
    rows, heads, head_dim = call.extents(given, "q", "rows, heads, head_dim")
    arguments = (call.tensor(given, "q"), call.take(k, "k"), call.take(v, "v"),
                 call.take(visible, "visible"))
    factor = max(head_dim, 1) ** -0.5 if scale is None else call.number(scale, "scale")
    out, result = call.result(out, "out", (rows, heads * head_dim), given.dtype)
    call.run(*arguments, factor, result)
    return out


def attention_packed(qkv: Any, heads: int, *, scale: Optional[float] = None, out: Any = None,
                     stream: Optional[int] = None) -> Any:
    """attention() of independent sequences, from a merged projection; every row sees its sequence.

    qkv    [batch, rows, 3 heads head_dim], float32, bfloat16 or float16: all queries, all keys, all
           values.
    heads  of queries, and of keys and values.
    scale  of the logits, or None for 1 / sqrt(head_dim).
    out    [batch, rows, heads head_dim] of qkv's type.
    """
    call = _Call("attention_packed", stream)
    given = call.view(qkv, "qkv")
    batch, rows, width = call.extents(given, "qkv", "batch, rows, 3 heads head_dim")
    heads = call.count(heads, "heads")
    head_dim = width // 3 // heads
    if head_dim == 0 or width != 3 * heads * head_dim:
        raise InvalidArgument(f"[attention_packed] qkv's last extent must be 3 x {heads} heads x "
                              f"head_dim, it is {width}")
    factor = head_dim ** -0.5 if scale is None else call.number(scale, "scale")
    argument = call.tensor(given, "qkv")
    out, result = call.result(out, "out", (batch, rows, heads * head_dim), given.dtype)
    call.run(argument, heads, factor, result)
    return out


def resize_with_pad(frame: Any, size: int, *, filter: str = "antialias", out: Any = None,
                    stream: Optional[int] = None) -> Any:
    """Resizes a camera frame into a square, keeping its aspect, centred on black, and maps
    [0, 255] to [-1, 1], as openpi's and LeRobot's policies see it.

    frame   uint8 [height, width, 3], RGB.
    size    height and width of the square, in pixels.
    filter  "antialias", which is PIL's BILINEAR to the bit, as openpi resizes; or "bilinear", which
            is torch's interpolate(mode="bilinear", align_corners=False), as LeRobot does.
    out     float32 [3, size, size]; padding is -1.
    """
    call = _Call("resize_with_pad", stream)
    size = call.count(size, "size")
    argument = call.take(frame, "frame")
    out, result = call.result(out, "out", (3, size, size), "float32")
    call.run(argument, call.choice(filter, "filter", c.FILTERS), result)
    return out


def _norm(call: _Call, x: Any, vectors: Dict[str, Any], eps: float, out: Any) -> Any:
    given = call.view(x, "x")
    argument = call.tensor(given, "x")
    affine = [call.take(vector, name) for name, vector in vectors.items()]
    out, result = call.result(out, "out", given.shape, given.dtype)
    call.run(argument, *affine, call.number(eps, "eps"), result)
    return out


def _parts(call: _Call, out: Any, count: int, names: str) -> Tuple[Any, ...]:
    if not isinstance(out, (tuple, list)) or len(out) != count or any(x is None for x in out):
        raise InvalidArgument(f"[{call.op}] out must be {names}, it is {type(out)}")
    return tuple(out)
