"""The commands bench and profile, and --device."""

from pathlib import Path

import pytest

from conftest import fails, run, strict_json

HAS_GPU = Path("/dev/nvidiactl").exists()
needs_no_gpu = pytest.mark.skipif(HAS_GPU, reason="there is a GPU")

# Errors that no weight is read for; the checkpoint is there where it matters.
BAD_CASES = [
    ([], "either a checkpoint or a synthetic policy"),
    (["CKPT", "--synthetic", "pi0"], "got both"),
    (["--synthetic", "pi0", "--views", "0"], "views must be from 1 to 8, got 0"),
    (["--synthetic", "pi0", "--views", "9"], "got 9"),
    (["--synthetic", "pi0", "--model", "pi0"], "reads no file"),
    (["--synthetic", "pi0", "--tokenizer", "x"], "reads no file"),
    (["--synthetic", "pi0", "--chunk", "1001"], "chunk must be from 1 to 1000"),
    (["--synthetic", "pi0", "--prompt-tokens", "49"], "0 to 48 prompt tokens, 49"),
    (["--synthetic", "pi05", "--prompt-tokens", "201"], "0 to 200 prompt tokens, 201"),
    (["CKPT", "--views", "3"], "the policy sees 2 views, 3 are asked for"),
    (["CKPT", "--prompt-tokens", "-1"], "prompt tokens, -1 are asked for"),
    (["CKPT", "--frame", "480"], "HEIGHTxWIDTH"),
    (["CKPT", "--frame", "480x"], "HEIGHTxWIDTH"),
    (["CKPT", "--frame", "480x640x3"], "HEIGHTxWIDTH"),
    (["CKPT", "--frame", "0x640"], "got 0 x 640"),
    (["CKPT", "--frame", "1x99999999999"], "HEIGHTxWIDTH"),
    (["CKPT", "--inferences", "0"], "--inferences"),
    (["CKPT", "--replays", "0"], "--replays"),
    (["/no/such/place"], "no such file"),
]


@pytest.mark.parametrize("model", ["pi0", "pi05"])
def test_bench_on_the_cpu(checkpoints, model):
    report = strict_json(run("bench", checkpoints[model, "lerobot"], "--device", "cpu", "--views", 1,
                             "--prompt-tokens", 0, "--frame", "30x40", "--inferences", 5,
                             "--json").stdout)
    assert report["case"] == {"model": model, "synthetic": False, "views": 1, "prompt_tokens": 0,
                              "chunk": 6, "steps": 10, "precision": "f32", "frame": [30, 40]}
    assert report["device"] == "cpu" and "graph_ms" not in report
    wall = report["wall_ms"]
    assert wall["count"] == 5 and 0 < wall["p50"] <= wall["p95"] <= wall["p99"] <= wall["max"]
    times = [part["p50_ms"] for part in report["parts"].values()]
    assert list(report["parts"]) == ["vision", "prefix", "steps"] and min(times) > 0
    assert sum(times) < wall["max"]
    assert report["first_action_ms"] > report["load_ms"] > 0


def test_bench_prints_a_table(checkpoints):
    text = run("bench", checkpoints["pi05", "openpi"], "--device", "cpu", "--inferences", 2,
               "--steps", 3, "--chunk", 4, "--precision", "bf16").stdout
    assert "pi05, 3 views of 480x640, 20 prompt tokens, 4 actions, 3 steps, bf16 on the CPU" in text
    assert all(part in text for part in ("vision", "prefix", "steps", "wall"))


@pytest.mark.parametrize("arguments, sentence", BAD_CASES)
def test_bad_cases(checkpoints, arguments, sentence):
    checkpoint = checkpoints["pi0", "lerobot"]
    arguments = [checkpoint if word == "CKPT" else word for word in arguments]
    assert sentence in fails("bench", *arguments)


def test_profile_needs_a_gpu(checkpoints):
    assert "only a GPU" in fails("profile", checkpoints["pi0", "lerobot"], "--device", "cpu")


def test_profile_leaves_no_trace_of_a_failure(checkpoints, tmp_path):
    trace = tmp_path / "trace.json"
    fails("profile", checkpoints["pi0", "lerobot"], "--device", "cpu", "--trace", trace)
    assert not trace.exists()


@needs_no_gpu
@pytest.mark.parametrize("command", [["infer", "--tokens", "2"], ["bench"], ["profile"]])
def test_a_missing_gpu_is_one_sentence(checkpoints, command):
    name, *arguments = command
    sentence = fails(name, checkpoints["pi0", "lerobot"], *arguments, "--device", "cuda", status=3)
    assert "CUDA" in sentence and "--device cpu" in sentence


@pytest.mark.parametrize("device", ["gpu", "tpu", ""])
def test_unknown_devices_are_refused(checkpoints, device):
    assert "--device" in fails("bench", checkpoints["pi0", "lerobot"], "--device", device)


needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")


@needs_gpu
def test_bench_on_a_gpu(checkpoints):
    report = strict_json(run("bench", checkpoints["pi05", "lerobot"], "--replays", 50,
                             "--inferences", 50, "--json").stdout)
    assert report["device"] == "cuda" and report["case"]["precision"] == "bf16"
    assert report["graph_ms"]["count"] == 50 and report["wall_ms"]["count"] == 50
    gpu_run = report["gpu_run"]
    assert gpu_run["same_bits"] and gpu_run["kernels"] > 20
    assert gpu_run["allocations_while_measured"] == gpu_run["graphs_recorded_while_measured"] == 0


@needs_gpu
def test_profile_sees_every_op(checkpoints, tmp_path):
    trace = tmp_path / "trace.json"
    report = strict_json(run("profile", checkpoints["pi0", "lerobot"], "--trace", trace,
                             "--json").stdout)
    assert list(report["stages"]) == ["vision", "prefix", "steps"]
    count = sum(row["count"] for row in report["rows"])
    assert count == sum(stage["ops"] for stage in report["stages"].values()) > 20
    assert report["sum_us"] == pytest.approx(sum(row["us"] for row in report["rows"]))
    events = strict_json(trace.read_text())["traceEvents"]
    assert len([event for event in events if event["ph"] == "X"]) == count
