"""Random pictures of noise at all scales, in which neighbours look alike as in photographs: for calibration and for comparing runtimes."""

import numpy

SCALES = (4, 16, 64)


def _enlarge(coarse, side):
    """The matrix [side, coarse] of linear interpolation between the centres of pixels."""
    centres = numpy.clip((numpy.arange(side) + 0.5) * coarse / side - 0.5, 0, coarse - 1)
    return numpy.stack([numpy.interp(centres, numpy.arange(coarse), row) for row in numpy.eye(coarse)], axis=1)


def pictures(count, side, seed=0):
    """FP32 [count, 3, side, side] with a standard deviation of one."""
    random = numpy.random.default_rng(seed)
    total = random.standard_normal((count, 3, side, side))
    for coarse in SCALES:
        matrix = _enlarge(coarse, side)
        total += matrix @ random.standard_normal((count, 3, coarse, coarse)) @ matrix.T
    return (total / total.std()).astype(numpy.float32)
