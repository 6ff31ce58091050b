"""What the tests of LeRobot's plug-in share: the engine alone as a judge.

`make test-lerobot` installs LeRobot and the plug-in in build/lerobot-venv; Saccade itself is the
checkout's. A robot and an environment come as one more plug-in, from the folder plugin."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SACCADE_BIN", str(ROOT / "build" / "cpu" / "bin" / "saccade"))
HOME = Path(tempfile.mkdtemp(prefix="saccade-lerobot-"))
FOUND = HOME / "lerobot_robot_fake-0.dist-info"  # which LeRobot finds the plug-in by

FOUND.mkdir()
(FOUND / "METADATA").write_text("Metadata-Version: 2.1\nName: lerobot_robot_fake\nVersion: 0\n")
PATHS = [str(HOME), str(ROOT / "tests" / "lerobot" / "plugin")]
if "SACCADE_PACKAGE" not in os.environ:
    PATHS.append(str(ROOT / "python"))
sys.path[:0] = PATHS
os.environ |= {
    "HF_HOME": str(HOME / "huggingface"), "HF_LEROBOT_HOME": str(HOME / "lerobot"),
    "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]),
}

import saccade  # noqa: E402
from pictures import write_png  # noqa: E402


def pytest_sessionfinish():
    import shutil

    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def plugins(tmp_path_factory):
    """What each of LeRobot's programs does first. Its modules write logs where they are."""
    os.chdir(tmp_path_factory.mktemp("work"))
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()


@pytest.fixture(scope="session")
def engine(checkpoint, tokenizer):
    """The policy without LeRobot."""
    with saccade.load(checkpoint, device="cpu", tokenizer=tokenizer) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def command_line(checkpoint, tokenizer, tmp_path_factory):
    """The actions of `saccade infer`."""
    folder = tmp_path_factory.mktemp("frames")

    def infer(images, state, prompt, seed):
        given = []
        for name, pixels in images.items():
            given += ["--image", f"{name}={write_png(folder / f'{name}.png', pixels)}"]
        done = subprocess.run(
            [BINARY, "infer", checkpoint, "--tokenizer", tokenizer, *given, "--device", "cpu",
             "--state", json.dumps([float(value) for value in state]), "--prompt", prompt,
             "--seed", str(seed), "--json"], check=True, stdout=subprocess.PIPE)
        return np.array(json.loads(done.stdout)["actions"], np.float32)

    return infer


@pytest.fixture
def make_policy(checkpoint, tokenizer):
    """A policy of LeRobot's factory, with its processors."""
    from lerobot.policies.factory import (get_policy_class, make_policy_config,
                                          make_pre_post_processors)

    def make(**options):
        options = {"checkpoint": str(checkpoint), "tokenizer": str(tokenizer),
                   "engine_device": "cpu", **options}
        policy = get_policy_class("saccade")(make_policy_config("saccade", **options))
        return policy, *make_pre_post_processors(policy.config)

    return make


@pytest.fixture
def random():
    return np.random.default_rng(3)
