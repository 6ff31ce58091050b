"""Shows what a policy server was asked and what it answered in the Rerun viewer.

    python -m saccade.rerun monday/                                        opens the viewer
    python -m saccade.rerun monday/ rerun+http://10.0.0.5:9876/proxy       in a viewer that runs there
    python -m saccade.rerun monday/ monday.rrd                             writes a file

monday/ is what `saccade serve --record` has written. `saccade serve --rerun` carries this text along
and runs it with "-": the same comes on the standard input then, each line of the index with its file
behind it. So nothing here needs the rest of the package.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO, Iterator, NamedTuple, NoReturn

STANDARD_INPUT = "-"
DTYPES = {"U8": "u1", "F32": "<f4", "F64": "<f8"}
MAX_HEADER_BYTES = 1 << 20


def fail(sentence: str) -> NoReturn:
    """Ends with a sentence. The server waits for a line on the standard output."""
    served = sys.argv[1:2] == [STANDARD_INPUT]
    print(sentence, file=sys.stdout if served else sys.stderr, flush=True)
    sys.exit(2)


try:
    import numpy as np
    import rerun as rr
    import rerun.blueprint as rrb
except ImportError as error:
    if __name__ != "__main__":
        raise
    fail(f"{sys.executable} cannot import {error.name}; rerun-sdk is missing there "
         "(pip install rerun-sdk), or SACCADE_PYTHON must name another Python")


class Request(NamedTuple):
    """A line of a recording's index, and what its file holds."""

    line: dict[str, Any]
    prompt: str | None = None
    tensors: dict[str, np.ndarray] = {}


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError("it is cut off")
    return data


def read_file(line: dict[str, Any], stream: BinaryIO) -> Request:
    """Reads the safetensors file of a request, and no further."""
    length = int.from_bytes(read_exactly(stream, 8), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes")
    header = json.loads(read_exactly(stream, length))
    metadata = header.pop("__metadata__", {})
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    data = read_exactly(stream, end)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return Request(line, metadata.get("prompt"), tensors)


def requests_of_stream(stream: BinaryIO) -> Iterator[Request]:
    """What the server sends. Where it is cut off the server was killed, and that is the end."""
    try:
        for text in iter(stream.readline, b""):
            line = json.loads(text)
            yield read_file(line, stream) if "file" in line else Request(line)
    except (EOFError, json.JSONDecodeError):
        return


def requests_of_recording(folder: Path) -> Iterator[Request]:
    index = folder / "index.jsonl"
    with open(index, "rb") as lines:
        for number, text in enumerate(lines, 1):
            where = f"{index}, line {number},"
            try:
                line = json.loads(text)
                if "file" in line:
                    where = str(folder / Path(line["file"]).name)
                    with open(where, "rb") as file:
                        request = read_file(line, file)
                else:
                    request = Request(line)
            except (EOFError, KeyError, OSError, TypeError, ValueError) as error:
                fail(f"{where} is no part of a recording: {error}")
            yield request


def blueprint(policy: dict[str, Any]) -> rrb.Blueprint:
    """Frames above, curves below."""
    cameras = [rrb.Spatial2DView(origin=rr.new_entity_path(["camera", name]), name=name)
               for name in policy["cameras"]]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(*cameras, rrb.TextDocumentView(origin="/prompt", name="Prompt")),
            rrb.Horizontal(rrb.TimeSeriesView(origin="/actions", name="Actions"),
                           rrb.BarChartView(origin="/chunk", name="Newest chunk")),
            rrb.Horizontal(rrb.TimeSeriesView(origin="/latency_ms", name="Latency (ms)"),
                           rrb.TimeSeriesView(origin="/state", name="State"),
                           rrb.TextLogView(origin="/errors", name="Errors"))))


class Viewer:
    """Logs requests on three timelines: their index, the time of their replies, and `step`, which
    counts the rows of all chunks."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self.action_names: list[str] = policy.get("action_names") or []
        self.requests = 0
        self.steps = 0
        self.prompt: str | None = None
        rr.send_blueprint(blueprint(policy))

    def show(self, request: Request) -> None:
        line, tensors = request.line, dict(request.tensors)
        time = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
        rr.set_time("request", sequence=self.requests)
        rr.set_time("time", timestamp=time)
        rr.set_time("step", sequence=self.steps)
        rr.log("connection", rr.Scalars(line["connection"]))
        if "error" in line:
            rr.log("errors", rr.TextLog(line["error"], level=rr.TextLogLevel.ERROR))
        stages = {name: line[f"{name}_ms"] for name in ("queue", "policy", "total")
                  if f"{name}_ms" in line}
        for stage, milliseconds in {**stages, **line.get("stages", {})}.items():
            rr.log(["latency_ms", stage], rr.Scalars(milliseconds))
        if "state" in tensors:
            rr.log("state", rr.Scalars(tensors.pop("state")))
        if request.prompt is not None and request.prompt != self.prompt:
            self.prompt = request.prompt
            rr.log("prompt", rr.TextDocument(request.prompt))
        actions = tensors.pop("actions", None)
        tensors.pop("previous_actions", None)
        for camera, pixels in tensors.items():
            rr.log(["camera", camera], rr.Image(pixels))
        if actions is not None:
            self.show_actions(actions, time)
        self.requests += 1

    def show_actions(self, actions: np.ndarray, time: datetime.datetime) -> None:
        """The chunk alone, a chart for each joint; and one curve for each joint: of all rows on
        `step`, of the first rows on the other timelines."""
        rows, joints = actions.shape
        names = self.action_names if len(self.action_names) == joints else [
            str(joint) for joint in range(joints)]
        if self.steps == 0:
            rr.log("actions", rr.SeriesLines(names=names), static=True)
        for joint, name in enumerate(names):
            rr.log(["chunk", name], rr.BarChart(actions[:, joint]))
        steps = rr.TimeColumn("step", sequence=np.arange(self.steps, self.steps + rows))
        now = [rr.TimeColumn("request", sequence=[self.requests]),
               rr.TimeColumn("time", timestamp=[time])]
        for indexes, values in (([steps], actions), (now, actions[:1])):
            columns = rr.Scalars.columns(scalars=values.reshape(-1).astype(np.float64))
            rr.send_columns("actions", indexes, columns.partition([joints] * len(values)))
        self.steps += rows


def connect(target: str) -> None:
    """Chooses where it is shown, or fails with a sentence."""
    rr.init("saccade")
    try:
        if target.endswith(".rrd"):
            with open(target, "xb"):
                rr.save(target)
        elif target:
            rr.connect_grpc(target)
        else:
            # pip puts it beside Python, which need not be on the PATH.
            viewer = Path(sys.executable).with_name("rerun")
            rr.spawn(executable_path=str(viewer) if viewer.is_file() else None)
    except FileExistsError:
        fail(f"{target} exists already; name another file")
    except OSError as error:
        fail(f"cannot write {target}: {error.strerror}" if target else f"no viewer starts: {error}")
    except (RuntimeError, ValueError) as error:
        fail(f"{target or 'the viewer'} cannot be used: {str(error).strip().splitlines()[0]}")


def main(arguments: list[str]) -> None:
    if not 1 <= len(arguments) <= 2:
        fail("usage: python -m saccade.rerun DIR [FILE.rrd or the address of a viewer]")
    source, target = arguments[0], "".join(arguments[1:])
    served = source == STANDARD_INPUT
    if not served and not Path(source, "index.jsonl").is_file():
        fail(f"{source} is no recording: it has no file index.jsonl")
    connect(target)
    if served:
        # The end of the input is the end; what stops the server must not cut off what it still
        # sends. And the server comes first where processors are scarce.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.nice(10)
        print("ready", flush=True)
    requests = (requests_of_stream(sys.stdin.buffer) if served
                else requests_of_recording(Path(source)))
    header = next(requests, None)
    if header is None and served:
        return  # the server has not come to listen
    if header is None or "policy" not in header.line:
        fail(f"{source} is no recording: its index does not begin with a policy")
    viewer = Viewer(header.line["policy"])
    for request in requests:
        viewer.show(request)
    rr.disconnect()


if __name__ == "__main__":
    main(sys.argv[1:])
