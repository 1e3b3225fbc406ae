"""Networks for measurements, written with numpy and onnx alone: random weights from a seed, batch norm statistics that keep activations
near unit scale, so that FP16 and FP32 results can be compared.

  python models/paper/networks.py mobilenetv2                      # writes models/zoo/mobilenetv2.onnx
  python models/paper/networks.py --list
  python models/paper/networks.py all --batch 8 --output DIR

mobilenetv1, mobilenetv2, mobilenetv3_large and efficientnet_b0 have the shapes of timm's *_100 models (PyTorch's symmetric padding);
mobilenetv1_keras, mobilenetv2_keras, xception and proxylessnas are the four of the FCM paper at 224 x 224 (TensorFlow's "SAME" padding,
every depthwise kernel of proxylessnas 3x3). BatchNormalization stays a node of its own: folding is the runtime's job.
"""

import argparse
import math
import pathlib
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-3
SIDE = 224
CLASSES = 1000


class Writer:
    """Collects nodes while a network is walked. A value is (name, channels, side, power): power is the mean square expected there."""

    def __init__(self, seed, same):
        self.nodes = []
        self.initializers = []
        self.random = np.random.default_rng(seed)
        self.same = same
        self.count = 0

    def tensor(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, op, inputs, name=None, **attributes):
        self.count += 1
        name = name or f"{op.lower()}_{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def pads(self, side, kernel, stride, valid):
        if valid:
            return 0, 0
        if not self.same:
            return kernel // 2, kernel // 2
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2

    def conv(self, value, name, outputs, kernel=1, stride=1, depthwise=False, valid=False, bias=False):
        x, channels, side, power = value
        depth = (1 if depthwise else channels) * kernel * kernel
        weights = self.random.standard_normal((outputs, depth // (kernel * kernel), kernel, kernel)) / math.sqrt(depth * power)
        before, after = self.pads(side, kernel, stride, valid)
        inputs = [x, self.tensor(name + ".weight", weights)]
        if bias:
            inputs.append(self.tensor(name + ".bias", self.random.uniform(-0.2, 0.2, outputs)))
        y = self.node(
            "Conv", inputs, name, kernel_shape=[kernel, kernel], strides=[stride, stride], group=channels if depthwise else 1,
            pads=[before, before, after, after],
        )
        return y, outputs, (side + before + after - kernel) // stride + 1, 1.0

    def norm(self, value, name):
        x, channels, side, _ = value
        parts = {
            "scale": self.random.uniform(0.8, 1.2, channels),
            "bias": self.random.uniform(-0.2, 0.2, channels),
            "mean": self.random.normal(0, 0.1, channels),
            "variance": self.random.uniform(0.7, 1.4, channels),
        }
        inputs = [x] + [self.tensor(f"{name}.{part}", numbers) for part, numbers in parts.items()]
        return self.node("BatchNormalization", inputs, name, epsilon=EPSILON), channels, side, 1.0

    def activate(self, value, kind):
        x, channels, side, power = value
        if kind is None:
            return value
        if kind == "relu6":
            low, high = (self.scalar(bound) for bound in (0.0, 6.0))
            return self.node("Clip", [x, low, high]), channels, side, power / 2
        if kind == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x])]), channels, side, power * 0.42
        if kind == "sigmoid":
            return self.node("Sigmoid", [x]), channels, side, 0.3
        if kind == "hard_sigmoid":
            return self.node("HardSigmoid", [x], alpha=1 / 6, beta=0.5), channels, side, 0.3
        if kind == "hard_swish":
            return self.node("HardSwish", [x]), channels, side, power * 0.35
        return self.node("Relu", [x]), channels, side, power / 2

    def scalar(self, number):
        name = f"number_{number}"
        if all(known.name != name for known in self.initializers):
            self.tensor(name, number)
        return name

    def layer(self, value, name, outputs, kernel=1, stride=1, act=None, depthwise=False, valid=False):
        value = self.conv(value, name, outputs, kernel, stride, depthwise, valid)
        return self.activate(self.norm(value, name + ".norm"), act)

    def add(self, a, b):
        return self.node("Add", [a[0], b[0]]), a[1], a[2], a[3] + b[3]

    def squeeze_excite(self, value, name, inner, act, gate):
        x, channels, side, power = value
        pooled = (self.node("GlobalAveragePool", [x]), channels, 1, max(power / 3, 0.1))
        hidden = self.activate(self.conv(pooled, name + ".reduce", inner, bias=True), act)
        scale = self.activate(self.conv(hidden, name + ".expand", channels, bias=True), gate)
        return self.node("Mul", [x, scale[0]]), channels, side, power * 0.36

    def classifier(self, value, hidden=None):
        x = self.node("Flatten", [self.node("GlobalAveragePool", [value[0]], "pool")], "flatten", axis=1)
        depth = value[1]
        if hidden is not None:
            inputs = [x, self.tensor("hidden.weight", self.random.standard_normal((hidden, depth)) * 2 / math.sqrt(depth))]
            x = self.node("HardSwish", [self.node("Gemm", inputs + [self.tensor("hidden.bias", np.zeros(hidden))], "hidden", transB=1)])
            depth = hidden
        weights = self.random.standard_normal((CLASSES, depth)) * 3 / math.sqrt(depth)
        inputs = [x, self.tensor("classifier.weight", weights), self.tensor("classifier.bias", np.zeros(CLASSES))]
        self.node("Gemm", inputs, "logits", transB=1)


def mobilenetv1(w, image):
    value = w.layer(image, "stem", 32, 3, 2, "relu6")
    outputs = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for index, channels in enumerate(outputs):
        stride = 2 if index in (1, 3, 5, 11) else 1
        value = w.layer(value, f"block{index}.depthwise", value[1], 3, stride, "relu6", depthwise=True)
        value = w.layer(value, f"block{index}.pointwise", channels, act="relu6")
    w.classifier(value)


def inverted_residual(w, value, name, outputs, kernel, stride, inner, act, squeeze=None):
    """1x1 expansion, depthwise, squeeze-and-excitation where asked, 1x1 projection, and the sum where shapes allow it."""
    shortcut = value
    if inner != value[1]:
        value = w.layer(value, name + ".expand", inner, act=act)
    value = w.layer(value, name + ".depthwise", inner, kernel, stride, act, depthwise=True)
    if squeeze is not None:
        value = w.squeeze_excite(value, name + ".squeeze", *squeeze)
    value = w.layer(value, name + ".project", outputs)
    return w.add(value, shortcut) if stride == 1 and shortcut[1] == outputs else value


def mobilenetv2(w, image):
    value = w.layer(image, "stem", 32, 3, 2, "relu6")
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for index, (expand, channels, repeats, stride) in enumerate(stages):
        for block in range(repeats):
            name = f"stage{index}.{block}"
            value = inverted_residual(w, value, name, channels, 3, stride if block == 0 else 1, value[1] * expand, "relu6")
    w.classifier(w.layer(value, "head", 1280, act="relu6"))


def efficientnet_b0(w, image):
    value = w.layer(image, "stem", 32, 3, 2, "silu")
    stages = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
    for index, (expand, channels, repeats, stride, kernel) in enumerate(stages):
        for block in range(repeats):
            squeeze = (max(1, value[1] // 4), "silu", "sigmoid")
            inner = value[1] * expand
            value = inverted_residual(w, value, f"stage{index}.{block}", channels, kernel, stride if block == 0 else 1, inner, "silu", squeeze)
    w.classifier(w.layer(value, "head", 1280, act="silu"))


def mobilenetv3_large(w, image):
    value = w.layer(image, "stem", 16, 3, 2, "hard_swish")
    blocks = (
        (3, 16, 16, None, "relu", 1), (3, 64, 24, None, "relu", 2), (3, 72, 24, None, "relu", 1), (5, 72, 40, 24, "relu", 2),
        (5, 120, 40, 32, "relu", 1), (5, 120, 40, 32, "relu", 1), (3, 240, 80, None, "hard_swish", 2), (3, 200, 80, None, "hard_swish", 1),
        (3, 184, 80, None, "hard_swish", 1), (3, 184, 80, None, "hard_swish", 1), (3, 480, 112, 120, "hard_swish", 1),
        (3, 672, 112, 168, "hard_swish", 1), (5, 672, 160, 168, "hard_swish", 2), (5, 960, 160, 240, "hard_swish", 1),
        (5, 960, 160, 240, "hard_swish", 1),
    )
    for index, (kernel, inner, outputs, reduced, act, stride) in enumerate(blocks):
        squeeze = None if reduced is None else (reduced, "relu", "hard_sigmoid")
        value = inverted_residual(w, value, f"block{index}", outputs, kernel, stride, inner, act, squeeze)
    w.classifier(w.layer(value, "head", 960, act="hard_swish"), hidden=1280)


def separable(w, value, name, outputs):
    value = w.conv(value, name + ".depthwise", value[1], 3, depthwise=True)
    return w.norm(w.conv(value, name + ".pointwise", outputs), name + ".norm")


def max_pool(w, value):
    x, channels, side, power = value
    before, after = w.pads(side, 3, 2, False)
    y = w.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[before, before, after, after])
    return y, channels, (side + before + after - 3) // 2 + 1, power * 1.5


def xception(w, image):
    value = w.layer(image, "stem1", 32, 3, 2, "relu", valid=True)
    value = w.layer(value, "stem2", 64, 3, 1, "relu", valid=True)
    for index, outputs in enumerate((128, 256, 728)):
        shortcut = w.layer(value, f"entry{index}.shortcut", outputs, 1, 2)
        value = value if index == 0 else w.activate(value, "relu")
        value = w.activate(separable(w, value, f"entry{index}.first", outputs), "relu")
        value = w.add(max_pool(w, separable(w, value, f"entry{index}.second", outputs)), shortcut)
    for index in range(8):
        shortcut = value
        for step in range(3):
            value = separable(w, w.activate(value, "relu"), f"middle{index}.{step}", 728)
        value = w.add(value, shortcut)
    shortcut = w.layer(value, "exit.shortcut", 1024, 1, 2)
    value = separable(w, w.activate(value, "relu"), "exit.first", 728)
    value = separable(w, w.activate(value, "relu"), "exit.second", 1024)
    value = w.add(max_pool(w, value), shortcut)
    value = w.activate(separable(w, value, "exit.third", 1536), "relu")
    w.classifier(w.activate(separable(w, value, "exit.fourth", 2048), "relu"))


def proxylessnas(w, image):
    value = w.layer(image, "stem", 40, 3, 2, "relu6")
    blocks = ((1, 24, 1), (3, 32, 2), (3, 56, 2), (3, 56, 1), (6, 112, 2), (3, 112, 1), (6, 128, 1), (3, 128, 1), (3, 128, 1), (6, 256, 2),
              (6, 256, 1), (6, 256, 1), (6, 256, 1), (6, 432, 1))
    for index, (expand, outputs, stride) in enumerate(blocks):
        value = inverted_residual(w, value, f"block{index}", outputs, 3, stride, value[1] * expand, "relu6")
    w.classifier(w.layer(value, "head", 1280, act="relu6"))


# Name -> (network, whether paddings are TensorFlow's "SAME").
NETWORKS = {
    "mobilenetv1": (mobilenetv1, False),
    "mobilenetv2": (mobilenetv2, False),
    "mobilenetv3_large": (mobilenetv3_large, False),
    "efficientnet_b0": (efficientnet_b0, False),
    "mobilenetv1_keras": (mobilenetv1, True),
    "mobilenetv2_keras": (mobilenetv2, True),
    "xception": (xception, True),
    "proxylessnas": (proxylessnas, True),
}


def build(name, batch="batch", seed=0):
    """The ONNX model `name`: FP32 [batch, 3, 224, 224] in, [batch, 1000] logits out. The same seed gives the same bytes."""
    network, same = NETWORKS[name]
    writer = Writer([seed, zlib.crc32(name.encode())], same)
    network(writer, ("input", 3, SIDE, 1.0))
    graph = helper.make_graph(
        writer.nodes, name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        writer.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="fcm models/paper")
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser(description="Writes networks with random weights as ONNX.")
    parser.add_argument("name", nargs="?", choices=[*NETWORKS, "all"])
    parser.add_argument("--batch", default="batch", help="a number, or the name of a free batch (default)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "zoo", help="folder")
    parser.add_argument("--list", action="store_true", help="the names")
    arguments = parser.parse_args()
    if arguments.list or arguments.name is None:
        print("\n".join(NETWORKS))
        return
    batch = int(arguments.batch) if arguments.batch.isdigit() else arguments.batch
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS if arguments.name == "all" else [arguments.name]:
        path = arguments.output / f"{name}.onnx"
        onnx.save(build(name, batch, arguments.seed), path)
        print(path)


if __name__ == "__main__":
    main()
