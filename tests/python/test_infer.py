"""saccade.Policy.infer: what comes out is what `saccade infer` prints; inputs are read in place."""

import ctypes
import sys

import numpy as np
import pytest

import saccade
from pictures import write_png

def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_gives_the_bits_of_the_command_line(policy, checkpoint, tokenizer, command_line, given,
                                            tmp_path):
    front = write_png(tmp_path / "front.png", given["images"]["front"])
    wrist = write_png(tmp_path / "wrist.png", given["images"]["wrist"])
    state = "[" + ",".join(repr(float(value)) for value in given["state"]) + "]"
    report = command_line(checkpoint, "--image", f"front={front}", "--image", f"wrist={wrist}",
                          "--state", state, "--prompt", "pick up the cup", "--seed", 11,
                          "--tokenizer", tokenizer)
    chunk = policy.infer(given["images"], given["state"], "pick up the cup", seed=11)
    assert same_bits(chunk.actions, np.array(report["actions"], np.float32))
    assert chunk.tokens.tolist() == report["tokens"] and chunk.tokens.dtype == np.int32
    assert list(chunk.warnings) == report["warnings"] == []
    stages = [time["stage"] for time in report["times"] if time["stage"] not in
              ("read images", "load")]
    assert list(chunk.times) == [*stages, "total"]
    assert chunk.times["total"] >= sum(chunk.times[stage] for stage in stages) > 0
    # The two interfaces describe a policy in the same words.
    for key, value in report["policy"].items():
        ours = getattr(policy.info, key)
        assert (list(ours) if isinstance(ours, tuple) else ours) == value, key


def test_a_chunk_is_an_array(policy, given):
    chunk = policy.infer(**given)
    assert chunk.actions.shape == (6, 14) and chunk.actions.dtype == np.float32
    assert len(chunk) == 6
    assert np.shares_memory(np.asarray(chunk), chunk.actions)
    assert np.isfinite(chunk.actions).all() and chunk.actions.std() > 0.1


def test_every_input_counts(policy, given):
    del given["tokens"]
    given["prompt"] = "pick up the cup"  # which a Pi0.5 is told its state in
    base = policy.infer(**given).actions
    assert same_bits(policy.infer(**given).actions, base)
    noise = np.random.default_rng(0).standard_normal((6, 32)).astype(np.float32)
    dark = {"front": given["images"]["front"] // 2, "wrist": given["images"]["wrist"]}
    changes = [{"images": dark}, {"images": {"front": given["images"]["front"]}},
               {"state": given["state"] * 0.5}, {"prompt": "pick up the bowl"}, {"seed": 8},
               {"seed": 2**64 - 1}, {"noise": noise}]
    for change in changes:
        assert not same_bits(policy.infer(**{**given, **change}).actions, base), change
    with_noise = policy.infer(**given, noise=noise).actions
    assert same_bits(policy.infer(**{**given, "seed": 9}, noise=noise).actions, with_noise)


class Spy:
    """Sees what reaches the C interface."""

    def __init__(self, policy):
        self.library, self.policy, self.pixels = policy._library, policy, []

    def __enter__(self):
        self.policy._library = self
        return self

    def __exit__(self, *exception):
        self.policy._library = self.library

    def __getattr__(self, name):
        return getattr(self.library, name)

    def saccade_infer(self, handle, observation, chunk):
        frames = observation._obj.frames[:observation._obj.frame_count]
        self.pixels = [(frame.pixels, frame.row_stride) for frame in frames]
        self.state, self.noise = observation._obj.state, observation._obj.noise
        self.values = chunk._obj.values
        return self.library.saccade_infer(handle, observation, chunk)


def test_arrays_are_read_and_written_in_place(policy, given):
    image = given["images"]["front"]
    state = np.linspace(-1, 1, 14)
    noise = np.zeros((6, 32), np.float32)
    out = np.full((6, 14), np.nan, np.float32)
    with Spy(policy) as seen:
        chunk = policy.infer({"front": image}, state, tokens=[2], noise=noise, out=out)
    assert seen.pixels == [(image.ctypes.data, 64 * 3)]
    assert (seen.state, seen.noise) == (state.ctypes.data, noise.ctypes.data)
    assert chunk.actions is out and seen.values == out.ctypes.data
    assert np.isfinite(out).all()


def test_a_window_of_an_image_is_read_in_place(policy, given):
    image = np.random.default_rng(5).integers(0, 256, (60, 90, 3), np.uint8)
    window = image[10:50, 20:70]
    with Spy(policy) as seen:
        chunk = policy.infer({"front": window}, given["state"], tokens=[2])
    assert seen.pixels == [(window.ctypes.data, 90 * 3)]
    expected = policy.infer({"front": window.copy()}, given["state"], tokens=[2])
    assert same_bits(chunk.actions, expected.actions)


@pytest.mark.parametrize("view", [
    lambda image: image[..., ::-1],  # BGR of OpenCV to RGB
    lambda image: image[::-1],
    lambda image: image[:, ::2],
    lambda image: image.transpose(1, 0, 2),
    lambda image: np.broadcast_to(image[:1], image.shape),
])
def test_other_strides_are_copied(policy, given, view):
    image = view(given["images"]["front"])
    chunk = policy.infer({"front": image}, given["state"], tokens=[2])
    expected = policy.infer({"front": image.copy()}, given["state"], tokens=[2])
    assert same_bits(chunk.actions, expected.actions)


def test_other_kinds_of_numbers_are_taken(policy, given):
    base = policy.infer(**given).actions
    given["tokens"] = np.array(given["tokens"], np.int64)[::1]
    given["state"] = list(given["state"])
    assert same_bits(policy.infer(**given).actions, base)
    state = np.zeros(14, np.float32)
    assert same_bits(policy.infer(**{**given, "state": state}).actions,
                     policy.infer(**{**given, "state": [0] * 14}).actions)


class Interface:
    """A picture that is no array but says where its pixels are."""

    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__


class Tensor:
    """A DLPack tensor of another library."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        assert self.device == (1, 0), "a tensor on a GPU must not be exported"
        return self.array.__dlpack__(**options)


@pytest.mark.parametrize("kind", [
    Interface,
    pytest.param(Tensor, marks=pytest.mark.skipif(not hasattr(np, "from_dlpack"),
                                                  reason="needs NumPy 1.23")),
])
def test_tensors_of_other_libraries_are_read_in_place(policy, given, kind):
    image = given["images"]["front"]
    with Spy(policy) as seen:
        chunk = policy.infer({"front": kind(image)}, given["state"], tokens=[2])
    assert seen.pixels == [(image.ctypes.data, 64 * 3)]
    expected = policy.infer({"front": image}, given["state"], tokens=[2])
    assert same_bits(chunk.actions, expected.actions)


def test_gpu_memory_is_refused_on_the_cpu(policy, given):
    class OnGpu(Interface):
        __cuda_array_interface__ = {"version": 3}

    image = given["images"]["front"]
    for tensor in (Tensor(image, (2, 0)), OnGpu(image)):
        with pytest.raises(saccade.InvalidArgument,
                           match="image 'front' is in GPU memory, the policy runs on the CPU"):
            policy.infer({"front": tensor}, given["state"], tokens=[2])
        with pytest.raises(saccade.NotSupported, match="state is in GPU memory"):
            policy.infer({"front": image}, tensor, tokens=[2])


def test_no_reference_is_kept(policy, given):
    image, state = given["images"]["front"], given["state"]
    before = sys.getrefcount(image), sys.getrefcount(state)
    for _ in range(3):
        policy.infer(**given)
        with pytest.raises(saccade.InvalidArgument):
            policy.infer(**{**given, "tokens": [-1]})
    assert (sys.getrefcount(image), sys.getrefcount(state)) == before


def test_a_chunk_continues_the_previous_one(policy, given):
    previous = policy.infer(**given).actions[2:]
    given["seed"] = 8
    plain = policy.infer(**given).actions
    wish = saccade.RealTime(previous, inference_delay=2, execution_horizon=3)
    guided = policy.infer(**given, realtime=wish).actions
    distance = np.linalg.norm(guided[:4] - previous, axis=1)
    before = np.linalg.norm(plain[:4] - previous, axis=1)
    assert (distance[:2] < 0.15 * before[:2]).all() and distance[2] < 0.7 * before[2]
    assert same_bits(policy.infer(**given, realtime=wish).actions, guided)
    assert same_bits(policy.infer(**given).actions, plain)
    wide = saccade.RealTime(previous.astype(np.float64)[:, ::-1][:, ::-1], np.int64(2), 3)
    assert same_bits(policy.infer(**given, realtime=wide).actions, guided)
    for nothing in (saccade.RealTime(previous[:0], 2), saccade.RealTime(previous, 0, 3, "zeros")):
        assert same_bits(policy.infer(**given, realtime=nothing).actions, plain)
    for other in ({"schedule": "exp"}, {"schedule": "ones"}, {"max_guidance_weight": 3}):
        wish = saccade.RealTime(previous, 0, 4, **other)
        assert not same_bits(policy.infer(**given, realtime=wish).actions,
                             policy.infer(**given, realtime=saccade.RealTime(previous, 0, 4)).actions)


@pytest.mark.parametrize("wish, sentence", [
    ({"previous_actions": np.zeros((3, 13))}, r"previous_actions must be numbers \[rows, 14\]"),
    ({"previous_actions": np.zeros((7, 14))}, "previous_action_count is 7"),
    ({"previous_actions": np.full((3, 14), np.nan)}, "previous action 0 value 0 is not finite"),
    ({"inference_delay": 6}, "the inference delay is 6 actions"),
    ({"inference_delay": 1.5}, "inference_delay must be a whole number of actions, it is 1.5"),
    ({"inference_delay": 3, "execution_horizon": 2}, "beyond the execution horizon of 2"),
    ({"execution_horizon": 0}, "execution_horizon must be at least 1"),
    ({"schedule": "LINEAR"}, "schedule must be one of linear, exp, ones, zeros"),
    ({"max_guidance_weight": 0}, "max_guidance_weight must be finite and positive"),
])
def test_a_false_wish_to_continue_is_named(policy, given, wish, sentence):
    given["realtime"] = saccade.RealTime(**{"previous_actions": np.zeros((3, 14)),
                                            "inference_delay": 0, **wish})
    with pytest.raises(saccade.InvalidArgument, match=sentence):
        policy.infer(**given)
    with pytest.raises(saccade.InvalidArgument, match="must be a saccade.RealTime"):
        policy.infer(**{**given, "realtime": {"inference_delay": 1}})


def test_a_cut_prompt_is_a_warning(policy, given):
    chunk = policy.infer(**{**given, "tokens": [5] * 300})
    assert chunk.warnings == ("the prompt has 300 tokens and is cut to 200",)
    assert chunk.tokens.tolist() == [5] * 200


def test_structs_are_those_of_the_header(policy):
    from saccade import _library as c

    sizes = {"Option": 16, "Frame": 56, "Realtime": 48, "Observation": 104, "StageTime": 16,
             "Chunk": 104, "StageStats": 40, "Stats": 48, "Tensor": 56}
    assert {name: ctypes.sizeof(getattr(c, name)) for name in sizes} == sizes
