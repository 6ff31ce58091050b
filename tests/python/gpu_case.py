"""What the tests on a GPU share. They run under pytest, and as plain programs where there is none:

    SACCADE_BIN=... SACCADE_LIBRARY=.../libsaccade.so python3 tests/python/test_gpu_frames.py

They need PyTorch as the other library, and are skipped without it or without a GPU.
"""

import os
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SACCADE_BIN", str(ROOT / "build" / "cuda" / "bin" / "saccade"))
if "SACCADE_PACKAGE" not in os.environ and str(ROOT / "python") not in sys.path:
    sys.path.insert(0, str(ROOT / "python"))


class GpuCase(unittest.TestCase):
    """A test that has self.torch and a GPU."""

    @classmethod
    def setUpClass(cls):
        try:
            import torch
        except ImportError:
            raise unittest.SkipTest("needs torch") from None
        if not torch.cuda.is_available():
            raise unittest.SkipTest("needs a GPU")
        cls.torch = torch
