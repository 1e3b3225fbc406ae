#!/usr/bin/env bash
# readme.sh PREFIX WORK MODEL README IMAGE: compiles and runs the C example of the README as it stands there.
set -euo pipefail
prefix=$1 work=$2 model=$3 readme=$4 image=$5
export PKG_CONFIG_PATH=$prefix/$LIBDIR/pkgconfig LD_LIBRARY_PATH=$prefix/$LIBDIR

mkdir -p "$work"
awk '/^<!-- classify.c/ {wanted = 1} wanted && /^```$/ {exit} inside {print} wanted && /^```c$/ {inside = 1}' "$readme" >"$work/classify.c"
grep -q 'int main' "$work/classify.c" || { echo "the README has no example"; exit 1; }
read -ra cflags <<<"$(pkg-config --cflags fcm)"
read -ra libs <<<"$(pkg-config --libs fcm)"
"$CC" -std=c99 -Wall -Wextra -Werror -pedantic "${cflags[@]}" "$work/classify.c" -o "$work/classify" "${libs[@]}"
"$work/classify" "$model" "$image" | tee "$work/answer"
grep -Eq '^(bright|dark) ' "$work/answer" || { echo "the example answered something else"; exit 1; }
if "$work/classify" "$work/missing.onnx" "$image" 2>"$work/error"; then echo "a missing model must fail"; exit 1; fi
grep -q 'missing.onnx' "$work/error"
