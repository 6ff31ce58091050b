#!/usr/bin/env python3
"""What `saccade serve` adds to an inference, as a client on the same machine sees it.

A tiny random policy of LIBERO's robot is served on the CPU. The overhead is a client's round trip
less policy_timing.infer_ms. Two clients ask: openpi's own, whose packing and masking in Python count
too, and a socket that sends one prepared frame, which leaves the server and the loopback device.
Run by build/server-venv/bin/python after `make test-server`. --address asks a server of LIBERO's
robot, or a fleet, that is running already.
"""

import argparse
import json
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from openpi_client import msgpack_numpy
from openpi_client.websocket_client_policy import WebsocketClientPolicy

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "server"), str(TESTS)]
from serving import TOKENIZER, Server, run  # noqa: E402

REQUESTS_BEFORE = 50


class PreparedClient:
    """Sends the same masked frame again and again."""

    def __init__(self, host, port, observation):
        packed = np.frombuffer(msgpack_numpy.packb(observation), np.uint8)
        mask = np.array([17, 34, 51, 68], np.uint8)
        masked = packed ^ np.resize(mask, packed.size)
        self.frame = (b"\x82\xff" + struct.pack(">Q", packed.size) + mask.tobytes()
                      + masked.tobytes())
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        self.stream = self.socket.makefile("rb")
        while self.stream.readline() != b"\r\n":
            pass
        self.receive()  # the metadata

    def receive(self):
        length = self.stream.read(2)[1]
        if length == 126:
            length = int.from_bytes(self.stream.read(2), "big")
        return msgpack_numpy.unpackb(self.stream.read(length))

    def infer(self, _):
        self.socket.sendall(self.frame)
        return self.receive()


def observe(width, height):
    random = np.random.default_rng(0)
    frames = {f"observation/{name}": random.integers(0, 256, (height, width, 3), dtype=np.uint8)
              for name in ("image", "wrist_image")}
    return {**frames, "observation/state": np.zeros(8), "prompt": "put the cup on the plate"}


def measure(client, observation, requests):
    overhead = []
    for _ in range(REQUESTS_BEFORE + requests):
        start = time.perf_counter()
        reply = client.infer(observation)
        overhead.append((time.perf_counter() - start) * 1e3 - reply["policy_timing"]["infer_ms"])
    return {f"p{p}_ms": round(np.percentile(overhead[REQUESTS_BEFORE:], p), 3) for p in (50, 99)}


def measure_all(host, port, requests):
    report = {}
    for width, height in ((224, 224), (640, 480)):
        observation = observe(width, height)
        for name, client in (("openpi-client", WebsocketClientPolicy(host, port)),
                             ("prepared frame", PreparedClient(host, port, observation))):
            report[f"2 x {width}x{height}, {name}"] = measure(client, observation, requests)
    return report


def measure_server(requests):
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "tiny"
        run("synth", checkpoint, "--layout", "openpi")
        stats = checkpoint / "assets" / "synth" / "norm_stats.json"
        with Server(checkpoint, "--env", "libero", "--statistics", stats, "--tokenizer", TOKENIZER,
                    "--device", "cpu") as server:
            return measure_all("127.0.0.1", server.port, requests)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--address", metavar="HOST:PORT")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.address:
        host, port = options.address.rsplit(":", 1)
        report = measure_all(host, int(port), options.requests)
    else:
        report = measure_server(options.requests)
    if options.json:
        return print(json.dumps(report, indent=2))
    for name, row in report.items():
        print(f"{name:30} p50 {row['p50_ms']:6.3f} ms  p99 {row['p99_ms']:6.3f} ms")


if __name__ == "__main__":
    main()
