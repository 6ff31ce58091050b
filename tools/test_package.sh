#!/bin/bash
# Unpacks a tarball of `make package` elsewhere and uses it from there with an empty environment: the
# program, a C program that pkg-config builds, and one that find_package(saccade) builds; then moves
# it and runs them again. No library may come from this system but those that every system has.
set -euo pipefail
tarball=$(realpath "${1:?usage: $0 tarball}")
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clean=(env -i PATH=/usr/bin:/bin HOME="$work")

mkdir -p "$work/first place" "$work/project"
tar -C "$work/first place" -xzf "$tarball"
prefix=$(echo "$work/first place"/*)

fail() {
  echo "$0: $*" >&2
  exit 1
}

check_libraries() {
  local others
  others=$("${clean[@]}" ldd "$@" | { grep -F ' => ' || true; } | { grep -vF "$prefix/" || true; } |
    { grep -vE '^\s*(lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so|ld-linux)' || true; })
  [ -z "$others" ] || fail "these libraries are not in the package: $others"
  "${clean[@]}" ldd "$@" | grep -F "$prefix/" | grep libopenblas > /dev/null ||
    fail "OpenBLAS is not the package's"
}

infer() {
  "${clean[@]}" "$prefix/bin/saccade" infer "$work/policy" --tokens 2,17,5 --json \
    --image "front=$root/examples/data/front.jpg" --state "$(printf '0,%.0s' {1..13})0"
}

echo "== the program"
"${clean[@]}" "$prefix/bin/saccade" synth "$work/policy" > /dev/null
infer > "$work/infer.json"
check_libraries "$prefix/bin/saccade" "$prefix/lib/libsaccade.so"

echo "== pkg-config"
cp "$root/examples/infer.c" "$work/project/"
flags=$("${clean[@]}" PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags --libs saccade)
echo "$flags"
"${clean[@]}" sh -c "cc -std=c99 '$work/project/infer.c' -o '$work/with_pkgconfig' $flags \
  '-Wl,-rpath,$prefix/lib'"
"${clean[@]}" "$work/with_pkgconfig" "$work/policy" > "$work/out"
[ -s "$work/out" ] || fail "the program says nothing"

echo "== find_package"
cat > "$work/project/CMakeLists.txt" << 'END'
cmake_minimum_required(VERSION 3.22)
project(user LANGUAGES C)
find_package(saccade 0.1 REQUIRED)
add_executable(with_cmake infer.c)
target_link_libraries(with_cmake PRIVATE saccade::saccade)
END
"${clean[@]}" cmake -S "$work/project" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" > /dev/null
"${clean[@]}" cmake --build "$work/build" > /dev/null
"${clean[@]}" "$work/build/with_cmake" "$work/policy" > "$work/out_cmake"
cmp "$work/out" "$work/out_cmake" || fail "the two programs differ"
if "${clean[@]}" cmake -S "$work/project" -B "$work/nowhere" > /dev/null 2>&1; then
  fail "a saccade was found that is not the package's"
fi

echo "== elsewhere"
mkdir "$work/second"
mv "$prefix" "$work/second/"
prefix=$(echo "$work/second"/*)
infer > "$work/again.json"
actions() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["actions"])' "$1"; }
[ "$(actions "$work/infer.json")" = "$(actions "$work/again.json")" ] || fail "other actions"
check_libraries "$prefix/bin/saccade"
"${clean[@]}" LD_LIBRARY_PATH="$prefix/lib" "$work/with_pkgconfig" "$work/policy" | cmp - "$work/out"
rm -rf "$work/build"
"${clean[@]}" cmake -S "$work/project" -B "$work/build" -Dsaccade_ROOT="$prefix" > /dev/null
"${clean[@]}" cmake --build "$work/build" > /dev/null
"${clean[@]}" "$work/build/with_cmake" "$work/policy" | cmp - "$work/out"

echo "== licences"
ls "$prefix/licenses"
for library in "$prefix"/lib/lib*.so*; do
  case $(basename "$library") in libsaccade*) ;; *) echo "$library" ;; esac
done | wc -l
echo "ok: $(basename "$tarball")"
