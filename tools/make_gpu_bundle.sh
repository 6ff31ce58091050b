#!/bin/bash
# Gathers what a bare GPU machine needs to run the program, the GPU tests and the benches: stripped
# binaries in <bundle>/bin, and the libraries that such a machine lacks in <bundle>/lib, where the
# binaries' rpath looks. The driver, CUDA's own libraries and glibc are expected there.
set -euo pipefail
build=${1:?usage: $0 build_directory bundle}
bundle=${2:?usage: $0 build_directory bundle}
limit_mib=60

rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/lib"
for program in saccade cuda_test op_bench micro_bench; do
  strip -o "$bundle/bin/$program" "$build/bin/$program"
done

# "name => path (address)"; what the linker did not find is an error here, not there.
libraries=$(ldd "$bundle"/bin/* | sort -u)
# Those are CUDA's, which the GPU machine has and this one may lack.
expected='lib(c|m|dl|rt|pthread|cuda|cudart|cublas|cublasLt|nvrtc)\.so|ld-linux'
if grep 'not found' <<< "$libraries" | grep -vE "$expected"; then
  echo "these libraries are missing on this machine" >&2
  exit 1
fi
awk '$2 == "=>" && $3 ~ /^\// { print $3 }' <<< "$libraries" | sort -u | grep -vE "/($expected)" |
  while read -r library; do
    cp -L "$library" "$bundle/lib/"
    strip --strip-unneeded "$bundle/lib/$(basename "$library")"
  done

mib=$(du -sm "$bundle" | cut -f1)
echo "$bundle: $mib MiB, $(ls "$bundle/bin" | wc -l) programs, $(ls "$bundle/lib" | wc -l) libraries"
if [ "$mib" -gt "$limit_mib" ]; then
  echo "that is more than $limit_mib MiB" >&2
  exit 1
fi
