"""Usage, streams, and the commands synth, inspect and verify."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from conftest import (BINARY, GOLDEN, ROOT, fails, read_safetensors, run, strict_json,
                      write_safetensors)

COMMANDS = ["bench", "infer", "inspect", "profile", "synth", "tiles", "verify"]
REFERENCES = ["pi0_lerobot", "pi05_lerobot", "pi0_orbax", "pi05_openpi_orbax"]


def test_help_teaches():
    text = run("--help").stdout
    assert all(command in text for command in COMMANDS) and "Exit status" in text
    for command in COMMANDS:
        text = run(command, "--help").stdout
        assert "Examples:" in text and f"saccade {command} " in text


def test_version_is_the_project_s():
    version = re.search(r"project\(saccade VERSION ([0-9.]+)",
                        (ROOT / "CMakeLists.txt").read_text()).group(1)
    assert run("--version").stdout == f"saccade {version}\n"


@pytest.mark.parametrize("arguments", [
    [], ["fly"], ["--frobnicate"], ["infer"], ["inspect", "x", "--wings"], ["inspect", "x", "y"],
    ["infer", "x", "--steps", "0"], ["infer", "x", "--steps", "many"], ["infer", "x", "--seed", "-1"],
    ["infer", "x", "--mode", "magic"], ["infer", "x", "--precision", "f8"], ["verify", "x", "--precision", "auto:"],
    ["infer", "x", "--state"], ["verify", "x"], ["synth"], ["synth", "x", "--size", "huge"],
    ["verify", "x", "--reference", "y", "--rtol", "-1"],
    ["verify", "x", "--reference", "y", "--rtol", "nan"],
])
def test_bad_usage(arguments):
    fails(*arguments)


def test_broken_outputs_are_reported(checkpoints):
    policy = checkpoints["pi0", "lerobot"]
    with open("/dev/full", "w") as full:
        done = run("inspect", policy, status=3, stdout=full)
    assert "standard output" in done.stderr
    done = run("--help", status=3, stdout=None, preexec_fn=lambda: os.close(1))
    assert "standard output" in done.stderr


def test_closed_standard_error_does_not_spoil_files(tmp_path):
    policy = tmp_path / "policy"
    run("synth", policy, stderr=None, preexec_fn=lambda: os.close(2))
    assert strict_json(run("inspect", policy, "--json").stdout)["problems"] == []


def test_progress_is_for_terminals_only(checkpoints):
    done = run("inspect", checkpoints["pi05", "lerobot"], "--digest")
    assert "\r" not in done.stderr


@pytest.mark.parametrize("model, parameters", [("pi0", 279808), ("pi05", 299680)])
@pytest.mark.parametrize("layout", ["lerobot", "openpi"])
def test_inspect_sums_up_what_synth_wrote(checkpoints, model, layout, parameters):
    report = strict_json(run("inspect", checkpoints[model, layout], "--json").stdout)
    assert report["model"] == model and report["layout"] == layout and report["mode"] == layout
    assert report["problems"] == []
    assert sum(stage["parameters"] for stage in report["stages"]) == parameters
    tensors = read_safetensors(checkpoints[model, layout] / "model.safetensors")
    assert sum(stage["bytes"] for stage in report["stages"]) == sum(
        len(data) for _, _, data in tensors.values())
    assert report["statistics"]["state"]["dims"] == 14
    assert report["statistics"]["actions"]["kind"] == (
        "MEAN_STD" if model == "pi0" else "QUANTILES")
    if layout == "lerobot":
        assert report["cameras"] == ["front", "wrist"]
    text = run("inspect", checkpoints[model, layout]).stdout
    assert model in text and f"{parameters:,}" in text


def test_inspect_names_what_is_missing(checkpoints, tmp_path):
    copy = shutil.copytree(checkpoints["pi05", "openpi"], tmp_path / "copy")
    tensors = read_safetensors(copy / "model.safetensors")
    del tensors["time_mlp_in.weight"]
    write_safetensors(copy / "model.safetensors", tensors)
    report = strict_json(run("inspect", copy, "--json").stdout)
    assert any("time_mlp_in.weight" in problem for problem in report["problems"])
    assert "time_mlp_in.weight" in run("inspect", copy).stdout
    assert "time_mlp_in.weight" in fails("infer", copy, "--tokens", "2")


@pytest.mark.parametrize("name", ["pi0_orbax", "pi05_openpi_orbax"])
def test_digest_is_the_same_for_both_ways_of_storing(name):
    folder = GOLDEN / name
    model = "pi05" if "pi05" in name else "pi0"
    first, second = (
        strict_json(run("inspect", source, "--digest", "--json", "--model", model).stdout)["digest"]
        for source in (folder, folder / "orbax"))
    assert first == second and len(first) > 20
    assert all(re.fullmatch("[0-9a-f]{8}", crc) for crc in first.values())


def test_synth_is_decided_by_its_seed(tmp_path):
    def weights(name, *options):
        run("synth", tmp_path / name, *options)
        return read_safetensors(tmp_path / name / "model.safetensors")

    first = weights("first", "--seed", 5)
    assert first == weights("again", "--seed", 5)
    assert first != weights("other", "--seed", 6)
    assert first == {f"model.{name}": tensor for name, tensor in weights(
        "openpi", "--seed", 5, "--layout", "openpi").items()}


def test_synth_takes_cameras(tmp_path):
    run("synth", tmp_path / "three", "--cameras", 3)
    report = strict_json(run("inspect", tmp_path / "three", "--json").stdout)
    assert len(report["cameras"]) == 3
    for count in (0, 17, -1):
        assert "cameras" in fails("synth", tmp_path / "bad", "--cameras", count)
    assert "--cameras" in fails("synth", tmp_path / "bad", "--cameras", 1, "--layout", "openpi")
    assert not (tmp_path / "bad").exists()


def test_synth_writes_into_new_or_empty_directories_only(checkpoints, tmp_path):
    (tmp_path / "empty").mkdir()
    run("synth", tmp_path / "empty")
    before = sorted((tmp_path / "empty").iterdir())
    assert "not empty" in fails("synth", tmp_path / "empty")
    assert sorted((tmp_path / "empty").iterdir()) == before
    (tmp_path / "file").write_text("mine")
    assert "not a directory" in fails("synth", tmp_path / "file")
    assert "cannot make" in fails("synth", tmp_path / "no" / "deep")
    assert "cannot make" in fails("synth", "/proc/saccade")


def test_synth_that_fails_leaves_nothing_behind(tmp_path):
    def no_large_files():
        import resource
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    for layout in ("lerobot", "openpi"):
        target = tmp_path / layout
        done = run("synth", target, "--layout", layout, status=2, preexec_fn=no_large_files)
        assert "model.safetensors" in done.stderr
        assert not target.exists()
    (tmp_path / "empty").mkdir()
    run("synth", tmp_path / "empty", status=2, preexec_fn=no_large_files)
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("name", REFERENCES)
def test_verify_passes_on_the_reference(name):
    done = run("verify", GOLDEN / name, "--reference", GOLDEN / name / "ref.safetensors", "--json")
    report = strict_json(done.stdout)
    assert report["passed"] and report["rtol"] == 1e-4
    computed = [stage for stage in report["stages"] if stage["computed"]]
    assert len(computed) > 40
    assert all(stage["relative"] <= 1e-4 and stage["max_abs"] < 1e-3 for stage in computed)
    assert {"vision.0", "kv.2.v", "step.9.v", "actions"} <= {stage["stage"] for stage in computed}


def test_verify_measures_bf16_with_a_yardstick():
    done = subprocess.run(
        [BINARY, "verify", GOLDEN / "pi05_lerobot", "--precision", "bf16", "--json",
         "--reference", GOLDEN / "pi05_lerobot" / "ref.safetensors",
         "--yardstick", GOLDEN / "pi05_bf16" / "ref.safetensors"], capture_output=True, text=True)
    report = strict_json(done.stdout)
    assert done.returncode == (0 if report["passed"] else 1)
    computed = [stage for stage in report["stages"] if stage["computed"]]
    for stage in computed:
        if stage["yardstick"] == 0:  # the reference computes it in float32 there
            continue
        assert stage["passed"] == (stage["relative"] <= 1.5 * stage["yardstick"]), stage
    actions = computed[-1]
    assert actions["stage"] == "actions" and actions["passed"] and actions["relative"] > 1e-4


@pytest.mark.parametrize("stage", ["vision.1", "kv.1.k", "step.4.v", "actions"])
def test_verify_fails_on_a_perturbed_reference(tmp_path, stage):
    folder = GOLDEN / "pi0_lerobot"
    tensors = read_safetensors(folder / "ref.safetensors")
    dtype, shape, data = tensors[stage]
    values = np.frombuffer(data, np.float32) * np.float32(1.001)
    tensors[stage] = (dtype, shape, values.tobytes())
    reference = write_safetensors(tmp_path / "ref.safetensors", tensors)
    text = run("verify", folder, "--reference", reference, status=1).stdout
    failed = [line.split()[0] for line in text.splitlines() if re.search(r"\bFAIL\b", line)]
    assert failed == [stage, "FAIL:"]
    assert run("verify", folder, "--reference", reference, "--rtol", "0.01").stdout


def test_verify_never_passes_what_is_not_finite(tmp_path):
    folder = GOLDEN / "pi0_lerobot"
    tensors = read_safetensors(folder / "ref.safetensors")
    dtype, shape, data = tensors["step.2.v"]
    tensors["step.2.v"] = (dtype, shape, np.full(1, np.nan, np.float32).tobytes() + data[4:])
    reference = write_safetensors(tmp_path / "ref.safetensors", tensors)
    done = run("verify", folder, "--reference", reference, "--json", status=1)
    stages = {stage["stage"]: stage for stage in strict_json(done.stdout)["stages"]}
    assert not stages["step.2.v"]["passed"]


def test_verify_names_a_missing_reference():
    assert "nowhere" in fails("verify", GOLDEN / "pi0_lerobot", "--reference", "nowhere")
