"""saccade serve --rerun: what is shown is what was asked and answered, and whatever becomes of the
process that shows it, the server goes on."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from datetime import datetime

import numpy as np
import pytest

from serving import ENVIRONMENT, ROOT, Server, picture, run
from test_protocol import OBSERVATION

PYTHON = os.environ.get("SACCADE_PYTHON")
REQUESTS = 7
CAMERAS = {"base_0_rgb": "observation/image", "left_wrist_0_rgb": "observation/wrist_image"}

needs_rerun = pytest.mark.skipif(
    PYTHON is None, reason="SACCADE_PYTHON names no Python with rerun-sdk; make test-rerun does")


def wait_for(happened):
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_logged(server, event):
    return any(f" {event} " in line for line in server.log)


def stand_in(folder, command):
    """A program in the place of Python, which says that it is ready and then is what it is."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\necho $$ > {folder}/process\necho ready\n{command}\n")
    script.chmod(0o755)
    return {"SACCADE_PYTHON": str(script)}


def is_running(folder):
    return os.path.exists(f"/proc/{(folder / 'process').read_text().strip()}")


def read_rrd(file):
    done = subprocess.run([PYTHON, ROOT / "tests" / "server" / "read_rrd.py", file], text=True,
                          capture_output=True, timeout=60, check=True)
    return json.loads(done.stdout)


def series(entity, timeline, component):
    """The values of a component in the order of a timeline."""
    rows = sorted((row for row in entity if timeline in row), key=lambda row: row[timeline])
    return [row[component] for row in rows]


@pytest.fixture(scope="module")
def shown(robots, tmp_path_factory):
    """Seven good requests and a bad one: as sent and answered, as recorded, as Rerun has them."""
    folder = tmp_path_factory.mktemp("rerun")
    random = np.random.default_rng(3)
    asked, got = [], []
    with Server(*robots["libero"].arguments, "--record", folder / "recording", "--rerun",
                folder / "live.rrd") as server:
        client = server.client()
        for i in range(REQUESTS):
            asked.append({"observation/image": picture(random),
                          "observation/wrist_image": picture(random, 20, 30),
                          "observation/state": random.uniform(-1, 1, 8),
                          "prompt": f"go {i // 4}"})
            got.append(client.infer(asked[-1])["actions"])
        with pytest.raises(RuntimeError):
            server.client().infer({})
    assert any(f"rerun_closed requests={REQUESTS + 1} dropped=0" in line for line in server.log)
    lines = (folder / "recording" / "index.jsonl").read_text().splitlines()[1:]
    return folder, asked, got, [json.loads(line) for line in lines]


@needs_rerun
def test_rerun_has_what_was_asked_and_answered(shown):
    folder, asked, got, recorded = shown
    entities = read_rrd(folder / "live.rrd")
    for camera, key in CAMERAS.items():
        buffers = series(entities[f"/camera/{camera}"], "request", "Image:buffer")
        assert [bytes(pixels) for [pixels] in buffers] == [sent[key].tobytes() for sent in asked]
    state = series(entities["/state"], "request", "Scalars:scalars")
    assert np.array_equal(state, [sent["observation/state"] for sent in asked])
    assert series(entities["/prompt"], "request", "TextDocument:text") == [["go 0"], ["go 1"]]

    actions = series(entities["/actions"], "step", "Scalars:scalars")
    assert np.array_equal(actions, np.concatenate(got))
    first_rows = series(entities["/actions"], "request", "Scalars:scalars")
    assert np.array_equal(first_rows, [chunk[0] for chunk in got])
    for joint in range(got[0].shape[1]):
        charts = series(entities[f"/chunk/{joint}"], "request", "BarChart:values")
        assert np.array_equal([chart["buffer"] for [chart] in charts],
                              [chunk[:, joint] for chunk in got])

    for stage in ("preprocess", "vision", "prefix", "steps", "postprocess"):
        times = series(entities[f"/latency_ms/{stage}"], "request", "Scalars:scalars")
        assert times == [[line["stages"][stage]] for line in recorded[:REQUESTS]]
    totals = entities["/latency_ms/total"]
    assert series(totals, "request", "Scalars:scalars") == [[line["total_ms"]] for line in recorded]
    assert series(totals, "request", "time") == [
        1e9 * datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
        for line in recorded]
    assert series(entities["/errors"], "request", "TextLog:text") == [[recorded[-1]["error"]]]


@needs_rerun
def test_a_recording_is_shown_as_it_was_live(shown):
    folder, *_ = shown
    arguments = [PYTHON, "-m", "saccade.rerun", folder / "recording"]

    def show(*rest):
        environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
        return subprocess.run([*arguments, *rest], text=True, capture_output=True, timeout=60,
                              env=environment)

    done = show(folder / "later.rrd")
    assert done.returncode == 0, done.stderr
    live, later = read_rrd(folder / "live.rrd"), read_rrd(folder / "later.rrd")
    for entities in (live, later):
        del entities["/__properties"]
        for rows in entities.values():
            for row in rows:
                row.pop("log_time", None)
            rows.sort(key=str)
    assert live == later

    again = show(folder / "later.rrd")
    assert again.returncode == 2 and "later.rrd exists already" in again.stderr
    arguments[-1] = folder
    assert "is no recording" in show(folder / "other.rrd").stderr

    cut = folder / "cut"
    shutil.copytree(folder / "recording", cut)
    file = cut / "00000002.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    arguments[-1] = cut
    broken = show(folder / "cut.rrd")
    assert broken.returncode == 2 and f"{file} is no part of a recording" in broken.stderr
    (cut / "index.jsonl").write_text("{}\n")
    assert "does not begin with a policy" in show(folder / "empty.rrd").stderr


@needs_rerun
def test_requests_go_to_a_viewer_that_runs_elsewhere(robots, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    viewer = [PYTHON, "-m", "rerun", "--bind", "127.0.0.1", "--port", port, "--save",
              tmp_path / "far.rrd"]
    address = f"rerun+http://127.0.0.1:{port}/proxy"
    with subprocess.Popen(viewer, stderr=subprocess.DEVNULL) as far:
        with Server(*robots["libero"].arguments, "--rerun", address) as server:
            actions = server.client().infer(OBSERVATION)["actions"]
        assert is_logged(server, "rerun_closed")
        time.sleep(1)
        far.send_signal(signal.SIGINT)
        far.wait(20)
    steps = series(read_rrd(tmp_path / "far.rrd")["/actions"], "step", "Scalars:scalars")
    assert np.array_equal(steps, actions)


@needs_rerun
def test_a_file_that_is_there_is_kept(robots, tmp_path):
    file = tmp_path / "kept.rrd"
    file.write_text("kept")
    done = run("serve", *robots["libero"].arguments, "--rerun", file, status=2)
    assert f"[--rerun] {file} exists already" in done.stderr
    assert file.read_text() == "kept"


def test_without_the_package_the_server_never_listens(robots, tmp_path, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\nexec python3 -I -S "$@"\n')  # without any package
    bare.chmod(0o755)
    for python, words in ((bare, "rerun-sdk is missing"), ("no-such-python", "no-such-python"),
                          ("false", "false ended before it was ready")):
        monkeypatch.setitem(ENVIRONMENT, "SACCADE_PYTHON", str(python))
        done = run("serve", *robots["libero"].arguments, "--port", 0, "--rerun", status=2)
        assert done.stderr.startswith("saccade: [--rerun] ") and words in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_target_must_be_a_file_of_rerun_or_an_address(robots):
    done = run("serve", *robots["libero"].arguments, "--rerun", "somewhere", status=2)
    assert "[--rerun] must be a new file that ends in .rrd or the address" in done.stderr


def test_the_server_goes_on_when_the_process_ends(robots, tmp_path):
    environment = stand_in(tmp_path, "exec head -c 100 > /dev/null")
    with Server(*robots["libero"].arguments, "--rerun", env=environment) as server:
        client = server.client()
        client.infer(OBSERVATION)
        wait_for(lambda: client.infer(OBSERVATION) and is_logged(server, "rerun_ended"))
        assert client.infer(OBSERVATION)["actions"].shape == (10, 7)
    assert sum(" rerun_ended " in line for line in server.log) == 1


def test_a_process_that_does_not_read_holds_up_nobody(robots, tmp_path):
    """More requests than are kept for it, all answered; and it is gone when the server is."""
    frame = np.zeros((480, 640, 3), np.uint8)
    observation = OBSERVATION | {"observation/image": frame}
    environment = stand_in(tmp_path, "exec sleep 1000")
    with Server(*robots["libero"].arguments, "--rerun", env=environment) as server:
        client = server.client()
        for _ in range(70):
            client.infer(observation)
        wait_for(lambda: is_logged(server, "rerun_dropped"))
        assert is_running(tmp_path)
    assert sum(" rerun_dropped " in line for line in server.log) == 1
    assert not is_running(tmp_path)


def test_the_process_ends_with_a_server_that_is_killed(robots, tmp_path):
    environment = stand_in(tmp_path, "exec cat > /dev/null")
    with Server(*robots["libero"].arguments, "--rerun", env=environment) as server:
        server.client().infer(OBSERVATION)
        assert is_running(tmp_path)
        server.stop(signal.SIGKILL)
        wait_for(lambda: not is_running(tmp_path))
