"""What the tests of the command line share: the binary, and small files to feed it."""

import json
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pictures import write_png

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
TOKENIZER = ROOT / "examples" / "data" / "tiny_tokenizer.model"
BINARY = os.environ.get("SACCADE_BIN", str(ROOT / "build" / "cpu" / "bin" / "saccade"))


def run(*arguments, status=0, **options):
    """Runs saccade, checks its exit status, and returns what it printed."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | options
    done = subprocess.run([BINARY, *map(str, arguments)], text=True, **options)
    assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def fails(*arguments, status=2, **options):
    """Runs saccade, which must fail with one sentence. Returns the sentence."""
    done = run(*arguments, status=status, **options)
    assert not done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("saccade: "), done.stderr
    return lines[0]


def strict_json(text):
    """Parses JSON, which has no words for NaN and infinity."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)

def read_safetensors(path):
    """The tensors of a file: name to (dtype, shape, bytes)."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    body = data[8 + length:]
    return {name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    """Writes tensors of the form that read_safetensors returns."""
    header, body = {}, b""
    for name, (dtype, shape, data) in sorted(tensors.items(), key=lambda t: -len(t[1][2])):
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Tiny checkpoints by (model, layout)."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {}
    for model in ("pi0", "pi05"):
        for layout in ("lerobot", "openpi"):
            made[model, layout] = folder / f"{model}_{layout}"
            run("synth", made[model, layout], "--model", model, "--layout", layout)
    return made


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    pixels = np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return write_png(tmp_path_factory.mktemp("pictures") / "front.png", pixels)
