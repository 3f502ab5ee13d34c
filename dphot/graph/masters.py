"""Masters: frames are read and combined in bands of rows, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..config import Config
from ..io.choice import Choice, dark_misfit, mean_temperature
from ..kernels.calibrate import calibrate
from ..kernels.combine import bad_pixels, clipped_mean, typical_variance
from ..kernels.medians import median
from . import gain
from .flats import good_flats, looks
from .frame import linearity_of, trimmed_shape
from .inputs import bands, each, read, sorted_out, tried, usable_of
from .pattern import from_lights
from .run import Failed, run

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]


def _combine(
    band: tuple[int, int],
    records: Sequence[Record],
    scale: Sequence[float],
    linearity: Sequence[float],
    bias: np.ndarray,
    rate: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Clipped mean of ``(frame - bias - rate t) / scale`` over a band of rows, and its variance."""
    rows = slice(*band)
    cube = np.empty((len(records), *bias[rows].shape), np.float32)
    for i, record in enumerate(records):
        _reduce(read(record)[rows], record, scale[i], linearity, bias[rows], rate[rows], cube[i])
    mean, variance, _ = clipped_mean(cube)
    return mean, variance


def _reduce(
    pixels: np.ndarray,
    record: Record,
    scale: float,
    linearity: Sequence[float],
    bias: np.ndarray,
    rate: np.ndarray,
    out: np.ndarray,
) -> None:
    """``(pixels - bias - rate t) / scale`` into `out`."""
    if scale == 1.0 and not (linearity or bias.any() or rate.any()):
        out[...] = pixels
        return
    t = float(record["exposure"]) if rate.any() else 0.0
    out[...] = calibrate(pixels, bias, rate, np.full_like(bias, scale), t, linearity)


def _combine_usable(
    records: Sequence[Record],
    scale: Sequence[float],
    linearity: Sequence[float],
    bias: np.ndarray,
    rate: np.ndarray,
) -> tuple[list[tuple[str, str]], np.ndarray | None, np.ndarray | None]:
    """Like `_combine` over all rows of the frames that can be used; each one's digest, and what is wrong with it."""
    cube = np.empty((len(records), *bias.shape), np.float32)
    found = []
    n = 0
    for record, divisor in zip(records, scale, strict=True):
        pixels, digest, why = tried(record)
        found.append((digest, why))
        if pixels is not None:
            _reduce(pixels, record, divisor, linearity, bias, rate, cube[n])
            n += 1
    mean, variance = clipped_mean(cube[:n])[:2] if n else (None, None)
    return found, mean, variance


def _master(
    records: Sequence[Record],
    scale: Sequence[float],
    bias: np.ndarray,
    rate: np.ndarray,
    client: Client | None,
    linearity: Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = np.empty_like(bias), np.empty_like(bias)
    parts = bands(bias.shape, len(records))
    for band, result in each(_combine, parts, records, scale, linearity, bias, rate, client=client):
        mean[slice(*band)], variance[slice(*band)] = result
    return mean, variance


def _master_of_usable(
    records: Sequence[Record],
    scale: Callable[[Record], float],
    bias: np.ndarray,
    client: Client | None,
    linearity: Sequence[float] = (),
) -> tuple[list[Record], list[str], tuple[np.ndarray, np.ndarray] | None]:
    """The frames that can be used, what is wrong with the others, and the master of the former with its variance.

    Frames that fit into one band are read once: they are combined by the task that finds which can be used.
    """
    zero = np.zeros_like(bias)
    scales = [scale(r) for r in records]
    if len(records) and len(bands(bias.shape, len(records))) == 1:
        ((_, result),) = run(_combine_usable, [records], scales, linearity, bias, zero, client=client)
        if not isinstance(result, Failed):  # else one of the frames may be the reason: they are tried alone
            looks, mean, variance = result
            found = {r["path"]: look for r, look in zip(records, looks, strict=True)}
            usable, problems = sorted_out(records, found)
            return usable, problems, None if mean is None else (mean, variance)
    usable, problems = usable_of(records, client)
    scales = [scale(r) for r in usable]
    return usable, problems, _master(usable, scales, bias, zero, client, linearity) if usable else None


def _without_bias(choice: Choice, light: Record, config: Config) -> tuple[Choice, list[str]]:
    """The choice where no bias can be read after all (a dark is subtracted whole, or not at all); what is missing."""
    alone = replace(choice, bias=(), dark_is_pedestal=bool(choice.dark))
    if alone.dark and not dark_misfit(alone, light, config):
        return alone, []
    lost = ["bias: none can be used"] + ["dark: it cannot be scaled without a bias"] * bool(choice.dark)
    return replace(alone, dark=(), dark_is_pedestal=False), lost


def _one(record: Record) -> float:
    return 1.0


def _exposure(record: Record) -> float:
    return float(record["exposure"])


def _dark_of(choice: Choice, darks: Sequence[Record]) -> dict[str, Any]:
    """What decides whether the dark is right for a light (see `dphot.io.choice.dark_misfit`)."""
    exposures = [float(r["exposure"]) for r in darks[:1]]
    warmth = mean_temperature(darks)
    told = {"temperature": warmth} if np.isfinite(warmth) else {}
    return {"exposures": exposures, "is_pedestal": bool(darks and choice.dark_is_pedestal), **told}


def build(
    choice: Choice,
    light: Record,
    client: Client | None,
    lights: Sequence[Record] = (),
    config: Config | None = None,
) -> xr.Dataset:
    """See `dphot.calibration.masters`."""
    config = config or Config()
    shape = trimmed_shape(light)
    zero = np.zeros(shape, np.float32)
    images = {"bias": zero, "dark_rate": zero, "flat": np.ones(shape, np.float32)}
    variances = dict.fromkeys(images, zero)
    usable: dict[str, list[Record]] = {}
    notes, missing = list(choice.notes), list(choice.missing)
    linearity = linearity_of(light)

    def report(kind: str, problems: Sequence[str]) -> None:
        notes.extend(f"{kind} left out: {why}" for why in problems)
        if problems and not usable[kind] and kind != "bias":
            missing.append(f"{kind}: none of {len(problems)} can be used")

    usable["bias"], problems, made = _master_of_usable(choice.bias, _one, zero, client)
    report("bias", problems)
    if made:
        images["bias"], variances["bias"] = made
    elif problems:
        choice, lost = _without_bias(choice, light, config)
        missing += lost
    if choice.dark_is_pedestal:
        usable["dark"], problems, made = _master_of_usable(choice.dark, _one, zero, client)
        name = "bias"
    else:
        usable["dark"], problems, made = _master_of_usable(
            choice.dark, _exposure, images["bias"], client, linearity
        )
        name = "dark_rate"
    report("dark", problems)
    if made:
        images[name], variances[name] = made
    usable["flat"], seen, problems = looks(choice.flat, images["bias"], images["dark_rate"], light, client)
    report("flat", problems)
    if usable["dark"] and choice.dark_is_pedestal:
        notes.append("there is no bias; the dark is subtracted whole")
    flats, levels, problems = good_flats(usable["flat"], seen, light)
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
    known_to = {name: v if np.isfinite(v).all() else np.nan_to_num(v) for name, v in variances.items()}
    ds.update({f"{name}_variance": (("y", "x"), v) for name, v in known_to.items()})
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
