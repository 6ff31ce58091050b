"""saccade infer: what it prints and writes, and how it refuses bad input."""

import json
import math
import shutil
import xml.etree.ElementTree

import numpy as np
import pytest

from conftest import GOLDEN, TOKENIZER, fails, read_safetensors, run, strict_json, write_safetensors

STATE = ",".join(["-0.1", "+.25", "1e-2"] + ["0"] * 11)
TOKENS = ("--tokens", "2,17,5")
CAMERA = {"lerobot": "front", "openpi": "base_0_rgb"}
ALL = [(model, layout) for model in ("pi0", "pi05") for layout in ("lerobot", "openpi")]


@pytest.fixture
def policy(checkpoints):
    return checkpoints["pi05", "lerobot"]


@pytest.fixture
def given(policy, picture):
    """A policy and an observation that fits it."""
    return [policy, "--image", f"front={picture}", "--state", STATE, *TOKENS]


@pytest.mark.parametrize("model, layout", ALL)
def test_infers_from_a_picture_a_state_and_a_prompt(checkpoints, picture, model, layout):
    done = run("infer", checkpoints[model, layout], "--image", f"{CAMERA[layout]}={picture}",
               "--state", STATE, "--prompt", "pick up the cup", "--tokenizer", TOKENIZER, "--json")
    report = strict_json(done.stdout)
    assert report["policy"]["model"] == model
    assert report["policy"]["layout"] == layout
    actions = np.array(report["actions"])
    assert actions.shape == (6, report["policy"]["action_dim"])
    assert len(report["names"]) == actions.shape[1]
    assert np.isfinite(actions).all() and actions.std() > 0.1
    assert len(report["tokens"]) > 1
    assert {time["stage"] for time in report["times"]} >= {"read images", "load"}
    assert all(math.isfinite(time["ms"]) and time["ms"] >= 0 for time in report["times"])


def actions_of(*arguments):
    return np.array(strict_json(run("infer", *arguments, "--json").stdout)["actions"])


def test_seed_decides_the_actions(given):
    first = actions_of(*given, "--seed", 3)
    assert (first == actions_of(*given, "--seed", 3)).all()
    assert (first != actions_of(*given, "--seed", 4)).any()


def test_each_picture_counts(given, picture):
    assert (actions_of(*given) != actions_of(*given, "--image", f"wrist={picture}")).any()


def test_state_is_a_list_an_array_or_a_file(checkpoints, picture, tmp_path):
    policy = checkpoints["pi0", "lerobot"]
    values = [float(word) for word in STATE.split(",")]
    file = tmp_path / "state.json"
    file.write_text(json.dumps(values) + "\n")

    def actions(state):
        return actions_of(policy, "--image", f"front={picture}", "--state", state, *TOKENS)

    assert (actions(STATE) == actions(json.dumps(values))).all()
    assert (actions(STATE) == actions(f"@{file}")).all()
    assert (actions(STATE) != actions("0.9" + STATE[4:])).any()


def test_noise_of_a_file_replaces_the_seed(given, tmp_path):
    noise = np.random.default_rng(0).standard_normal((6, 32)).astype(np.float32)
    file = write_safetensors(tmp_path / "noise.safetensors",
                             {"noise": ("F32", [6, 32], noise.tobytes())})
    given = [*given, "--noise", file]
    assert (actions_of(*given, "--seed", 1) == actions_of(*given, "--seed", 2)).all()

    write_safetensors(file, {"noise": ("F32", [5, 32], noise[:5].tobytes())})
    assert "noise" in fails("infer", *given)
    write_safetensors(file, {"other": ("F32", [6, 32], noise.tobytes())})
    assert "noise" in fails("infer", *given)
    write_safetensors(file, {"noise": ("F16", [6, 32], noise.astype(np.float16).tobytes())})
    assert "must be F32" in fails("infer", *given)


def test_table_has_names_rows_and_times(given):
    text = run("infer", *given).stdout
    header = next(line for line in text.splitlines() if line.startswith("action"))
    assert header.split()[1:3] == ["left_waist", "left_shoulder"]
    rows = [line.split() for line in text.splitlines() if line[:1].isdigit()]
    assert [row[0] for row in rows] == [str(i) for i in range(6)]
    assert all(len(row) == 15 for row in rows)
    assert "load" in text


def test_plot_is_an_svg_with_a_line_and_a_name_for_each_dimension(given, tmp_path):
    file = tmp_path / "chunk.svg"
    run("infer", *given, "--plot", file)
    root = xml.etree.ElementTree.parse(file).getroot()
    space = "{http://www.w3.org/2000/svg}"
    lines = [path for path in root.iter(f"{space}path") if path.get("class") == "line"]
    drawn = [line for line in lines if line.get("d").count("L") == 5]
    assert len(drawn) == 14 and len(lines) == 28
    assert "right_gripper" in [text.text for text in root.iter(f"{space}text")]


def test_options_reach_the_policy(given):
    done = run("infer", *given, "--steps", 3, "--chunk", 4, "--mode", "openpi",
               "--precision", "bf16", "--json")
    report = strict_json(done.stdout)
    assert len(report["actions"]) == 4
    info = report["policy"]
    assert (info["steps"], info["mode"], info["precision"]) == (3, "openpi", "bf16")


@pytest.mark.parametrize("precision, name", [
    ("fp8", "fp8"), ("expert=fp8", "vision=bf16,prefix=bf16,expert=fp8"),
    ("vision=bf16,prefix=fp8,expert=fp8", "fp8"),
])
def test_precisions_of_eight_bits(given, precision, name):
    reports = [strict_json(run("infer", *given, "--device", "cpu", "--precision", precision,
                               "--json").stdout) for _ in range(2)]
    assert [report["policy"]["precision"] for report in reports] == [name, name]
    assert reports[0]["actions"] == reports[1]["actions"]
    exact = strict_json(run("infer", *given, "--device", "cpu", "--json").stdout)
    assert reports[0]["actions"] != exact["actions"]
    assert reports[0]["policy"]["weight_bytes"] < exact["policy"]["weight_bytes"]
    assert reports[0]["policy"]["notes"] == []


def test_auto_says_what_it_measured(given):
    done = run("infer", *given, "--device", "cpu", "--precision", "auto:0", "--json")
    policy = strict_json(done.stdout)["policy"]
    assert policy["precision"] == "f32"  # on the CPU the most exact one
    done = run("infer", *given, "--device", "cpu", "--precision", "auto:0")
    note = next(line for line in done.stderr.splitlines() if "precision auto" in line)
    assert note.startswith("saccade: precision auto takes f32, the fastest whose actions differ")
    for part in ("by at most 0 of their norm", " bf16 by ", "expert=fp8 by ", " fp8 by ", " ms"):
        assert part in note


@pytest.mark.parametrize("precision, sentence", [
    ("fp9", "it is 'fp9'"), ("vision=fp8", "vision does not run in fp8"),
    ("expert=fp8,expert=bf16", "the stage expert is given twice"),
    ("head=fp8", "no stage 'head'"), ("expert=f32", "f32 is for all"), ("auto:2", "it is '2'"),
])
def test_bad_precisions_are_named(policy, precision, sentence):
    assert sentence in fails("infer", policy, "--precision", precision, *TOKENS)


@pytest.mark.parametrize("state", ["", " ", "@", "0.1,nan", "inf,1", "0.1,,0.2", "0.1,", "1e999",
                                   "0x1", "one", "0.1 0.2", "[1,[2]]", "[1,null]", "[1,2", "{}",
                                   "[\"1\"]", "[]1", "@/nowhere/state.json"])
def test_bad_state_is_named(policy, state):
    assert "--state" in fails("infer", policy, "--state", state, *TOKENS)


@pytest.mark.parametrize("state", ["0.1", STATE + ",0", "[]"])
def test_state_of_a_wrong_size_is_refused(policy, picture, state):
    assert "state" in fails("infer", policy, "--image", f"front={picture}", "--state", state,
                            *TOKENS)


@pytest.mark.parametrize("image", ["front", "=a.png", "front=", ""])
def test_image_needs_a_camera_and_a_file(policy, image):
    assert "--image" in fails("infer", policy, "--image", image, "--state", STATE, *TOKENS)


def test_images_of_unknown_or_repeated_cameras_are_refused(policy, picture):
    rest = ["--state", STATE, *TOKENS]
    message = fails("infer", policy, "--image", f"rear={picture}", *rest)
    assert "rear" in message and "front" in message
    assert "twice" in fails("infer", policy, "--image", f"front={picture}",
                            "--image", f"front={picture}", *rest)


@pytest.mark.parametrize("name", ["broken.png", "truncated.jpg", "grey.png", "bomb.png"])
def test_bad_pictures_are_named(policy, name):
    file = GOLDEN / "perception" / name
    assert name in fails("infer", policy, "--image", f"front={file}", "--state", STATE, *TOKENS)


def test_missing_files_are_named(policy, picture, tmp_path):
    rest = ["--state", STATE, *TOKENS]
    assert "nowhere" in fails("infer", tmp_path / "nowhere", *rest)
    assert "nowhere.png" in fails("infer", policy, "--image", "front=nowhere.png", *rest)
    assert "nowhere.model" in fails("infer", policy, "--image", f"front={picture}", "--state", STATE,
                                    "--prompt", "x", "--tokenizer", "nowhere.model")


@pytest.mark.parametrize("tokens", ["2,1.5", "2,512", "-1", "2,x", "99999999999"])
def test_bad_tokens_are_refused(policy, picture, tokens):
    assert "token" in fails("infer", policy, "--image", f"front={picture}", "--state", STATE,
                            "--tokens", tokens)


def test_unwritable_plot_is_found_before_loading(tmp_path):
    message = fails("infer", tmp_path / "no checkpoint", "--plot", tmp_path / "no" / "chunk.svg")
    assert "--plot" in message and "chunk.svg" in message


def test_failure_leaves_no_plot_and_keeps_an_old_one(given, tmp_path):
    file = tmp_path / "chunk.svg"
    fails("infer", *given[:-1], "512", "--plot", file)
    assert not file.exists()
    file.write_text("mine")
    fails("infer", *given[:-1], "512", "--plot", file)
    assert file.read_text() == "mine"


def test_values_that_are_not_finite_are_an_error(checkpoints, picture, tmp_path):
    copy = shutil.copytree(checkpoints["pi0", "lerobot"], tmp_path / "broken")
    given = ["--image", f"front={picture}", "--state", STATE, *TOKENS]
    tensors = read_safetensors(copy / "model.safetensors")
    dtype, shape, data = tensors["model.action_out_proj.bias"]
    assert dtype == "F32"
    for value, word in ((np.nan, "finite"), (3e38, "inf")):
        bad = np.full(len(data) // 4, value, np.float32)
        tensors["model.action_out_proj.bias"] = (dtype, shape, bad.tobytes())
        write_safetensors(copy / "model.safetensors", tensors)
        assert word in fails("infer", copy, *given, "--json")
