"""saccade.ops on a GPU, on PyTorch's tensors: against the same definitions as on the CPU."""

import unittest

import numpy as np

import op_definitions as define
from dlpack_producer import from_e4m3
from gpu_case import GpuCase

import saccade
from saccade import ops

# Of the largest number; sums are in float32, and the kernels' exponentials approximate.
TOLERANCES = {"float32": 1e-4, "float16": 2.0**-9, "bfloat16": 2.0**-6}
SHORT_SUMS = 1e-3  # the tensor cores add up products of two e4m3 with about 14 bits


def each_type(*shapes):
    return [(*shape, dtype) for dtype in sorted(TOLERANCES) for shape in shapes]


class GpuOps(GpuCase):
    def tensor(self, values, dtype="float32"):
        tensor = self.torch.from_numpy(np.ascontiguousarray(values))
        return tensor.to(getattr(self.torch, dtype)).cuda()

    def normals(self, *shape, seed=0, dtype="float32"):
        random = np.random.default_rng([seed, *shape])
        return self.tensor(random.standard_normal(shape), dtype)

    def nothing(self, *shape, dtype="float32"):
        return self.tensor(np.full(shape, np.nan), dtype)

    @staticmethod
    def values(tensor):
        return tensor.double().cpu().numpy()

    def expect_close(self, out, want, tolerance=None):
        dtype = str(out.dtype).split(".")[1]
        got = self.values(out)
        self.assertTrue(np.isfinite(got).all())
        error = abs(got - want).max() / max(1, abs(want).max())
        self.assertLessEqual(error, tolerance or TOLERANCES[dtype], f"{dtype} {list(out.shape)}")

    def test_norms(self):
        for rows, dim, dtype in each_type((1, 7), (5, 1152), (300, 2048), (2, 5000)):
            x = self.normals(rows, dim, dtype=dtype)
            weight, shift = self.normals(dim), self.normals(dim, seed=1)
            numbers = [self.values(tensor) for tensor in (x, weight, shift)]
            out = self.nothing(rows, dim, dtype=dtype)
            self.assertIs(ops.rms_norm(x, weight, shift, eps=0.5, out=out), out)
            self.expect_close(out, define.rms_norm(*numbers, eps=0.5))
            ops.layer_norm(x, weight, shift, eps=0.5, out=out)
            self.expect_close(out, define.layer_norm(*numbers, eps=0.5))
            ops.rms_norm(x, weight, out=x)
            self.expect_close(x, define.rms_norm(*numbers[:2]))

    def test_linear(self):
        for m, n, k, dtype in each_type((1, 1, 1), (3, 50, 70), (50, 1024, 2048),
                                      (300, 2048, 1024)):
            for activation in ("none", "gelu", "silu", "geglu"):
                rows = 2 * n if activation == "geglu" else n
                x, bias = self.normals(m, k, dtype=dtype), self.normals(rows, seed=2)
                weight = self.tensor(self.values(self.normals(rows, k, seed=1)) / k**0.5, dtype)
                out = self.nothing(m, n, dtype=dtype)
                ops.linear(x, weight, bias, activation=activation, out=out)
                self.expect_close(out, define.linear(*map(self.values, (x, weight, bias)),
                                                     activation))

    def test_quantize_and_linear_in_e4m3(self):
        torch = self.torch
        for rows, columns, dtype in each_type((3, 70), (64, 1024)):
            x, weight = self.normals(rows, columns, dtype=dtype), self.normals(256, columns, seed=1)
            operands = []
            for tensor, blocks in ((x, -(-columns // 128)), (weight, 1)):
                bits = torch.zeros(tensor.shape, dtype=torch.uint8, device="cuda")
                scales = self.nothing(blocks, len(tensor))
                ops.quantize(tensor, per_block=blocks > 1, out=(bits, scales))
                want = define.block_scales(self.values(tensor), blocks > 1)
                self.assertLess(abs(self.values(scales) / want - 1).max(), 1e-5)
                operands.append((bits, scales))
            out = self.nothing(rows, 256)
            ops.linear(operands[0][0], operands[1][0], x_scales=operands[0][1],
                       weight_scales=operands[1][1], out=out)
            self.expect_close(out, define.linear(*(
                define.scaled(from_e4m3(bits.cpu().numpy()), self.values(scales))
                for bits, scales in operands)), SHORT_SUMS)

    def test_rope(self):
        for rows, heads, kv_heads, head_dim, dtype in each_type((5, 8, 1, 256), (3, 4, 2, 6)):
            table = ops.rope_table(9, head_dim)
            qkv = self.normals(rows, (heads + 2 * kv_heads) * head_dim, dtype=dtype)
            positions = np.array([8, 0, 3, 7, 5], np.int32)[:rows]
            shapes = [(rows, heads, head_dim), *2 * [(9, kv_heads, head_dim)]]
            out = tuple(self.tensor(np.zeros(shape), dtype) for shape in shapes)
            ops.rope(qkv, self.tensor(positions, "int32"), self.tensor(table), out=out)
            for got, want in zip(out, define.rope(self.values(qkv), positions, table.astype(float),
                                                  kv_heads, 9)):
                self.expect_close(got, want)

    def test_attention(self):
        for rows, kv_rows, heads, kv_heads, head_dim, dtype in each_type(
                (5, 70, 8, 1, 256), (300, 300, 8, 1, 256), (3, 9, 6, 2, 10), (64, 64, 4, 4, 72)):
            q = self.normals(rows, heads, head_dim, dtype=dtype)
            k = self.normals(kv_rows, kv_heads, head_dim, seed=1, dtype=dtype)
            v = self.normals(kv_rows, kv_heads, head_dim, seed=2, dtype=dtype)
            visible = np.random.default_rng(0).integers(1, kv_rows + 1, rows).astype(np.int32)
            visible.sort()
            out = self.nothing(rows, heads * head_dim, dtype=dtype)
            numbers = [self.values(tensor) for tensor in (q, k, v)]
            ops.attention(q, k, v, out=out)
            self.expect_close(out, define.attention(*numbers))
            ops.attention(q, k, v, self.tensor(visible, "int32"), scale=0.05, out=out)
            self.expect_close(out, define.attention(*numbers, visible, 0.05))

    def test_attention_packed(self):
        for batch, rows, heads, head_dim, dtype in each_type((2, 33, 4, 16), (1, 256, 16, 72)):
            qkv = self.normals(batch, rows, 3 * heads * head_dim, dtype=dtype)
            out = self.nothing(batch, rows, heads * head_dim, dtype=dtype)
            ops.attention_packed(qkv, heads, out=out)
            self.expect_close(out, define.attention_packed(self.values(qkv), heads))

    def test_resize_has_the_bits_of_the_cpu(self):
        frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
        for filter in ("antialias", "bilinear"):
            out = self.nothing(3, 224, 224)
            ops.resize_with_pad(self.tensor(frame, "uint8"), 224, filter=filter, out=out)
            want = ops.resize_with_pad(frame, 224, filter=filter)
            self.assertEqual(out.cpu().numpy().tobytes(), want.tobytes())

    def test_operands_that_are_still_being_written_are_waited_for(self):
        torch = self.torch
        weight, ready = self.normals(64), self.normals(5, 64)
        want = define.rms_norm(self.values(ready), self.values(weight))
        side = torch.cuda.Stream()
        for stream in (None, side.cuda_stream):
            late, out = torch.zeros_like(ready), self.nothing(5, 64)
            torch.cuda.synchronize()
            with torch.cuda.stream(side):
                torch.cuda._sleep(100_000_000)
                late.copy_(ready)
                ops.rms_norm(late, weight, out=out, stream=stream)
            torch.cuda.synchronize()
            self.expect_close(out, want)

    def test_ops_can_be_captured_in_a_graph(self):
        torch = self.torch
        x, weight, out = self.normals(5, 64), self.normals(64), self.nothing(5, 64)
        square, product = self.normals(64, 64, seed=1), self.nothing(5, 64)
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()

        def run():
            ops.rms_norm(x, weight, out=out, stream=stream.cuda_stream)
            ops.linear(out, square, out=product, stream=stream.cuda_stream)

        with torch.cuda.stream(stream):
            run()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            run()
        x.copy_(self.normals(5, 64, seed=9))
        graph.replay()
        torch.cuda.synchronize()
        normed = define.rms_norm(self.values(x), self.values(weight))
        self.expect_close(product, define.linear(normed, self.values(square)))

    def test_what_does_not_fit_is_named(self):
        x, weight = self.normals(3, 64), self.normals(64)
        for call, sentence in (
                (lambda: ops.rms_norm(x, weight), "out must be given: the operands are in GPU"),
                (lambda: ops.rms_norm(x, weight.cpu(), out=x), "weight is in host memory"),
                (lambda: ops.rms_norm(x, weight[1:], out=x), "weight must begin at a multiple of"),
                (lambda: ops.rms_norm(x, weight[:60], out=x), "weight must be .64., got .60."),
                (lambda: ops.rms_norm(x.t(), weight, out=x), "x must be contiguous")):
            with self.assertRaisesRegex(saccade.InvalidArgument, sentence):
                call()


if __name__ == "__main__":
    unittest.main()
