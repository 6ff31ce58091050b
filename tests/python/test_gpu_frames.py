"""Frames in GPU memory, as PyTorch's tensors: the same bits as from the host, in stream order."""

import subprocess
import tempfile
import unittest

import numpy as np

from gpu_case import BINARY, GpuCase

import saccade


class GpuFrames(GpuCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        checkpoint = cls.folder.name + "/pi05"
        subprocess.run([BINARY, "synth", checkpoint, "--model", "pi05"], check=True,
                       stdout=subprocess.DEVNULL)
        cls.policy = saccade.load(checkpoint, device="cuda")
        cls.addClassCleanup(cls.policy.close)
        cls.on_cpu = saccade.load(checkpoint, device="cpu")
        cls.addClassCleanup(cls.on_cpu.close)

    def setUp(self):
        random = np.random.default_rng(3)
        self.front = random.integers(0, 256, (480, 640, 3)).astype(np.uint8)
        self.wrist = random.integers(0, 256, (30, 50, 3)).astype(np.uint8)
        self.state = np.linspace(-1, 1, 14)

    def infer(self, front, wrist=None, policy=None):
        images = {"front": front, "wrist": self.wrist if wrist is None else wrist}
        return (policy or self.policy).infer(images, self.state, tokens=[2, 17, 5], seed=7).actions

    def expect_same(self, actions, expected):
        self.assertEqual(actions.tobytes(), expected.tobytes())

    def test_same_bits_as_from_the_host(self):
        expected = self.infer(self.front)
        front, wrist = (self.torch.from_numpy(image).cuda() for image in (self.front, self.wrist))
        self.expect_same(self.infer(front), expected)
        self.expect_same(self.infer(front, wrist), expected)
        self.expect_same(self.infer(self.front, wrist), expected)
        self.expect_same(self.infer(self.torch.from_numpy(self.front)), expected)
        self.assertNotEqual(self.infer(front.flip(0)).tobytes(), expected.tobytes())

    def test_rows_may_have_gaps(self):
        expected = self.infer(self.front)
        wide = self.torch.zeros(500, 700, 3, dtype=self.torch.uint8, device="cuda")
        window = wide[7:487, 20:660]
        window.copy_(self.torch.from_numpy(self.front))
        self.assertFalse(window.is_contiguous())
        self.expect_same(self.infer(window), expected)
        self.expect_same(self.infer(window.cpu()), expected)

    def test_pixels_that_are_still_being_written_are_waited_for(self):
        torch = self.torch
        expected = self.infer(self.front)
        source = torch.from_numpy(self.front).cuda()
        for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
            with torch.cuda.stream(stream):
                late = torch.zeros_like(source)
                stream.synchronize()
                torch.cuda._sleep(100_000_000)  # some 50 ms
                late.copy_(source)
                self.expect_same(self.infer(late), expected)

    def test_the_pixels_may_be_overwritten_behind_an_inference(self):
        expected = self.infer(self.front)
        front = self.torch.from_numpy(self.front).cuda()
        for _ in range(5):
            actions = self.infer(front)
            front.zero_()
            self.expect_same(actions, expected)
            front.copy_(self.torch.from_numpy(self.front))

    def test_a_policy_on_the_cpu_refuses_them(self):
        front = self.torch.from_numpy(self.front).cuda()
        with self.assertRaisesRegex(saccade.InvalidArgument,
                                    "image 'front' is in GPU memory, the policy runs on the CPU"):
            self.infer(front, policy=self.on_cpu)

    def test_wrong_pixels_are_named(self):
        front = self.torch.from_numpy(self.front).cuda()
        for wrong, sentence in ((front.float(), "uint8 .height, width, 3., it is float32"),
                                (front.permute(2, 0, 1), "channels come last"),
                                (front[..., :1].expand(-1, -1, 3), "side by side"),
                                (front.permute(1, 0, 2), "side by side")):
            with self.assertRaisesRegex(saccade.InvalidArgument, "image 'front'.*" + sentence):
                self.infer(wrong)

    def test_actions_are_a_tensor_without_a_copy(self):
        actions = self.infer(self.front)
        tensor = self.torch.from_dlpack(actions)
        self.assertEqual(tensor.data_ptr(), actions.ctypes.data)


if __name__ == "__main__":
    unittest.main()
