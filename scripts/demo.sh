#!/usr/bin/env bash
# From a bare machine to an answer: installs what is missing, builds fcm-infer, obtains EfficientNet-Lite0 with its ImageNet weights and
# classifies the bundled photograph, on the GPU if there is one, else on the CPU. Arguments are images to classify in its place.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$FCM_ROOT/scripts/setup.sh"
configure release
build release fcm-infer

model=$FCM_ROOT/models/zoo/efficientnet_lite0.onnx
[ -f "$model" ] || say "obtaining EfficientNet-Lite0"
"$FCM_PYTHON" "$FCM_ROOT/models/efficientnet_lite.py" efficientnet_lite0 >&2

[ $# -gt 0 ] || set -- "$FCM_ROOT/models/images/cat.png"
exec "$FCM_ROOT/build/release/apps/fcm-infer" "$model" "$@"
