#!/usr/bin/env python3
"""Measures what Python adds to an inference: the wall time of Policy.infer() beyond what the C
interface measures inside, on a tiny random policy with camera frames of full size.

    bench/python_overhead.py [CHECKPOINT]        else `saccade synth` makes one

Calls are compared pairwise, each with its own inside, so that the machine's noise falls out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

import saccade  # noqa: E402


def synthesize(folder):
    binary = os.environ.get("SACCADE_BIN", str(ROOT / "build" / "cpu" / "bin" / "saccade"))
    checkpoint = Path(folder) / "tiny"
    subprocess.run([binary, "synth", checkpoint], check=True, stdout=subprocess.DEVNULL)
    return checkpoint


def measure(policy, calls):
    """Microseconds of Python around each call, and of the calls themselves."""
    random = np.random.default_rng(0)
    images = {camera: random.integers(0, 256, (480, 640, 3), np.uint8)
              for camera in policy.info.cameras}
    state = np.zeros(policy.info.state_dim)
    tokens = np.arange(2, 22, dtype=np.int32)
    around, inside = [], []
    for _ in range(calls):
        start = time.perf_counter()
        chunk = policy.infer(images, state, tokens=tokens)
        wall_us = (time.perf_counter() - start) * 1e6
        inside.append(chunk.times["total"] * 1e3)
        around.append(wall_us - inside[-1])
    warm = calls // 10
    return np.array(around[warm:]), np.array(inside[warm:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with saccade.load(options.checkpoint or synthesize(folder)) as policy:
            around, inside = measure(policy, options.calls)
    report = {"python": sys.version.split()[0], "numpy": np.__version__, "calls": len(around)}
    for name, values in (("overhead_us", around), ("inside_us", inside)):
        report[name] = {"p50": round(float(np.percentile(values, 50)), 1),
                        "p99": round(float(np.percentile(values, 99)), 1)}
    if options.json:
        print(json.dumps(report))
        return
    print(f"Python {report['python']}, NumPy {report['numpy']}, {report['calls']} calls")
    for name in ("overhead_us", "inside_us"):
        print(f"{name:12} p50 {report[name]['p50']:9.1f}   p99 {report[name]['p99']:9.1f}")


if __name__ == "__main__":
    main()
