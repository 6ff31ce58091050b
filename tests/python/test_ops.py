"""saccade.ops on the CPU, on NumPy and DLPack: against their definitions in float64."""

import ctypes
import inspect
import sys

import numpy as np
import pytest

import op_definitions as define
import saccade
from dlpack_producer import Producer, bfloat16, from_bfloat16, from_e4m3
from saccade import ops

# Rounding at the store, and sums in float32 before it.
TOLERANCES = {"float32": 2e-6, "float16": 2.0**-10, "bfloat16": 2.0**-7}
DTYPES = sorted(TOLERANCES)


class Memory:
    """A tensor of one type: what an op is given, and the numbers that it holds."""

    def __init__(self, values, dtype):
        self.dtype = dtype
        if dtype == "bfloat16":
            self.array = bfloat16(values)
            self.given = Producer(self.array, "bfloat", 16)
        else:
            self.array = self.given = np.asarray(values, dtype)

    @property
    def values(self):
        array = from_bfloat16(self.array) if self.dtype == "bfloat16" else self.array
        return array.astype(np.float64)


def normals(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def nothing(shape, dtype):
    return Memory(np.full(shape, np.nan), dtype)


def expect_close(out, want, most=1.0):
    values = out.values if isinstance(out, Memory) else out.astype(np.float64)
    tolerance = TOLERANCES[str(out.dtype)] * most
    assert values.shape == want.shape and np.isfinite(values).all()
    assert abs(values - want).max() <= tolerance * max(1, abs(want).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, dim", [(1, 1), (1, 7), (3, 64), (5, 1152), (2, 4100)])
def test_norms(rows, dim, dtype):
    x = Memory(normals(rows, dim) * 3 + 1, dtype)
    weight, shift = Memory(normals(dim), "float32"), Memory(normals(dim, seed=1), "float32")
    out = nothing((rows, dim), dtype)
    assert ops.rms_norm(x.given, weight.given, out=out.given) is out.given
    expect_close(out, define.rms_norm(x.values, weight.values))
    ops.rms_norm(x.given, weight.given, shift.given, eps=0.5, out=out.given)
    expect_close(out, define.rms_norm(x.values, weight.values, shift.values, 0.5))
    assert ops.layer_norm(x.given, weight.given, shift.given, eps=0.5, out=out.given) is out.given
    expect_close(out, define.layer_norm(x.values, weight.values, shift.values, 0.5), 2)
    before = x.values
    ops.rms_norm(x.given, weight.given, out=x.given)  # in place
    expect_close(x, define.rms_norm(before, weight.values))


@pytest.mark.parametrize("activation", ["none", "gelu", "silu", "geglu"])
@pytest.mark.parametrize("m, n, k, x_type, weight_type, out_type", [
    (1, 1, 1, "float32", "float32", "float32"),
    (3, 5, 7, "float32", "bfloat16", "float32"),
    (17, 66, 130, "bfloat16", "bfloat16", "bfloat16"),
    (2, 8, 300, "float16", "float32", "float16"),
])
def test_linear(m, n, k, x_type, weight_type, out_type, activation):
    rows = 2 * n if activation == "geglu" else n
    x = Memory(normals(m, k), x_type)
    weight = Memory(normals(rows, k, seed=1) / np.sqrt(k), weight_type)
    bias = Memory(normals(rows, seed=2), "float32")
    out = nothing((m, n), out_type)
    assert ops.linear(x.given, weight.given, bias.given, activation=activation,
                      out=out.given) is out.given
    expect_close(out, define.linear(x.values, weight.values, bias.values, activation), 4)
    ops.linear(x.given, weight.given, activation=activation, out=out.given)
    expect_close(out, define.linear(x.values, weight.values, 0, activation), 4)


@pytest.mark.parametrize("per_block", [False, True])
@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 128), (5, 300)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_quantize(rows, columns, per_block, dtype):
    x = Memory(normals(rows, columns) * np.arange(rows)[:, None], dtype)  # the first row is 0
    values, scales = ops.quantize(x.given, per_block=per_block)
    assert values.dtype == np.uint8 and scales.dtype == np.float32
    assert np.allclose(scales, define.block_scales(x.values, per_block), rtol=1e-6)
    back = define.scaled(from_e4m3(values), scales.astype(np.float64))
    # Half a unit in the last of four bits, or in the smallest step of subnormals.
    step = define.scaled(np.full(x.array.shape, 2.0**-10), scales.astype(np.float64))
    assert (abs(back - x.values) <= np.maximum(abs(x.values) / 16, step) * (1 + 1e-6)).all()
    bits, factors = np.zeros_like(values), np.zeros_like(scales)
    given = ops.quantize(x.given, per_block=per_block, out=(Producer(bits, "e4m3", 8), factors))
    assert given[1] is factors
    assert (bits == values).all() and (factors == scales).all()


@pytest.mark.parametrize("activation", ["none", "geglu"])
@pytest.mark.parametrize("per_block", [False, True])
def test_linear_multiplies_e4m3(per_block, activation):
    x, weight = normals(5, 300).astype(np.float32), normals(64, 300, seed=1).astype(np.float32)
    x_bits, x_scales = ops.quantize(x, per_block=per_block)
    bits, scales = ops.quantize(weight)
    want = define.linear(define.scaled(from_e4m3(x_bits), x_scales.astype(np.float64)),
                         define.scaled(from_e4m3(bits), scales.astype(np.float64)), 0, activation)
    out = ops.linear(x_bits, bits, x_scales=x_scales, weight_scales=scales, activation=activation)
    expect_close(out, want, 8)
    named = ops.linear(Producer(x_bits, "e4m3", 8), Producer(bits, "e4m3", 8), x_scales=x_scales,
                       weight_scales=scales, activation=activation)
    assert (named == out).all()


def test_rope_table():
    table = ops.rope_table(50, 16, base=100.0)
    angles = np.arange(50)[:, None] * 100.0 ** (-np.arange(0, 16, 2) / 16)
    assert table.dtype == np.float32
    assert abs(table - np.concatenate([np.cos(angles), np.sin(angles)], -1)).max() < 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, heads, kv_heads, head_dim", [(1, 1, 1, 2), (3, 8, 1, 64),
                                                             (5, 4, 2, 6)])
def test_rope(rows, heads, kv_heads, head_dim, dtype):
    table = ops.rope_table(9, head_dim)
    qkv = Memory(normals(rows, (heads + 2 * kv_heads) * head_dim), dtype)
    positions = np.array([8, 0, 3, 7, 5], np.int32)[:rows]
    shapes = [(rows, heads, head_dim), *2 * [(9, kv_heads, head_dim)]]
    want = define.rope(qkv.values, positions, table.astype(np.float64), kv_heads, 9)
    outs = [Memory(np.zeros(shape), dtype) for shape in shapes]
    given = tuple(out.given for out in outs)
    assert ops.rope(qkv.given, positions, table, out=given) == given
    for out, definition in zip(outs, want):
        expect_close(out, definition)
    if dtype != "bfloat16":
        for out, definition in zip(ops.rope(qkv.given, positions, table, kv_heads=kv_heads), want):
            expect_close(out, definition)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, kv_rows, heads, kv_heads, head_dim", [
    (1, 1, 1, 1, 1), (5, 70, 8, 1, 64), (3, 9, 6, 2, 10), (4, 4, 2, 2, 72)])
def test_attention(rows, kv_rows, heads, kv_heads, head_dim, dtype):
    q = Memory(normals(rows, heads, head_dim), dtype)
    k = Memory(normals(kv_rows, kv_heads, head_dim, seed=1), dtype)
    v = Memory(normals(kv_rows, kv_heads, head_dim, seed=2), dtype)
    visible = np.random.default_rng(0).integers(1, kv_rows + 1, rows).astype(np.int32)
    out = nothing((rows, heads * head_dim), dtype)
    assert ops.attention(q.given, k.given, v.given, visible, out=out.given) is out.given
    expect_close(out, define.attention(q.values, k.values, v.values, visible), 4)
    ops.attention(q.given, k.given, v.given, scale=0.3, out=out.given)
    expect_close(out, define.attention(q.values, k.values, v.values, None, 0.3), 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch, rows, heads, head_dim", [(1, 1, 1, 3), (2, 33, 4, 16)])
def test_attention_packed(batch, rows, heads, head_dim, dtype):
    qkv = Memory(normals(batch, rows, 3 * heads * head_dim), dtype)
    out = nothing((batch, rows, heads * head_dim), dtype)
    ops.attention_packed(qkv.given, heads, out=out.given)
    expect_close(out, define.attention_packed(qkv.values, heads), 4)
    ops.attention_packed(qkv.given, heads, scale=0.1, out=out.given)
    expect_close(out, define.attention_packed(qkv.values, heads, 0.1), 4)


def test_resize_with_pad():
    frame = np.random.default_rng(0).integers(0, 256, (20, 40, 3)).astype(np.uint8)
    out = ops.resize_with_pad(frame, 40, filter="bilinear")
    assert out.shape == (3, 40, 40) and (out[:, :10] == -1).all() and (out[:, 30:] == -1).all()
    want = frame.transpose(2, 0, 1) / 127.5 - 1
    assert abs(out[:, 10:30] - want).max() < 1e-6
    assert abs(ops.resize_with_pad(frame, 40)[:, 10:30] - want).max() < 1e-6
    halves = frame.reshape(10, 2, 20, 2, 3).mean((1, 3)).transpose(2, 0, 1) / 127.5 - 1
    assert abs(ops.resize_with_pad(frame, 20, filter="bilinear")[:, 5:15] - halves).max() < 1e-6
    assert abs(ops.resize_with_pad(frame, 20)[:, 5:15] - halves).max() > 0.01  # a wider filter
    into = np.zeros((3, 20, 20), np.float32)
    assert ops.resize_with_pad(Producer(frame, "uint", 8), 20, out=into) is into and into.any()


def test_new_arrays_have_the_types_of_their_operands():
    x, weight = normals(3, 4).astype(np.float16), np.ones(4, np.float32)
    assert ops.rms_norm(x, weight).dtype == np.float16
    assert ops.layer_norm(x, weight, weight).dtype == np.float16
    assert ops.linear(x, np.ones((2, 4), np.float32)).dtype == np.float16
    heads = x.reshape(3, 1, 4)
    assert ops.attention(heads, heads, heads).dtype == np.float16
    assert ops.attention_packed(np.ones((1, 2, 6), np.float16), 2).dtype == np.float16
    tensor = Producer(bfloat16(x), "bfloat", 16)
    with pytest.raises(saccade.InvalidArgument, match="out must be given: it would be bfloat16"):
        ops.rms_norm(tensor, weight)


def test_tensors_are_given_back():
    class Array:
        def __init__(self, array):
            self.array = array

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

    x = normals(3, 4).astype(np.float32)
    before = sys.getrefcount(x)
    for _ in range(3):
        ops.rms_norm(Array(x), np.ones(4, np.float32))
        with pytest.raises(saccade.InvalidArgument):
            ops.rms_norm(Array(x), np.ones(5, np.float32))
    assert sys.getrefcount(x) == before


def test_offsets_and_absent_strides_of_dlpack_are_read():
    x, weight = normals(3, 4).astype(np.float32), np.ones(4, np.float32)
    want = ops.rms_norm(x, weight)
    tensor = Producer(x, "float", 32, explicit_strides=False, offset=8)
    assert (ops.rms_norm(tensor, weight) == want).all()
    assert (ops.rms_norm(x[1:], weight) == want[1:]).all()


F32 = np.float32
X, W = np.ones((3, 4), F32), np.ones(4, F32)
SQUARE = np.ones((4, 4), F32)
Q, KV = np.ones((3, 4, 8), F32), np.ones((5, 2, 8), F32)
TABLE = np.ones((5, 4), F32)
POSITIONS = np.zeros(3, np.int32)


@pytest.mark.parametrize("call, sentence", [
    (lambda: ops.rms_norm(X, np.ones(3, F32)), "[rms_norm] weight must be [4], got [3]"),
    (lambda: ops.rms_norm(X, W.astype(np.float16)), "[rms_norm] weight must be f32, got f16"),
    (lambda: ops.rms_norm(X.astype(np.float64), W), "[rms_norm] x must be one of float32, "),
    (lambda: ops.rms_norm(X.astype(np.int32), W), "[rms_norm] x must be f32, bf16 or f16, got i32"),
    (lambda: ops.rms_norm(X[0], W), "[rms_norm] x must be [rows, dim], got [4]"),
    (lambda: ops.rms_norm(X.T, np.ones(3, F32)), "[rms_norm] x must be contiguous, it is"),
    (lambda: ops.rms_norm(X[:, ::2], np.ones(2, F32)), "[rms_norm] x must be contiguous"),
    (lambda: ops.rms_norm(X[:0], W), "[rms_norm] x.shape[0] is 0"),
    (lambda: ops.rms_norm(np.ones((1,) * 5, F32), W), "[rms_norm] x must have 1 to 4 axes"),
    (lambda: ops.rms_norm(F32(1), W), "[rms_norm] x must be an array or have __dlpack__"),
    (lambda: ops.rms_norm([[1.0]], W), "[rms_norm] x must be an array or have __dlpack__"),
    (lambda: ops.rms_norm(X, None), "[rms_norm] weight must not be NULL"),
    (lambda: ops.rms_norm(X, W, np.ones(3, F32)), "[rms_norm] shift must be [4], got [3]"),
    (lambda: ops.rms_norm(X, W, eps=-1), "[rms_norm] eps must be finite and not negative"),
    (lambda: ops.rms_norm(X, W, eps="x"), "[rms_norm] eps must be a finite number, it is 'x'"),
    (lambda: ops.rms_norm(X, W, eps=np.nan), "[rms_norm] eps must be a finite number, it is nan"),
    (lambda: ops.rms_norm(X, W, out=X[:2].copy()), "[rms_norm] out must be [3, 4], it is [2, 4]"),
    (lambda: ops.rms_norm(X, W, out=np.ones((3, 4), np.uint8)), "[rms_norm] out must be f32, bf16"),
    (lambda: ops.rms_norm(X, W, out=np.broadcast_to(W, (3, 4))), "[rms_norm] out must be writable"),
    (lambda: ops.rms_norm(X, W, out=Producer(X.view(np.uint8)[:, :4].copy(), "e4m3", 8)),
     "[rms_norm] out must be f32, bf16 or f16, got e4m3"),
    (lambda: ops.rms_norm(X, W, stream=5), "[rms_norm] stream is given, x is in host memory"),
    (lambda: ops.rms_norm(X, W, stream="5"), "[rms_norm] stream must be the number of a CUDA"),
    (lambda: ops.layer_norm(X, W, np.ones(3, F32)), "[layer_norm] bias must be [4], got [3]"),
    (lambda: ops.layer_norm(X, W, W, eps=np.inf), "[layer_norm] eps must be a finite number"),
    (lambda: ops.linear(X, np.ones((5, 3), F32)), "weight must be [5, 4], got [5, 3]"),
    (lambda: ops.linear(X[0], X), "[linear] x must be [m, k], it is [4]"),
    (lambda: ops.linear(X, W), "[linear] weight must be [n, k], it is [4]"),
    (lambda: ops.linear(X, X, W), "bias must be [3], got [4]"),
    (lambda: ops.linear(X, X, activation="relu"), "[linear] activation must be one of none, gelu"),
    (lambda: ops.linear(X, X, activation="geglu"), "[linear] weight must have n gate rows and n"),
    (lambda: ops.linear(SQUARE, SQUARE, out=SQUARE[:3]), "[linear] out must be [4, 4], it is"),
    (lambda: ops.linear(SQUARE, np.ones((4, 4), F32), out=SQUARE), "out must not overlap x"),
    (lambda: ops.linear(X, X, x_scales=np.ones((1, 3), F32)), "x must be e4m3 to have scales"),
    (lambda: ops.linear(X.astype(np.uint8), X), "x must be f32, bf16 or f16, got u8"),
    (lambda: ops.linear(X, X.astype(np.uint8), weight_scales=np.ones((3, 1), F32)),
     "weight.scales must be [1, 3]"),
    (lambda: ops.quantize(W), "[quantize] x must be [rows, columns], it is [4]"),
    (lambda: ops.quantize(X, out=X), "[quantize] out must be (values, scales)"),
    (lambda: ops.quantize(X, out=(X, X)), "[quantize] scales must be [1, 3], it is [3, 4]"),
    (lambda: ops.quantize(X, out=(np.ones((3, 4), F32), np.ones((1, 3), F32))),
     "[quantize] out must be e4m3, got f32"),
    (lambda: ops.rope_table(0, 4), "[rope_table] positions must be a whole number from 1 on"),
    (lambda: ops.rope_table(4, 3), "[rope_table] head_dim must be even, it is 3"),
    (lambda: ops.rope_table(4, 4, base=0), "[rope_table] base must be positive, got 0"),
    (lambda: ops.rope(Q.reshape(3, 32), POSITIONS, TABLE), "[rope] kv_heads must be a whole"),
    (lambda: ops.rope(Q.reshape(3, 32), POSITIONS, TABLE, kv_heads=4), "[rope] qkv is [3, 32]"),
    (lambda: ops.rope(Q.reshape(3, 32), POSITIONS + 5, TABLE, kv_heads=1),
     "[rope] positions[0] must be in [0, 5), got 5"),
    (lambda: ops.rope(Q.reshape(3, 32), POSITIONS.astype(np.int64), TABLE, kv_heads=1),
     "[rope] positions must be one of float32"),
    (lambda: ops.rope(Q.reshape(3, 32), POSITIONS, TABLE, out=(X, X)),
     "[rope] out must be (q, k, v)"),
    (lambda: ops.rope(Q.reshape(3, 32), POSITIONS, TABLE, out=(None, X, X)),
     "[rope] out must be (q, k, v)"),
    (lambda: ops.attention(Q, KV, KV[:4]), "[attention] v must be [5, 2, 8], got [4, 2, 8]"),
    (lambda: ops.attention(Q, KV[:, :, :4].copy(), KV), "[attention] k must be [5, 2, 8], got"),
    (lambda: ops.attention(Q, np.ones((5, 3, 8), F32), np.ones((5, 3, 8), F32)),
     "heads must be a multiple of kv_heads"),
    (lambda: ops.attention(X, KV, KV), "[attention] q must be [rows, heads, head_dim], it is"),
    (lambda: ops.attention(Q, KV, KV, np.array([1, 6, 1], np.int32)),
     "[attention] visible[1] must be in [1, 5], got 6"),
    (lambda: ops.attention(Q, KV, KV, scale=np.inf), "[attention] scale must be a finite number"),
    (lambda: ops.attention_packed(Q, 3), "[attention_packed] qkv's last extent must be 3 x 3"),
    (lambda: ops.attention_packed(Q, 0), "[attention_packed] heads must be a whole number"),
    (lambda: ops.resize_with_pad(X, 4), "[resize_with_pad] frame must be u8, got f32"),
    (lambda: ops.resize_with_pad(np.ones((4, 4, 4), np.uint8), 4),
     "frame must be [height, width, 3]"),
    (lambda: ops.resize_with_pad(np.ones((4, 4, 3), np.uint8), 4, filter="bicubic"),
     "[resize_with_pad] filter must be one of antialias, bilinear"),
    (lambda: ops.resize_with_pad(np.ones((4, 4, 3), np.uint8), 4.5), "size must be a whole number"),
])
def test_wrong_arguments_are_named(call, sentence):
    with pytest.raises(saccade.InvalidArgument) as error:
        call()
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_what_no_op_takes_is_refused():
    class NoCapsule(Producer):
        def __dlpack__(self, stream=None):
            return 5

    class Refuses(Producer):
        def __dlpack__(self, stream=None):
            raise BufferError("it requires a gradient")

    x = normals(3, 4).astype(np.float32)
    with pytest.raises(saccade.NotSupported, match="x has elements of DLPack's type 5 with 64"):
        ops.rms_norm(Producer(x, "complex", 64), W)
    with pytest.raises(saccade.NotSupported, match="x is on a device of DLPack's type 10"):
        ops.rms_norm(Producer(x, "float", 32, device=(10, 0)), W)
    with pytest.raises(saccade.InvalidArgument, match="through DLPack: it requires a gradient"):
        ops.rms_norm(Refuses(x, "float", 32), W)
    with pytest.raises(saccade.InvalidArgument, match="x gives no DLPack tensor"):
        ops.rms_norm(NoCapsule(x, "float", 32), W)


def test_gpu_tensors_need_out_and_say_their_stream():
    on_gpu = Producer(X.copy(), "float", 32, device=(2, 0))
    with pytest.raises(saccade.InvalidArgument, match="out must be given: the operands are in GPU"):
        ops.rms_norm(on_gpu, W)
    for stream, asked in ((None, 1), (0, 1), (77, 77)):
        on_gpu.streams.clear()
        # The weight is in other memory; without a GPU, that there is none comes first.
        with pytest.raises(saccade.Error, match="weight is in host memory|CUDA|device"):
            ops.rms_norm(on_gpu, W, out=on_gpu, stream=stream)
        assert on_gpu.streams == [asked, asked]


def test_every_op_has_its_c_function_and_its_documentation():
    from saccade import _library as c

    functions = {name.removeprefix("saccade_ops_") for name in c._FUNCTIONS if "_ops_" in name}
    assert functions == set(ops.__all__)
    for name in ops.__all__:
        assert inspect.getdoc(getattr(ops, name))
    assert ctypes.sizeof(c.Tensor) == 56
