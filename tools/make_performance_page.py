#!/usr/bin/env python3
"""Makes docs/performance.md of bench/results/*.json; --check only says whether it is up to date."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "performance.md"
MODELS = {"pi0": "Pi0", "pi05": "Pi0.5"}
STAGES = ["vision", "prefix", "steps"]

HEAD = """# Performance

Made by `make performance` of the files in `bench/results`; not to be edited. Batch 1, ten denoising steps unless a case says otherwise.

* **graph**: one inference on the GPU, from 8-bit frames to actions, as the replay of its CUDA graph; replays follow each other without a pause.
* **wall**: from frames in the host's memory to actions in the host's memory, one inference after the other, with tokens given.
* **stages**: each in a graph of its own, with pauses in between: the prefix alone, replayed without one, runs into the GPU's power limit.
* **floor**: the least time for the weights' bytes and the products' operations, op by op, at what an H200 sustains: 4.55 TB/s and 790 TFLOP/s;
  products of e4m3 with e4m3 at twice that, as on its data sheet. In fp8 those are the prefix's; the expert's have e4m3 weights only.

To measure a case again, and to show it here:

    saccade bench --synthetic pi05 --views 2 --prompt-tokens 20 --chunk 50 --json > report.json
    tools/record_bench.py report.json
    make performance

Single ops beside cuBLASLt (`op_bench policy/`) and what the GPU itself costs (`micro_bench --json`) are in `bench/results/h200`; attempts
that lost are in `bench/study`.
"""


PHASES = """
A phase ends with its last CTA, and the next one's wait ends about 0.5 us later. Without stamps a layer took 21.8 us in bf16 and 20.9 in e4m3 at
that commit. At `47d5f04` it takes 21.1 and 19.0, that is 4.2 and 3.8 a phase: weights in e4m3 become f16 in one instruction, and attention has its
multiprocessors for itself (bench/study/gemm_skinny_chain); stamps were not taken again.

Weights in e4m3 are half of what is streamed, but the phases of latency stay: the operand's way through L2 (0.4 to 0.7 us), the exchange of sums
in a cluster (0.4 to 0.8), the epilogue (0.4), and CTAs that are late (0.2 to 1.1). gate_up waits for its weights in bf16 (3.7 us from operand to
product); in e4m3 it waited for their conversion (2.7 us, before that instruction). Attention waits 0.8 us for the others' sums, which are 16 KB a
CTA.
"""


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def ms(value):
    return "-" if value is None else f"{value:.2f}"


def percent(part, whole):
    return f"{100 * part / whole:.0f} %" if part and whole else "-"


def gigabytes(value):
    return f"{value / 1e9:.2f} GB"


def name(case):
    prompt = f"{case['prompt_tokens']} tokens" if case["prompt_tokens"] else "empty prompt"
    views = f"{case['views']} view" + ("s" if case["views"] != 1 else "")
    steps = "" if case.get("steps", 10) == 10 else f", {case['steps']} steps"
    return (f"{MODELS[case['model']]}, {views}, {prompt}, chunk {case['chunk']}{steps}, "
            f"{case['precision']}")


def order(report):
    case = report["case"]
    return (case["model"] != "pi05", case["precision"], case["views"], case["prompt_tokens"],
            case["chunk"], case["steps"])


def time_of(rival):
    return rival["wall_ms"] if rival["graph_ms"] is None else rival["graph_ms"]


def best_rival(case, rivals):
    """The fastest of those that do no more than the case asks for, or None."""
    able = [run for run in rivals["runs"]
            if all(run[key] == case[key] for key in ("model", "views", "precision"))
            and all(run[key] <= case[key] for key in ("prompt_tokens", "chunk"))]
    return min(able, key=time_of) if case["steps"] >= rivals["steps"] and able else None


def against_rival(report, rivals):
    rival = best_rival(report["case"], rivals)
    if rival is None or report["gpu"] != rivals["gpu"]:
        return "-", "-"
    kind = "wall" if rival["graph_ms"] is None else "graph"
    ours = report["wall_ms" if kind == "wall" else "graph_ms"]["p50"]
    less = [] if rival["prompt_tokens"] == report["case"]["prompt_tokens"] else ["empty prompt"]
    if rival["chunk"] != report["case"]["chunk"]:
        less.append(f"chunk {rival['chunk']}")
    return (f"{ms(time_of(rival))} ({', '.join([rival['system'], kind] + less)})",
            f"{time_of(rival) / ours:.2f} x")


def policies(reports, rivals):
    rows = []
    for r in reports:
        graph, wall = r["graph_ms"], r["wall_ms"]
        rows.append([name(r["case"]), ms(graph["p50"]), ms(graph["p99"]), ms(wall["p50"]),
                     ms(wall["p99"]), *against_rival(r, rivals), r["date"], f"`{r['commit']}`",
                     r["driver"]])
    return "\n## Policies, ms\n\n" + table(
        ["case", "graph p50", "p99", "wall p50", "p99", "best rival, same GPU", "we are", "date",
         "commit", "driver"], rows)


def stages(reports):
    rows = []
    for r in reports:
        row, floor = [name(r["case"])], 0
        for stage in STAGES:
            part = r["parts"][stage]
            floor += part.get("floor_ms", 0)
            row.append(f"{ms(part['p50_ms'])} ({percent(part.get('floor_ms'), part['p50_ms'])})")
        row += [ms(r["parts"]["host"]["p50_ms"]), ms(floor or None),
                percent(floor, r["graph_ms"]["p50"])]
        rows.append(row)
    return "\n## Stages, ms, and the floor's share of them\n\n" + table(
        ["case", *STAGES, "host", "floor in all", "of the graph"], rows)


def extra(prompt):
    return "-" if prompt is None else f"{prompt['extra_ms']:+.2f} ms"


def facts(reports):
    rows = []
    for r in reports:
        run = r["gpu_run"]
        clocks = run["clock_mhz"]
        rows.append([name(r["case"]), gigabytes(r["policy"]["weight_bytes"]),
                     gigabytes(run["policy_bytes"]), f"{r['first_action_ms'] / 1e3:.1f} s",
                     f"{run['kernels']} ({run['overlapping_edges']})",
                     f"{run['allocations_while_measured']}, {run['graphs_recorded_while_measured']}",
                     extra(run["new_prompt"]), extra(run["new_prompt_other_graph"]),
                     f"{clocks['during']} MHz"])
    return "\n## Around it\n\n" + table(
        ["case", "weights", "device memory", "process start to first action",
         "kernels (overlapping edges)", "allocations, recordings while measured",
         "a new prompt costs", "and another graph", "clock"], rows)


def rows_of_profile(profile):
    rows = []
    for row in profile["rows"]:
        each, floor = row["us_each"], row["floor_us"] / row["count"]
        rows.append([row["stage"], row["op"], row["shape"], str(row["count"]), f"{row['us']:.0f}",
                     f"{each:.2f}", f"{floor:.2f}" if floor else "-",
                     percent(floor, each) if each > 0 else "-"])
    return rows


def profiles(reports):
    text = ""
    for r in reports:
        text += (f"\n## Ops of {name(r['case'])}\n\n`saccade profile`, {r['date']}, "
                 f"`{r['commit']}`, driver {r['driver']}: the rows add up to "
                 f"{r['sum_us'] / 1e3:.2f} ms, the graph takes {r['graph_us'] / 1e3:.2f} ms by "
                 "itself.\n\n")
        text += table(["stage", "op", "shape", "count", "us", "us each", "floor", "of floor"],
                      rows_of_profile(r))
    return text


def phases(measured):
    steps = {"resident": "resident", "released": "wait ended", "arrived": "operand there",
             "multiplied": "multiplied", "softmax": "softmax", "weighed": "values weighed",
             "sent": "sent", "reduced": "reduced", "combined": "combined", "done": "stored",
             "last": "last CTA"}
    text = (f"\n## Phases of a layer of the action expert\n\n{measured['method']}. "
            f"{measured['gpu']}, driver {measured['driver']}, {measured['date']}, "
            f"`{measured['commit']}`.\n")
    for run in measured["runs"]:
        mean = run["us_a_layer"] / len(run["phases"])
        text += (f"\n**Weights in {run['weights']}**: {run['us_a_layer']:.1f} us a layer, "
                 f"{mean:.1f} a phase.\n\n")
        header = [key for key in steps if any(key in phase for phase in run["phases"])]
        text += table(["kernel", "CTAs", *(steps[key] for key in header)],
                      [[phase["kernel"], str(phase["ctas"]),
                        *(str(phase.get(key, "-")) for key in header)]
                       for phase in run["phases"]])
    return text + PHASES


def others(rivals):
    rows = [[run["system"], MODELS[run["model"]], str(run["views"]), str(run["prompt_tokens"]),
             str(run["chunk"]), run["precision"], ms(run["graph_ms"]), ms(run["wall_ms"]),
             run["note"]] for run in rivals["runs"]]
    return (f"\n## Others, measured on the same GPU\n\n{rivals['gpu']}, driver {rivals['driver']}, "
            f"CUDA {rivals['cuda']}, {rivals['date']}; {rivals['method']}.\n\n") + table(
        ["system", "model", "views", "prompt tokens", "chunk", "precision", "graph ms", "wall ms",
         "note"], rows)


def page(results):
    rivals = json.loads((results / "rivals.json").read_text())
    reports = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))
               if path.name != "rivals.json"]
    reports.sort(key=order)
    benches = [r for r in reports if "rows" not in r]
    text = HEAD
    if benches:
        text += policies(benches, rivals) + stages(benches) + facts(benches)
    else:
        text += "\nNo result is recorded yet.\n"
    text += profiles([r for r in reports if "rows" in r])
    measured = results / "h200" / "expert_phases.json"
    if measured.exists():
        text += phases(json.loads(measured.read_text()))
    return text + others(rivals)


def main():
    text = page(RESULTS)
    if sys.argv[1:] == ["--check"]:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        print(f"{PAGE.relative_to(ROOT)} is out of date: make performance", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
