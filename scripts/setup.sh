#!/usr/bin/env bash
# Installs what is missing to build and test: Debian packages, a Python environment in .deps/venv, the ONNX schema, and, where there is a
# GPU but no CUDA toolkit (or with FCM_CUDA_FROM_PYPI=1), CUDA 13.0 and cuDNN 9 from PyPI in .deps/cuda. Says nothing when nothing is missing.
#   scripts/setup.sh [--lint]    --lint: clang-format and clang-tidy too
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PACKAGES=(build-essential binutils ca-certificates ccache cmake ninja-build pkg-config python3 python3-venv
  libcli11-dev libfmt-dev libgtest-dev libjpeg62-turbo-dev libprotobuf-dev libspdlog-dev libstb-dev libonnx-testdata nlohmann-json3-dev
  protobuf-compiler)
LINT_PACKAGES=(clang-format clang-tidy-16 libomp-16-dev)

install_packages() {
  command -v dpkg-query >/dev/null || fail "not a Debian system; install the equivalents of: ${PACKAGES[*]}"
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing Debian packages: ${missing[*]}"
  quietly "$FCM_DEPS/log/apt-update.log" as_root apt-get update
  quietly "$FCM_DEPS/log/apt-install.log" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# up_to_date STAMP FILE: whether STAMP was left by `stamp` for FILE as it is now.
up_to_date() { [ -f "$1" ] && cmp -s "$1" "$2"; }

make_venv() {
  local wanted=$FCM_ROOT/scripts/requirements.txt stamp=$FCM_DEPS/venv/.requirements
  if up_to_date "$stamp" "$wanted" && "$FCM_PYTHON" -c '' 2>/dev/null; then return; fi
  say "making the Python environment .deps/venv"
  "$FCM_PYTHON" -m pip --version >/dev/null 2>&1 || quietly "$FCM_DEPS/log/venv.log" python3 -m venv --clear "$FCM_DEPS/venv"
  quietly "$FCM_DEPS/log/pip.log" "$FCM_PYTHON" -m pip install --disable-pip-version-check --only-binary :all: -r "$wanted"
  cp "$wanted" "$stamp"
}

copy_schema() {
  local packages source target=$FCM_DEPS/onnx/onnx-ml.proto
  packages=$("$FCM_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  source=$packages/onnx/onnx-ml.proto
  [ -f "$source" ] || fail "$source is missing: the onnx wheel is damaged; remove .deps/venv and run this again"
  cmp -s "$source" "$target" && return
  mkdir -p "$(dirname "$target")"
  cp "$source" "$target"
}

has_gpu() { [ -e /dev/nvidiactl ] || [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; }

has_toolkit() {
  local root
  for root in "${CUDA_HOME:-}" /usr/local/cuda /usr; do
    [ -n "$root" ] && [ -f "$root/include/cuda_runtime_api.h" ] && [ -f "$root/include/cublasLt.h" ] || continue
    compgen -G "$root/include/cudnn.h" >/dev/null || compgen -G '/usr/include/cudnn.h' >/dev/null ||
      compgen -G '/usr/include/*/cudnn.h' >/dev/null && return 0
  done
  return 1
}

# The wheels lay their files in nvidia/cu13 and nvidia/cudnn; one tree with include/ and lib/ is easier for compilers and loaders.
fetch_cuda() {
  local wanted=$FCM_ROOT/scripts/requirements-cuda.txt tree=$FCM_DEPS/cuda part folder
  up_to_date "$tree/.requirements" "$wanted" && return
  [ "$(uname -m)" = x86_64 ] || [ "$(uname -m)" = aarch64 ] || fail "NVIDIA publishes no CUDA wheels for $(uname -m)"
  say "fetching CUDA 13.0 and cuDNN 9 from PyPI into .deps/cuda (about 0.9 GB)"
  rm -rf "$tree" "$tree.new" "$tree.wheels"
  quietly "$FCM_DEPS/log/cuda.log" "$FCM_PYTHON" -m pip install --disable-pip-version-check --no-cache-dir --no-deps --no-compile \
    --only-binary :all: --target "$tree.wheels" -r "$wanted"
  mkdir -p "$tree.new/licences"
  for folder in include lib; do
    for part in cu13 cudnn; do
      mkdir -p "$tree.new/$folder"
      cp -rl "$tree.wheels/nvidia/$part/$folder/." "$tree.new/$folder/"
    done
  done
  for folder in "$tree.wheels"/*.dist-info; do
    part=$(basename "$folder" .dist-info)
    find "$folder" -iname 'licen?e*' -type f -exec cp {} "$tree.new/licences/$part.txt" \;
  done
  rm -rf "$tree.wheels"
  cp "$wanted" "$tree.new/.requirements"
  mv "$tree.new" "$tree"
}

main() {
  local packages=("${PACKAGES[@]}")
  case "${1:-}" in
    '') ;;
    --lint) packages+=("${LINT_PACKAGES[@]}") ;;
    *) fail "usage: scripts/setup.sh [--lint]" ;;
  esac
  install_packages "${packages[@]}"
  make_venv
  copy_schema
  if [ "${FCM_CUDA_FROM_PYPI:-0}" = 1 ] || { has_gpu && ! has_toolkit; }; then fetch_cuda; fi
}

main "$@"
