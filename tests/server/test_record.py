"""saccade serve --record, and saccade replay of what it wrote."""

import json
import resource
import shutil
import signal
import struct
import subprocess

import numpy as np
import pytest

import serving
from serving import Server, picture, run
from test_environments import CAMERAS, observe
from test_protocol import OBSERVATION, connect, metric

REQUESTS = 12


def dropped(server, reason):
    return metric(server, f'saccade_record_dropped_total{{reason="{reason}"}}')


def lines_of(folder):
    return [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]


def replay(*arguments, status=0):
    return json.loads(run("replay", *arguments, "--json", status=status).stdout)


@pytest.fixture(scope="module")
def recording(robots, tmp_path_factory):
    """Requests of two clients, one that was refused by the policy's host and one that was garbage;
    and the actions that the clients got."""
    folder = tmp_path_factory.mktemp("recorded") / "new" / "recording"
    random = np.random.default_rng(8)
    got = []
    with Server(*robots["aloha"].arguments, "--record", folder) as server:
        clients = [server.client(), server.client()]
        for i in range(REQUESTS):
            frames = {name: picture(random) for name in CAMERAS["aloha"][: 1 + i % 3]}
            message = observe("aloha", frames, random.uniform(-1, 1, 14), "fold the ünïcödé")
            if i % 4 == 3:
                del message["prompt"]
            got.append(clients[i % 2].infer(message)["actions"])
        for bad in ({}, observe("aloha", frames, np.full(14, np.nan), "x")):
            with pytest.raises(RuntimeError):
                server.client().infer(bad)
        assert metric(server, "saccade_record_bytes") > 0
        assert sum(dropped(server, reason) for reason in ("queue", "limit", "disk")) == 0
    return folder, got


def test_every_request_and_reply_is_recorded(recording):
    folder, got = recording
    header, *requests = lines_of(folder)
    assert header["format"] == "saccade recording" and header["policy"]["model"] == "pi0"
    assert len(requests) == REQUESTS + 2
    for request, actions in zip(requests, got):
        data = (folder / request["file"]).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        tensors = json.loads(data[8:8 + length])
        begin, end = tensors["actions"]["data_offsets"]
        stored = np.frombuffer(data[8 + length + begin:8 + length + end], "<f4")
        assert (stored.reshape(tensors["actions"]["shape"]) == actions).all()
        assert tensors["__metadata__"]["seed"] == str(request["seed"])
    assert [request["connection"] for request in requests[:4]] == [1, 2, 1, 2]
    seeds = [request["seed"] for request in requests[:REQUESTS]]
    assert seeds == list(range(seeds[0], seeds[0] + REQUESTS))
    assert "'images' is missing" in requests[-2]["error"] and "file" not in requests[-2]
    assert "NaN" in requests[-1]["error"]


def test_a_replay_gives_the_same_bits(recording):
    folder, _ = recording
    report = replay(folder)
    assert report["passed"] and report["without_actions"] == 2
    assert len(report["requests"]) == REQUESTS
    assert all(request["same_bits"] for request in report["requests"])
    text = run("replay", folder).stdout
    assert text.startswith(f"PASS: of {REQUESTS} requests {REQUESTS} gave the same bits")
    assert "2 more had got an error" in text


def test_a_replay_shows_what_another_policy_does(recording, robots):
    folder, _ = recording
    other = folder.parent / "other"
    run("synth", other, "--model", "pi0", "--layout", "openpi", "--seed", 5)
    report = replay(folder, other, status=1)
    assert not report["passed"] and not any(r["same_bits"] for r in report["requests"])
    worst = max(request["relative"] for request in report["requests"])
    assert worst > 0.01 and min(request["max_abs"] for request in report["requests"]) > 0
    assert replay(folder, other, "--max-error", worst)["passed"]
    assert not replay(folder, other, "--max-error", worst * 0.99, status=1)["passed"]
    text = run("replay", folder, other, status=1).stdout
    assert "FAIL" in text and "relative error" in text
    report = replay(folder, "--steps", 3, status=1)
    assert not any(request["same_bits"] for request in report["requests"])
    report = replay(folder, "--chunk", 5, status=1)
    assert "50 x 14 actions were recorded, the policy gives 5 x 14" in str(report)


def test_a_recording_serves_to_compare_precisions(recording, robots):
    folder, _ = recording
    done = run("verify", *robots["aloha"].arguments, "--fidelity", "--precision", "bf16",
               "--observations", folder, "--count", 2, "--json")
    assert json.loads(done.stdout)["available_observations"] == REQUESTS


def test_real_time_chunks_are_replayed_as_such(robots, tmp_path):
    folder = tmp_path / "recording"
    with Server(*robots["libero"].arguments, "--record", folder) as server:
        client = server.client()
        left = client.infer(OBSERVATION)["actions"][3:]
        for rtc in ({"prev_actions": left, "inference_delay": 2, "execution_horizon": 5},
                    {"prev_actions": left, "inference_delay": 0, "schedule": "ones",
                     "max_guidance_weight": 0.3}):
            client.infer(OBSERVATION | {"rtc": rtc})
    assert [request["same_bits"] for request in replay(folder)["requests"]] == [True] * 3
    path = folder / "00000001.safetensors"
    data = path.read_bytes()
    for word, other, part in ((b'"linear"', b'"linea!"', "linea!"),
                              (b'"inference_delay":"2"', b'"inference_delay":"x"', path.name),
                              (b'"inference_delay":"2"', b'"inference_deloy":"2"', path.name)):
        path.write_bytes(data.replace(word, other))
        assert part in run("replay", folder, status=2).stderr
    path.write_bytes(data.replace(b'"inference_delay":"2"', b'"inference_delay":"1"'))
    report = replay(folder, status=1)
    assert [request["same_bits"] for request in report["requests"]] == [True, False, True]


def broken(folder, target, name, change):
    shutil.copytree(folder, target)
    path = target / name
    path.write_bytes(change(path.read_bytes()))
    return run("replay", target, status=2).stderr


def in_line(number, change):
    """Changes one line of the index, which is an object."""

    def apply(data):
        lines = data.splitlines(keepends=True)
        value = json.loads(lines[number])
        change(value)
        lines[number] = json.dumps(value).encode() + b"\n"
        return b"".join(lines)

    return apply


HOSTILE_INDEX = [
    (lambda data: b"", "is empty"),
    (lambda data: data[:-5], "the line is cut off"),
    (lambda data: data[:40] + b"\n", "line 1"),
    (lambda data: data + b"[]\n", "is not a JSON object"),
    (lambda data: data + b"[" * 100000 + b"\n", "line 16"),
    (lambda data: data + b"{}\n", "file"),
    (lambda data: data + bytes(1 << 25), "at most 16777216 bytes"),
    (in_line(0, lambda v: v.update(format="pcap")), "is not the index of a recording"),
    (in_line(0, lambda v: v.update(version=2)), "version"),
    (in_line(0, lambda v: v.pop("checkpoint")), "checkpoint"),
    (in_line(0, lambda v: v["load"].update(device="tpu")), "device"),
    (in_line(0, lambda v: v["load"].update(precision="f31")), "f31"),
    (in_line(0, lambda v: v["load"].update(steps=-1)), "steps"),
    (in_line(2, lambda v: v.update(file="../00000001.safetensors")), "beside the index"),
    (in_line(2, lambda v: v.update(file="/etc/passwd")), "beside the index"),
    (in_line(2, lambda v: v.update(seed=-1)), "seed"),
    (in_line(2, lambda v: v.update(seed="1")), "seed"),
    (in_line(2, lambda v: v.update(file="gone.safetensors")), "gone.safetensors"),
]


@pytest.mark.parametrize("case", range(len(HOSTILE_INDEX)))
def test_hostile_indices_are_refused_by_name(recording, tmp_path, case):
    change, part = HOSTILE_INDEX[case]
    error = broken(recording[0], tmp_path / "copy", "index.jsonl", change)
    assert part in error and error.count("\n") == 1, error
    assert "index.jsonl" in error or "gone" in error or "f31" in error, error


@pytest.mark.parametrize("change, part", [
    (lambda data: b"", ""),
    (lambda data: data[:7], ""),
    (lambda data: data[:-1], "truncated"),
    (lambda data: data[:8] + b"\xff" * 100 + data[108:], ""),
    (lambda data: b"\xff" * 8 + data[8:], "header"),
    (lambda data: data.replace(b'"actions"', b'"axtions"'), "axtions"),
    (lambda data: data.replace(b'"F32"', b'"I32"'), "F32"),
    (lambda data: data.replace(b"[50,14]", b"[14,50]"), None),
])
def test_hostile_files_are_refused_by_name(recording, tmp_path, change, part):
    folder, _ = recording
    if part is None:  # a valid file of other actions, which is a difference
        shutil.copytree(folder, tmp_path / "copy")
        path = tmp_path / "copy" / "00000001.safetensors"
        path.write_bytes(change(path.read_bytes()))
        assert "14 x 50 actions" in run("replay", tmp_path / "copy", status=1).stdout
        return
    error = broken(folder, tmp_path / "copy", "00000001.safetensors", change)
    assert "00000001.safetensors" in error and part in error and error.count("\n") == 1, error


def test_what_is_no_recording_is_refused(tmp_path):
    assert "index.jsonl" in run("replay", tmp_path, status=2).stderr
    assert "is no recording" in run("replay", tmp_path / "nowhere", status=2).stderr


def test_directories_that_cannot_be_written_are_refused_at_the_start(robots, recording, tmp_path):
    given = robots["libero"].arguments
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", recording[0]):
        error = run("serve", *given, "--port", 0, "--record", folder, status=2).stderr
        assert "[--record]" in error and str(folder) in error and error.count("\n") == 1, error
    missing = run("serve", tmp_path / "nowhere", "--port", 0, "--record", tmp_path / "x", status=2)
    assert "nowhere" in missing.stderr and list((tmp_path / "x").iterdir()) == []


def test_the_limit_holds_and_what_comes_later_is_counted(robots, tmp_path):
    folder = tmp_path / "recording"
    frame = np.zeros((224, 224, 3), np.uint8)
    observation = OBSERVATION | {"observation/image": frame, "observation/wrist_image": frame}
    given = [*robots["libero"].arguments, "--record", folder, "--record-limit", 1]
    with Server(*given) as server:
        client = server.client()
        for _ in range(10):
            client.infer(observation)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert 600_000 < size <= 1 << 20
    assert len(lines_of(folder)) == 1 + 3
    assert sum("not_recorded reason=limit" in line for line in server.log) == 1
    assert any("recorded" in line and "requests=3 dropped=7" in line for line in server.log)
    assert replay(folder)["passed"]


def full_disk():
    """Files cannot grow beyond 4 KiB, and the process is told so instead of being killed."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_full_disk_is_counted_and_clients_notice_nothing(robots, tmp_path, monkeypatch):
    folder = tmp_path / "recording"
    frame = np.zeros((64, 64, 3), np.uint8)
    popen = subprocess.Popen
    monkeypatch.setattr(serving.subprocess, "Popen",
                        lambda *a, **k: popen(*a, preexec_fn=full_disk, **k))
    with Server(*robots["libero"].arguments, "--record", folder) as server:
        client = server.client()
        for i in range(6):
            small = i % 2 == 0
            image = OBSERVATION["observation/image"] if small else frame
            client.infer(OBSERVATION | {"observation/image": image})
    assert len(lines_of(folder)) == 1 + 3
    assert sorted(file.name for file in folder.iterdir()) == [
        "00000000.safetensors", "00000002.safetensors", "00000004.safetensors", "index.jsonl"]
    warnings = [line for line in server.log if "not_recorded" in line]
    assert len(warnings) == 1 and "reason=disk" in warnings[0] and "File too large" in warnings[0]
    assert replay(folder)["passed"]


def test_counts_are_in_the_metrics_only_while_recording(robots, server, tmp_path):
    with pytest.raises(StopIteration):
        metric(server, "saccade_record_bytes")
    with Server(*robots["libero"].arguments, "--record", tmp_path / "r") as recorded:
        recorded.client().infer(OBSERVATION)
        with connect(recorded) as socket:
            socket.recv()
            socket.send(b"garbage")
            assert "[message]" in socket.recv()
        for _ in range(1000):  # until the thread has written both
            if metric(recorded, "saccade_record_requests_total") == 2:
                break
        assert metric(recorded, "saccade_record_requests_total") == 2
        assert recorded.stop() == 0
    refused, = [line for line in lines_of(tmp_path / "r") if "error" in line]
    assert refused["error"].startswith("[message]")
