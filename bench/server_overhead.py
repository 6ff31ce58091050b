#!/usr/bin/env python3
"""What `saccade serve` adds to an inference, as a client on the same machine sees it.

A tiny random policy of LIBERO's robot is served on the CPU. The overhead is a client's round trip
less policy_timing.infer_ms. Two clients ask in turns: openpi's own, and a socket that sends one
prepared frame, which leaves the server and the loopback device. Of openpi's, `client` is what it
takes itself to pack and mask an observation. `inside` is the server from the last byte of an
observation to its reply, less the policy. Run by build/server-venv/bin/python after
`make test-server`. --address asks a server of LIBERO's robot, or a fleet, that is running already.
"""

import argparse
import json
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from openpi_client import msgpack_numpy
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from websockets.frames import Frame

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "server"), str(TESTS)]
from serving import TOKENIZER, Server, run  # noqa: E402

REQUESTS_BEFORE = 50
BLOCK = 25  # requests until the other client has its turn


class Packing:
    """Adds up what openpi's client spends on making frames of observations."""

    def __init__(self, client):
        self.ms = 0.0
        client._packer = SimpleNamespace(pack=self.timed(client._packer.pack))
        Frame.serialize = self.timed(Frame.serialize)

    def timed(self, function):
        def call(*arguments, **options):
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.ms += (time.perf_counter() - start) * 1e3
            return result

        return call


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


def measure(clients, observation, requests, packing):
    """A row of milliseconds for each request and client: overhead, client, inside."""
    rows = {name: [] for name in clients}
    while len(rows["prepared frame"]) < REQUESTS_BEFORE + requests:
        for name, client in clients.items():
            for _ in range(BLOCK):
                packing.ms = 0.0
                start = time.perf_counter()
                reply = client.infer(observation)
                taken = (time.perf_counter() - start) * 1e3
                policy = reply["policy_timing"]["infer_ms"]
                rows[name].append((taken - policy, packing.ms,
                                   reply["server_timing"]["infer_ms"] - policy))
    return {name: summary(np.array(row[REQUESTS_BEFORE:])) for name, row in rows.items()}


def summary(rows):
    overhead, client, inside = rows.T
    return {"min_ms": overhead.min(), "p50_ms": np.percentile(overhead, 50),
            "p99_ms": np.percentile(overhead, 99), "client_p50_ms": np.percentile(client, 50),
            "inside_p50_ms": np.percentile(inside, 50)}


def measure_all(host, port, requests):
    report = {}
    openpi = WebsocketClientPolicy(host, port)
    packing = Packing(openpi)
    for width, height in ((224, 224), (640, 480)):
        observation = observe(width, height)
        clients = {"openpi-client": openpi,
                   "prepared frame": PreparedClient(host, port, observation)}
        measured = measure(clients, observation, requests, packing)
        report |= {f"2 x {width}x{height}, {name}": {key: round(ms, 3) for key, ms in row.items()}
                   for name, row in measured.items()}
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
        print(f"{name:30}", *(f"{key[:-3]} {ms:6.3f} ms" for key, ms in row.items()))


if __name__ == "__main__":
    main()
