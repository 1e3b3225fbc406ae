#!/usr/bin/env bash
# Installs what is missing, builds everything, checks the style and runs all tests. Tests that need a GPU skip themselves where there is none.
#   scripts/test.sh [PRESET] [ctest options]    PRESET: release (default), debug, asan, tsan, cpu-only; the style is checked with release
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

preset=release
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  preset=$1
  shift
fi

"$FCM_ROOT/scripts/setup.sh" --lint
configure "$preset"
build "$preset"
if [ "$preset" = release ]; then "$FCM_ROOT/scripts/lint.sh"; fi
cd "$FCM_ROOT"
exec ctest --preset "$preset" --parallel "$(nproc)" "$@"
