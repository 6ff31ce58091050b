#!/usr/bin/env python3
"""Keeps what `saccade bench --json` and `saccade profile --json` printed, for docs/performance.md.

    tools/record_bench.py REPORT.json...

Each report becomes bench/results/<case>.json, with the commit that is checked out; a newer report of
a case takes the place of the older one.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


def file_name(report):
    case = report["case"]
    kind = "profile_" if "rows" in report else ""
    steps = "" if case["steps"] == 10 else f"_{case['steps']}steps"
    weights = "" if case["synthetic"] else "_checkpoint"
    precision = case["precision"].replace("=", "-").replace(",", "_")  # "vision=bf16,expert=fp8"
    return (f"{kind}{case['model']}_{case['views']}views_{case['prompt_tokens']}tokens"
            f"_chunk{case['chunk']}_{precision}{steps}{weights}.json")


def problem(report):
    """Why a report is none to show, or None."""
    if report.get("device") != "cuda":
        return "was not measured on a GPU"
    if not report.get("gpu_run", {}).get("same_bits", True):
        return "has results that differ from replay to replay"
    return None


def record(report, commit, results=RESULTS):
    path = results / file_name(report)
    path.write_text(json.dumps({"commit": commit} | report, indent=1) + "\n")
    return path


def main(paths):
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=9", "HEAD"], check=True,
                            capture_output=True, text=True).stdout.strip()
    for path in paths:
        report = json.loads(Path(path).read_text())
        if found := problem(report):
            print(f"{path} {found}", file=sys.stderr)
            return 1
        print(record(report, commit))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
