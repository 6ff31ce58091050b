#!/bin/bash
# Makes a relocatable tarball of a build: the program, the C library with its header, CMake and
# pkg-config files, and beside it the libraries that a bare system lacks, with their licences. glibc
# and libstdc++ are expected where it is unpacked, at least as new as here, and so is the driver on a
# GPU; CUDA's runtime is linked statically.
set -euo pipefail
build=${1:?usage: $0 build_directory out_directory}
out=$(realpath -m "${2:?usage: $0 build_directory out_directory}")
cd "$(dirname "$0")/.."

version=$(sed -n 's/^project(saccade VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
name=saccade-$version-linux-$(uname -m)
stage=$out/$name
rm -rf "$stage"
mkdir -p "$stage/licenses"
for component in program library; do
  cmake --install "$build" --prefix "$stage" --component $component --strip > /dev/null
done
cp LICENSE README.md THIRD_PARTY.md "$stage/"

# The copyright file of the package that a file of this system belongs to.
add_license() {
  local package
  package=$(dpkg-query -S "$1" | head -n 1 | cut -d : -f 1)
  cp -L "/usr/share/doc/$package/copyright" "$stage/licenses/$package"
}

# "name => path (address)". A library under /usr is known to dpkg by that path, or without /usr.
libraries=$(ldd "$stage"/bin/saccade "$stage"/lib/libsaccade.so)
if grep 'not found' <<< "$libraries"; then
  echo "these libraries are missing on this machine" >&2
  exit 1
fi
expected='lib(c|m|dl|rt|pthread|cuda|stdc\+\+|gcc_s)\.so|ld-linux'
awk '$2 == "=>" && $3 ~ /^\// { print $3 }' <<< "$libraries" | sort -u |
  grep -vE "/($expected)" | { grep -vF "$stage" || true; } |
  while read -r library; do
    cp -L "$library" "$stage/lib/"
    strip --strip-unneeded "$stage/lib/$(basename "$library")"
    real=$(readlink -f "$library")
    add_license "$real" 2> /dev/null || add_license "${real#/usr}"
  done
# Headers that are compiled in.
for header in nlohmann/json.hpp CLI/CLI.hpp boost/beast/websocket.hpp msgpack.hpp; do
  add_license "/usr/include/$header"
done

tarball=$out/$name.tar.gz
tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner -czf "$tarball" "$name"
rm -rf "$stage"
ls -lh "$tarball"
