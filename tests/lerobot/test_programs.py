"""LeRobot's own programs, as a user starts them, with a robot and an environment that are not
there. What they did with the actions must be what the engine says."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lerobot_robot_fake import TASK


def run(folder, program, *arguments):
    """Runs a program of LeRobot, and reads what the fakes saw and were told, in order."""
    path = Path(sys.executable).parent / program
    if not path.exists():
        pytest.skip(f"this release of LeRobot has no {program}")
    done = subprocess.run([path, *map(str, arguments)], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=os.environ | {"FAKE_LOG": str(folder), "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stdout[-4000:]
    logs = {}
    for file in folder.glob("*.npz"):
        with np.load(file) as arrays:
            entries = {}
            for key, value in arrays.items():
                name, number = key.rsplit("/", 1)
                entries.setdefault(int(number), {})[name] = value
        logs[file.stem] = [entries[number] for number in sorted(entries)]
    return logs


@pytest.fixture
def named(checkpoint, tokenizer):
    """The policy by its type and options."""
    return ["--policy.type=saccade", f"--policy.checkpoint={checkpoint}", "--policy.seed=5",
            f"--policy.tokenizer={tokenizer}", "--policy.n_action_steps=4"]


@pytest.fixture
def saved(make_policy, tmp_path):
    """The policy by the path of what save_pretrained wrote."""
    policy, _, _ = make_policy(seed=5)
    policy.save_pretrained(tmp_path / "saved")
    return ["--policy.path=saved", "--policy.n_action_steps=4"]


def check(entries, engine, first_seed, step):
    """That actions came in chunks of 4 from the observation before each, and counts them."""
    observations = [entry for entry in entries if "state" in entry]
    actions = [entry["action"] for entry in entries if "action" in entry]
    for i, action in enumerate(actions):
        if i % 4 == 0:
            seen = observations[i]
            images = {name: seen[name] for name in ("front", "wrist")}
            seed = first_seed + i // 4 * step
            chunk = engine.infer(images, seen["state"], TASK, seed=seed).actions
        assert action.tobytes() == chunk[i % 4].tobytes(), i
    return len(actions)


def test_lerobot_eval(tmp_path, named, engine):
    logs = run(tmp_path, "lerobot-eval", *named, "--env.type=fake", "--eval.n_episodes=2",
               "--eval.batch_size=2", "--eval.use_async_envs=false",
               "--output_dir=out")
    assert len(logs) == 2
    for number, name in enumerate(sorted(logs)):
        assert check(logs[name], engine, 5 + number, 2) == 8


def test_lerobot_record(tmp_path, saved, engine):
    from lerobot.scripts.lerobot_record import RecordConfig

    if "policy" not in RecordConfig.__dataclass_fields__:
        pytest.skip("this release of LeRobot records with lerobot-rollout")
    logs = run(tmp_path, "lerobot-record", *saved, "--robot.type=fake",
               "--dataset.repo_id=someone/eval_fake", f"--dataset.single_task={TASK}",
               "--dataset.root=data", "--dataset.fps=30", "--dataset.episode_time_s=1",
               "--dataset.num_episodes=1", "--dataset.vcodec=h264", "--play_sounds=false",
               "--dataset.push_to_hub=false")
    assert check(logs["robot"], engine, 5, 1) > 8


def test_lerobot_rollout(tmp_path, saved, engine):
    logs = run(tmp_path, "lerobot-rollout", *saved, "--robot.type=fake",
               f"--task={TASK}", "--duration=1", "--play_sounds=false",
               "--return_to_initial_position=false")
    # Before the first step, the program looks where the robot stands.
    assert check(logs["robot"][1:], engine, 5, 1) > 8
