#!/usr/bin/env bash
# Measures the modules that plans choose, so that the card's known kernels (planner/devices/*.kernels) cover them: plans networks for batch 1, 8
# and 64, times the best three tiles of every module in these plans, grows the trees with what was measured, builds, and begins again. Run it
# from the project's root. New rows are appended to TABLE; the working tree ends with new trees and kernels. DEVICE_KEY: another card than h200.
#   tests/gpu/known_kernels.sh BUILD TABLE ROUNDS SECONDS_A_ROUND MODEL.onnx...      # TABLE: zcat tests/calibration/h200.tsv.gz
set -euo pipefail
[ $# -ge 5 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 1; }
build=$1 table=$2 rounds=$3 seconds=$4
shift 4
key=${DEVICE_KEY:-h200}
tools=$build/tests/calibration
plans=$(mktemp -d)
trap 'rm -rf "$plans"' EXIT
zcat "tests/calibration/${key}_warm.tsv.gz" >"$plans/warm.tsv"
for ((round = 1; round <= rounds; ++round)); do
  for model in "$@"; do
    for batch in 1 8 64; do
      "$build/apps/fcm-plan" "$model" --gpu "$key" --precision fp16 --batch "$batch" --json >"$plans/$(basename "$model" .onnx)-$batch.json"
    done
  done
  python3 "$(dirname "$0")/modules_of_plans.py" "$plans"/*.json >"$plans/modules.txt"
  "$tools/fcm-tile-survey" --modules "$plans/modules.txt" --best 3 --spread 0 --seconds "$seconds" --out "$table"
  "$tools/fcm-tile-fit" "$table" "$plans/warm.tsv" --trees fcm/tile_trees.inc
  cmake --build "$build" --target fcm-tile-fit
  "$tools/fcm-tile-fit" "$table" --kernels "planner/devices/$key.kernels"
  cmake --build "$build" --target fcm-plan fcm-tile-survey
done
