"""verify --fidelity, and checkpoints with outliers to try it on."""

import json
import struct

import numpy as np
import pytest

from conftest import fails, read_safetensors, run, strict_json, write_safetensors

from pictures import write_png


def fidelity(checkpoint, *arguments, status=0):
    done = run("verify", checkpoint, "--fidelity", "--device", "cpu", "--count", 2, "--json",
               *arguments, status=status)
    return strict_json(done.stdout)


@pytest.fixture(scope="session")
def outliers(tmp_path_factory):
    """Tiny checkpoints with outlier channels, by model."""
    folder = tmp_path_factory.mktemp("outliers")
    for model in ("pi0", "pi05"):
        run("synth", folder / model, "--model", model, "--outliers")
    return {model: folder / model for model in ("pi0", "pi05")}


@pytest.mark.parametrize("model", ["pi0", "pi05"])
@pytest.mark.parametrize("precision, most", [("bf16", 0.01), ("fp8", 0.2), ("expert=fp8", 0.2)])
def test_fidelity_of_every_precision(checkpoints, outliers, model, precision, most):
    for checkpoint in (checkpoints[model, "lerobot"], outliers[model]):
        report = fidelity(checkpoint, "--precision", precision)
        assert report["against"] == "f32" and report["observations"] == 2
        assert report["precision"] == ("vision=bf16,prefix=bf16,expert=fp8"
                                       if precision == "expert=fp8" else precision)
        assert 1e-5 < report["action_error"] < most
        stages = {stage["stage"]: stage for stage in report["stages"]}
        assert stages["actions"]["relative"] == report["action_error"]
        assert {"vision.1", "prefix.embs", "kv.2.k", "step.9.v"} <= set(stages)
        assert all(stage["non_finite"] == stage["saturated"] == stage["reference_non_finite"] == 0
                   for stage in stages.values())
        assert [joint["name"] for joint in report["actions"]][6::7] == ["left_gripper",
                                                                       "right_gripper"]
        assert all(0 < joint["rms"] <= joint["max_abs"] < joint["span"]
                   for joint in report["actions"])
        assert "vision hidden" in report["inside"]


def test_fidelity_prints_tables(checkpoints):
    text = run("verify", checkpoints["pi05", "lerobot"], "--fidelity", "--device", "cpu",
               "--precision", "bf16", "--count", 1).stdout
    for word in ("cosine", "kv.0.k", "left_waist", "rms error", "vision hidden",
                 "pi05 in bf16 against f32, 1 made-up observations"):
        assert word in text


def test_fidelity_against_bf16(checkpoints):
    report = fidelity(checkpoints["pi0", "openpi"], "--precision", "fp8", "--against", "bf16")
    assert report["against"] == "bf16" and report["action_error"] > 1e-4
    assert report["actions"][3]["name"] == "action 3"


def test_max_error_decides_the_exit_status(checkpoints):
    policy = checkpoints["pi05", "lerobot"]
    error = fidelity(policy, "--precision", "bf16")["action_error"]
    arguments = ["verify", policy, "--fidelity", "--device", "cpu", "--precision", "bf16",
                 "--count", 2]
    run(*arguments, "--max-error", 1.01 * error)
    done = run(*arguments, "--max-error", 0.99 * error, status=1)
    assert "the actions differ by" in done.stderr.splitlines()[-1] and "kv.0.k" in done.stdout


@pytest.mark.parametrize("arguments, sentence", [
    (["--fidelity", "--precision", "f32"], "compared with itself"),
    (["--fidelity", "--reference", "x"], "excludes"),
    (["--count", "3"], "--count requires --fidelity"),
    (["--fidelity", "--precision", "bf16", "--max-error", "nan"], "--max-error"),
    (["--fidelity", "--precision", "bf16", "--count", "0"], "--count"),
    (["--fidelity", "--rtol", "1"], "--rtol requires --reference"),
    (["--fidelity", "--precision", "bf16", "--observations", "nowhere"], "nowhere"),
    ([], "either --reference or --fidelity"),
])
def test_bad_usage(checkpoints, arguments, sentence):
    assert sentence in fails("verify", checkpoints["pi0", "openpi"], "--device", "cpu", *arguments)


def write_observations(folder):
    """One of each form. The documentation says how."""
    random = np.random.default_rng(3)
    front = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    state = np.linspace(-0.2, 0.2, 14, dtype=np.float32)
    write_safetensors(folder / "0.safetensors", {
        "front": ("U8", [30, 40, 3], front.tobytes()),
        "wrist": ("U8", [3, 30, 40], front.tobytes()),
        "state": ("F32", [14], state.tobytes()),
        "tokens": ("I32", [3], struct.pack("<3i", 2, 17, 5))})
    write_png(folder / "front.png", front)
    (folder / "1.json").write_text(json.dumps({
        "images": {"front": "front.png"}, "state": state.tolist(), "tokens": [2, 17]}))


def test_fidelity_on_recorded_observations(checkpoints, tmp_path):
    write_observations(tmp_path)
    report = strict_json(run("verify", checkpoints["pi05", "lerobot"], "--fidelity", "--device",
                             "cpu", "--precision", "bf16", "--observations", tmp_path,
                             "--json").stdout)
    assert report["observations"] == report["available_observations"] == 2
    stages = {stage["stage"]: stage for stage in report["stages"]}
    assert stages["vision.0"]["values"] == 2 * stages["vision.1"]["values"]
    (tmp_path / "2.json").write_text('{"images": {"front": "gone.png"}}')
    assert "gone.png" in fails("verify", checkpoints["pi05", "lerobot"], "--fidelity", "--device",
                               "cpu", "--precision", "bf16", "--observations", tmp_path)


def test_a_prompt_needs_a_tokenizer(checkpoints, tmp_path):
    write_observations(tmp_path)
    observation = json.loads((tmp_path / "1.json").read_text())
    del observation["tokens"]
    observation["prompt"] = "pick up the cup"
    (tmp_path / "1.json").write_text(json.dumps(observation))
    sentence = fails("verify", checkpoints["pi05", "lerobot"], "--fidelity", "--device", "cpu",
                     "--precision", "bf16", "--observations", tmp_path, status=2)
    assert "1.json" in sentence and "tokenizer" in sentence


def test_outliers_are_the_only_difference(tmp_path):
    run("synth", tmp_path / "plain", "--seed", 5)
    run("synth", tmp_path / "outliers", "--seed", 5, "--outliers")
    plain, outliers = (read_safetensors(tmp_path / name / "model.safetensors")
                       for name in ("plain", "outliers"))
    assert plain.keys() == outliers.keys()
    changed = [name for name in plain if plain[name] != outliers[name]]
    assert 40 < len(changed) < len(plain)
    assert not any("norm" in name for name in changed)
    for name in ("config.json", "policy_preprocessor.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (
            tmp_path / "outliers" / name).read_bytes()


def test_bench_refuses_outliers_in_a_checkpoint(checkpoints):
    assert "synth --outliers" in fails("bench", checkpoints["pi0", "lerobot"], "--outliers")
