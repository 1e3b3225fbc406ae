#!/usr/bin/env bash
# Operators on the first GPU, compact: every case of ops_cuda_gpu_test, both engine tests, ONNX's node tests in FP32, and the operator tests
# under compute-sanitizer. Everything runs in several processes with a time limit each, so that the whole takes about two minutes.
# Usage: tests/gpu/operators.sh BUILD [--jobs N] [--limit SECONDS] [--no-sanitizer] [--report DIR]
#   --report DIR: whole logs, and conformance.tsv (a line a node test, see tests/conformance/table.py)
set -u
build=${1:?usage: tests/gpu/operators.sh BUILD [--jobs N] [--limit SECONDS] [--no-sanitizer] [--report DIR]}
shift
jobs=8 limit=80 sanitizer=yes report=
while [ $# -gt 0 ]; do
  case $1 in
    --jobs) jobs=$2; shift ;;
    --limit) limit=$2; shift ;;
    --report) report=$2; shift ;;
    --no-sanitizer) sanitizer=no ;;
    *) echo "unknown option $1"; exit 1 ;;
  esac
  shift
done
[ -n "$report" ] || report=$(mktemp -d)
mkdir -p "$report"
failed=0
names=() numbers=()

# start NAME COMMAND...: in the background, output to a log.
start() {
  local name=$1
  shift
  timeout -k 5 "$limit" "$@" >"$report/$name.log" 2>&1 &
  numbers+=($!) names+=("$name")
}
# finish: waits for all; one line each that failed.
finish() {
  local i code
  for i in "${!numbers[@]}"; do
    wait "${numbers[$i]}"
    code=$?
    [ $code = 0 ] && continue
    failed=1
    echo "  ${names[$i]}: exit code $code$([ $code = 124 ] && echo " (time limit)")"
  done
  numbers=() names=()
}
# What failed, from gtest's output: the tests, then the first lines of messages.
failures() {
  grep -hE '^\[  FAILED  \] [A-Za-z]+[./]' "$@" | sed 's/ (.*//; s/, where.*//' | sort -u | head -40
  grep -hE -A4 ': Failure$' "$@" | grep -vE '^--$|: Failure$' | cut -c1-220 | head -60
}

operators() {
  local begin=$SECONDS i
  for i in $(seq 0 $((jobs - 1))); do
    GTEST_TOTAL_SHARDS=$jobs GTEST_SHARD_INDEX=$i start "operators.$i" "$build/tests/ops_cuda/ops_cuda_gpu_test" --gtest_brief=1
  done
  start cuda_engine "$build/tests/engine/cuda_engine_test" --gtest_brief=1
  start fused_engine "$build/tests/engine/fused_engine_test" --gtest_brief=1
  finish
  echo "== operators and engines, $((SECONDS - begin)) s: $(cat "$report"/operators.*.log | grep -cE '^\[  FAILED  \] Cases') failures of operator cases"
  failures "$report"/operators.*.log "$report"/*_engine.log
}

node_tests() {
  local begin=$SECONDS i tsv=$report/conformance.tsv
  rm -f "$tsv"
  for i in $(seq 0 $((jobs - 1))); do
    ONNX_NODE_TESTS_PART=$i/$jobs ONNX_NODE_TESTS_REPORT=$tsv start "conformance.$i" "$build/tests/conformance/conformance_gpu_test" --gtest_brief=1
  done
  finish
  if [ -s "$tsv" ]; then
    echo "== node tests, $((SECONDS - begin)) s: $(cut -f5 "$tsv" | sort | uniq -c | tr '\n' ' ')"
    awk -F'\t' '$5 == "fails" {print "  " $2 ": " substr($6, 1, 160)}' "$tsv" | head -80
    # Each process holds a part of the tests; the share of passes is that of all.
    awk -F'\t' '$5 != "folded" {all++} $5 == "passes" || $5 == "partly" {good++}
      END {printf "  %d of %d pass (%.1f %%)\n", good, all, 100 * good / all; exit good < 0.90 * all}' "$tsv" || failed=1
  else
    echo "== node tests: $(grep -h 'absent\|Skipped\|no CUDA' "$report"/conformance.0.log | head -1)"
  fi
}

# Cases that together use every kernel file, small ones; kernels are in the cache by now.
sanitize() {
  local begin=$SECONDS i check tool subset
  tool=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  subset='*conv_1d:*gemm_trans_b_odd:*add_relu6:*batch_norm:*transpose_4:*concat_channels:*slice_steps:*gather_constant:*expand:*pad_crop:*max_pool:'
  subset+='*average_pool:*global_average:*softmax_channels:*layer_norm:*layer_norm_planes:*rms_norm:*group_norm:*instance_norm:*resize_*:'
  subset+='*conv_transpose*:*arg_m*:*top_k*:*cum_sum*:*gather_elements*:*gather_nd*:*scatter_nd:*trilu*'
  for check in memcheck racecheck initcheck synccheck; do
    for i in 0 1 2; do
      GTEST_TOTAL_SHARDS=3 GTEST_SHARD_INDEX=$i start "$check.$i" "$tool" --tool $check --error-exitcode 9 --print-limit 5 \
        "$build/tests/ops_cuda/ops_cuda_gpu_test" --gtest_brief=1 "--gtest_filter=$subset"
    done
  done
  finish
  echo "== compute-sanitizer, $((SECONDS - begin)) s"
  grep -hE 'ERROR SUMMARY|RACECHECK SUMMARY' "$report"/{memcheck,racecheck,initcheck,synccheck}.*.log | sort | uniq -c
  grep -hE '========= (Invalid|Error|Uninitialized|Barrier|Race|Warning|Program hit)|=========     at ' "$report"/{memcheck,racecheck,initcheck,synccheck}.*.log |
    sort | uniq -c | sort -rn | head -12
}

operators
if [ -x "$build/tests/conformance/conformance_gpu_test" ]; then node_tests; fi
if [ $sanitizer = yes ]; then sanitize; fi
[ $failed = 0 ] && echo "operators: all passed"
exit $failed
