"""Quality bits. One bit has one meaning for ever: bits are added, never renamed or reused."""

from __future__ import annotations

from enum import IntFlag


class StarFlag(IntFlag):
    """What is wrong with one star in one frame (`flags`, dims time x star)."""

    SATURATED = 1  # a pixel of the star reaches the saturation level
    EDGE = 2  # the largest aperture or the annulus leaves the frame
    BAD_PIXEL = 4  # a bad pixel lies within the flagging radius
    NEIGHBOUR = 8  # another star contributes light within the flagging radius
    COSMIC = 16  # a cosmic ray, or a hot pixel that calibration left, lies within the flagging radius
    NONLINEAR = 32  # a pixel lies above the linear range
    NONFINITE = 64  # a NaN or infinite pixel lies within the flagging radius


class FrameFlag(IntFlag):
    """What is wrong with one frame (`frame_flags`, dim time)."""

    UNREADABLE = 1  # the pixels cannot be read, or have another size
    ALIGN_FAILED = 2  # no trustworthy transform to the reference
    FEW_STARS = 4  # fewer stars than needed
    CLOUD = 8  # the stars are much fainter than in the reference
    BAD_TIME = 16  # the time of the exposure is not known
    CALIBRATION_MISSING = 32  # measured without a calibration that is usual


#: A star's point with one of these flags weighs nothing in an artificial star. EDGE is not among them: apertures that
#: leave the frame have no flux, and the smaller ones are as good as any.
UNFIT = StarFlag.SATURATED | StarFlag.NONFINITE | StarFlag.NONLINEAR
#: A frame with one of these flags gives no differential flux.
LOST = FrameFlag.UNREADABLE | FrameFlag.ALIGN_FAILED | FrameFlag.FEW_STARS

#: A pixel's own bits inside the kernels (uint8 masks); they become star flags.
PIXEL_SATURATED, PIXEL_BAD, PIXEL_COSMIC, PIXEL_NONFINITE, PIXEL_NONLINEAR = 1, 4, 16, 64, 32


def decode(value: int, kind: type[IntFlag] = StarFlag) -> list[str]:
    """Names of the bits set in a flag value.

    Parameters
    ----------
    value : int
        The flag value.
    kind : type of IntFlag
        `StarFlag` or `FrameFlag`.

    Returns
    -------
    list of str
        Names in the order of the bits; empty where no bit is set.
    """
    return [str(bit.name) for bit in kind if int(value) & int(bit)]
