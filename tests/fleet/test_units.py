"""The pieces of a fleet that need no engine."""

import pytest
from ray.serve import Application

from saccade import InvalidArgument
from saccade.fleet import Settings, application
from saccade.fleet._relay import FrameCounter

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
FRAMES = {"empty": b"\x82\x00", "short": b"\x82\x05hello", "long": b"\x81\x7e\x01\x00" + bytes(256),
          "longer": b"\x82\x7f" + (70000).to_bytes(8, "big") + bytes(70000)}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_frames_are_counted_however_their_bytes_arrive(name, step):
    counter = FrameCounter()
    assert not counter.between_frames
    stream = ACCEPTED + FRAMES[name] * 2
    ends = {len(ACCEPTED) + i * len(FRAMES[name]) for i in range(3)}
    for start in range(0, len(stream), step):
        counter.feed(stream[start:start + step])
        assert counter.between_frames == (min(start + step, len(stream)) in ends)


def test_nothing_is_said_after_a_closing_frame_or_a_refusal():
    closed, refused = FrameCounter(), FrameCounter()
    closed.feed(ACCEPTED + b"\x88\x02\x03\xe8")
    refused.feed(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    assert not closed.between_frames and not refused.between_frames


def test_settings_come_as_text_from_serve_run():
    settings = Settings.of({"checkpoint": "policy", "max_replicas": "4", "gpus_per_replica": "0.5",
                            "options": "--env libero --prompt 'pick up'"})
    assert (settings.max_replicas, settings.gpus_per_replica) == (4, 0.5)
    assert settings.options == ("--env", "libero", "--prompt", "pick up")
    assert isinstance(application({"checkpoint": "policy"}), Application)


@pytest.mark.parametrize("given, sentence", [
    ({}, "checkpoint is missing"),
    ({"checkpoint": "policy", "gpus": 1}, "'gpus' is no setting of a fleet"),
    ({"checkpoint": "policy", "max_replicas": "many"}, "max_replicas must be a number"),
])
def test_wrong_settings_are_refused_by_name(given, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        application(given)
