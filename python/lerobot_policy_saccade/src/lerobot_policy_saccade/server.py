"""Answers LeRobot's RobotClient: the gRPC service transport.AsyncInference, run by Saccade.

    python -m lerobot_policy_saccade.server --checkpoint my_policy --port 8080

One robot at a time, as with LeRobot's own policy server. Clients are not known by any key: listen
where only the robot can reach.
"""

from __future__ import annotations

import argparse
import functools
import logging
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from lerobot.async_inference import helpers
from lerobot.transport import services_pb2, services_pb2_grpc

import saccade

from . import payloads
from .configuration_saccade import SaccadeConfig
from .modeling_saccade import SaccadePolicy
from .observation import STATE, TASK, camera_names

logger = logging.getLogger("saccade")

MAX_OBSERVATION_BYTES = 256 * 2**20

# The options of `saccade serve` that are about the policy, and what SaccadeConfig calls them.
_OPTIONS = {
    "--device": ("engine_device", str, "cpu, cuda or auto: the GPU if one is there"),
    "--precision": ("precision", str, "as saccade.load takes it; else bf16 on a GPU, f32 else"),
    "--seed": ("seed", int, "inference i gets the noise of seed N + i; else random"),
    "--steps": ("num_inference_steps", int, "denoising steps; else the checkpoint's"),
    "--chunk": ("chunk_size", int, "actions in a chunk; else the checkpoint's"),
    "--max-prompt-tokens": ("tokenizer_max_length", int, "longest prompt; else the checkpoint's"),
    "--model": ("model", str, "pi0 or pi05, if the checkpoint does not say"),
    "--mode": ("mode", str, "openpi or lerobot: whose preprocessing is followed"),
    "--vision-heads": ("vision_heads", int, "SigLIP's heads, where its width is no published one"),
    "--openpi-config": ("openpi_config", str, "name of an openpi train config"),
    "--statistics": ("statistics", str, "norm_stats.json or a LeRobot statistics file"),
    "--tokenizer": ("tokenizer", str, "a SentencePiece model"),
}


@dataclass
class _Session:
    """What the server knows of the client that said Ready last."""

    robot: helpers.RemotePolicyConfig | None = None
    waiting: queue.Queue[tuple[helpers.TimedObservation, dict[str, Any]]] = field(
        default_factory=lambda: queue.Queue(maxsize=1))
    answered: set[int] = field(default_factory=set)  # time steps
    last: helpers.TimedObservation | None = None  # that was answered


def _refusing(method: Callable) -> Callable:
    """Ends a call that cannot be answered with one sentence, which the client logs."""

    @functools.wraps(method)
    def call(self: AsyncInference, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except (ValueError, saccade.NotSupported) as error:
            status, sentence = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except saccade.Error as error:
            status, sentence = grpc.StatusCode.INTERNAL, str(error)
        logger.warning("%s is refused: %s", method.__name__, sentence)
        return context.abort(status, sentence)

    return call


class AsyncInference(services_pb2_grpc.AsyncInferenceServicer):
    """The service of one policy. The newest observation waits for GetActions; one whose time step
    is answered already, or whose state is near that of the last, does not, unless it must go."""

    def __init__(self, policy: SaccadePolicy, fps: float = 30, queue_timeout: float = 2) -> None:
        """fps: of the robot, which actions are timed by. queue_timeout: seconds that GetActions
        waits for an observation before it answers with nothing."""
        self._policy = policy
        self._period = 1 / fps
        self._queue_timeout = queue_timeout
        self._lock = threading.Lock()  # of the session and what is in it
        self._session = _Session()

    @_refusing
    def Ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self._session = _Session()
        logger.info("ready client=%s", context.peer())
        return services_pb2.Empty()

    @_refusing
    def SendPolicyInstructions(self, request: Any, context: grpc.ServicerContext) -> Any:
        robot = payloads.policy_config(request.data)
        self._check(robot)
        with self._lock:
            self._session = _Session(robot)
        logger.info("the client asks for %s and gets %s", robot.pretrained_name_or_path,
                    self._policy.config.checkpoint)
        return services_pb2.Empty()

    @_refusing
    def SendObservations(self, request: Iterable[Any], context: grpc.ServicerContext) -> Any:
        observation = payloads.timed_observation(_assemble(request))
        with self._lock:
            session = self._session
            frame = _frame(observation, session.robot)
            if _is_worth_an_inference(observation, session):
                with suppress(queue.Empty):
                    session.waiting.get_nowait()
                session.waiting.put_nowait((observation, frame))
        return services_pb2.Empty()

    @_refusing
    def GetActions(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            session = self._session
        try:
            observation, frame = session.waiting.get(timeout=self._queue_timeout)
        except queue.Empty:
            return services_pb2.Actions()
        with self._lock:
            before, session.last = session.last, observation
            session.answered.add(observation.timestep)
        try:
            chunk = self._policy.predict_action_chunk(frame)[0]
        except Exception:
            # The robot stands still at this time step until it is answered.
            with self._lock:
                session.last = before
                session.answered.discard(observation.timestep)
            raise
        return services_pb2.Actions(data=pickle.dumps([
            # A copy, because the pickle of a view holds the whole chunk.
            helpers.TimedAction(timestamp=observation.timestamp + i * self._period,
                                timestep=observation.timestep + i, action=action.clone())
            for i, action in enumerate(chunk[:session.robot.actions_per_chunk].cpu())
        ]))

    def _check(self, robot: helpers.RemotePolicyConfig) -> None:
        """That a robot fits the policy, before it moves."""
        info = self._policy.engine.info
        if robot.policy_type not in ("saccade", info.model):
            raise ValueError(f"this server runs a policy of type {info.model}, the client asks for "
                             f"'{robot.policy_type}'")
        features = {robot.rename_map.get(key, key): feature
                    for key, feature in robot.lerobot_features.items()}
        cameras = set(camera_names(features, info.cameras).values())
        if not cameras or not cameras <= set(info.cameras):
            raise ValueError(f"the policy has the cameras {_listed(info.cameras)}, the robot has "
                             f"{_listed(sorted(cameras)) or 'none'}")
        length = len(features[STATE]["names"]) if STATE in features else 0
        if info.state_dim not in (0, length):
            raise ValueError(f"the policy's state has {info.state_dim} values, the robot's has "
                             f"{length}")


def _listed(cameras: Iterable[str]) -> str:
    return ", ".join(camera.removeprefix("observation.images.") for camera in cameras)


def _is_worth_an_inference(observation: helpers.TimedObservation, session: _Session) -> bool:
    if observation.must_go or session.last is None:
        return True
    return observation.timestep not in session.answered and not helpers.observations_similar(
        observation, session.last, lerobot_features=session.robot.lerobot_features)


def _frame(observation: helpers.TimedObservation,
           robot: helpers.RemotePolicyConfig | None) -> dict[str, Any]:
    """An observation as a policy takes it. Pictures stay 8-bit and of the camera's size."""
    if robot is None:
        raise ValueError("policy instructions must come before observations")
    values = observation.get_observation()
    try:
        made = helpers.make_lerobot_observation(values, robot.lerobot_features)
    except KeyError as error:
        raise ValueError(f"the observation has no {error}") from None
    frame = {robot.rename_map.get(key, key): value for key, value in made.items()}
    return {**frame, TASK: values.get(TASK)}


def _assemble(parts: Iterable[Any]) -> bytes:
    """One message of the parts that it was sent in."""
    state = services_pb2.TransferState
    data = bytearray()
    for part in parts:
        if part.transfer_state == state.TRANSFER_UNKNOWN:
            raise ValueError("a part of an observation does not say which part it is")
        if part.transfer_state == state.TRANSFER_BEGIN:
            data.clear()
        data += part.data
        if len(data) > MAX_OBSERVATION_BYTES:
            raise ValueError(f"the observation has more than {MAX_OBSERVATION_BYTES} bytes")
        if part.transfer_state == state.TRANSFER_END:
            return bytes(data)
    raise ValueError("the observation ends before its last part")


def _warm_up(engine: saccade.Policy) -> None:
    """One inference, so that a policy that cannot answer is not listened for."""
    info = engine.info
    frame = np.zeros((info.image_size, info.image_size, 3), np.uint8)
    engine.infer({camera: frame for camera in info.cameras},
                 np.zeros(info.state_dim or info.max_state_dim), "")


def serve(policy: SaccadePolicy, host: str = "localhost", port: int = 8080, fps: float = 30,
          queue_timeout: float = 2) -> tuple[grpc.Server, int]:
    """A started server, and the port that it listens on: a free one if port is 0."""
    _warm_up(policy.engine)
    # Another server on the same port would take half of the robot's calls.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4),
                         options=[("grpc.so_reuseport", 0)])
    service = AsyncInference(policy, fps, queue_timeout)
    services_pb2_grpc.add_AsyncInferenceServicer_to_server(service, server)
    bound = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, bound


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lerobot_policy_saccade.server",
                                     description="Answers LeRobot's RobotClient.")
    parser.add_argument("--checkpoint", required=True,
                        help="a directory of LeRobot or openpi, or a repository of the Hub")
    parser.add_argument("--host", default="localhost", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="0: any that is free")
    parser.add_argument("--fps", type=float, default=30, help="of the robot")
    parser.add_argument("--obs-queue-timeout", type=float, default=2,
                        help="seconds to wait for an observation")
    for option, (name, kind, text) in _OPTIONS.items():
        parser.add_argument(option, dest=name, type=kind, help=text, default=argparse.SUPPRESS)
    given = vars(parser.parse_args(arguments))
    config = SaccadeConfig(**{name: given[name] for name, _, _ in _OPTIONS.values()
                              if name in given})
    # By force, because an import of LeRobot may have set up logging of its own.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True,
                        format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        policy = SaccadePolicy.from_pretrained(given["checkpoint"], config=config)
        server, port = serve(policy, given["host"], given["port"], given["fps"],
                             given["obs_queue_timeout"])
    except (saccade.Error, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    logger.info("listening address=%s:%d", given["host"], port)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.stop(grace=1).wait()  # longer than an inference on a GPU
    logger.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
