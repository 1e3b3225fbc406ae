"""CeiT: Yuan et al., "Incorporating Convolution Designs into Visual Transformers", ICCV 2021 (arXiv 2103.11816).

Image-to-tokens: a 7x7 convolution and a max pooling before 4x4 patches. Every block's MLP is a locally enhanced one (LeFF): the patch tokens
go back to a map between the two linear layers, through a 3x3 depthwise convolution, each of the three with batch norm. The class tokens of
all blocks attend to one another in a last layer (LCA). CeiT-T: width 192, 12 blocks, 3 heads.
"""

import torch
from torch import nn

from architectures import common

SIDE = 224
CLASSES = 1000


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
        return self.project((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, width))


class TokenNorm(nn.Module):
    """Batch norm of tokens [batch, tokens, channels] over batch and tokens."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class LocallyEnhanced(nn.Module):
    """LeFF: linear, 3x3 depthwise over the map of patch tokens, linear; the class token passes by."""

    def __init__(self, width, ratio=4):
        super().__init__()
        inner = width * ratio
        self.expand, self.expand_norm = nn.Linear(width, inner), TokenNorm(inner)
        self.local, self.local_norm = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner)
        self.project, self.project_norm = nn.Linear(inner, width), TokenNorm(width)
        self.act = nn.GELU()

    def forward(self, x):
        first, patches = x[:, :1], x[:, 1:]
        batch, tokens, _ = patches.shape
        side = int(tokens**0.5)
        y = self.act(self.expand_norm(self.expand(patches)))
        y = y.transpose(1, 2).reshape(batch, -1, side, side)
        y = self.act(self.local_norm(self.local(y)))
        y = self.project_norm(self.project(y.flatten(2).transpose(1, 2)))
        return torch.cat((first, self.act(y)), dim=1)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width), LocallyEnhanced(width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ClassAttention(nn.Module):
    """LCA: the class tokens of all blocks, [batch, blocks, width]; the last one attends to all and is returned, [batch, width]."""

    def __init__(self, width, heads, ratio=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.project = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, tokens):
        x = self.norm1(tokens)
        batch, count, width = x.shape
        head = width // self.heads
        q = self.q(x[:, -1:]).reshape(batch, 1, self.heads, head).transpose(1, 2)
        k, v = self.kv(x).reshape(batch, count, 2, self.heads, head).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = ((q @ k.transpose(-2, -1)) * head**-0.5).softmax(dim=-1) @ v
        last = tokens[:, -1] + self.project(mixed.transpose(1, 2).reshape(batch, width))
        return last + self.mlp(self.norm2(last))


class CeiT(nn.Module):
    def __init__(self, width=192, depth=12, heads=3, stem=32, patch=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 7, 2, 3, bias=False), nn.BatchNorm2d(stem), nn.MaxPool2d(3, 2, 1))
        self.patches = nn.Conv2d(stem, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (SIDE // 4 // patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.last = ClassAttention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, image):
        x = self.patches(self.stem(image)).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        kept = []
        for block in self.blocks:
            x = block(x)
            kept.append(x[:, :1])
        return self.head(self.norm(self.last(torch.cat(kept, dim=1))))


def create(name):
    return {"ceit_tiny": CeiT}[name]()


def data_config(name):
    return common.config(SIDE, common.IMAGENET)
