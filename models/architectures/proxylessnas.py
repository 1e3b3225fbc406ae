"""ProxylessNAS-GPU: Cai, Zhu, Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR 2019, figure 4
(arXiv 1812.00332). Inverted residual blocks without squeeze-and-excitation, with depthwise kernels of 3, 5 and 7."""

from torch import nn

from architectures import common

SIDE = 224
CLASSES = 1000
STEM = 40
FEATURES = 1728

# Expansion, kernel, outputs, stride.
BLOCKS = (
    (1, 3, 24, 1), (3, 5, 32, 2), (3, 7, 56, 2), (3, 3, 56, 1), (6, 7, 112, 2), (3, 5, 112, 1), (6, 5, 128, 1), (3, 3, 128, 1), (3, 5, 128, 1),
    (6, 7, 256, 2), (6, 7, 256, 1), (6, 7, 256, 1), (6, 5, 256, 1), (6, 7, 432, 1),
)


def layer(inputs, outputs, kernel=1, stride=1, groups=1, act=True):
    parts = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*parts, *([nn.ReLU6()] if act else []))


class Block(nn.Module):
    def __init__(self, inputs, expand, kernel, outputs, stride):
        super().__init__()
        inner = inputs * expand
        layers = [layer(inputs, inner)] if expand > 1 else []
        self.layers = nn.Sequential(*layers, layer(inner, inner, kernel, stride, inner), layer(inner, outputs, act=False))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.shortcut else self.layers(x)


class ProxylessNas(nn.Module):
    def __init__(self):
        super().__init__()
        layers, channels = [layer(3, STEM, 3, 2)], STEM
        for block in BLOCKS:
            layers.append(Block(channels, *block))
            channels = block[2]
        self.layers = nn.Sequential(*layers, layer(channels, FEATURES))
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, image):
        return self.head(self.layers(image).mean(dim=(2, 3)))


def create(name):
    return {"proxylessnas_gpu": ProxylessNas}[name]()


def data_config(name):
    return common.config(SIDE, common.IMAGENET)
