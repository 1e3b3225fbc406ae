#!/usr/bin/env bash
# Memory accesses of fused modules against their layers on cuDNN, counted by Nsight Compute on a warm device: SM-to-L2 bytes (sectors x 32)
# and DRAM bytes, beside the bytes that no kernel can avoid.
#   [TRAFFIC_LAYERS=FILE] [TRAFFIC_JSON=FILE] tests/gpu/traffic.sh FCM_BENCH LIST [fcm-bench options: --batch 64 --precision fp16 ...]
# TRAFFIC_LAYERS is what `fcm-bench --modules LIST --json FILE` wrote with the same options, so that cuDNN's engines are not tried again;
# without it they are tried first, outside of the profiler. TRAFFIC_JSON also gets the figures, for apps/bench/tables.py.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 1; }
bench=$1 list=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
layers=${TRAFFIC_LAYERS:-}
if [ -z "$layers" ]; then
  layers=$scratch/layers.json
  "$bench" --modules "$list" --json "$layers" --rounds 1 --replays 1 "$@" >"$scratch/times.txt"
fi
ncu --profile-from-start off --cache-control none --clock-control none --csv --print-units base --log-file "$scratch/counters.csv" \
  --metrics lts__t_sectors_srcunit_tex.sum,dram__bytes_read.sum,dram__bytes_write.sum \
  "$bench" --modules "$list" --trace --layers "$layers" --json "$scratch/trace.json" "$@"
python3 "$(dirname "$0")/traffic_table.py" "$scratch/counters.csv" "$scratch/trace.json" "$(basename "$list" .txt)" "$layers" "${TRAFFIC_JSON:-}"
