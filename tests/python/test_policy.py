"""saccade.load and a policy's life: errors, closing, threads, statistics, where the library is."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

import saccade

PACKAGE = Path(saccade.__file__).parent


def test_info_says_what_the_policy_expects(policy):
    info = policy.info
    assert (info.model, info.mode, info.device, info.precision) == ("pi05", "lerobot", "cpu", "f32")
    assert info.cameras == ("observation.images.front", "observation.images.wrist")
    assert (info.chunk, info.action_dim, info.state_dim, info.max_action_dim) == (6, 14, 14, 32)
    assert info.weight_bytes > 0 and info.buffer_bytes > 0 and info.state_in_prompt is True
    assert "pi05" in repr(policy)
    with pytest.raises(AttributeError):
        info.chunk = 7


def test_options_reach_the_policy(checkpoint, tokenizer):
    with saccade.load(str(checkpoint), device="cpu", precision="bf16", mode="openpi", steps=3,
                      chunk=np.int64(4), max_prompt_tokens=9, model="pi05",
                      tokenizer=str(tokenizer)) as policy:
        info = policy.info
    assert (info.precision, info.mode, info.steps, info.chunk) == ("bf16", "openpi", 3, 4)
    assert info.max_prompt_tokens == 9


@pytest.mark.parametrize("precision, name", [
    (None, "f32"), ("fp8", "fp8"), ("prefix=fp8", "vision=bf16,prefix=fp8,expert=bf16"),
    ("auto:0", "f32"),
])
def test_a_precision_may_be_a_mix_or_found_by_trying(checkpoint, precision, name):
    with saccade.load(checkpoint, device="cpu", precision=precision) as policy:
        assert policy.info.precision == name
        assert len(policy.info.notes) == (precision == "auto:0")
    if precision == "auto:0":
        assert policy.info.notes[0].startswith("precision auto takes f32, the fastest")


@pytest.mark.parametrize("options, part", [
    ({"precision": "f64"}, "[precision] must be f32, bf16, fp8, auto, or a mix"),
    ({"precision": "vision=fp8"}, "vision does not run in fp8"),
    ({"device": "tpu"}, "device must be one of"),
    ({"device": ""}, "device must be one of"),
    ({"model": "pi1"}, "model must be one of"),
    ({"steps": 0}, "steps must be a whole number from 1 on, it is '0'"),
    ({"steps": 2.5}, "steps must be a text, a path or a whole number, it is 2.5"),
    ({"steps": True}, "steps must be"),
    ({"chunk": 10**12}, "chunk must be"),
    ({"tokenizer": "/nowhere.model"}, "/nowhere.model"),
    ({"tokenizer": "a\0b"}, "tokenizer holds a zero byte"),
])
def test_wrong_options_are_named(checkpoint, options, part):
    with pytest.raises(saccade.InvalidArgument) as error:
        saccade.load(checkpoint, **options)
    assert part in str(error.value)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(saccade.InvalidArgument, match="nowhere"):
        saccade.load(tmp_path / "nowhere")
    with pytest.raises(saccade.InvalidArgument, match="checkpoint must be"):
        saccade.load(None)


@pytest.mark.parametrize("change, part", [
    ({"images": {"rear": np.zeros((4, 4, 3), np.uint8)}}, "no camera 'rear', only"),
    ({"images": {}}, "no camera frame is given"),
    ({"images": [np.zeros((4, 4, 3), np.uint8)]}, "images must map camera names to pixels"),
    ({"images": {0: np.zeros((4, 4, 3), np.uint8)}}, "a camera's name must be a str, it is 0"),
    ({"images": {"front": np.zeros((3, 4, 4), np.uint8)}}, "channels come last"),
    ({"images": {"front": np.zeros((4, 4, 3), np.float32)}},
     "image 'front' must be uint8 [height, width, 3], it is float32 [4, 4, 3]"),
    ({"images": {"front": np.zeros((4, 4), np.uint8)}}, "it is uint8 [4, 4]"),
    ({"images": {"front": np.zeros((4, 4, 4), np.uint8)}}, "it is uint8 [4, 4, 4]"),
    ({"images": {"front": np.zeros((1, 4, 4, 3), np.uint8)}}, "it is uint8 [1, 4, 4, 3]"),
    ({"images": {"front": np.zeros((0, 4, 3), np.uint8)}}, "0 x 4"),
    ({"images": {"front": None}}, "image 'front' must be uint8"),
    ({"state": [0.0] * 13}, "state has 13"),
    ({"state": [np.nan] * 14}, "state"),
    ({"state": np.zeros((1, 14))}, "state must be numbers [state_dim], it is float64 [1, 14]"),
    ({"state": ["0"] * 14}, "state must be numbers"),
    ({"state": [1j] * 14}, "state must be numbers"),
    ({"state": [[0], [0, 0]]}, "state is no array"),
    ({"tokens": None}, "neither a prompt nor its tokens"),
    ({"tokens": []}, "tokens is empty"),
    ({"tokens": [2.0]}, "tokens must be whole numbers"),
    ({"tokens": [512]}, "prompt token 512"),
    ({"tokens": [2**40]}, "tokens must be from 0 to 2147483647"),
    ({"tokens": 5}, "tokens must be whole numbers [tokens], they are int64 []"),
    ({"prompt": "cup"}, "both a prompt and its tokens"),
    ({"prompt": b"cup"}, "prompt must be a str"),
    ({"prompt": "cup\0"}, "prompt holds a zero byte"),
    ({"prompt": "\ud800"}, "prompt is no valid Unicode"),
    ({"noise": np.zeros((6, 32))}, "noise must be float32 [6, 32], it is float64 [6, 32]"),
    ({"noise": np.zeros((6, 31), np.float32)}, "it is float32 [6, 31]"),
    ({"noise": np.full((6, 32), np.inf, np.float32)}, "noise"),
    ({"seed": -1}, "seed must be a whole number"),
    ({"seed": 2**64}, "seed must be a whole number"),
    ({"seed": 0.5}, "seed must be a whole number"),
    ({"out": np.zeros((6, 14))}, "out must be a writable, contiguous float32 array [6, 14]"),
    ({"out": np.zeros((14, 6), np.float32).T}, "out must be"),
    ({"out": [0.0]}, "out must be"),
])
def test_wrong_arguments_are_named(policy, given, change, part):
    with pytest.raises(saccade.InvalidArgument) as error:
        policy.infer(**{**given, **change})
    assert part in str(error.value)


def test_exceptions_have_a_common_base():
    assert issubclass(saccade.InvalidArgument, (saccade.Error, ValueError))
    assert issubclass(saccade.DeviceError, saccade.Error)
    assert issubclass(saccade.NotSupported, saccade.Error)


def test_a_missing_gpu_is_a_device_error(checkpoint):
    if Path("/dev/nvidia0").exists():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(saccade.DeviceError):
        saccade.load(checkpoint, device="cuda")


def test_a_closed_policy_says_so(checkpoint, given):
    with saccade.load(checkpoint, device="cpu") as policy:
        assert policy.infer(**given).actions.shape == (6, 14)
        handle = weakref.ref(policy._handle)
    gc.collect()
    assert handle() is None  # and with it the memory
    for use in (lambda: policy.infer(**given), lambda: policy.stats, policy.__enter__):
        with pytest.raises(saccade.Error, match="the policy is closed"):
            use()
    policy.close()
    assert policy.info.chunk == 6 and "closed" in repr(policy)


def test_a_policy_that_is_dropped_is_freed(checkpoint):
    policy = saccade.load(checkpoint, device="cpu")
    handle = weakref.ref(policy._handle)
    del policy
    gc.collect()
    assert handle() is None


def test_closing_breaks_no_call_that_is_under_way(checkpoint, given):
    policy = saccade.load(checkpoint, device="cpu")
    expected = policy.infer(**given).actions
    library, handle = policy._library, weakref.ref(policy._handle)

    class ClosesMeanwhile:
        @staticmethod
        def saccade_infer(*arguments):
            thread = threading.Thread(target=policy.close)
            thread.start()
            thread.join()
            gc.collect()
            return library.saccade_infer(*arguments)

    policy._library = ClosesMeanwhile
    assert policy.infer(**given).actions.tobytes() == expected.tobytes()
    assert handle() is None


def test_stats_count_inferences_and_errors(checkpoint, given):
    with saccade.load(checkpoint, device="cpu") as policy:
        assert policy.stats == saccade.Stats(inferences=0, errors=0, stages={})
        totals = [policy.infer(**given).times["total"] for _ in range(3)]
        with pytest.raises(saccade.InvalidArgument):
            policy.infer(**{**given, "tokens": [512]})
        stats = policy.stats
    assert (stats.inferences, stats.errors) == (3, 1)
    total = stats.stages["total"]
    assert total == saccade.StageStats(3, totals[-1], sorted(totals)[1], max(totals))
    assert {"preprocess", "vision", "prefix", "steps"} <= set(stats.stages)


def test_threads_share_a_policy_and_have_their_own(checkpoint, given):
    shared = saccade.load(checkpoint, device="cpu")
    expected = [shared.infer(**{**given, "seed": seed}).actions for seed in range(4)]
    wrong = []

    def work(seed, policy):
        for _ in range(5):
            actions = policy.infer(**{**given, "seed": seed}).actions
            if actions.tobytes() != expected[seed].tobytes() or policy.stats.errors:
                wrong.append(seed)

    own = [saccade.load(checkpoint, device="cpu") for _ in range(2)]
    threads = [threading.Thread(target=work, args=(seed, policy))
               for seed, policy in enumerate([shared, shared, *own])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert shared.stats.inferences == 4 + 2 * 5


def test_other_threads_run_during_an_inference(checkpoint, given):
    with saccade.load(checkpoint, device="cpu", steps=1000) as policy:
        ticks, done = [], threading.Event()

        def work():
            while not done.wait(0.0005):
                ticks.append(time.perf_counter())

        thread = threading.Thread(target=work)
        thread.start()
        start = time.perf_counter()
        policy.infer(**given)
        took = time.perf_counter() - start
        done.set()
        thread.join()
    # The first and the last quarter leave room for what Python does around the call.
    middle = [tick for tick in ticks if took / 4 < tick - start < took * 3 / 4]
    assert len(middle) >= 3, f"{len(middle)} ticks in {took} s"


def run_python(code, **environment):
    base = {key: value for key, value in os.environ.items() if key != "SACCADE_LIBRARY"}
    return subprocess.run([sys.executable, "-c", code], env={**base, **environment},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_library_that_is_named_is_the_one_that_is_used(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import saccade; " \
           "print(saccade.__version__)"
    missing = tmp_path / "libsaccade.so"
    done = run_python(code, SACCADE_LIBRARY=str(missing))
    assert done.returncode != 0
    assert f"saccade._errors.Error: libsaccade.so cannot be loaded; tried {missing}" in done.stdout
    done = run_python(code, SACCADE_LIBRARY="libm.so.6")
    assert "libm.so.6 is not a libsaccade.so of this package" in done.stdout
    library = saccade._library.library()._name
    done = run_python(code, SACCADE_LIBRARY=library)
    assert done.stdout.strip() == saccade.__version__, done.stdout


def test_the_package_holds_its_type_hints():
    assert (PACKAGE / "py.typed").is_file()
