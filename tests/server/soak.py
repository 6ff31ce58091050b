#!/usr/bin/env python3
"""Many good and bad clients at once against one server, for long.

    build/server-venv/bin/python tests/server/soak.py [--requests 10000] [--connections 16]

Each connection asks good questions in turn, some sent ahead of their replies. Between them, from
threads of their own, come clients that stall in the middle of a message, leave in the middle of a
frame or of an inference, and send garbage, broken, oversized and deeply nested messages. It fails
unless the server lives, every good request is answered once, in order and with the actions that
the server's own recording has for it, every bad message is answered with its sentence or closing code, and memory stays flat.
`make test-server` runs a short form (test_soak.py).
"""

import argparse
import json
import logging
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import websockets.exceptions
from openpi_client import msgpack_numpy

from serving import TOKENIZER, Server, run
from test_protocol import OBSERVATION, connect, get
from test_robustness import raw_connection

logging.getLogger("websockets").setLevel(logging.CRITICAL)  # it logs what servers refuse

AHEAD = 4  # messages that a client sends before it reads a reply
SIDE = 48  # pixels
MAX_MESSAGE_MB = 1
MAX_CONNECTIONS = 64


class Tally:
    """Counts by name, from many threads; and the first thing that went wrong in each."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {}
        self.failures = []

    def add(self, name, count=1):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + count

    def fail(self, text):
        with self.lock:
            self.failures.append(text)


def observation(number):
    """Its state tells which it is."""
    random = np.random.default_rng(number)
    frame = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return OBSERVATION | {"observation/image": frame, "observation/wrist_image": frame,
                          "observation/state": random.uniform(-1, 1, 8)}


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    kinds = {"F64": "<f8", "F32": "<f4", "U8": "u1"}
    return {name: np.frombuffer(data[8 + length:][slice(*entry["data_offsets"])],
                                kinds[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in json.loads(data[8:8 + length]).items() if name != "__metadata__"}


class GoodClient:
    """Asks the same questions in turn, and keeps the actions of its replies."""

    def __init__(self, server, tally, messages):
        self.socket = connect(server)
        assert msgpack_numpy.unpackb(self.socket.recv()) == {}
        self.tally = tally
        self.messages = messages
        self.sent = 0
        self.replies = []

    def ask(self, count):
        end = self.sent + count
        while len(self.replies) < end:
            while self.sent < end and self.sent - len(self.replies) < AHEAD:
                self.socket.send(self.messages[self.sent % len(self.messages)])
                self.sent += 1
            reply = msgpack_numpy.unpackb(self.socket.recv(timeout=60))
            assert ("prev_total_ms" in reply["server_timing"]) == (len(self.replies) > 0)
            self.replies.append(reply["actions"].astype(np.float32))
        try:  # nothing is answered twice
            self.socket.recv(timeout=0.05)
            raise AssertionError("a reply that nobody asked for")
        except TimeoutError:
            self.tally.add("good requests answered once", count)

    def check_order(self, recorded):
        """Reply i is what the server recorded for observation i."""
        assert len(recorded) == len(self.replies), (len(recorded), len(self.replies))
        for i, (path, reply) in enumerate(zip(recorded, self.replies)):
            tensors = read_safetensors(path)
            assert (tensors["state"] == observation(i % len(self.messages))["observation/state"]).all()
            assert (tensors["actions"] == reply).all(), f"reply {i} is another's"
        self.tally.add("of them in order", len(self.replies))


def told(server, message, part):
    """A bad message is answered with one sentence, then with 1011."""
    with connect(server) as client:
        client.recv()
        client.send(message)
        text = client.recv(timeout=60)
        assert isinstance(text, str) and part in text and "\n" not in text, text
        try:
            client.recv(timeout=60)
            raise AssertionError("still open after an error")
        except websockets.exceptions.ConnectionClosed:
            assert client.close_code == 1011


def send_garbage(server, random, packed):
    told(server, random.bytes(int(random.integers(1, 300))), "")


def send_truncated(server, random, packed):
    told(server, packed[: int(random.integers(0, len(packed)))], "[message]")


def send_nested(server, random, packed):
    told(server, (b"\x91", b"\x81\xa1a")[int(random.integers(2))] * 200_000, "levels deep")


def send_nan(server, random, packed):
    bad = OBSERVATION | {"observation/state": np.full(8, np.nan)}
    told(server, msgpack_numpy.packb(bad), "'observation/state' has a value that is NaN")


def send_text(server, random, packed):
    told(server, "an observation", "binary")


def send_oversized(server, random, packed):
    with connect(server) as client:
        client.recv()
        try:
            client.send(bytes((MAX_MESSAGE_MB << 20) + 1))
            client.recv(timeout=60)
            raise AssertionError("an oversized message was taken")
        except websockets.exceptions.ConnectionClosed:
            # The kernel may drop the closing code with what the server has not read.
            assert client.close_code in (1009, 1006), client.close_code


def frame_of(packed):
    """A masked frame, whose mask is zero."""
    return b"\x82\xfe" + len(packed).to_bytes(2, "big") + bytes(4) + packed


def leave_in_frame(server, random, packed):
    with raw_connection(server) as client:
        client.sendall(frame_of(packed)[: int(random.integers(1, len(packed)))])


def leave_in_inference(server, random, packed):
    with raw_connection(server) as client:
        client.sendall(frame_of(packed))


def break_protocol(server, random, packed):
    with raw_connection(server) as client:
        client.settimeout(60)
        client.sendall((b"\x82\x05hello", b"\xf2\x80\0\0\0\0")[int(random.integers(2))])
        while client.recv(4096):  # until the server hangs up
            pass


def stall(server, random, packed):
    """Half of a message, a pause, the other half: the reply must come all the same."""
    frame = frame_of(packed)
    half = int(random.integers(15, len(frame)))
    with raw_connection(server) as client:
        client.settimeout(60)
        client.sendall(frame[:half])
        time.sleep(float(random.uniform(0.02, 0.2)))
        client.sendall(frame[half:])
        heard = b""
        while b"server_timing" not in heard:
            piece = client.recv(65536)
            assert piece, "hung up on a slow client"
            heard += piece


def hang_in_request(server, random, packed):
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET / HT")


BAD_CLIENTS = [send_garbage, send_truncated, send_nested, send_nan, send_text, send_oversized,
               leave_in_frame, leave_in_inference, break_protocol, stall, hang_in_request]


class Disturber(threading.Thread):
    """Bad clients one after the other, until it is stopped."""

    def __init__(self, server, tally, packed, seed):
        super().__init__(daemon=True)
        self.server, self.tally, self.packed = server, tally, packed
        self.random = np.random.default_rng(seed)
        self.pause = threading.Event()

    def run(self):
        while not self.pause.is_set():
            for client in BAD_CLIENTS:
                try:
                    client(self.server, self.random, self.packed)
                    self.tally.add(client.__name__)
                except Exception as error:  # noqa: BLE001  (a thread's failure is the soak's)
                    self.tally.fail(f"{client.__name__}: {type(error).__name__}: {error}")


def ask_all(clients, each, tally):
    def work(client):
        try:
            client.ask(each)
        except Exception as error:  # noqa: BLE001
            tally.fail(f"good client: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def soak(given, recording, requests, connections, warm, disturbers=2):
    """Returns what was counted, and the memory after `warm` of the requests and after all."""
    with Server(*given, "--max-message-mb", MAX_MESSAGE_MB, "--max-connections", MAX_CONNECTIONS,
                "--record", recording) as server:
        clients, tally, before, after = disturb(server, requests, connections, warm, disturbers)
    index = [json.loads(line) for line in (recording / "index.jsonl").read_text().splitlines()]
    for number, client in enumerate(clients, 1):  # they were the first to connect
        files = [recording / line["file"] for line in index
                 if line.get("connection") == number and "error" not in line]
        try:
            client.check_order(files)
        except AssertionError as error:
            tally.fail(f"connection {number}: {error}")
    return tally, before, after


def disturb(server, requests, connections, warm, disturbers):
    tally = Tally()
    messages = [msgpack_numpy.packb(observation(i)) for i in range(8)]
    clients = [GoodClient(server, tally, messages) for _ in range(connections)]
    threads = [Disturber(server, tally, messages[0], i) for i in range(disturbers)]
    for thread in threads:
        thread.start()
    ask_all(clients, warm // connections, tally)
    before = server.rss_mb()
    ask_all(clients, (requests - warm) // connections, tally)
    after = server.rss_mb()
    for thread in threads:
        thread.pause.set()
    for thread in threads:
        thread.join(120)
    assert server.process.poll() is None, "the server died"
    assert get(server, "/healthz")[0] == 200
    for client in clients:
        client.socket.close()
    return clients, tally, before, after


def main():
    parser = argparse.ArgumentParser(description="Soaks saccade serve with good and bad clients.")
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--warm", type=int, default=2000, help="requests before memory is first read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run("synth", folder / "policy", "--layout", "openpi")
        given = [folder / "policy", "--env", "libero", "--tokenizer", TOKENIZER, "--statistics",
                 folder / "policy" / "assets" / "synth" / "norm_stats.json"]
        start = time.monotonic()
        tally, before, after = soak(given, folder / "recording", options.requests,
                                    options.connections, options.warm)
    growth = after / before - 1
    print(json.dumps({"seconds": round(time.monotonic() - start, 1), "rss_mb_after_warm": before,
                      "rss_mb_at_end": after, "growth": growth, **tally.counts}, indent=2))
    for failure in tally.failures[:20]:
        print(failure, file=sys.stderr)
    if growth > 0.01:
        print("memory grew by more than 1 %", file=sys.stderr)
    return 1 if tally.failures or growth > 0.01 else 0


if __name__ == "__main__":
    sys.exit(main())
