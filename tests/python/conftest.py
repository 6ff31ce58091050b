"""What the tests of the Python package share: the package of this checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SACCADE_BIN", str(ROOT / "build" / "cpu" / "bin" / "saccade"))

# $SACCADE_PACKAGE tests an installed package in place of the checkout's.
if "SACCADE_PACKAGE" not in os.environ:
    sys.path.insert(0, str(ROOT / "python"))

import saccade  # noqa: E402


@pytest.fixture(scope="session")
def command_line():
    """Runs `saccade infer --json` and returns its report."""

    def infer(*arguments):
        done = subprocess.run([BINARY, "infer", *map(str, arguments), "--json", "--device", "cpu"],
                              check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    return infer


@pytest.fixture(scope="session")
def policy(checkpoint, tokenizer):
    """One policy for tests that leave it as it is."""
    with saccade.load(checkpoint, device="cpu", tokenizer=tokenizer) as loaded:
        yield loaded


@pytest.fixture
def given():
    """Arguments of infer() that fit the policy."""
    random = np.random.default_rng(3)
    return {
        "images": {"front": random.integers(0, 256, (48, 64, 3), np.uint8),
                   "wrist": random.integers(0, 256, (30, 20, 3), np.uint8)},
        "state": np.linspace(-1, 1, 14),
        "tokens": [2, 17, 5],
        "seed": 7,
    }
