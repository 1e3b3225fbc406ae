"""What the networks of this folder share."""

IMAGENET = {"crop_pct": 0.875, "interpolation": "bilinear", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
INCEPTION = {"crop_pct": 0.875, "interpolation": "bicubic", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def config(side, base, layout="nchw"):
    """A data configuration as timm's, and the layout of the input."""
    return {**base, "input_size": (3, side, side), "layout": layout}
