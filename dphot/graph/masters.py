"""Masters: frames are read and combined in bands of rows, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..config import Config
from ..io.choice import Choice, dark_misfit
from ..kernels.calibrate import calibrate
from ..kernels.combine import bad_pixels, clipped_mean, typical_variance
from ..kernels.medians import median
from . import gain
from .flats import good_flats
from .frame import linearity_of, trimmed_shape
from .inputs import bands, each, read, usable_of
from .pattern import from_lights

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]


def _combine(
    band: tuple[int, int, np.ndarray, np.ndarray],
    records: Sequence[Record],
    scale: Sequence[float],
    linearity: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Clipped mean of ``(frame - bias - rate t) / scale`` over a band of rows, and its variance."""
    first, last, bias, rate = band
    cube = np.empty((len(records), last - first, bias.shape[1]), np.float32)
    for i, record in enumerate(records):
        t = float(record["exposure"]) if rate.any() else 0.0
        cube[i] = calibrate(read(record)[first:last], bias, rate, np.full_like(bias, scale[i]), t, linearity)
    mean, variance, _ = clipped_mean(cube)
    return mean, variance


def _master(
    records: Sequence[Record],
    scale: Sequence[float],
    bias: np.ndarray,
    rate: np.ndarray,
    client: Client | None,
    linearity: Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray]:
    parts = [(i, j, bias[i:j], rate[i:j]) for i, j in bands(bias.shape, len(records))]
    mean, variance = np.empty_like(bias), np.empty_like(bias)
    for band, result in each(_combine, parts, records, scale, linearity, client=client):
        mean[band[0] : band[1]], variance[band[0] : band[1]] = result
    return mean, variance


def _without_bias(choice: Choice, light: Record) -> tuple[Choice, list[str]]:
    """The choice where no bias can be read after all (a dark is subtracted whole, or not at all); what is missing."""
    alone = replace(choice, bias=(), dark_is_pedestal=bool(choice.dark))
    if alone.dark and not dark_misfit(alone, light):
        return alone, []
    lost = ["bias: none can be used"] + ["dark: it cannot be scaled without a bias"] * bool(choice.dark)
    return replace(alone, dark=(), dark_is_pedestal=False), lost


def _dark_of(choice: Choice, darks: Sequence[Record]) -> dict[str, Any]:
    """What decides whether the dark is right for a light (see `dphot.io.choice.dark_misfit`)."""
    exposures = [float(r["exposure"]) for r in darks[:1]]
    return {"exposures": exposures, "is_pedestal": bool(darks and choice.dark_is_pedestal)}


def build(
    choice: Choice,
    light: Record,
    client: Client | None,
    lights: Sequence[Record] = (),
    config: Config | None = None,
) -> xr.Dataset:
    """See `dphot.calibration.masters`."""
    shape = trimmed_shape(light)
    zero = np.zeros(shape, np.float32)
    images = {"bias": zero, "dark_rate": zero, "flat": np.ones(shape, np.float32)}
    variances = dict.fromkeys(images, zero)
    usable: dict[str, list[Record]] = {}
    notes, missing = list(choice.notes), list(choice.missing)
    linearity = linearity_of(light)
    for kind in ("bias", "dark", "flat"):
        usable[kind], problems = usable_of(getattr(choice, kind), client)
        notes += [f"{kind} left out: {why}" for why in problems]
        if problems and not usable[kind]:
            if kind == "bias":
                choice, lost = _without_bias(choice, light)
                missing += lost
            else:
                missing.append(f"{kind}: none of {len(problems)} can be used")

    if usable["bias"]:
        images["bias"], variances["bias"] = _master(
            usable["bias"], [1.0] * len(usable["bias"]), zero, zero, client
        )
    if usable["dark"] and choice.dark_is_pedestal:
        images["bias"], variances["bias"] = _master(
            usable["dark"], [1.0] * len(usable["dark"]), zero, zero, client
        )
        notes.append("there is no bias; the dark is subtracted whole")
    elif usable["dark"]:
        exposures = [float(r["exposure"]) for r in usable["dark"]]
        images["dark_rate"], variances["dark_rate"] = _master(
            usable["dark"], exposures, images["bias"], zero, client, linearity
        )
    flats, levels, problems = good_flats(usable["flat"], images["bias"], images["dark_rate"], light, client)
    notes += problems
    if usable["flat"] and not flats:
        missing.append(f"flat: none of {len(problems)} can be used")
    usable["flat"] = flats
    if flats:
        images["flat"], variances["flat"] = _master(
            flats, levels, images["bias"], images["dark_rate"], client, linearity
        )
        # Each frame's median is 1; their clipped mean's is so to a few parts in a million, and is made so exactly.
        images["flat"] /= np.float32(median(images["flat"], finite=True))
    dark = images["dark_rate"] if usable["dark"] and not choice.dark_is_pedestal else None
    config = config or Config()
    if linearity and not (usable["bias"] or choice.dark_is_pedestal or light["overscan"]):
        notes.append("the linearity correction counts from 0 ADU: there is neither bias nor overscan")
    found = {}
    if flats and not (config.gain or np.isfinite(light["gain"])):
        pedestals = usable["dark"] if choice.dark_is_pedestal else usable["bias"]
        found = gain.estimate(pedestals, flats, images["bias"], images["dark_rate"], client, linearity)
        notes += [gain.in_words(found)] if found else []
    if lights and not usable["dark"] and config.pattern != "off" and not light["calibrated"]:
        dark, note = from_lights(lights, images["bias"], images["flat"], config, client)
        images["bias"] = images["bias"] if dark is None else images["bias"] + dark
        notes.append(note)
    known = dark is not None or bool(flats)
    bad = bad_pixels(dark, images["flat"] if flats else None) if known else np.zeros(shape, bool)
    # A pixel that a master knows nothing of is bad, and spoils no star that it does not touch.
    for name, neutral in (("bias", 0.0), ("dark_rate", 0.0), ("flat", 1.0)):
        unknown = ~np.isfinite(images[name])
        images[name], bad = np.where(unknown, np.float32(neutral), images[name]), bad | unknown
    # A dead pixel is flagged; dividing by its response would only blow up its noise.
    images["flat"] = np.where(bad & ~(images["flat"] > 0.05), np.float32(1.0), images["flat"])

    ds = xr.Dataset({name: (("y", "x"), np.ascontiguousarray(image)) for name, image in images.items()})
    ds.update({f"{name}_variance": (("y", "x"), np.nan_to_num(v)) for name, v in variances.items()})
    ds["bad"] = ("y", "x"), bad.astype(np.uint8)
    ds.attrs.update(
        # The fewer photons a pixel of the flat has, the larger is its relative variance: variance / flat is even.
        flat_variance=typical_variance(variances["flat"] / images["flat"], len(flats)),
        inputs={kind: [str(r["path"]) for r in records] for kind, records in usable.items()},
        digests={str(r["path"]): r["digest"] for records in usable.values() for r in records},
        missing=missing,
        notes=notes,
        dark=_dark_of(choice, usable["dark"]),
        **found,
    )
    return ds
