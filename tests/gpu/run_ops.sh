#!/bin/sh
# Runs all GPU tests of a build folder, on the first device. Usage: tests/gpu/run_ops.sh BUILD [--sanitize [TOOL...]] [GTEST_FILTER]
# --sanitize repeats the operator tests under compute-sanitizer with the tools named (memcheck racecheck synccheck initcheck).
set -u
build=${1:?usage: tests/gpu/run_ops.sh BUILD [--sanitize [TOOL...]] [GTEST_FILTER]}
shift
sanitize=no
tools=
filter=
if [ "${1:-}" = --sanitize ]; then
  sanitize=yes
  shift
fi
for argument in "$@"; do
  case $argument in
    memcheck | racecheck | synccheck | initcheck) tools="$tools $argument" ;;
    *) filter=$argument ;;
  esac
done
failed=0
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader 2>/dev/null || echo "nvidia-smi does not answer"
run() {
  echo "== $*"
  "$@" || failed=1
}
programs=$(ctest --test-dir "$build" -L gpu -N --show-only=json-v1 | sed -n 's/^ *"\(\/.*_test\)"[,]*$/\1/p' | sort -u)
[ -n "$programs" ] || { echo "no GPU tests in $build; build them first"; exit 1; }
for program in $programs; do
  if [ "$sanitize" = no ]; then
    run "$program" --gtest_brief=1 ${filter:+"--gtest_filter=$filter"}
    continue
  fi
  sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  for tool in ${tools:-memcheck}; do
    run "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 "$program" --gtest_brief=1 ${filter:+"--gtest_filter=$filter"}
  done
done
[ $failed = 0 ] && echo "all GPU tests passed"
exit $failed
