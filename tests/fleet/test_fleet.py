"""How robots share a fleet, which grows, shrinks, loses an engine, and stops."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import websockets.exceptions
from openpi_client import msgpack_numpy

from conftest import ROOT, SEED, Fleet, wait_until
from serving import BINARY, ENVIRONMENT, ERROR_REASON, Server
from test_protocol import OBSERVATION, PACKED, Asking, connect, get


# More than all the tests of this file ask of one engine.
SEEDS_COMPARED = 200


def connections(fleet):
    """How many robots each engine has."""
    counts = []
    for engine in json.loads(get(fleet, "/engines")[1])[0]["targets"]:
        with urllib.request.urlopen(f"http://{engine}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        counts += [int(line.split()[1]) for line in lines
                   if line.startswith("saccade_connections ")]
    return sorted(counts)


def test_each_connection_stays_with_its_engine_and_its_bits(fleet, robot):
    # An engine counts its requests and draws noise by that number. So replies in turn that are
    # those of a server, one after the other, come from one engine that nobody else asks.
    random = np.random.default_rng(2)
    frames = {f"observation/{name}": random.integers(0, 256, (480, 640, 3), np.uint8)
              for name in ("image", "wrist_image")}
    observation = {**OBSERVATION, **frames}
    wait_until(lambda: connections(fleet) == [0, 0])
    with Server(*robot.arguments, "--seed", SEED) as server:
        client = server.client()
        expected = [client.infer(observation)["actions"].tobytes() for _ in range(SEEDS_COMPARED)]
    clients = [fleet.client(), fleet.client()]
    assert connections(fleet) == [1, 1]
    replies = [[], []]
    for _ in range(10):
        for client, chunks in zip(clients, replies):
            chunks.append(client.infer(observation)["actions"].tobytes())
    for chunks in replies:
        first = expected.index(chunks[0])
        assert chunks == expected[first:first + len(chunks)]
    for client in clients:
        client._ws.close()


def test_robots_spread_and_a_full_fleet_refuses_in_a_sentence(fleet):
    wait_until(lambda: connections(fleet) == [0, 0])
    sockets = [connect(fleet) for _ in range(8)]
    assert connections(fleet) == [4, 4]
    assert get(fleet, "/healthz")[:2] == (200, "OK\n")
    with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
        connect(fleet, open_timeout=30)
    assert refusal.value.response.status_code == 503
    assert b"each one takes 4 robots" in refusal.value.response.body
    sockets.pop().close()
    with connect(fleet) as another:
        assert msgpack_numpy.unpackb(another.recv()) == {}
    for socket in sockets:
        socket.close()


def test_an_engine_that_dies_takes_only_its_robots_along(fleet):
    wait_until(lambda: connections(fleet) == [0, 0])
    sockets = [connect(fleet) for _ in range(8)]  # four at each engine
    for socket in sockets:
        socket.recv()
    lost, other = fleet.engines()
    os.kill(lost, signal.SIGKILL)
    survivors = []
    for socket in sockets:
        try:
            assert socket.recv(timeout=2) == "[fleet] the engine has ended: connect again"
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                socket.recv()
            assert (socket.close_code, socket.close_reason) == (1011, ERROR_REASON)
        except TimeoutError:
            survivors.append(socket)
    assert len(survivors) == 4
    for socket in survivors:
        socket.send(PACKED)
        assert isinstance(socket.recv(), bytes)
    client = client_when_there_is_room(fleet)  # the survivors' engine has none
    assert client.infer(OBSERVATION)["actions"].shape == (10, 7)
    assert len(fleet.engines()) == 2 and other in fleet.engines()


def client_when_there_is_room(fleet, key=None):
    """A client, however often the fleet has no place for it yet."""
    clients = []

    def connected():
        try:
            clients.append(fleet.client(api_key=key))
        except websockets.exceptions.InvalidStatus as refusal:
            assert refusal.response.status_code == 503
        return clients

    wait_until(connected, 120)
    return clients[0]


@pytest.fixture(scope="module")
def growing(robot, tmp_path_factory):
    """One engine with one place, or two; each inference takes a good part of a second."""
    file = tmp_path_factory.mktemp("keys") / "key.txt"
    file.write_text("s3cret\n")
    with Fleet(robot, "--min-replicas", 1, "--max-replicas", 2, "--connections-per-replica", 1,
               "--downscale-delay-s", 2, engines=("--api-key-file", file, "--steps", 1000,
                                                  "--chunk", 50)) as fleet:
        yield fleet


def test_api_key_guards_all_but_health(growing):
    for key in (None, "s3cre"):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
            growing.client(api_key=key)
        assert refusal.value.response.status_code == 401
    assert get(growing, "/healthz")[0] == 200
    assert get(growing, "/engines")[0] == 401
    header = {"Authorization": "Api-Key s3cret"}
    assert get(growing, "/engines", headers=header)[0] == 200


def test_engines_come_with_robots_and_leave_without_cutting_any(growing):
    first = client_when_there_is_room(growing, "s3cret")
    second = client_when_there_is_room(growing, "s3cret")
    assert len(growing.engines()) == 2
    first._ws.close()
    # Ray Serve chooses which engine stops. It may be the second robot's: that one waits for it.
    wait_until(lambda: any("Downscaling" in line for line in growing.log), 120)
    for _ in range(3):
        assert second.infer(OBSERVATION)["actions"].shape == (50, 7)
    second._ws.close()
    wait_until(lambda: len(growing.engines()) == 1, 120)


def test_a_signal_finishes_the_request_in_flight_and_leaves_nothing_behind(growing):
    header = {"Authorization": "Api-Key s3cret"}
    with connect(growing, additional_headers=header, open_timeout=30) as socket:
        socket.recv()
        processes = growing.processes()
        assert len(processes) > len(growing.engines()) == 1
        asking = Asking(socket)
        assert growing.stop() == 0
        asking.join()
        assert msgpack_numpy.unpackb(asking.reply)["actions"].shape == (50, 7)
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1001
    wait_until(lambda: not any(os.path.exists(f"/proc/{process}") for process in processes))


def refused(*arguments, program=("-m", "saccade.fleet")):
    """What a fleet says that does not start."""
    done = subprocess.run([sys.executable, *program, *map(str, arguments)], text=True,
                          capture_output=True, timeout=120,
                          env=ENVIRONMENT | {"PYTHONPATH": str(ROOT / "python"),
                                             "SACCADE_BIN": BINARY})
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]
    return done.stderr.splitlines()[-1]


def test_an_engine_that_cannot_start_says_why(tmp_path):
    assert refused(tmp_path / "none", "--gpus-per-replica", 0) == (
        "saccade.fleet: the engine does not start: "
        f"saccade: [{tmp_path}/none] there is no such file or directory")


@pytest.mark.parametrize("arguments, sentence", [
    (("--replicas", 2, "--min-replicas", 1), "--replicas is a fixed number"),
    (("--replicas", 0), "min_replicas must be at least 1, it is 0"),
    (("--min-replicas", 3, "--max-replicas", 2), "max_replicas must be at least 3, it is 2"),
    (("--port", 65536), "port must be at most 65535"),
    (("--", "--port", 3), "--port is not for the engines of a fleet"),
    (("--", "--record=monday"), "engines would write into one directory"),
])
def test_wrong_settings_are_refused_in_a_sentence(arguments, sentence):
    assert sentence in refused("policy", *arguments)


@pytest.mark.parametrize("ray", ["None", "types.ModuleType('ray')"])  # a folder /tmp/ray is such
def test_without_ray_one_sentence_says_how_to_get_it(ray):
    without = ("-c", "import sys, runpy, types; "
               f"sys.modules['ray'] = {ray}; sys.argv[0] = 'fleet'; "
               "runpy.run_module('saccade.fleet', run_name='__main__')")
    assert refused("policy", program=without).endswith("pip install 'saccade[fleet]'")
