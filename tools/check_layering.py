#!/usr/bin/env python3
"""Checks that includes point downwards only (docs/architecture.md), and prints each that does not.

cli -> server -> runtime -> models -> ops -> cuda, core; capi -> runtime; io -> core. The C interface
also exports the public ops. It, the runtime and the server see the headers of cuda that hold plain
C++. Public headers do so all.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What a file of each level may include, by the first folder of the path in quotes.
BELOW = {
    "core": {"core"},
    "cuda": {"cuda", "core"},
    "ops": {"ops", "cuda", "core"},
    "no_cuda": {"ops", "cuda", "core"},
    "io": {"io", "core"},
    "models": {"models", "ops", "io", "core"},
    "runtime": {"runtime", "models", "ops", "cuda", "io", "core"},
    "capi": {"capi", "runtime", "cuda", "core"},
    "server": {"server", "runtime", "cuda", "io", "core"},
    "cli": {"cli", "server", "runtime", "io", "core"},
    "examples": set(),
}
SEES_PUBLIC_OPS = {"ops", "no_cuda", "models", "runtime", "capi", "server"}
SEES_POLICY = {"core", "io", "models", "runtime", "capi", "server", "cli", "examples"}
SEES_C_INTERFACE = {"capi", "examples"}

SOURCES = {".h", ".c", ".cc", ".cu", ".cuh"}
C_INTERFACE = {"saccade.h", "saccade_ops.h"}  # of include/, for C and C++, so with conditions
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITIONAL = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif|else)\b")
CUDA_HEADER = re.compile(r"^(cu(da|blas|dnn|rand|fft|pti|b/|te/|tlass)|cooperative_groups|mma\.h|nv)")


def public_problem(level, header):
    if level == "public":
        return None
    if header.startswith("saccade/ops/") and level not in SEES_PUBLIC_OPS:
        return f"{level} may not see the ops"
    if header == "saccade/policy.h" and level not in SEES_POLICY:
        return f"{level} may not see the policy"
    return None


def include_problem(path, level, quote, header):
    if quote == "<":
        allowed = level == "cuda" or path.suffix in {".cu", ".cuh"}
        if CUDA_HEADER.match(header) and not allowed:
            return "only src/cuda and kernels see CUDA's headers"
        return None
    if header.startswith("saccade/"):
        return public_problem(level, header)
    if header in C_INTERFACE:
        seen = level in SEES_C_INTERFACE or path.name in C_INTERFACE
        return None if seen else f"{level} may not see the C interface"
    if level == "public":
        return "a public header includes only public headers"
    if level == "cli" and (path.parent / header).is_file():
        return None
    folder = header.split("/")[0]
    if folder not in BELOW:
        return "write the path from src/"
    return None if folder in BELOW[level] else f"{level} may not include {folder}"


def problems(path, level):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where = f"{path.relative_to(ROOT)}:{number}"
        plain = level == "public" and path.name not in C_INTERFACE
        if CONDITIONAL.match(line) and (plain or "SACCADE_CUDA" in line):
            yield f"{where}: no conditional compilation here; src/no_cuda has the stubs"
        include = INCLUDE.match(line)
        problem = include and include_problem(path, level, *include.groups())
        if problem:
            yield f"{where}: {include.group(2)}: {problem}"


def main():
    outside = {"public": ROOT / "include", "cli": ROOT / "cli", "examples": ROOT / "examples"}
    folders = outside | {folder.name: folder for folder in (ROOT / "src").iterdir()}
    found = [f"src/{name}: not a level" for name in folders if name not in BELOW | outside]
    count = 0
    for level, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            if path.suffix in SOURCES:
                count += 1
                found += problems(path, level)
    print("\n".join(found) if found else f"{count} files include only what lies below them")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
