"""The async-inference server as LeRobot's RobotClient sees it, and what it refuses."""

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import torch
from lerobot.async_inference.configs import PolicyServerConfig, RobotClientConfig
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedAction, TimedObservation
from lerobot.transport import services_pb2, services_pb2_grpc
from lerobot.transport.utils import grpc_channel_options, send_bytes_in_chunks
from lerobot_robot_fake import TASK, FakeRobot, FakeRobotConfig

FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (14,), "names": FakeRobot.joints},
    **{f"observation.images.{name}": {"dtype": "image", "shape": (8, 8, 3),
                                      "names": ["height", "width", "channels"]}
       for name in ("front", "wrist")},
}


class Server:
    """The server's program, on a port of its own."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "lerobot_policy_saccade.server", *map(str, arguments),
                   "--port", "0", "--device", "cpu"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.log = []
        self.listening = threading.Event()
        self.port = None
        threading.Thread(target=self._read, daemon=True).start()
        if not self.listening.wait(60) or self.port is None:
            self.process.kill()
            raise RuntimeError("the server does not listen:\n" + "".join(self.log))

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"listening address=localhost:(\d+)", line)
            if found:
                self.port = found.group(1)
                self.listening.set()
        self.listening.set()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def server(checkpoint, tokenizer):
    server = Server("--checkpoint", checkpoint, "--tokenizer", tokenizer, "--seed", "100",
                    "--fps", "50", "--obs-queue-timeout", "0.3")
    yield server
    assert server.stop() == 0, "".join(server.log)
    assert "stopped" in server.log[-1]


class Robot:
    """What a RobotClient sends, by hand."""

    def __init__(self, server, **changes):
        self.channel = grpc.insecure_channel(f"localhost:{server.port}", grpc_channel_options())
        self.stub = services_pb2_grpc.AsyncInferenceStub(self.channel)
        self.stub.Ready(services_pb2.Empty())
        config = RemotePolicyConfig("pi05", "elsewhere", FEATURES, 6)
        vars(config).update(changes)
        if changes.get("policy_type", "") is not None:
            self.instruct(pickle.dumps(config))

    def instruct(self, data):
        self.stub.SendPolicyInstructions(services_pb2.PolicySetup(data=data))

    def send(self, observation):
        data = observation if isinstance(observation, bytes) else pickle.dumps(observation)
        self.stub.SendObservations(send_bytes_in_chunks(data, services_pb2.Observation))

    def actions(self):
        data = self.stub.GetActions(services_pb2.Empty()).data
        return pickle.loads(data) if data else []


def observation(step, state=None, must_go=False, task=TASK, **images):
    state = np.zeros(14) if state is None else state
    joints = dict(zip(FakeRobot.joints, map(float, state)))
    pictures = images or {name: np.full((8, 8, 3), 99, np.uint8) for name in ("front", "wrist")}
    return TimedObservation(timestamp=1000.0 + step, timestep=step, must_go=must_go,
                            observation={**joints, **pictures, "task": task})


@pytest.fixture
def robot(server):
    robot = Robot(server)
    yield robot
    robot.channel.close()


def refusal(call, *arguments, status=grpc.StatusCode.INVALID_ARGUMENT):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments)
    assert error.value.code() == status
    return error.value.details()


def same_bits(chunk, expected):
    got = np.stack([timed.action.numpy() for timed in chunk])
    return got.dtype == expected.dtype and got.tobytes() == expected.tobytes()


def seed_of(chunk, engine, images, state):
    """The seed of a chunk. The server counts up from 100 with every inference."""
    for seed in range(100, 2000):
        if same_bits(chunk, engine.infer(images, state, TASK, seed=seed).actions):
            return seed
    raise AssertionError("no seed gives these bits")


def test_robot_client_runs_five_hundred_inferences_with_the_bits_of_the_engine(
        server, engine, command_line):
    from lerobot.async_inference.robot_client import RobotClient

    client = RobotClient(RobotClientConfig(
        policy_type="pi05", pretrained_name_or_path="elsewhere", robot=FakeRobotConfig(),
        actions_per_chunk=6, task=TASK, server_address=f"localhost:{server.port}", fps=500,
        chunk_size_threshold=0.9, aggregate_fn_name="latest_only"))
    replies, sent = [], {}
    get, send = client.stub.GetActions, client.send_observation

    def get_actions(request):
        reply = get(request)
        if reply.data:
            replies.append(pickle.loads(reply.data))
        if len(replies) >= 500:
            client.shutdown_event.set()
        return reply

    def send_observation(timed):
        sent[timed.timestamp] = timed
        return send(timed)

    client.stub.GetActions, client.send_observation = get_actions, send_observation
    assert client.start()
    receiver = threading.Thread(target=client.receive_actions)
    receiver.start()
    client.control_loop(task=TASK)
    receiver.join(10)
    assert not receiver.is_alive()
    client.stop()

    assert len(replies) == 500
    for i, chunk in enumerate(replies):
        asked = sent[chunk[0].timestamp]
        values = asked.observation
        images = {name: values[name] for name in ("front", "wrist")}
        state = np.array([values[joint] for joint in FakeRobot.joints], np.float32)
        if i == 0:
            first = seed_of(chunk, engine, images, state)
        assert same_bits(chunk, engine.infer(images, state, TASK, seed=first + i).actions), i
        if i % 25 == 0:
            assert same_bits(chunk, command_line(images, state, TASK, first + i)), i
        assert [timed.timestep for timed in chunk] == [asked.timestep + k for k in range(6)]
    done = [entry["action"] for entry in client.robot.log.entries if "action" in entry]
    told = {timed.action.numpy().tobytes() for chunk in replies for timed in chunk}
    assert len(done) > 500 and {action.tobytes() for action in done} <= told


def test_actions_are_timed_from_the_observation(robot):
    robot.send(observation(20))
    chunk = robot.actions()
    assert all(type(timed) is TimedAction for timed in chunk)
    assert [timed.timestep for timed in chunk] == list(range(20, 26))
    assert [timed.timestamp for timed in chunk] == [1020.0 + i * (1 / 50) for i in range(6)]
    for timed in chunk:
        assert timed.action.shape == (14,) and timed.action.device.type == "cpu"
        assert timed.action.untyped_storage().nbytes() == 14 * 4  # not the whole chunk's


def test_actions_per_chunk(server):
    robot = Robot(server, actions_per_chunk=2)
    robot.send(observation(0))
    assert len(robot.actions()) == 2


def test_without_an_observation_the_answer_is_empty_after_the_timeout(robot):
    start = time.monotonic()
    assert robot.actions() == []
    assert 0.25 < time.monotonic() - start < 2


def test_the_newest_observation_is_answered_once(robot):
    for step in (1, 2, 3):
        robot.send(observation(step))
    assert robot.actions()[0].timestep == 3
    assert robot.actions() == []


def test_near_and_answered_observations_are_skipped(robot):
    near, far = np.zeros(14), np.zeros(14)
    near[3], far[3] = 0.99, 1.01
    robot.send(observation(0))
    assert robot.actions()[0].timestep == 0
    for skipped in (observation(1, near), observation(0, far)):
        robot.send(skipped)
        assert robot.actions() == []
    robot.send(observation(1, far))
    assert robot.actions()[0].timestep == 1
    robot.send(observation(1, far, must_go=True))
    assert robot.actions()[0].timestep == 1
    robot.stub.Ready(services_pb2.Empty())  # another client forgets all this
    assert "policy instructions" in refusal(robot.send, observation(1, far))


def test_the_filter_is_that_of_lerobots_own_server(robot, random):
    from lerobot.async_inference.policy_server import PolicyServer

    theirs = PolicyServer(PolicyServerConfig())
    theirs.lerobot_features = FEATURES
    taken = 0
    for _ in range(150):
        state = random.uniform(-0.3, 0.3, 14)
        timed = observation(int(random.integers(0, 40)), state, bool(random.random() < 0.1))
        expected = theirs._enqueue_observation(timed)
        robot.send(timed)
        if expected:
            timed = theirs.observation_queue.get_nowait()
            theirs._predicted_timesteps.add(timed.timestep)
            theirs.last_processed_obs = timed
            assert robot.actions()[0].timestep == timed.timestep
            taken += 1
    assert 30 < taken < 120
    assert robot.actions() == []


def test_large_observations_come_in_parts(robot, engine, random):
    images = {name: random.integers(0, 256, (1080, 1920, 3), np.uint8)
              for name in ("front", "wrist")}
    state = random.uniform(-1, 1, 14).astype(np.float32)
    robot.send(observation(0, state, **images))  # 12 MB, in parts of 2
    assert seed_of(robot.actions(), engine, images, state)


def test_cameras_are_renamed(server):
    features = {key.replace("wrist", "hand"): feature for key, feature in FEATURES.items()}
    names = {"observation.images.hand": "observation.images.wrist"}
    robot = Robot(server, lerobot_features=features, rename_map=names)
    picture = np.zeros((8, 8, 3), np.uint8)
    robot.send(observation(0, front=picture, hand=picture))
    assert len(robot.actions()) == 6


def without(key):
    return {name: feature for name, feature in FEATURES.items() if key not in name}


STATE = FEATURES["observation.state"]


@pytest.mark.parametrize("change, part", [
    ({"policy_type": "pi0"}, "runs a policy of type pi05, the client asks for 'pi0'"),
    ({"policy_type": "act"}, "the client asks for 'act'"),
    ({"lerobot_features": {"observation.state": STATE}}, "the robot has none"),
    ({"lerobot_features": {**without("wrist"),
                           "observation.images.rear": FEATURES["observation.images.front"]}},
     "the policy has the cameras front, wrist, the robot has front, rear"),
    ({"lerobot_features": without("state")}, "state has 14 values, the robot's has 0"),
    ({"lerobot_features": {**FEATURES, "observation.state": {**STATE, "names": ["a.pos"]}}},
     "the robot's has 1"),
    ({"actions_per_chunk": 0}, "actions_per_chunk must be at least 1"),
])
def test_a_robot_that_does_not_fit_is_refused_before_it_moves(server, change, part):
    with pytest.raises(grpc.RpcError) as error:
        Robot(server, **change)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert part in error.value.details()


def test_what_is_sent_out_of_turn_is_refused(server, robot):
    before = Robot(server, policy_type=None)
    assert "policy instructions must come before" in refusal(before.send, observation(0))
    assert before.actions() == []
    robot = Robot(server)
    lacking = observation(0)
    del lacking.observation["joint3.pos"]
    assert refusal(robot.send, lacking) == "the observation has no 'joint3.pos'"
    state = services_pb2.TransferState
    for parts, part in (
            ([], "ends before its last part"),
            ([(state.TRANSFER_BEGIN, b"x"), (state.TRANSFER_MIDDLE, b"y")], "ends before"),
            ([(state.TRANSFER_UNKNOWN, b"x")], "does not say which part"),
            ([(state.TRANSFER_END, b"")], "no pickle of a TimedObservation")):
        messages = [services_pb2.Observation(transfer_state=kind, data=data)
                    for kind, data in parts]
        assert part in refusal(robot.stub.SendObservations, iter(messages))
    robot.send(observation(0))
    assert len(robot.actions()) == 6


def test_an_observation_that_cannot_be_answered_does_not_block_its_time_step(robot):
    robot.send(observation(3))
    assert robot.actions()[0].timestep == 3
    grey = {"front": np.zeros((8, 8), np.uint8), "wrist": np.zeros((8, 8, 3), np.uint8)}
    robot.send(observation(4, np.ones(14), **grey))
    assert "observation.images.front must be" in refusal(robot.actions)
    robot.send(observation(4, np.ones(14)))
    assert robot.actions()[0].timestep == 4


class Evil:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.system, (f"touch {self.victim}",)


def test_a_malicious_message_does_not_run_and_the_server_goes_on(robot, tmp_path):
    evil = Evil(tmp_path / "victim")
    messages = (evil, observation(0, task=evil), RemotePolicyConfig("pi05", evil, FEATURES, 6))
    for data in map(pickle.dumps, messages):
        for call in (robot.send, robot.instruct):
            assert refusal(call, data) == "the message names posix.system, which is not admitted"
    tensor = observation(0, front=torch.zeros(8, 8, 3))
    assert "torch._utils._rebuild_tensor_v2" in refusal(robot.send, tensor)
    assert not (tmp_path / "victim").exists()
    robot.send(observation(0))
    assert len(robot.actions()) == 6


def test_refusals_at_the_start(server, checkpoint, tokenizer, capsys):
    from lerobot_policy_saccade.server import main

    given = ["--checkpoint", str(checkpoint), "--tokenizer", str(tokenizer), "--device", "cpu"]
    for arguments, part in (
            (["--checkpoint", "/nowhere"], "/nowhere"),
            (["--checkpoint", str(checkpoint), "--device", "cpu"], "tokenizer"),
            ([*given, "--precision", "f64"], "must be f32, bf16, fp8, auto"),
            ([*given, "--port", server.port], f"localhost:{server.port}")):
        assert main(arguments) == 2
        assert part in capsys.readouterr().err.splitlines()[-1]
