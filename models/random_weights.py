"""Seeded random weights that behave like trained ones: every activation near unit scale, no branch switched off.

The usual initialisations are for the start of a training: layer scales of 1e-6, last batch norms of zero, attention scores near zero. A
network that starts like that answers almost alike with half of its layers wrong. Here every branch counts: weights have variance
1 / fan-in, norms scale by about one, layer scales lie between 0.3 and 1, and batch norm statistics are those of a calibration batch.
"""

import math
import zlib

import torch
from torch import nn

LAYER_SCALES = ("gamma", "layer_scale", "scale", "ls")
SMALLEST_VARIANCE = 1e-2
SMALLEST_SHARE = 0.25  # of a layer's mean square


def _uniform(tensor, low, high, generator):
    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)


def _normal(tensor, deviation, generator):
    tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation)


def _is_norm(module):
    return isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)) or type(module).__name__.endswith("Norm")


def _fan_in(module, tensor):
    """Terms that one output of the layer sums."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return max(1, tensor.shape[0] // module.groups * math.prod(tensor.shape[2:]) // math.prod(module.stride))
    return math.prod(tensor.shape[1:])


def _fill(module, name, tensor, generator):
    constant = tensor.numel() > 0 and bool((tensor == tensor.flatten()[0]).all())
    if _is_norm(module):
        _uniform(tensor, *((0.8, 1.2) if name == "weight" else (-0.2, 0.2)), generator)
    elif name == "weight" and tensor.dim() >= 2:
        _normal(tensor, 1 / math.sqrt(_fan_in(module, tensor)), generator)
    elif name == "bias":
        _uniform(tensor, -0.2, 0.2, generator)
    elif any(word in name.split("_") or name.startswith(word) for word in LAYER_SCALES):
        _uniform(tensor, 0.3, 1.0, generator)
    elif tensor.abs().max() < 0.2 or not constant:  # position embeddings, class tokens, tables of attention biases
        _normal(tensor, 0.5, generator)
    # What is left is a constant that means something, such as a temperature of one.


def randomise(model, name, seed=0):
    """Fills all parameters of `model`; the same name and seed give the same numbers."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {seed}".encode()))
    with torch.no_grad():
        for module in model.modules():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                _fill(module, parameter_name, parameter, generator)


def _take_statistics(norm, inputs):
    """Before a batch norm runs: its statistics become those of its input, so that what follows sees what it will see later."""
    x = inputs[0]
    axes = [axis for axis in range(x.dim()) if axis != 1]
    norm.running_mean.copy_(x.mean(axes))
    # A channel that hardly varies in these images must not blow up in others.
    least = max(SMALLEST_VARIANCE, SMALLEST_SHARE * float(x.square().mean()))
    norm.running_var.copy_(x.var(axes, unbiased=False).clamp(min=least))


def calibrate(model, batch):
    """Sets the running statistics of every batch norm to those of `batch` of images; leaves the model in eval mode."""
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    with torch.no_grad():
        if norms:
            model(batch)
    for hook in hooks:
        hook.remove()
