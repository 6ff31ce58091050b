"""What the server unpickles, and what it does not: nothing that a message says is run."""

import copyreg
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch
from lerobot.async_inference.helpers import (RemotePolicyConfig, TimedAction,
                                             TimedObservation)

from lerobot_policy_saccade import payloads

FEATURES = {"observation.state": {"dtype": "float32", "shape": (2,), "names": ["a.pos", "b.pos"]},
            "observation.images.front": {"dtype": "image", "shape": (4, 6, 3),
                                         "names": ["height", "width", "channels"]}}
CONFIG = RemotePolicyConfig("pi05", "my_policy", FEATURES, 6, "cuda", {"x": "y"})
MODULE = "lerobot.async_inference.helpers"


def observed(**values):
    return TimedObservation(timestamp=12.5, timestep=3, observation=values, must_go=True)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_what_the_client_sends_comes_back(protocol):
    assert payloads.policy_config(pickle.dumps(CONFIG, protocol)) == CONFIG
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (4, 6, 3), np.uint8)
    values = {
        "a.pos": 1.5, "b.pos": np.float32(-2), "c": np.int64(7), "d": True, "task": "pick \u2713",
        "front": frame, "bgr": frame[..., ::-1], "window": frame[1:3, 2:], "flat": frame[:0],
        "fortran": np.asfortranarray(frame), "depth": frame[..., 0].astype(">u2"),
        "f8": random.standard_normal(3), "f2": np.float16([1, 2]), "mask": frame[..., 0] > 99,
        "scalar": np.array(3.5),
    }
    read = payloads.timed_observation(pickle.dumps(observed(**values), protocol))
    assert type(read) is TimedObservation
    assert (read.timestamp, read.timestep, read.must_go) == (12.5, 3, True)
    assert list(read.observation) == list(values)
    for key, value in values.items():
        got = read.observation[key]
        assert np.array_equal(got, value), key
        assert np.asarray(got).dtype == np.asarray(value).dtype, key
        if isinstance(value, np.ndarray):
            assert type(got) is np.ndarray and got.flags.c_contiguous and got.flags.writeable


class Calls:
    """Its pickle calls any function, and sets a state of what comes out."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) + (() if state is None else (state,))

    def __reduce__(self):
        return self.parts


def named(module, name):
    """The opcodes that push a class or a function."""
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode()
                    for text in (module, name)) + b"\x93"


def refusal(message, read=payloads.timed_observation):
    with pytest.raises(payloads.Refused) as error:
        read(message if isinstance(message, bytes) else pickle.dumps(message))
    return str(error.value)


def test_a_malicious_pickle_does_not_run(tmp_path):
    victim = tmp_path / "victim"
    command = f"touch {victim}"
    attacks = {
        "posix.system": Calls(os.system, command),
        "builtins.eval": Calls(eval, f"open({str(victim)!r}, 'w')"),
        "builtins.getattr": Calls(getattr, "a text", "format"),
        "subprocess.Popen": Calls(subprocess.Popen, ["touch", str(victim)]),
        "torch.storage._load_from_bytes": Calls(torch.storage._load_from_bytes, b""),
        "torch._utils._rebuild_tensor_v2": torch.zeros(2),
        "copyreg._reconstructor": Calls(copyreg._reconstructor, int, int, 0),
        f"{MODULE}.TimedAction": TimedAction(1.0, 1, "up"),
    }
    for name, attack in attacks.items():
        for message in (attack, observed(x=attack), observed(x=[{"y": (attack,)}]),
                        RemotePolicyConfig("pi05", attack, FEATURES, 6)):
            for read in (payloads.policy_config, payloads.timed_observation):
                assert refusal(message, read) == f"the message names {name}, which is not admitted"
    for data in (b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR.",
                 b"(S'" + command.encode() + b"'\niposix\nsystem\n.",
                 b"\x80\x04" + named(MODULE, "os.system") + b"\x8c\x04true\x85R."):
        assert "is not admitted" in refusal(data)
    assert not victim.exists()
    pickle.loads(pickle.dumps(attacks["posix.system"]))
    assert victim.exists()  # so that the attack is one


SETS_AN_ATTRIBUTE = b"N}\x8c\x04nameK\x01s\x86b."  # of what was pushed before


@pytest.mark.parametrize("opcodes, part", [
    (b"", "no pickle of a TimedObservation"),
    (b"N.", "must be a TimedObservation"),
    (named(MODULE, "TimedObservation") + b".", "must be a TimedObservation"),
    (named(MODULE, "TimedObservation") + b")\x81.", "timestamp must be of type float"),
    (named(MODULE, "TimedObservation") + SETS_AN_ATTRIBUTE, "the message changes"),
    (named("numpy", "dtype") + SETS_AN_ATTRIBUTE, "no pickle of"),
    (named("numpy._core.multiarray", "_reconstruct") + SETS_AN_ATTRIBUTE, "no pickle of"),
    (named("numpy._core.multiarray", "scalar") + SETS_AN_ATTRIBUTE, "the message changes"),
    (named("numpy", "ndarray") + b"K\x02\x85R.", "the message calls numpy.ndarray"),
    (named("numpy", "dtype") + b"\x8c\x01O\x85R.", "not of numbers"),
    (named("numpy", "dtype") + b"\x8c\x05u1,u1\x85R.", "not of numbers"),
    (named("numpy", "dtype") + b"]\x85R.", "no pickle of"),
    (b"Nr\xff\xff\xff\x7f.", "beyond its size"),  # would take 16 GB
    (b"Np2147483647\n.", "beyond its size"),
    (b"\x8e\xff\xff\xff\xff\x0f\0\0\0x.", "no pickle of"),  # 64 GB of bytes
])
def test_broken_messages_are_refused(opcodes, part):
    assert part in refusal(b"\x80\x04" + opcodes)


OF_NUMBERS = (3, "|", None, None, None, -1, -1, 0)
HOLDS_OBJECTS = (3, "|", None, ("x",), {"x": (np.dtype("O"), 0)}, 8, 8, 63)


@pytest.mark.parametrize("code, state, shape, data", [
    ("O", (3, "|", None, None, None, -1, -1, 63), (1,), [1]),
    ("O", (3, "|", None, None, None, -1, -1, 0), (1,), b"12345678"),
    ("V8", HOLDS_OBJECTS, (1,), b"12345678"),
    ("u1", HOLDS_OBJECTS, (1,), b"12345678"),
    ("u1", OF_NUMBERS, (7,), b"123456"),
    ("u1", OF_NUMBERS, (5,), b"123456"),
    ("u4", OF_NUMBERS, (6,), b"123456"),
    ("u1", OF_NUMBERS, (2**62, 4, 0), b""),
    ("u1", OF_NUMBERS, (-2, -3), b"123456"),
    ("u1", OF_NUMBERS, (-1, 6), b"123456"),
    ("u1", OF_NUMBERS, (2.0, 3), b"123456"),
    ("u1", OF_NUMBERS, [2, 3], b"123456"),
    ("u1", OF_NUMBERS, (True,) * 70, b"12"),
    ("u1", OF_NUMBERS, (6,), "123456"),
    ("u1", OF_NUMBERS, (6,), [1, 2, 3, 4, 5, 6]),
    ("u1", (3, ["|"]), (6,), b"123456"),
    ("u1", (3,), (6,), b"123456"),
])
def test_arrays_of_parts_that_do_not_fit_are_refused(code, state, shape, data):
    dtype = Calls(np.dtype, code, False, True, state=state)
    rebuild, arguments, _ = np.zeros(1, np.uint8).__reduce__()
    array = Calls(rebuild, *arguments, state=(1, shape, dtype, False, data))
    assert "array" in refusal(observed(x=array)) or "no pickle" in refusal(observed(x=array))
    scalar = Calls(np.float32(0).__reduce__()[0], dtype, data)
    assert refusal(observed(x=scalar))


def test_an_array_without_values_is_empty():
    def text(value):
        return b"\x8c" + bytes([len(value)]) + value.encode()

    array = named("numpy._core.multiarray", "_reconstruct") + b")\x81"
    fields = (text("timestamp") + b"G" + bytes(8) + text("timestep") + b"K\x07" + text("must_go")
              + b"\x88" + text("observation") + b"}" + text("x") + array + b"s")
    made = b"\x80\x04" + named(MODULE, "TimedObservation") + b")\x81}(" + fields + b"ub."
    read = payloads.timed_observation(made)
    assert read.timestep == 7 and read.observation["x"].shape == (0,)


def test_nothing_else_passes_for_a_dtype():
    posing = observed()
    posing.numpy = "u1"
    rebuild, arguments, _ = np.zeros(1, np.uint8).__reduce__()
    array = Calls(rebuild, *arguments, state=(1, (6,), posing, False, b"123456"))
    assert "not those of an array" in refusal(observed(x=array))


@pytest.mark.parametrize("change, part", [
    ({"timestamp": 1}, "timestamp must be of type float"),
    ({"timestep": 1.0}, "timestep must be of type int"),
    ({"must_go": 1}, "must_go must be of type bool"),
    ({"observation": [1]}, "observation must be of type dict"),
    ({"observation": {1: 2}}, "keys of an observation must be texts"),
    ({"observation": {"x": [1.0]}}, "observation 'x' must be a number, a text or an array"),
    ({"observation": {"x": None}}, "observation 'x' must be"),
])
def test_observations_of_other_types_are_refused(change, part):
    message = observed()
    vars(message).update(change)
    assert part in refusal(message)


@pytest.mark.parametrize("change, part", [
    ({"policy_type": 1}, "policy_type must be of type str"),
    ({"actions_per_chunk": 0}, "actions_per_chunk must be at least 1"),
    ({"rename_map": {"a": 1}}, "rename_map must map texts to texts"),
    ({"lerobot_features": {"observation.state": {"dtype": "float32"}}}, "lerobot_features must"),
    ({"lerobot_features": {"observation.state": None}}, "lerobot_features must"),
    ({"lerobot_features": {1: FEATURES["observation.state"]}}, "lerobot_features must"),
])
def test_policy_configs_of_other_types_are_refused(change, part):
    message = RemotePolicyConfig(**{**vars(CONFIG), **change})
    assert part in refusal(message, payloads.policy_config)


def test_damaged_messages_are_read_or_refused():
    random = np.random.default_rng(1)
    whole = pickle.dumps(observed(front=np.zeros((4, 6, 3), np.uint8), a=1.5, b=np.float32(2)))
    for length in range(len(whole)):
        refusal(whole[:length])
    read = 0
    for _ in range(10000):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] = random.integers(0, 256)
        try:
            payloads.timed_observation(bytes(data))
            read += 1
        except payloads.Refused:
            pass
    assert 300 < read < 9700  # pixels may change, names may not
