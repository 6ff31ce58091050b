#!/bin/bash
# Installs the Debian or Ubuntu packages that are missing, and touches nothing when none is.
#
#   tools/install_dependencies.sh            what `make`, `make demo` and `make test` need
#   tools/install_dependencies.sh fuzz       also clang and its libFuzzer
#   tools/install_dependencies.sh format     also clang-format
#   tools/install_dependencies.sh wheel      also venv, which pip comes with
#   tools/install_dependencies.sh server     the same, for `make test-server` and `make test-fleet`
#   tools/install_dependencies.sh browser    also Chromium, which shows `make test-server` the status page
set -euo pipefail

packages=(
  build-essential cmake ninja-build pkg-config
  nlohmann-json3-dev libcli11-dev libfmt-dev libsentencepiece-dev
  libjpeg-dev libpng-dev libzstd-dev libopenblas-dev libboost-dev
  libgtest-dev python3-pytest python3-numpy
)

# Ubuntu 22.04 has the C++ headers of msgpack under the name of the C library.
if grep -q '^VERSION_ID="22.04"' /etc/os-release 2> /dev/null; then
  packages+=(libmsgpack-dev)
else
  packages+=(libmsgpack-cxx-dev)
fi

if ! command -v dpkg-query > /dev/null; then
  echo "Not a Debian or Ubuntu system. Saccade needs what these packages hold: ${packages[*]}"
  exit 0
fi

case "${1:-}" in
  "") ;;
  fuzz)
    packages+=(clang)
    # Ubuntu 22.04's clang holds the sanitizer runtimes; later releases have a package of their own.
    grep -q '^VERSION_ID="22.04"' /etc/os-release || packages+=(libclang-rt-dev)
    ;;
  format) packages+=(clang-format) ;;
  wheel | server) packages+=(python3-venv) ;;
  browser)
    # Ubuntu's package is a snap, which no container runs.
    if grep -q '^ID=ubuntu' /etc/os-release; then
      echo "Ubuntu has no Chromium as a package: install one, and put it on the PATH as chromium" >&2
      exit 1
    fi
    packages+=(python3-venv chromium)
    ;;
  *)
    echo "usage: $0 [fuzz|format|wheel|server|browser]" >&2
    exit 2
    ;;
esac

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "Run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing with apt: ${missing[*]}"
"${as_root[@]}" apt-get update -q < /dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -q -y --no-install-recommends "${missing[@]}" < /dev/null
