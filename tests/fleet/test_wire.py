"""The wire of a fleet is that of its engines: the server's own tests, asked of a fleet, and what is
different."""

import json

import pytest
import websockets.exceptions

from test_environments import (  # noqa: F401
    test_bad_observations_are_refused_by_key, test_missing_keys_are_refused_by_name)
from test_protocol import (  # noqa: F401
    PACKED, connect, get, test_errors_are_text_and_close_with_1011,
    test_messages_are_byte_for_byte_openpis, test_messages_sent_ahead_are_answered_in_turn,
    test_previous_total_counts_from_the_wait_to_the_reply)
from test_robustness import (  # noqa: F401
    test_broken_frames_and_requests, test_clients_that_leave_in_the_middle,
    test_garbage_is_refused_in_a_sentence, test_nested_and_swollen_messages_are_refused)


def test_oversized_messages_close_with_1009_and_no_others(fleet):
    with connect(fleet) as socket:
        socket.recv()
        socket.send(PACKED + bytes(60 << 20))  # --max-message-mb is 64
        assert "bytes after" in socket.recv()
    with connect(fleet) as socket:
        socket.recv()
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            socket.send(bytes(65 << 20))
            socket.recv()
        assert socket.close_code in (1009, 1006)


def test_pings_are_answered_by_the_engine(fleet):
    with connect(fleet) as socket:
        assert socket.ping().wait(10)


def test_plain_requests(fleet):
    assert get(fleet, "/healthz")[:2] == (200, "OK\n")
    assert get(fleet, "/healthz?probe=1")[0] == 200
    assert get(fleet, "/healthz", "POST")[0] == 405
    status, body, _ = get(fleet, "/metrics")
    assert status == 404 and "/engines" in body
    assert len(json.loads(get(fleet, "/engines")[1])[0]["targets"]) == 2
