"""MobileNet V1, V2 and Xception as keras.applications has them: input NHWC, padding "same" as TensorFlow computes it (more at the end),
epsilon 1e-3, softmax at the end. Howard et al. 2017 (arXiv 1704.04861), Sandler et al. 2018 (1801.04381), Chollet 2017 (1610.02357)."""

import math

from torch import nn

from architectures import common

CLASSES = 1000
EPSILON = 1e-3
SIDES = {"keras_mobilenet": 224, "keras_mobilenetv2": 224, "keras_xception": 299}


def same(side, kernel, stride):
    """TensorFlow's padding: (before, after)."""
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class SamePad(nn.Module):
    def __init__(self, kernel, stride, value=0.0):
        super().__init__()
        self.kernel, self.stride, self.value = kernel, stride, value

    def forward(self, x):
        top, bottom = same(x.shape[2], self.kernel, self.stride)
        left, right = same(x.shape[3], self.kernel, self.stride)
        return nn.functional.pad(x, (left, right, top, bottom), value=self.value)


def conv(inputs, outputs, kernel=1, stride=1, groups=1, valid=False):
    """Symmetric padding stays with the convolution, as Keras-to-ONNX converters leave it; strided kernels get a node of their own."""
    if stride == 1 or kernel == 1 or valid:
        return [nn.Conv2d(inputs, outputs, kernel, stride, 0 if valid else kernel // 2, groups=groups, bias=False)]
    return [SamePad(kernel, stride), nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)]


def norm(channels):
    return nn.BatchNorm2d(channels, eps=EPSILON)


def layer(inputs, outputs, kernel=1, stride=1, groups=1, act=nn.ReLU6, valid=False):
    return nn.Sequential(*conv(inputs, outputs, kernel, stride, groups, valid), norm(outputs), *([act()] if act else []))


class Residual(nn.Module):
    def __init__(self, layers, shortcut=None):
        super().__init__()
        self.layers, self.shortcut = nn.Sequential(*layers), shortcut or nn.Identity()

    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


def mobilenet():
    layers, channels = [layer(3, 32, 3, 2)], 32
    for index, outputs in enumerate((64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)):
        layers += [layer(channels, channels, 3, 2 if index in (1, 3, 5, 11) else 1, channels), layer(channels, outputs)]
        channels = outputs
    return layers, channels


def inverted_residual(inputs, outputs, expand, stride):
    inner = inputs * expand
    layers = [layer(inputs, inner)] if expand > 1 else []
    layers += [layer(inner, inner, 3, stride, inner), layer(inner, outputs, act=None)]
    return Residual(layers) if stride == 1 and inputs == outputs else nn.Sequential(*layers)


def mobilenetv2():
    layers, channels = [layer(3, 32, 3, 2)], 32
    for expand, outputs, repeats, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for repeat in range(repeats):
            layers.append(inverted_residual(channels, outputs, expand, stride if repeat == 0 else 1))
            channels = outputs
    return [*layers, layer(channels, 1280)], 1280


def separable(inputs, outputs):
    return [*conv(inputs, inputs, 3, groups=inputs), nn.Conv2d(inputs, outputs, 1, bias=False), norm(outputs)]


def shrinking(inputs, middle, outputs, first_act=True):
    """Two separable convolutions and a max pooling, beside a strided 1x1 convolution."""
    layers = [nn.ReLU()] if first_act else []
    layers += [*separable(inputs, middle), nn.ReLU(), *separable(middle, outputs), SamePad(3, 2, -math.inf), nn.MaxPool2d(3, 2)]
    return Residual(layers, layer(inputs, outputs, 1, 2, act=None))


def xception():
    layers = [layer(3, 32, 3, 2, act=nn.ReLU, valid=True), layer(32, 64, 3, act=nn.ReLU, valid=True)]
    layers += [shrinking(64, 128, 128, first_act=False), shrinking(128, 256, 256), shrinking(256, 728, 728)]
    for _ in range(8):
        layers.append(Residual([part for _ in range(3) for part in (nn.ReLU(), *separable(728, 728))]))
    layers += [shrinking(728, 728, 1024), *separable(1024, 1536), nn.ReLU(), *separable(1536, 2048), nn.ReLU()]
    return layers, 2048


class Keras(nn.Module):
    def __init__(self, network):
        super().__init__()
        layers, channels = network()
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, image):
        return self.head(self.layers(image.permute(0, 3, 1, 2)).mean(dim=(2, 3))).softmax(dim=1)


def create(name):
    return Keras({"keras_mobilenet": mobilenet, "keras_mobilenetv2": mobilenetv2, "keras_xception": xception}[name])


def data_config(name):
    return common.config(SIDES[name], common.INCEPTION, layout="nhwc")
