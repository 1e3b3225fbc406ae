#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests. Tests that need a GPU skip themselves where there is none.
#   scripts/test.sh [--lint] [PRESET] [ctest options]    PRESET: release (default), debug, asan, tsan, cpu-only; --lint: checks the style, too
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

preset=release lint=
if [ "${1:-}" = --lint ]; then
  lint=--lint
  shift
fi
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  preset=$1
  shift
fi

"$FCM_ROOT/scripts/setup.sh" $lint
configure "$preset"
build "$preset"
[ -z "$lint" ] || "$FCM_ROOT/scripts/lint.sh"
cd "$FCM_ROOT"
exec ctest --preset "$preset" --parallel "$(nproc)" "$@"
