#!/usr/bin/env bash
# The planner's bytes against Nsight Compute's, kernel by kernel, for the fused modules of whole networks on a warm device. Resumable: a
# network and batch whose result stands in FOLDER is not measured again; the table over all results is printed at the end. The metrics fit
# one pass, so that kernel replay saves and restores nothing: 2 to 9 s a network and batch once the kernels are in the cache.
#   tests/gpu/predicted_traffic.sh FCM_PLAN FOLDER "1 64" MODEL.onnx...
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 1; }
plan=$1 folder=$2 batches=$3
shift 3
mkdir -p "$folder"
for model in "$@"; do
  for batch in $batches; do
    name=$(basename "$model" .onnx)-$batch
    [ -s "$folder/$name.csv" ] && [ -s "$folder/$name.json" ] && continue
    if timeout "${TRACE_SECONDS:-60}" ncu --profile-from-start off --cache-control none --clock-control none --replay-mode kernel --csv \
      --print-units base --log-file "$folder/$name.part" --metrics lts__t_sectors_srcunit_tex.sum,dram__bytes_read.sum,dram__bytes_write.sum \
      "$plan" "$model" --precision fp16 --batch "$batch" --trace --json >"$folder/$name.json"; then
      mv "$folder/$name.part" "$folder/$name.csv"
    else
      echo "$name: not measured" >&2
    fi
  done
done
python3 "$(dirname "$0")/predicted_traffic.py" "$folder"
