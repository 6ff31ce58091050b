"""Hostile and broken clients, and many of them: the server goes on and does not grow."""

import socket
import threading

import numpy as np
import pytest
import websockets.exceptions
import websockets.sync.client
from openpi_client import msgpack_numpy

from serving import Server
from test_protocol import OBSERVATION, PACKED, connect, get


@pytest.fixture(autouse=True)
def alive_afterwards(server):
    yield
    assert server.process.poll() is None
    assert server.client().infer(OBSERVATION)["actions"].shape == (10, 7)


def refusal(server, message):
    with connect(server) as client:
        client.recv()
        client.send(message)
        text = client.recv(timeout=10)
        assert isinstance(text, str) and "\n" not in text, text
        return text


def test_garbage_is_refused_in_a_sentence(server):
    random = np.random.default_rng(0)
    for i in range(150):
        size = int(random.integers(0, 300))
        refusal(server, random.bytes(size))
    for i in range(150):
        broken = bytearray(PACKED)
        for _ in range(int(random.integers(1, 4))):
            broken[int(random.integers(0, 100))] ^= int(random.integers(1, 256))
        with connect(server) as client:
            client.recv()
            client.send(bytes(broken))
            client.recv(timeout=10)


def test_nested_and_swollen_messages_are_refused(server):
    assert "levels deep" in refusal(server, b"\x91" * 20_000_000)
    assert "levels deep" in refusal(server, b"\x81\xa1a" * 5_000_000)
    assert "values" in refusal(server, b"\xdd\xff\xff\xff\xff")
    assert "keys" in refusal(server, b"\xdf\xff\xff\xff\xff")
    swollen = msgpack_numpy.packb(OBSERVATION | {"observation/image": np.zeros(3, np.uint8)})
    assert "picture" in refusal(server, swollen)


def test_text_of_errors_is_valid_whatever_the_keys_are(server):
    assert "'" in refusal(server, b"\x82\xa2\xff\xfe\x01\xa2\xff\xfe\x02")


def test_oversized_messages_close_with_1009(robots):
    with Server(*robots["libero"].arguments, "--max-message-mb", 1) as small:
        with connect(small) as client:
            client.recv()
            client.send(PACKED + bytes(900_000))  # fits, but is no observation
            assert "bytes after" in client.recv()
        for message in (bytes(2 << 20), [bytes(600_000)] * 3):
            with connect(small) as client:
                client.recv()
                with pytest.raises(websockets.exceptions.ConnectionClosed):
                    client.send(message)
                    client.recv()
                assert client.close_code in (1009, 1006)
        assert small.client().infer(OBSERVATION)["actions"].shape == (10, 7)


def raw_connection(server):
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   b"Sec-WebSocket-Version: 13\r\n\r\n")
    assert b"101 Switching" in client.recv(4096)
    return client


def test_clients_that_leave_in_the_middle(server):
    for i in range(20):
        with raw_connection(server) as client:  # of a frame
            client.sendall(b"\x82\xfe\xff\xff\0\0\0\0" + bytes(i * 1000))
        with raw_connection(server) as client:  # of an inference
            client.sendall(b"\x82\xfe" + len(PACKED).to_bytes(2, "big") + bytes(4) + PACKED)
        with socket.create_connection(("127.0.0.1", server.port)) as client:  # of a request
            client.sendall(b"GET / HT")
        with raw_connection(server):  # at once
            pass


def test_broken_frames_and_requests(server):
    for frame in (b"\x82\x05hello", b"\xf2\x80\0\0\0\0", b"\x83\x80\0\0\0\0", b"\x00\x80\0\0\0\0",
                  b"\x82\xff" + b"\xff" * 8 + bytes(4), b"\x89\xfe\x01\x00" + bytes(260)):
        with raw_connection(server) as client:
            client.settimeout(10)
            client.sendall(frame)
            while client.recv(4096):  # until the server hangs up
                pass
    for request in (b"\x16\x03\x01\x02\x00\x01" * 10, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" * 2000,
                    b"GET /" + b"a" * 20000):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.settimeout(10)
            try:
                client.sendall(request)
                while client.recv(4096):
                    pass
            except ConnectionError:
                pass


def test_connections_are_bounded(robots):
    with Server(*robots["libero"].arguments, "--max-connections", 2) as small:
        first, second = connect(small), connect(small)
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(small)
        assert refused.value.response.status_code == 503
        assert get(small, "/healthz")[0] == 200
        first.close()
        for _ in range(100):  # until the server has noticed
            try:
                third = connect(small)
                break
            except websockets.exceptions.InvalidStatus:
                pass
        third.recv()
        for client in (second, third):
            client.close()


def test_sixteen_clients_get_all_their_replies_and_memory_stays_flat(server):
    frame = np.zeros((224, 224, 3), np.uint8)
    observation = OBSERVATION | {"observation/image": frame, "observation/wrist_image": frame}

    def work(failures, requests):
        client = server.client()
        try:
            for _ in range(requests):
                assert client.infer(observation)["actions"].shape == (10, 7)
        except Exception as error:  # noqa: BLE001  (a thread's failure is the test's)
            failures.append(error)
        client._ws.close()

    def round_of_requests():
        failures = []
        threads = [threading.Thread(target=work, args=(failures, 20)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]
        return server.rss_mb()

    round_of_requests()
    before = round_of_requests()
    for _ in range(3):
        after = round_of_requests()
    assert after < before + 4, f"{before:.1f} MB, then {after:.1f} MB"
