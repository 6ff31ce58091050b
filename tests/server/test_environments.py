"""What openpi's clients send for each robot, and that the answers are those of saccade infer."""

import numpy as np
import pytest

from serving import Server, infer, picture, run

CAMERAS = {"aloha": ["cam_high", "cam_left_wrist", "cam_right_wrist"],
           "droid": ["observation/exterior_image_1_left", "observation/wrist_image_left"],
           "libero": ["observation/image", "observation/wrist_image"]}
STATE_DIM = {"aloha": 14, "droid": 8, "libero": 8}
ACTIONS = {"aloha": (50, 14), "droid": (15, 8), "libero": (10, 7)}
PROMPTS = ["pick up the red cube", "fold_the towel", "ünïcödé 🤖", " x "]


def observe(robot, frames, state, prompt):
    """As the examples of openpi word it: ALOHA's pictures have their channels first."""
    if robot == "aloha":
        images = {name: np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
                  for name, pixels in frames.items()}
        return {"images": images, "state": state, "prompt": prompt}
    if robot == "droid":
        parts = {"observation/joint_position": state[:7], "observation/gripper_position": state[7:]}
    else:
        parts = {"observation/state": state}
    return {**frames, **parts, "prompt": prompt}


@pytest.mark.parametrize("robot", CAMERAS)
def test_a_thousand_inferences_equal_saccade_infer_bit_for_bit(robots, robot, tmp_path):
    random = np.random.default_rng(len(robot))
    given = robots[robot].arguments
    with Server(*given, "--seed", 1000) as server:
        client = server.client()
        previous = None
        for i in range(334):
            frames = {name: picture(random, *((48, 64) if i % 2 else (70, 33)))
                      for name in CAMERAS[robot]}
            state = random.uniform(-1, 1, STATE_DIM[robot]).astype((float, np.float32)[i % 2])
            prompt = PROMPTS[i % len(PROMPTS)]
            reply = client.infer(observe(robot, frames, state, prompt))
            actions = reply["actions"]
            assert actions.dtype == np.float64 and actions.shape == ACTIONS[robot]
            assert list(reply) == ["actions", "policy_timing", "server_timing"]
            assert (actions.astype(np.float32) == actions).all()
            assert previous is None or (actions != previous).any()
            previous = actions
            if i in (0, 1, 166, 333):
                expected = infer(tmp_path, given, frames, state, prompt, 1000 + i)
                assert (actions == expected).all()


@pytest.mark.parametrize("robot", CAMERAS)
def test_a_chunk_continues_the_previous_one(robots, robot):
    # Delta actions and ALOHA's units are undone, so that held rows come out as they went in.
    random = np.random.default_rng(7)
    frames = {name: picture(random, 48, 64) for name in CAMERAS[robot]}
    state = random.uniform(-0.5, 0.5, STATE_DIM[robot])
    with Server(*robots[robot].arguments, "--seed", 5) as server:
        client = server.client()
        given = observe(robot, frames, state, "pick up the red cube")
        left = client.infer(given)["actions"][3:]
        moved = observe(robot, frames, state + 0.05, "pick up the red cube")
        wish = {"prev_actions": left, "inference_delay": 4, "execution_horizon": 6}
        guided = client.infer({**moved, "rtc": wish})["actions"]
        plain = client.infer(moved)["actions"]
        held, free = (np.abs(chunk[:4] - left[:4]).mean(axis=0) for chunk in (guided, plain))
        assert (held < 0.3 * free + 1e-6).all()
        with pytest.raises(RuntimeError, match="beyond the execution horizon of 2"):
            client.infer({**moved, "rtc": {**wish, "execution_horizon": 2}})


def as_float(pixels, dtype):
    """Floats that NumPy's (255 * x).astype(uint8) turns into some picture, and that picture."""
    floats = (pixels / 255).astype(dtype)
    return floats, (255 * floats).astype(np.uint8)


def test_every_form_of_a_picture_a_state_and_a_prompt(robots, tmp_path):
    given = robots["droid"].arguments
    base, wrist = CAMERAS["droid"]
    random = np.random.default_rng(3)
    pixels = picture(random)
    half, of_half = as_float(pixels, np.float16)
    single, of_single = as_float(pixels, np.float32)
    double, of_double = as_float(pixels, np.float64)
    first = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    joints = random.uniform(-1, 1, 7)
    forms = [
        (pixels, pixels, joints, 0.25, "pick"),
        (first, pixels, joints.tolist(), np.float32(0.25), np.str_("pick")),
        (np.moveaxis(pixels, 2, 0), pixels, joints, np.array(0.25), np.array("pick")),
        (half, of_half, joints, np.array([0.25]), np.array(["pick"])),
        (single, of_single, joints.astype(">f8"), [0.25], b"pick"),
        (double, of_double, joints, np.float64(0.25), "pick"),
        (np.moveaxis(single, 2, 0), of_single, joints, np.float16(0.25), "pick"),
        (pixels, pixels, np.arange(7), 1, "pick"),
        (pixels, pixels, np.arange(7, dtype=np.int8), np.True_, "pick"),
    ]
    with Server(*given, "--seed", 0) as server:
        client = server.client()
        for seed, (image, plain, joint, gripper, prompt) in enumerate(forms):
            reply = client.infer({base: image, wrist: image, "observation/joint_position": joint,
                                  "observation/gripper_position": gripper, "prompt": prompt,
                                  "extra": {"ignored": np.zeros((2, 3))}})
            state = [*np.asarray(joint, float), float(np.asarray(gripper).reshape(()))]
            expected = infer(tmp_path, given, {base: plain, wrist: plain}, state, "pick", seed)
            assert (reply["actions"] == expected).all(), seed


def test_aloha_ignores_cam_low_and_does_without_wrists_and_prompt(robots, tmp_path):
    given = robots["aloha"].arguments
    random = np.random.default_rng(5)
    frame, state = picture(random), random.uniform(-1, 1, 14)
    message = observe("aloha", {"cam_high": frame, "cam_low": picture(random)}, state, "x")
    del message["prompt"]
    with Server(*given, "--seed", 9) as server:
        actions = server.client().infer(message)["actions"]
    assert (actions == infer(tmp_path, given, {"cam_high": frame}, state, None, 9)).all()


def test_env_stands_for_openpis_default_config(robots):
    given = [word for word in robots["posed"].arguments if word not in (
        "--openpi-config", "pi05_aloha")]
    with Server(*given, "--env", "aloha") as server:
        assert server.client().get_server_metadata() == {"reset_pose": [0, -1.5, 1.5, 0, 0, 0]}
    with Server(*robots["aloha"].arguments) as server:
        assert server.client().get_server_metadata() == {}


def test_lerobot_policies_take_their_own_names_or_a_robots(robots, tmp_path):
    given = robots["lerobot"].arguments
    random = np.random.default_rng(6)
    front, wrist, state = picture(random), picture(random), random.uniform(-1, 1, 14)
    expected = infer(tmp_path, given, {"front": front, "wrist": wrist}, state, "go", 3)
    with Server(*given, "--seed", 3) as server:
        reply = server.client().infer({"front": front, "observation.images.wrist": wrist,
                                       "state": state, "prompt": "go"})
        assert (reply["actions"] == expected).all()
        with pytest.raises(RuntimeError, match="no camera 'rear'"):
            server.client().infer({"rear": front, "state": state, "prompt": "go"})
    with Server(*given, "--seed", 3, "--env", "aloha") as server:
        frames = {"cam_high": front, "cam_left_wrist": wrist}
        reply = server.client().infer(observe("aloha", frames, state, "go"))
        assert (reply["actions"] == expected).all()


def test_a_robot_that_does_not_fit_the_policy_is_refused_at_once(robots):
    done = run("serve", *robots["lerobot"].arguments, "--env", "libero", "--port", 0, status=2)
    assert "the state has 8 values, the policy takes 14" in done.stderr
    done = run("serve", *robots["libero"].arguments, "--env", "droid", "--port", 0, status=2)
    assert "--env" in done.stderr and "listening" not in done.stderr


@pytest.mark.parametrize("change, sentence", [
    ({"observation/state": np.full(8, np.nan)}, "'observation/state' has a value that is NaN"),
    ({"observation/state": np.array([0, np.inf] * 4)}, "'observation/state' has a value that is inf"),
    ({"observation/state": np.zeros(7)}, "'observation/state' has 7 values"),
    ({"observation/state": np.zeros((1, 8))}, "'observation/state' must be numbers with one axis"),
    ({"observation/state": "0,0"}, "'observation/state' must be numbers"),
    ({"observation/state": None}, "'observation/state' must be numbers"),
    ({"observation/image": None}, "'observation/image' must be a picture, it is nothing"),
    ({"observation/image": np.zeros((4, 4), np.uint8)}, "'observation/image' must be a picture"),
    ({"observation/image": np.zeros((4, 4, 3), np.int64)}, "8-bit or floating-point"),
    ({"observation/image": np.full((4, 4, 3), 1.5)}, "in [0, 1]"),
    ({"observation/image": np.zeros((4000, 1, 3), np.uint8)}, "frame"),
    ({"prompt": 3}, "'prompt' must be text"),
])
def test_bad_observations_are_refused_by_key(server, change, sentence):
    message = observe("libero", {name: np.zeros((8, 8, 3), np.uint8) for name in CAMERAS["libero"]},
                      np.zeros(8), "x")
    with pytest.raises(RuntimeError) as refusal:
        server.client().infer(message | change)
    head, *sentences = str(refusal.value).splitlines()
    assert head == "Error in inference server:" and len(sentences) == 1
    assert sentence in sentences[0]


def test_missing_keys_are_refused_by_name(server):
    message = observe("libero", {name: np.zeros((8, 8, 3), np.uint8) for name in CAMERAS["libero"]},
                      np.zeros(8), "x")
    for key in message:
        with pytest.raises(RuntimeError, match=f"{key}.* is missing|neither a prompt"):
            server.client().infer({name: value for name, value in message.items() if name != key})
