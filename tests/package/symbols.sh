#!/usr/bin/env bash
# symbols.sh PREFIX: libfcm.so defines fcm_* and nothing else, defines every function of fcm.h, and needs no CUDA library to start.
set -euo pipefail
prefix=$1
library=$prefix/$LIBDIR/libfcm.so

visible=$(nm -D --defined-only "$library" | awk '{print $NF}' | sort -u)
foreign=$(grep -v '^fcm_' <<<"$visible" || true)
[ -z "$foreign" ] || { printf 'visible besides fcm_*:\n%s\n' "$foreign"; exit 1; }

declared=$(grep -oE '^FCM_API[^;(]*\bfcm_[a-z0-9_]+\(' "$prefix/include/fcm/fcm.h" | grep -oE 'fcm_[a-z0-9_]+\($' | tr -d '(' | sort -u)
[ "$(wc -l <<<"$declared")" -gt 20 ] || { echo "fcm.h was not understood"; exit 1; }
[ "$declared" = "$visible" ] || { echo "fcm.h (<) and libfcm.so (>) differ:"; diff <(echo "$declared") <(echo "$visible"); exit 1; }

linked=$(readelf -d "$library" | grep NEEDED)
if grep -E 'libcuda|libcudart|libcudnn|libcublas|libnvrtc' <<<"$linked"; then echo "CUDA libraries must be opened at run time"; exit 1; fi
