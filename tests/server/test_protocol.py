"""The wire as openpi's client sees it, and what goes on beside it: health, signals, keys."""

import base64
import http.client
import threading
import time

import numpy as np
import pytest
import websockets.exceptions
import websockets.sync.client
from openpi_client import msgpack_numpy
from openpi_client.action_chunk_broker import ActionChunkBroker

from serving import ERROR_REASON, Server, run

FRAME = np.zeros((8, 8, 3), np.uint8)
OBSERVATION = {"observation/image": FRAME, "observation/wrist_image": FRAME,
               "observation/state": np.zeros(8), "prompt": "go"}
PACKED = msgpack_numpy.packb(OBSERVATION)


def connect(server, **options):
    return websockets.sync.client.connect(server.url, max_size=None, **options)


def get(server, path, method="GET", headers=None, binary=False):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers or {})
    response = connection.getresponse()
    body = response.read()
    return response.status, body if binary else body.decode(), response


def metric(server, name):
    line = next(line for line in get(server, "/metrics")[1].splitlines()
                if line.startswith(name + " "))
    return float(line.split()[1])


class Asking(threading.Thread):
    """One inference on a thread of its own."""

    def __init__(self, socket):
        super().__init__()
        self.socket = socket
        self.reply = None
        self.socket.send(PACKED)
        self.start()

    def run(self):
        self.reply = self.socket.recv()


def test_messages_are_byte_for_byte_openpis(server):
    with connect(server) as socket:
        assert socket.protocol.extensions == []  # though the client offers permessage-deflate
        assert socket.recv() == msgpack_numpy.packb({})
        for i in range(3):
            socket.send(PACKED)
            raw = socket.recv()
            reply = msgpack_numpy.unpackb(raw)
            assert msgpack_numpy.packb(reply) == raw
            keys = ["infer_ms", "prev_total_ms"] if i else ["infer_ms"]
            assert list(reply["server_timing"]) == keys
            assert list(reply["policy_timing"]) == ["infer_ms"]
            assert 0 < reply["policy_timing"]["infer_ms"] <= reply["server_timing"]["infer_ms"]


def test_previous_total_counts_from_the_wait_to_the_reply(server):
    client = server.client()
    client.infer(OBSERVATION)
    time.sleep(0.2)
    client.infer(OBSERVATION)
    assert 200 < client.infer(OBSERVATION)["server_timing"]["prev_total_ms"] < 400


def test_action_chunk_broker(server):
    broker = ActionChunkBroker(server.client(), action_horizon=10)
    before = metric(server, "saccade_requests_total")
    steps = [broker.infer(OBSERVATION)["actions"] for _ in range(25)]
    assert all(step.shape == (7,) for step in steps)
    assert metric(server, "saccade_requests_total") == before + 3


def test_errors_are_text_and_close_with_1011(server):
    with connect(server) as socket:
        socket.recv()
        socket.send(PACKED[:-1])
        text = socket.recv()
        assert isinstance(text, str) and text.startswith("[message]")
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            socket.recv()
        assert (socket.close_code, socket.close_reason) == (1011, ERROR_REASON)
    with connect(server) as socket:
        socket.recv()
        socket.send("text")
        assert "binary" in socket.recv()


def test_messages_sent_ahead_are_answered_in_turn(server):
    with connect(server) as socket:
        socket.recv()
        for _ in range(20):
            socket.send(PACKED)
        for _ in range(20):
            assert isinstance(socket.recv(timeout=10), bytes)


def test_health_metrics_and_pings_are_answered_during_inference(slow_server):
    with connect(slow_server) as socket:
        socket.recv()
        start = time.monotonic()
        asking = Asking(socket)
        answers = 0
        while asking.is_alive():
            assert get(slow_server, "/healthz")[:2] == (200, "OK\n")
            assert metric(slow_server, "saccade_connections") == 1
            assert socket.ping().wait(10)
            answers += asking.is_alive()
        assert isinstance(asking.reply, bytes)
        assert answers >= 5, f"only {answers} rounds in {time.monotonic() - start:.2f} s"


def test_clients_take_turns(slow_server):
    sockets = [connect(slow_server) for _ in range(3)]
    for socket in sockets:
        socket.recv()
    order = []

    def work(i):
        for _ in range(2):
            sockets[i].send(PACKED)
            sockets[i].recv()
            order.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order[:3]) == [0, 1, 2] and sorted(order[3:]) == [0, 1, 2]


def test_a_missed_deadline_is_named_and_keeps_the_connection(robots):
    given = [*robots["libero"].arguments, "--steps", 300]
    with Server(*given, "--deadline-ms", 5) as server:
        client = server.client()
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"deadline of 5 ms \(--deadline-ms\)"):
                client.infer(OBSERVATION)
        assert metric(server, "saccade_deadline_misses_total") == 2


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_finishes_the_request_in_flight(robots, number):
    with Server(*robots["libero"].arguments, "--steps", 1000, "--chunk", 50) as server:
        with connect(server) as idle, connect(server) as busy:
            idle.recv()
            busy.recv()
            asking = Asking(busy)
            time.sleep(0.05)
            assert server.stop(number) == 0
            asking.join()
            assert msgpack_numpy.unpackb(asking.reply)["actions"].shape == (50, 7)
            for socket in (idle, busy):
                with pytest.raises(websockets.exceptions.ConnectionClosed):
                    socket.recv()
                assert socket.close_code == 1001
        assert server.log[-1].endswith(" info stopped\n")


def test_seed_decides_the_actions_of_each_request(robots):
    chunks = []
    for arguments in (["--seed", 5], ["--seed", 6], [], []):
        with Server(*robots["libero"].arguments, *arguments) as server:
            client = server.client()
            chunks.append([client.infer(OBSERVATION)["actions"] for _ in range(2)])
    assert (chunks[0][1] == chunks[1][0]).all()
    assert (chunks[0][0] != chunks[0][1]).any()
    assert (chunks[2][0] != chunks[3][0]).any()


def test_api_key_guards_all_but_health(robots, tmp_path):
    file = tmp_path / "key.txt"
    file.write_text("s3cret\n")
    given = robots["libero"].arguments
    for arguments, env in ((["--api-key-file", file], {}), ([], {"SACCADE_API_KEY": "s3cret"})):
        with Server(*given, *arguments, env=env) as server:
            assert server.client(api_key="s3cret").infer(OBSERVATION)["actions"].shape == (10, 7)
            for key in (None, "s3cre", "s3crets"):
                with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
                    server.client(api_key=key)
                assert refusal.value.response.status_code == 401
            assert get(server, "/healthz")[0] == 200
            assert get(server, "/metrics")[0] == 401
            assert get(server, "/")[0] == 401
            login = "Basic " + base64.b64encode(b":s3cret").decode()
            assert get(server, "/metrics", headers={"Authorization": login})[0] == 200
            assert not any("s3cret" in line for line in server.log)
    file.write_text("")
    assert "empty" in run("serve", *given, "--api-key-file", file, status=2).stderr


def test_http(server):
    status, body, response = get(server, "/healthz")
    assert (status, body) == (200, "OK\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert get(server, "/healthz?probe=1")[0] == 200
    assert get(server, "/healthz", "HEAD")[1] == ""
    assert get(server, "/healthz", "POST")[0] == 405
    assert get(server, "/nowhere")[0] == 404


def test_metrics_are_prometheus_text(server):
    server.client().infer(OBSERVATION)
    text = get(server, "/metrics")[1]
    kinds = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    assert kinds["saccade_stage_seconds"] == "histogram"
    counts = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, value = line.rsplit(" ", 1)
        assert float(value) >= 0
        base = name.split("{")[0]
        assert any(base == kind or base.startswith(kind + "_") for kind in kinds)
        counts[name] = float(value)
    for stage in ("decode", "queue", "policy", "steps", "total"):
        buckets = [value for name, value in counts.items()
                   if f'bucket{{stage="{stage}",' in name]
        assert buckets == sorted(buckets) and buckets[-1] > 0
        assert buckets[-1] == counts[f'saccade_stage_seconds_count{{stage="{stage}"}}']


def test_refusals_at_the_start(robots, server):
    given = robots["libero"].arguments
    taken = run("serve", *given, "--port", server.port, "--host", "127.0.0.1", status=2)
    assert "cannot listen" in taken.stderr
    assert "--host" in run("serve", *given, "--host", "nowhere", "--port", 0, status=2).stderr
    mute = [word for word in given if "tokenizer" not in str(word)]
    assert "tokenizer" in run("serve", *mute, "--port", 0, status=2).stderr
