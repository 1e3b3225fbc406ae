#!/usr/bin/env bash
# install.sh CMAKE BUILD PREFIX PROTOC SCHEMA_DIR TEXT MODEL: installs BUILD into an empty PREFIX, and encodes the test model.
set -euo pipefail
cmake=$1 build=$2 prefix=$3 protoc=$4 schema=$5 text=$6 model=$7

rm -rf "$prefix"
"$cmake" --install "$build" --prefix "$prefix" >/dev/null
"$protoc" --encode=onnx.ModelProto -I"$schema" "$schema/onnx.proto" <"$text" >"$model"

grep -rlF "$prefix" "$prefix" --include='*.cmake' --include='*.pc' && { echo "an installed file names the prefix: it could not be moved"; exit 1; }
for file in include/fcm/fcm.h include/fcm/fcm.hpp bin/fcm-infer; do
  [ -e "$prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done
