"""Fixtures of the fleet's tests: fleets of tiny engines on the CPU. They share the helpers of the
server's tests, since a fleet must answer as a server does. `make test-fleet` installs Ray Serve."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "server")]

from serving import BINARY, Robot, Server  # noqa: E402

SEED = 1000


def ancestors(process):
    """The processes that started this one, by their ids."""
    while process > 1:
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
        except FileNotFoundError:
            return
        process = int(stat.rpartition(")")[2].split()[1])
        yield process


class Fleet(Server):
    """A fleet on a port of its own, with a Ray of its own."""

    LISTENING = re.compile(r"^saccade\.fleet: listening address=\S+:(\d+)$")
    START_S = 120
    STOP_S = 60

    def __init__(self, robot, *options, engines=()):
        self.checkpoint = str(robot.arguments[0])
        super().__init__(self.checkpoint, "--gpus-per-replica", 0, *options, "--",
                         "--device", "cpu", "--seed", SEED, *robot.arguments[1:], *engines,
                         env={"PYTHONPATH": str(ROOT / "python"), "SACCADE_BIN": BINARY})

    @staticmethod
    def command(arguments):
        return [sys.executable, "-m", "saccade.fleet", "--port", "0", "--host", "127.0.0.1",
                *arguments]

    def processes(self):
        """Everything that the fleet has started, Ray included."""
        running = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [process for process in running if self.process.pid in ancestors(process)]

    def engines(self):
        """The `saccade serve` processes, by their ids."""
        def words(process):
            try:
                return Path(f"/proc/{process}/cmdline").read_text().split("\0")
            except OSError:
                return []
        return [process for process in self.processes()
                if words(process)[:3] == [BINARY, "serve", self.checkpoint]]


def wait_until(condition, seconds=60):
    """Generous, for machines with much else to do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this has taken too long"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def robot(tmp_path_factory):
    return Robot(tmp_path_factory.mktemp("robots") / "libero", "pi05", "pi05_libero")


@pytest.fixture(scope="module")
def fleet(robot):
    """Two engines with four places each."""
    with Fleet(robot, "--replicas", 2, "--connections-per-replica", 4) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def server(fleet):
    """What the server's own tests ask."""
    return fleet
