#!/bin/bash
# Runs every fuzz target of a build for some seconds. Fails on the first finding, and leaves the
# input that caused it in <build>/findings. New inputs stay in <build>/corpus for the next run.
set -euo pipefail
build=${1:?usage: $0 build_directory seconds}
seconds=${2:?usage: $0 build_directory seconds}

# Small valid files of the format that a target reads; without any, most bytes fail early.
seeds_of() {
  case $1 in
    image_fuzz) find examples tests/golden -name '*.jpg' -size -40k -o -name '*.png' -size -40k ;;
    safetensors_fuzz) find tests/golden -name '*.safetensors' -size -8k ;;
    statistics_fuzz) find tests/golden -name norm_stats.json ;;
    *) find "tests/fuzz/seeds/$1" -type f 2> /dev/null || true ;;
  esac
}

shopt -s nullglob
targets=("$build"/bin/*_fuzz)
if [ ${#targets[@]} -eq 0 ]; then
  echo "$build/bin has no *_fuzz target" >&2
  exit 1
fi

mkdir -p "$build/findings"
for target in "${targets[@]}"; do
  name=$(basename "$target")
  mkdir -p "$build/corpus/$name"
  seeds=$(seeds_of "$name" | paste -s -d ,)
  echo "== $name: $seconds s"
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$build/findings/$name-" ${seeds:+-seed_inputs="$seeds"} \
    "$build/corpus/$name" 2>&1 | sed '/^###### Recommended/,/^###### End/d'
done
echo "== ${#targets[@]} targets, no finding"
