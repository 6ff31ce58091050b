#!/bin/bash
# Runs every fuzz target of a build for some seconds. Fails on the first finding, and leaves the
# input that caused it in <build>/findings. New inputs stay in <build>/corpus for the next run.
set -euo pipefail
build=${1:?usage: $0 build_directory seconds}
seconds=${2:?usage: $0 build_directory seconds}

shopt -s nullglob
targets=("$build"/bin/*_fuzz)
if [ ${#targets[@]} -eq 0 ]; then
  echo "$build/bin has no *_fuzz target" >&2
  exit 1
fi

for target in "${targets[@]}"; do
  name=$(basename "$target")
  corpus=$build/corpus/$name
  mkdir -p "$corpus" "$build/findings"
  seeds=("tests/fuzz/corpus/$name"/)
  echo "== $name: $seconds s"
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$build/findings/$name-" "$corpus" "${seeds[@]}"
done
echo "== ${#targets[@]} targets, no finding"
