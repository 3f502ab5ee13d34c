"""The gain of a camera from its own calibration frames, where neither headers nor telescope tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import transfer
from ..kernels.calibrate import calibrate
from .inputs import each, read

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]
Pair = tuple[Record, Record]

#: Source of a gain that was estimated, as the reference and the photometry name it in `gain_source`.
PAIRS = "pairs of flats"
#: What cannot be electrons per ADU: flats that were normalised, or are no flats.
LIMITS = 0.001, 1000.0
#: Pairs of frames looked at: four tell the gain of a megapixel to 0.15 %.
MAX_PAIRS = 4


def _pairs(records: Sequence[Record]) -> list[Pair]:
    """Neighbours in the order given; no frame is in two pairs."""
    return list(zip(records[::2], records[1::2], strict=False))[:MAX_PAIRS]


def _read_out(pair: Pair) -> float:
    return transfer.bias_variance(read(pair[0]), read(pair[1]))


def _photons(
    pair: Pair, bias: np.ndarray, rate: np.ndarray, linearity: Sequence[float], variance: float
) -> np.ndarray:
    even = np.ones_like(bias)
    one, two = (calibrate(read(r), bias, rate, even, float(r["exposure"]), linearity) for r in pair)
    return transfer.inverse_gains(one, two, variance)


def estimate(
    pedestals: Sequence[Record],
    flats: Sequence[Record],
    bias: np.ndarray,
    rate: np.ndarray,
    client: Client | None,
    linearity: Sequence[float] = (),
) -> dict[str, float]:
    """Gain and read noise by photon transfer (see `dphot.kernels.transfer`).

    Parameters
    ----------
    pedestals : sequence of mapping
        Bias frames; or the darks that stand for them.
    flats : sequence of mapping
        Flats of one filter, with their exposures.
    bias, rate : ndarray (ny, nx)
        Master bias (ADU) and dark rate (ADU/s).
    client : distributed.Client, optional
        Where to run.
    linearity : sequence of float, optional
        Coefficients of the linearity correction.

    Returns
    -------
    dict
        `gain` and its standard deviation `gain_error` (e-/ADU), `read_noise` (e-), and from how many pairs,
        `gain_pairs`; empty where there is no pair of both, or nothing between them that can be
        photon noise.
    """
    dark, lit = _pairs(pedestals), _pairs(flats)
    if not dark or not lit:
        return {}
    found = {id(pair): v for pair, v in each(_read_out, dark, client=client)}
    variance = float(np.median([found[id(pair)] for pair in dark]))
    tiles = {id(pair): v for pair, v in each(_photons, lit, bias, rate, linearity, variance, client=client)}
    gain, error = transfer.gain_of(np.concatenate([tiles[id(pair)] for pair in lit]))
    if not LIMITS[0] < gain < LIMITS[1]:
        return {}
    return {
        "gain": gain,
        "gain_error": error,
        "read_noise": gain * float(np.sqrt(variance)),
        "gain_pairs": len(lit),
    }


def in_words(found: Mapping[str, Any]) -> str:
    """What `estimate` found."""
    pairs = "a pair" if found["gain_pairs"] == 1 else f"{found['gain_pairs']} pairs"
    gain = f"gain of {found['gain']:.4g} +- {found['gain_error']:.1g} e-/ADU"
    return f"{gain} and read noise of {found['read_noise']:.3g} e- estimated from {pairs} of flats"
