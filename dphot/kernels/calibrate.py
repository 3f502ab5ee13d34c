"""From raw to calibrated pixels: overscan, the calibration in one pass, pixel masks, the saturation level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..flags import PIXEL_BAD, PIXEL_NONFINITE, PIXEL_NONLINEAR, PIXEL_SATURATED
from ._arrays import frozen

#: Full scales of analogue-to-digital converters: a maximum that equals one of them needs no further proof.
ADC_CEILINGS = (4095.0, 16383.0, 32767.0, 65535.0)
#: A pile-up has at least so many pixels at the very maximum.
MIN_PILED = 3
#: The core of a star far beyond saturation reads less than its rim: up to so many pixels of a row between two
#: saturated ones are saturated too, where none is below this part of saturation.
HOLLOW_WIDTH, HOLLOW_DEPTH = 32, 0.5
#: Rows of overscan that give each column a level: with fewer, its noise would stripe the frame.
DEEP = 32


def overscan_correct(raw: ArrayLike, overscan: tuple[slice, slice]) -> NDArray[np.float32]:
    """Subtract the level of the overscan.

    Where the section spans all rows, each row has its own level; where it spans all columns and is at least
    `DEEP` rows deep, each column has; otherwise there is one for the frame. A level is the mean of the section's
    pixels within 3 standard deviations (from the median absolute deviation of the whole section) of their median:
    a plain median of whole numbers would be up to half a count off.

    Parameters
    ----------
    raw : array_like, shape (ny, nx)
        Raw frame in ADU.
    overscan : tuple of slice
        (rows, columns) of the section.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The frame without its overscan level; the section itself is still there.

    Raises
    ------
    InputError
        Where the section holds no finite pixel of the frame.
    """
    frame = np.asarray(raw, dtype=np.float32)
    section = frame[overscan].astype(np.float64)
    finite = np.isfinite(section)
    by_column = section.shape[1] == frame.shape[1] and section.shape[0] >= DEEP
    axis = 1 if section.shape[0] == frame.shape[0] else 0 if by_column else None
    if not finite.any() or not finite.any(axis=axis).all():
        raise InputError(f"`overscan` {overscan} holds no pixels of a frame of {frame.shape}: correct it")
    away = section - np.nanmedian(section, axis=axis, keepdims=True)
    spread = 1.4826 * np.nanmedian(np.abs(away))
    spread = max(spread, 1.0 / np.sqrt(12.0)) if np.issubdtype(np.asarray(raw).dtype, np.integer) else spread
    kept = finite & (np.abs(away) <= 3.0 * spread)
    level = np.sum(section, axis=axis, keepdims=True, where=kept) / np.sum(kept, axis=axis, keepdims=True)
    return np.subtract(frame, level.astype(np.float32))


def calibrate(
    raw: ArrayLike,
    bias: ArrayLike,
    dark_rate: ArrayLike,
    flat: ArrayLike,
    exposure: float,
    linearity: Sequence[float] = (),
) -> NDArray[np.float32]:
    """(raw - bias - rate * t) / flat in one pass over the pixels.

    Where the response is not linear, the counts ``s`` above the bias become ``s (1 + c1 s + c2 s^2 + ...)`` first.

    Parameters
    ----------
    raw : array_like, shape (ny, nx)
        Raw frame in ADU, any type.
    bias : array_like, shape (ny, nx)
        Master bias in ADU, float32; zeros where there is none.
    dark_rate : array_like, shape (ny, nx)
        Master dark in ADU/s, float32; zeros where there is none.
    flat : array_like, shape (ny, nx)
        Master flat, normalised, float32; ones where there is none.
    exposure : float
        Exposure time t in s.
    linearity : sequence of float, optional
        c1 (1/ADU), c2 (1/ADU^2) ...

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Calibrated frame in ADU; NaN where the flat is not positive or an input is NaN.

    Raises
    ------
    InputError
        Where the shapes differ.
    """
    frame = frozen(raw)
    for name, master in (("bias", bias), ("dark_rate", dark_rate), ("flat", flat)):
        if np.shape(master) != frame.shape:
            raise InputError(f"`{name}` has shape {np.shape(master)}, the frame {frame.shape}: trim alike")
    out = np.empty(frame.shape, np.float32)
    _calibrate(
        frame,
        frozen(bias, np.float32),
        frozen(dark_rate, np.float32),
        frozen(flat, np.float32),
        np.float32(exposure),
        frozen(linearity, np.float64),
        out,
    )
    return out


def pixel_mask(
    raw: ArrayLike, bad: ArrayLike | None, saturation: float, nonlinear: float = np.inf
) -> NDArray[np.uint8]:
    """What is wrong with each pixel of a raw frame.

    Parameters
    ----------
    raw : array_like, shape (ny, nx)
        Raw frame in ADU, any type.
    bad : array_like of bool, shape (ny, nx), or None
        Bad pixels of the camera.
    saturation : float
        Counts from which on a pixel is saturated, a star's hollow core with it; NaN where unknown: none is.
    nonlinear : float, optional
        Counts above which the response is not linear.

    Returns
    -------
    ndarray of uint8, shape (ny, nx)
        Bits ``PIXEL_SATURATED``, ``PIXEL_BAD``, ``PIXEL_NONLINEAR``, ``PIXEL_NONFINITE`` of `dphot.flags`.

    Raises
    ------
    InputError
        Where the shapes differ.
    """
    frame = frozen(raw)
    camera = frozen(np.zeros(frame.shape, np.bool_) if bad is None else bad, np.bool_)
    if camera.shape != frame.shape:
        raise InputError(f"`bad` has shape {camera.shape}, the frame {frame.shape}: use this camera's map")
    out = np.empty(frame.shape, np.uint8)
    _mask(frame, camera, np.float32(saturation), np.float32(nonlinear), out)
    return out


def estimate_saturation(raw: ArrayLike) -> float:
    """The level at which a raw frame is cut off, from the frame itself.

    Saturated pixels pile up at the maximum. The maximum is taken for the saturation level if it is the
    ceiling of a 12, 14, 15 or 16 bit converter, or if at least `MIN_PILED` pixels share it and outnumber,
    three to one, the pixels in the next 2 % (at least 8 counts) below it: where nothing is cut off the
    numbers of pixels fall towards the maximum, in noise as in stars.

    Parameters
    ----------
    raw : array_like
        Raw frame in ADU, any type; not finite pixels are ignored.

    Returns
    -------
    float
        The saturation level in ADU; NaN where the frame shows none.
    """
    frame = np.asarray(raw)
    if frame.dtype.kind == "f" and not np.isfinite(frame).all():
        frame = frame[np.isfinite(frame)]
    if frame.size == 0:
        return float("nan")
    top = float(frame.max())
    if top in ADC_CEILINGS:
        return top
    low = float(np.median(frame.ravel()[:: max(1, frame.size // 100_000)]))
    if top <= low:
        return float("nan")
    piled = int(np.count_nonzero(frame == frame.max()))
    below = int(np.count_nonzero(frame >= top - max(0.02 * (top - low), 8.0))) - piled
    return top if piled >= max(MIN_PILED, 3 * below + 1) else float("nan")


@njit(cache=True, nogil=True, error_model="numpy")
def _calibrate(raw, bias, dark_rate, flat, exposure, linearity, out):
    ny, nx = raw.shape
    for j in range(ny):
        for i in range(nx):
            signal = np.float32(raw[j, i]) - bias[j, i]
            if linearity.size > 0:
                factor = 0.0
                for k in range(linearity.size - 1, -1, -1):
                    factor = (factor + linearity[k]) * signal
                signal *= np.float32(1.0 + factor)
            signal -= dark_rate[j, i] * exposure
            response = flat[j, i]
            out[j, i] = signal / response if response > np.float32(0.0) else np.float32(np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def _mask(raw, bad, saturation, nonlinear, out):
    ny, nx = raw.shape
    limit = np.float32(np.inf)
    for j in range(ny):
        cut = np.uint8(0)
        for i in range(nx):  # without a branch, so that it is done for many pixels at once
            value = np.float32(raw[j, i])
            bits = (
                np.uint8(value >= saturation) * np.uint8(PIXEL_SATURATED)
                | np.uint8(bad[j, i]) * np.uint8(PIXEL_BAD)
                | np.uint8(value > nonlinear) * np.uint8(PIXEL_NONLINEAR)
                | np.uint8(not abs(value) < limit) * np.uint8(PIXEL_NONFINITE)
            )
            out[j, i] = bits
            cut |= bits
        if not cut & PIXEL_SATURATED:
            continue
        start = nx  # where a run of high pixels after a saturated one begins
        for i in range(nx):
            value = np.float32(raw[j, i])
            if value >= saturation:
                if 0 < i - start <= HOLLOW_WIDTH:
                    for k in range(start, i):
                        out[j, k] |= PIXEL_SATURATED
                start = i + 1
            elif not value >= HOLLOW_DEPTH * saturation:
                start = nx
