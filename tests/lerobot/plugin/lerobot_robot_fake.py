"""A robot and an environment that are not there, for LeRobot's own programs. Both see noise and
write down what they are told to do, as .npz files in $FAKE_LOG where that is set."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import numpy as np
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.robots.config import RobotConfig
from lerobot.robots.robot import Robot

JOINTS = 14
FRAMES = {"front": (48, 64, 3), "wrist": (30, 20, 3)}
TASK = "pick up the cup"


class Log:
    """What was seen and done, in order."""

    def __init__(self):
        self.entries = []

    def write(self, name):
        if "FAKE_LOG" in os.environ:
            arrays = {f"{key}/{i}": value for i, entry in enumerate(self.entries)
                      for key, value in entry.items()}
            np.savez(Path(os.environ["FAKE_LOG"]) / name, **arrays)


def frames(random):
    return {name: random.integers(0, 256, shape, np.uint8) for name, shape in FRAMES.items()}


@RobotConfig.register_subclass("fake")
@dataclass(kw_only=True)
class FakeRobotConfig(RobotConfig):
    seed: int = 0


class FakeRobot(Robot):
    config_class = FakeRobotConfig
    name = "fake"

    def __init__(self, config):
        super().__init__(config)
        self.random = np.random.default_rng(config.seed)
        self.log = Log()
        self.connected = False
        self.cameras = {}

    joints = [f"joint{i}.pos" for i in range(JOINTS)]

    @property
    def observation_features(self):
        return {**dict.fromkeys(self.joints, float), **FRAMES}

    @property
    def action_features(self):
        return dict.fromkeys(self.joints, float)

    @property
    def is_connected(self):
        return self.connected

    is_calibrated = True

    def connect(self, calibrate=True):
        self.connected = True

    def calibrate(self):
        pass

    def configure(self):
        pass

    def get_observation(self):
        # As far apart as the filter of similar observations wants them.
        state = self.random.uniform(-3, 3, JOINTS).astype(np.float32)
        seen = frames(self.random)
        self.log.entries.append({"state": state, **seen})
        return {**{joint: float(value) for joint, value in zip(self.joints, state)}, **seen}

    def send_action(self, action):
        values = np.array([action[joint] for joint in self.joints], np.float32)
        self.log.entries.append({"action": values})
        return action

    def disconnect(self):
        self.connected = False
        self.log.write("robot.npz")


class FakeEnv(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    render_mode = "rgb_array"
    task = task_description = TASK
    _max_episode_steps = 8
    made = 0

    def __init__(self, **_):
        self.number = FakeEnv.made
        FakeEnv.made += 1
        self.log = Log()
        self.steps = 0
        self.observation_space = gymnasium.spaces.Dict({
            "agent_pos": gymnasium.spaces.Box(-np.inf, np.inf, (JOINTS,), np.float32),
            "pixels": gymnasium.spaces.Dict({
                name: gymnasium.spaces.Box(0, 255, shape, np.uint8)
                for name, shape in FRAMES.items()}),
        })
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (JOINTS,), np.float32)

    def observe(self):
        state = self.np_random.uniform(-1, 1, JOINTS).astype(np.float32)
        seen = frames(self.np_random)
        self.log.entries.append({"state": state, **seen})
        return {"agent_pos": state, "pixels": seen}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {"is_success": False}

    def step(self, action):
        self.steps += 1
        self.log.entries.append({"action": np.asarray(action, np.float32)})
        over = self.steps == self._max_episode_steps
        if over:
            self.log.write(f"env{self.number}.npz")
        return self.observe(), 0.0, over, False, {"is_success": over}

    def render(self):
        return np.zeros((64, 64, 3), np.uint8)


# Without wrappers, which would hide the task from LeRobot 0.4.
gymnasium.register("gym_fake/Fake-v0", entry_point=FakeEnv, order_enforce=False)


@EnvConfig.register_subclass("fake")
@dataclass
class FakeEnvConfig(EnvConfig):
    task: str | None = "Fake-v0"
    fps: int = 10
    features: dict[str, PolicyFeature] = field(default_factory=lambda: {
        "action": PolicyFeature(FeatureType.ACTION, (JOINTS,)),
        "agent_pos": PolicyFeature(FeatureType.STATE, (JOINTS,)),
        **{f"pixels/{name}": PolicyFeature(FeatureType.VISUAL, shape)
           for name, shape in FRAMES.items()},
    })
    features_map: dict[str, str] = field(default_factory=lambda: {
        "action": "action", "agent_pos": "observation.state",
        **{f"pixels/{name}": f"observation.images.{name}" for name in FRAMES},
    })

    @property
    def gym_kwargs(self):
        return {}
