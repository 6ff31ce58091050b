"""docs/performance.md and what it is made of."""

import copy
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import make_performance_page  # noqa: E402
import record_bench  # noqa: E402

SPREAD = {"count": 300, "p50": 10.0, "p95": 10.1, "p99": 10.25, "max": 11.0}
BENCH = {
    "date": "2026-11-22", "device": "cuda", "gpu": "NVIDIA H200", "driver": "580.1",
    "cuda_driver": "13.0", "cuda_runtime": "13.0", "arch": 90,
    "case": {"model": "pi05", "synthetic": True, "views": 2, "prompt_tokens": 20, "chunk": 50,
             "steps": 10, "precision": "bf16", "frame": [480, 640]},
    "graph_ms": SPREAD, "wall_ms": SPREAD | {"p50": 10.3},
    "parts": {"vision": {"p50_ms": 1.5, "floor_ms": 0.6, "kernels": 190},
              "prefix": {"p50_ms": 4.0, "floor_ms": 3.0, "kernels": 88},
              "steps": {"p50_ms": 5.0, "floor_ms": 1.4, "kernels": 920},
              "host": {"p50_ms": 0.3}},
    "load_ms": 2000.0, "first_action_ms": 3456.0,
    "gpu_run": {"same_bits": True, "kernels": 1198, "overlapping_edges": 1197,
                "policy_bytes": 7e9, "used_bytes": 8e9, "allocations_while_measured": 0,
                "graphs_recorded_while_measured": 0,
                "clock_mhz": {"before": 345, "during": 1980, "after": 1980},
                "new_prompt": {"tokens": 21, "first_ms": 10.31, "usual_ms": 10.3, "extra_ms": 0.01},
                "new_prompt_other_graph": None},
    "policy": {"weight_bytes": 6.7e9},
}
PROFILE = {key: BENCH[key] for key in ("date", "device", "gpu", "driver", "case")} | {
    "graph_us": 10000.0, "sum_us": 9990.0,
    "rows": [{"stage": "vision", "op": "layer_norm", "shape": "[512, 1152]", "count": 2, "us": -0.5,
              "us_each": -0.25, "floor_us": 0},
             {"stage": "prefix", "op": "gemm", "shape": "576 x 2048 x 32768 geglu", "count": 17,
              "us": 1870.0, "us_each": 110.0, "floor_us": 1662.8}]}


@pytest.fixture
def results(tmp_path):
    shutil.copy(ROOT / "bench" / "results" / "rivals.json", tmp_path)
    return tmp_path


def cells(page, start):
    line = next(line for line in page.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_is_up_to_date():
    expected = make_performance_page.page(ROOT / "bench" / "results")
    assert (ROOT / "docs" / "performance.md").read_text() == expected, "run make performance"


def test_an_empty_folder_says_so(results):
    assert "No result is recorded yet." in make_performance_page.page(results)


def test_a_recorded_bench_stands_in_every_table(results):
    path = record_bench.record(BENCH, "abc123", results)
    assert path.name == "pi05_2views_20tokens_chunk50_bf16.json"
    page = make_performance_page.page(results)
    row = cells(page, "| Pi0.5, 2 views, 20 tokens, chunk 50, bf16 | 10.00 | 10.25")
    assert row[3] == "10.30" and "16.85 (FlashRT, graph)" in row[5] and row[6] == "1.69 x"
    assert row[7:] == ["2026-11-22", "`abc123`", "580.1"]
    row = cells(page, "| Pi0.5, 2 views, 20 tokens, chunk 50, bf16 | 1.50")
    assert row[1:] == ["1.50 (40 %)", "4.00 (75 %)", "5.00 (28 %)", "0.30", "5.00", "50 %"]
    row = cells(page, "| Pi0.5, 2 views, 20 tokens, chunk 50, bf16 | 6.70 GB")
    assert row[3:] == ["3.5 s", "1198 (1197)", "0, 0", "+0.01 ms", "-", "1980 MHz"]


@pytest.mark.parametrize("change, rival", [
    ({"model": "pi0", "views": 1, "prompt_tokens": 0, "chunk": 63}, "14.86 (realtime-vla (Triton), wall)"),
    ({"views": 3}, "21.83 (realtime-vla (Triton), wall, empty prompt)"),
    ({"views": 3, "precision": "fp8"}, "15.94 (FlashRT, graph)"),
    ({"chunk": 10}, "-"),   # every rival computes more actions
    ({"views": 4}, "-"),
    ({"steps": 5}, "-"),    # rivals take ten
])
def test_rivals_do_no_more_than_the_case(results, change, rival):
    report = copy.deepcopy(BENCH)
    report["case"] |= change
    rivals = json.loads((results / "rivals.json").read_text())
    assert make_performance_page.against_rival(report, rivals)[0] == rival


def test_rivals_of_another_gpu_are_not_compared_with(results):
    rivals = json.loads((results / "rivals.json").read_text())
    assert make_performance_page.against_rival(BENCH | {"gpu": "A100"}, rivals) == ("-", "-")


def test_a_profile_has_its_own_table(results):
    path = record_bench.record(PROFILE, "abc123", results)
    assert path.name == "profile_pi05_2views_20tokens_chunk50_bf16.json"
    page = make_performance_page.page(results)
    assert "No result" in page and "9.99 ms, the graph takes 10.00 ms" in page
    assert cells(page, "| prefix | gemm")[3:] == ["17", "1870", "110.00", "97.81", "89 %"]
    assert cells(page, "| vision | layer_norm")[5:] == ["-0.25", "-", "-"]


def test_a_mix_of_precisions_has_a_plain_file_name(results):
    mix = copy.deepcopy(BENCH)
    mix["case"]["precision"] = "vision=bf16,prefix=bf16,expert=fp8"
    path = record_bench.record(mix, "abc123", results)
    assert path.name == ("pi05_2views_20tokens_chunk50"
                         "_vision-bf16_prefix-bf16_expert-fp8.json")
    assert "chunk 50, vision=bf16,prefix=bf16,expert=fp8 |" in make_performance_page.page(results)


def test_what_is_no_result_is_refused():
    assert "GPU" in record_bench.problem(BENCH | {"device": "cpu"})
    broken = copy.deepcopy(BENCH)
    broken["gpu_run"]["same_bits"] = False
    assert "differ" in record_bench.problem(broken)
    assert record_bench.problem(BENCH) is None and record_bench.problem(PROFILE) is None
