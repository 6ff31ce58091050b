"""The status page and what it is made of."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from serving import Server
from test_protocol import OBSERVATION, get


def test_page_is_one_file_without_outside_resources(server):
    status, page, response = get(server, "/")
    assert status == 200 and response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert page.lstrip().startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    links = re.findall(r"""(?:src|href)\s*=\s*["'][^"']*|https?://[^"'\s]+|url\(""", page)
    assert set(links) <= {"http://www.w3.org/2000/svg", 'src = "/frames/'}


def test_status_tells_clients_latency_stages_and_actions(robots):
    with Server(*robots["libero"].arguments) as server:
        empty = json.loads(get(server, "/status.json")[1])
        assert empty["clients"] == empty["actions"] == empty["latency_ms"]["recent"] == []
        client = server.client()
        for _ in range(130):
            actions = client.infer(OBSERVATION)["actions"]
        status = json.loads(get(server, "/status.json")[1])
        with pytest.raises(RuntimeError):
            client.infer({})
        assert json.loads(get(server, "/status.json")[1])["errors"] == 1
    assert status["requests"] == 130 and status["environment"] == "libero"
    assert [entry["requests"] for entry in status["clients"]] == [130]
    latency = status["latency_ms"]
    assert 0 < latency["p50"] <= latency["p99"] and len(latency["recent"]) == 120
    assert [stage["stage"] for stage in status["stages"]] == [
        "preprocess", "vision", "prefix", "steps", "postprocess"]
    shown = np.array([column["values"] for column in status["actions"]]).T
    assert (shown.astype(np.float32) == actions.astype(np.float32)).all()


def test_frames_are_shown_as_the_model_sees_them(robots):
    """Letterboxed to the model's square; and only once somebody looks."""
    name = "observation/image"
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    frame = np.broadcast_to(ramp[None, :, None], (32, 64, 3)).copy()
    with Server(*robots["libero"].arguments) as server:
        client = server.client()
        client.infer(OBSERVATION)
        assert get(server, "/frames/base_0_rgb.jpg")[0] == 404
        assert json.loads(get(server, "/status.json")[1])["cameras"] == []
        client.infer(OBSERVATION | {name: frame})
        status = json.loads(get(server, "/status.json")[1])
        assert status["cameras"] == ["base_0_rgb", "left_wrist_0_rgb"]
        for url in ("/frames/base_0_rgb.jpg", "/frames/base%5F0_rgb.jpg?7"):
            code, body, response = get(server, url, binary=True)
            assert code == 200 and response.headers["Content-Type"] == "image/jpeg"
        seen = np.array(Image.open(io.BytesIO(body))).astype(int)
        size = len(seen)
        assert seen.shape == (size, size, 3)
        assert seen[: size // 4 - 2].max() < 16 and seen[-(size // 4 - 2):].max() < 16
        middle = seen[size // 2, :, 0]
        assert middle[1] < 40 and middle[-2] > 215 and (np.diff(middle) > -16).all()
        for path in ("/frames/nowhere.jpg", "/frames/.jpg", "/frames/..%2F..%2Fetc.jpg", "/frames/%",
                     "/frames/%zz.jpg"):
            assert get(server, path)[0] == 404
