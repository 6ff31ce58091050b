"""What the tests of the server share: servers to talk to, observations, and `saccade infer`."""

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from pictures import write_png

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "examples" / "data" / "tiny_tokenizer.model"
BINARY = os.environ.get("SACCADE_BIN", str(ROOT / "build" / "cpu" / "bin" / "saccade"))
# Tiny matrices gain nothing from threads, which would fight with the clients for the cores.
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
ERROR_REASON = "Internal server error. Traceback included in previous frame."


def run(*arguments, status=0):
    done = subprocess.run([BINARY, *map(str, arguments)], text=True, capture_output=True,
                          timeout=60, env=ENVIRONMENT)
    assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stderr}"
    return done


class Robot:
    """A tiny checkpoint and how it is loaded for a robot."""

    def __init__(self, folder, model, config):
        cameras = [] if config else ["--cameras", 3]
        layout = "openpi" if config else "lerobot"
        run("synth", folder, "--model", model, "--layout", layout, *cameras)
        self.arguments = [folder, "--tokenizer", TOKENIZER]
        if config:
            stats = folder / "assets" / "synth" / "norm_stats.json"
            self.arguments += ["--openpi-config", config, "--statistics", stats]


class Server:
    """A server on a port of its own. Its log is read as it comes."""

    LISTENING = re.compile(r" info listening address=\S+:(\d+) ")
    START_S = 30
    STOP_S = 20

    def __init__(self, *arguments, env=None):
        self.process = subprocess.Popen(self.command(map(str, arguments)), stderr=subprocess.PIPE,
                                        text=True, env=ENVIRONMENT | (env or {}))
        self.log = []
        self.listening = threading.Event()
        self.port = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if not self.listening.wait(self.START_S) or self.port is None:
            self.process.kill()
            raise RuntimeError("the server does not listen:\n" + "".join(self.log))

    @staticmethod
    def command(arguments):
        return [BINARY, "serve", *arguments, "--port", "0", "--host", "127.0.0.1"]

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            found = self.LISTENING.search(line)
            if found:
                self.port = int(found.group(1))
                self.listening.set()
        self.listening.set()

    def client(self, **options):
        return WebsocketClientPolicy("127.0.0.1", self.port, **options)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def rss_mb(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024

    def stop(self, number=15):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        status = self.process.wait(self.STOP_S)
        self.reader.join(5)
        return status

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            status = self.stop()
            assert kind or status == 0, "".join(self.log)


def picture(random, height=48, width=64):
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)

def infer(folder, arguments, frames, state, prompt, seed):
    """The actions of `saccade infer`: frames by the policy's camera names."""
    images = []
    for i, (camera, pixels) in enumerate(frames.items()):
        images += ["--image", f"{camera}={write_png(folder / f'frame{i}.png', pixels)}"]
    text = json.dumps([float(value) for value in state])
    told = [] if prompt is None else ["--prompt", prompt]
    done = run("infer", *arguments, *images, "--state", text, *told, "--seed", seed, "--json")
    return np.array(json.loads(done.stdout)["actions"], np.float32)
