"""Fixtures of the server's tests. They talk to it with openpi's own client, which `make
test-server` installs in build/server-venv."""

import pytest

from serving import Robot, Server


@pytest.fixture(scope="session")
def robots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robots")
    return {name: Robot(folder / name, *rest) for name, *rest in (
        ("aloha", "pi0", "pi0_aloha_sim"),
        ("posed", "pi05", "pi05_aloha"),
        ("droid", "pi05", "pi05_droid"),
        ("libero", "pi05", "pi05_libero"),
        ("lerobot", "pi05", None),
    )}


@pytest.fixture(scope="module")
def server(robots):
    """A server of LIBERO's robot."""
    with Server(*robots["libero"].arguments) as server:
        yield server


@pytest.fixture(scope="module")
def slow_server(robots):
    """One whose inference takes a good part of a second."""
    with Server(*robots["libero"].arguments, "--steps", 1000, "--chunk", 50) as server:
        yield server
