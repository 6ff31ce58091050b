"""The status page in a browser: headless Chromium, steered through its remote debugging port.

SACCADE_SCREENSHOT=docs/status_page.png keeps the picture that the test takes."""

import base64
import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import websockets.sync.client

from serving import ROOT, Server, run
from test_protocol import OBSERVATION

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="the status page was in no browser: tools/install_dependencies.sh browser")


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-extensions", "--disable-background-networking",
             "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
             f"--user-data-dir={folder}", "--window-size=1100,900", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in self.process.stderr:
            found = re.search(r"DevTools listening on (ws://\S+)", line)
            if found:
                break
        else:
            raise RuntimeError("chromium does not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.number = 0
        self.session = {}
        self.errors = []
        self.socket = websockets.sync.client.connect(found.group(1), max_size=None)
        page, = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps(
            {"id": self.number, "method": method, "params": parameters} | self.session))
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            entry = message.get("params", {}).get("entry", {})
            if entry.get("url", "").endswith("/favicon.ico"):  # which browsers ask for by themselves
                continue
            if message.get("method") == "Runtime.exceptionThrown" or entry.get("level") == "error":
                self.errors.append(message["params"])

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression):
        for _ in range(200):
            if self.value(expression):
                return
            time.sleep(0.05)
        raise AssertionError(f"never true: {expression}\n{self.value('document.body.innerText')}")

    def screenshot(self):
        return base64.b64decode(self.call("Page.captureScreenshot", format="png",
                                          captureBeyondViewport=True)["data"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


class Asking(threading.Thread):
    """A client that asks until it is told to stop: a ball that moves."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.client = server.client()
        self.stopped = threading.Event()
        self.replies = []

    def run(self):
        y, x = np.mgrid[0:120, 0:160]
        step = 0
        while not self.stopped.wait(0.02):
            step += 1
            ball = (x - 80 - 50 * np.cos(step / 20)) ** 2 + (y - 60 - 30 * np.sin(step / 20)) ** 2
            frame = np.stack([x + 60, y + 90, 200 - y], 2).astype(np.uint8)
            frame[ball < 200] = (230, 80, 40)
            state = np.sin(np.arange(8) + step / 10)
            self.replies.append(self.client.infer(OBSERVATION | {
                "observation/image": frame, "observation/wrist_image": frame[::-1].copy(),
                "observation/state": state})["actions"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def number_in(text):
    return float(re.search(r"[\d.]+", text).group())


@needs_chromium
def test_the_page_shows_frames_actions_latency_and_clients(robots, browser, tmp_path):
    with Server(*robots["libero"].arguments) as server:
        browser.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/")
        browser.wait_for("document.querySelector('#clients')?.innerText.includes('Nobody')")
        assert browser.value("document.querySelector('#requests').textContent") == "0"
        asking = [Asking(server), Asking(server)]
        for client in asking:
            client.start()
        # Frames come once somebody looks, and load as pictures of the model's size.
        browser.wait_for("""(() => {
            const images = [...document.querySelectorAll('#frames img')];
            return images.length === 2 && images.every(i => i.complete && i.naturalWidth > 0); })()""")
        assert browser.value("document.querySelector('#frames').innerText").split() == [
            "base_0_rgb", "left_wrist_0_rgb"]
        before = browser.value("document.querySelector('#frames').dataset.number")
        browser.wait_for(f"document.querySelector('#frames').dataset.number > {before}")
        browser.wait_for("+document.querySelector('#requests').textContent > 125")
        for client in asking:
            client.stopped.set()
            client.join()
        requests = sum(len(client.replies) for client in asking)
        browser.wait_for(f"document.querySelector('#requests').textContent === '{requests}'")

        # The curves are those of the last chunk that a client got: ten steps of seven actions.
        curves = browser.value("""[...document.querySelectorAll('#actions polyline')].map(
            line => line.getAttribute('points').split(' ').map(p => p.split(',').map(Number)))""")
        lasts = [client.replies[-1] for client in asking]
        assert any(np.allclose(np.array(curves)[:, :, 1].T, scaled(last), atol=0.02)
                   for last in lasts)
        p50 = number_in(browser.value("document.querySelector('#p50').textContent"))
        p99 = number_in(browser.value("document.querySelector('#p99').textContent"))
        assert 0 < p50 <= p99
        points = browser.value("document.querySelector('#sparkline polyline').getAttribute('points')")
        assert len(points.split()) == 120
        stages = browser.value("document.querySelector('#stages').innerText")
        for stage in ("preprocess", "vision", "prefix", "steps", "postprocess"):
            assert stage in stages
        widths = browser.value(
            "[...document.querySelectorAll('#stages .bar')].map(bar => parseFloat(bar.style.width))")
        assert sum(widths) == pytest.approx(100, abs=0.1)
        rows = browser.value("[...document.querySelectorAll('#clients tr')].map(r => r.innerText)")
        assert sorted(rows) == sorted(f"{peer(client)}\t{len(client.replies)} requests"
                                      for client in asking)
        assert browser.value("document.querySelector('#problem').textContent") == ""
        assert browser.errors == []
        picture = browser.screenshot()
        assert picture.startswith(b"\x89PNG") and len(picture) > 20_000  # not a blank page
        Path(os.environ.get("SACCADE_SCREENSHOT", tmp_path / "page.png")).write_bytes(picture)
    browser.wait_for(
        "document.querySelector('#problem').textContent.includes('cannot be reached')")


def scaled(actions):
    """What the page draws: each column from its lowest value, at 100, to its highest, at 0."""
    low, high = actions.min(0), actions.max(0)
    return 100 - 100 * (actions - low) / (high - low)


def peer(client):
    host, port = client.client._ws.local_address
    return f"{host}:{port}"


@needs_chromium
def test_names_out_of_a_checkpoint_are_text_and_no_markup(browser, tmp_path):
    policy = tmp_path / "policy"
    run("synth", policy, "--layout", "openpi")
    given = [policy, "--env", "libero", "--tokenizer", ROOT / "examples/data/tiny_tokenizer.model",
             "--statistics", policy / "assets" / "synth" / "norm_stats.json"]
    with Server(*given) as server:
        browser.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/")
        browser.wait_for("document.querySelector('#policy')?.textContent.includes('pi05')")
        browser.value("""show({...{model: '<b id=x>', precision: '', device: '', steps: 1,
            environment: '<img onerror=alert(1)>', requests: 1, errors: 0, deadline_misses: 0,
            queue_length: 0, uptime_s: 1, latency_ms: {recent: [1], p50: 1, p99: 1},
            stages: [{stage: '<i id=x>', ms: 1}], clients: [{peer: '<u id=x>', requests: 1}],
            cameras: [], picture_number: 0, actions: [{name: '<s id=x>', values: [1]}]}})""")
        assert browser.value("document.querySelector('#x')") is None
        assert "<s id=x>" in browser.value("document.querySelector('#actions').innerText")
