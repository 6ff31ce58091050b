"""What the tests of the Python packages share: a tiny policy. It also makes pytest put this folder
on the path, for pictures.py."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BINARY = os.environ.get("SACCADE_BIN", str(ROOT / "build" / "cpu" / "bin" / "saccade"))


@pytest.fixture(scope="session")
def tokenizer():
    return ROOT / "examples" / "data" / "tiny_tokenizer.model"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny Pi0.5 with the cameras front and wrist, 14 state and action dims, chunks of 6."""
    folder = tmp_path_factory.mktemp("checkpoints") / "pi05"
    subprocess.run([BINARY, "synth", folder, "--model", "pi05"], check=True, stdout=subprocess.PIPE)
    return folder
