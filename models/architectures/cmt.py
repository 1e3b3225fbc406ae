"""CMT: Guo et al., "CMT: Convolutional Neural Networks Meet Vision Transformers", CVPR 2022 (arXiv 2107.06263).

Each block: a 3x3 depthwise convolution added to its input (LPU); attention whose keys and values come from a map made smaller by a strided
depthwise convolution, with a learned bias for every pair of positions (LMHSA); an inverted residual MLP with a 3x3 depthwise convolution
and batch norms (IRFFN). CMT-Ti: 160 x 160, widths 46 to 368, depths 2 2 10 2, expansion 3.6.
"""

import torch
from torch import nn

from architectures import common

SIDE = 160
CLASSES = 1000
WIDTHS = (46, 92, 184, 368)
DEPTHS = (2, 2, 10, 2)
HEADS = (1, 2, 4, 8)
REDUCTIONS = (8, 4, 2, 1)
EXPANSION = 3.6
STEM = 16
FEATURES = 1280


class LightAttention(nn.Module):
    def __init__(self, width, heads, reduction):
        super().__init__()
        self.heads, self.head = heads, width // heads
        self.q, self.k, self.v, self.project = (nn.Linear(width, width) for _ in range(4))
        self.reduce = None
        if reduction > 1:
            self.reduce = nn.Sequential(nn.Conv2d(width, width, reduction, reduction, groups=width), nn.BatchNorm2d(width))

    def split(self, x):
        return x.reshape(x.shape[0], -1, self.heads, self.head).transpose(1, 2)

    def forward(self, x, side, bias):
        batch, tokens, width = x.shape
        small = x
        if self.reduce is not None:
            small = self.reduce(x.transpose(1, 2).reshape(batch, width, side, side)).flatten(2).transpose(1, 2)
        q, k, v = self.split(self.q(x)), self.split(self.k(small)), self.split(self.v(small))
        scores = (q @ k.transpose(-2, -1)) * self.head**-0.5 + bias
        return self.project((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, width))


class InvertedMlp(nn.Module):
    """IRFFN over a map [batch, width, side, side]."""

    def __init__(self, width):
        super().__init__()
        inner = int(width * EXPANSION)
        self.expand = nn.Sequential(nn.Conv2d(width, inner, 1), nn.GELU(), nn.BatchNorm2d(inner))
        self.local = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.after = nn.Sequential(nn.GELU(), nn.BatchNorm2d(inner))
        self.project = nn.Sequential(nn.Conv2d(inner, width, 1), nn.BatchNorm2d(width))

    def forward(self, x):
        x = self.expand(x)
        return self.project(self.after(self.local(x) + x))


class Block(nn.Module):
    def __init__(self, width, heads, reduction):
        super().__init__()
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1, self.attention = nn.LayerNorm(width), LightAttention(width, heads, reduction)
        self.norm2, self.mlp = nn.LayerNorm(width), InvertedMlp(width)

    def forward(self, x, bias):
        x = x + self.local(x)
        batch, width, side, _ = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(self.norm1(tokens), side, bias)
        x = self.norm2(tokens).transpose(1, 2).reshape(batch, width, side, side)
        return tokens.transpose(1, 2).reshape(batch, width, side, side) + self.mlp(x)


class Stage(nn.Module):
    """2x2 patches, layer norm, blocks that share one table of attention biases."""

    def __init__(self, inputs, width, depth, heads, reduction, side):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(inputs, width, 2, 2), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(heads, side * side, (side // reduction) ** 2))
        self.blocks = nn.ModuleList(Block(width, heads, reduction) for _ in range(depth))

    def forward(self, x):
        x = self.norm(self.patches(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x, self.bias)
        return x


def stem_layer(inputs, stride):
    return nn.Sequential(nn.Conv2d(inputs, STEM, 3, stride, 1), nn.GELU(), nn.BatchNorm2d(STEM))


class CMT(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(stem_layer(3, 2), stem_layer(STEM, 1), stem_layer(STEM, 1))
        inputs = (STEM, *WIDTHS[:-1])
        sides = [SIDE // 4 // 2**stage for stage in range(4)]
        self.stages = nn.Sequential(*(Stage(*arguments) for arguments in zip(inputs, WIDTHS, DEPTHS, HEADS, REDUCTIONS, sides)))
        self.features = nn.Sequential(nn.Conv2d(WIDTHS[-1], FEATURES, 1), nn.BatchNorm2d(FEATURES), nn.SiLU())
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, image):
        x = self.features(nn.functional.adaptive_avg_pool2d(self.stages(self.stem(image)), 1))
        return self.head(x.flatten(1))


def create(name):
    return {"cmt_tiny": CMT}[name]()


def data_config(name):
    return common.config(SIDE, common.IMAGENET)
