#!/usr/bin/env bash
# find_package.sh PREFIX WORK MODEL: the two programs of consumer/ through find_package(fcm), from a prefix that was moved.
set -euo pipefail
prefix=$1 work=$2 model=$3
source=$(cd "$(dirname "$0")" && pwd)/consumer

rm -rf "$work"
mkdir -p "$work"
cp -a "$prefix" "$work/moved"
"$CMAKE" -G Ninja -S "$source" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved" -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX"
"$CMAKE" --build "$work/build"
"$work/build/consumer_c" "$model"
"$work/build/consumer_cpp" "$model"
