# Shared by the scripts: where the project is, how messages look, how one preset is configured and built. Sourced, not run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

FCM_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
FCM_DEPS=$FCM_ROOT/.deps
FCM_PYTHON=$FCM_DEPS/venv/bin/python

say() { printf '== %s\n' "$*" >&2; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# quietly LOG COMMAND...: runs the command with its output in LOG, and shows the end of LOG when it fails.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 40 "$log" >&2
    fail "'$*' failed; the whole output is in $log"
  fi
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "this needs root, and there is no sudo: $*"
  fi
}

# configure PRESET: prints the backend line of CMake once, when the build folder is new.
configure() {
  local folder=$FCM_ROOT/build/$1 log=$FCM_ROOT/build/$1/configure.log fresh=yes
  [ -f "$folder/build.ninja" ] && fresh=no
  [ "$fresh" = no ] || say "configuring build/$1"
  (cd "$FCM_ROOT" && quietly "$log" cmake --preset "$1")
  [ "$fresh" = no ] || sed -n 's/^-- fcm: /   /p' "$log" >&2
}

# build PRESET [TARGET...]: a status line on a terminal, silence in a pipe unless something is wrong.
build() {
  local folder=$FCM_ROOT/build/$1 start=$SECONDS options=()
  shift
  [ -t 1 ] || options+=(--quiet)
  ninja -C "$folder" -n "$@" 2>/dev/null | grep -q 'no work to do' && return
  say "building in ${folder#"$FCM_ROOT"/} ${*:-}"
  NINJA_STATUS='[%f/%t] ' ninja -C "$folder" ${options[@]+"${options[@]}"} "$@"
  say "built in $((SECONDS - start)) s"
}
