#!/usr/bin/env bash
# pkg_config.sh PREFIX WORK MODEL: the two programs of consumer/ with nothing but a compiler and pkg-config.
set -euo pipefail
prefix=$1 work=$2 model=$3
source=$(cd "$(dirname "$0")" && pwd)/consumer
export PKG_CONFIG_PATH=$prefix/$LIBDIR/pkgconfig LD_LIBRARY_PATH=$prefix/$LIBDIR

mkdir -p "$work"
read -ra cflags <<<"$(pkg-config --cflags fcm)"
read -ra libs <<<"$(pkg-config --libs fcm)"
"$CC" -std=c99 -Wall -Wextra -Werror -pedantic "${cflags[@]}" "$source/consumer.c" -o "$work/consumer_c" "${libs[@]}"
"$CXX" -std=c++17 -Wall -Wextra -Werror -pedantic "${cflags[@]}" "$source/consumer.cpp" -o "$work/consumer_cpp" "${libs[@]}"
"$work/consumer_c" "$model"
"$work/consumer_cpp" "$model"
[ "$(pkg-config --modversion fcm)" = "$("$work/consumer_c" --version)" ] || { echo "fcm.pc and the library differ in version"; exit 1; }
