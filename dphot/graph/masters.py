"""Masters: frames are read and combined in bands of rows, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..errors import FrameError
from ..io.choice import Choice
from ..io.readers import read_frame
from ..kernels.combine import bad_pixels, clipped_mean
from ..kernels.pattern import fixed_pattern
from .frame import trim_raw, trimmed_shape
from .run import run

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]
#: Bytes of float32 pixels that one task holds.
BAND_BYTES = 256 * 2**20
#: Lights, spread over the night, that a fixed pattern is made of.
PATTERN_FRAMES = 60


def _read(record: Record) -> np.ndarray:
    return trim_raw(read_frame(record["path"], record["hdu"])[0], record)[0].astype(np.float32)


def _unfit(record: Record, light: Record) -> bool:
    same = ("width", "height", "trim", "dtype")
    return bool(record["error"]) or bool(_readable(record)) or any(record[k] != light[k] for k in same)


def _readable(record: Record) -> str:
    """Why a calibration frame cannot be used; empty where it can."""
    try:
        _read(record)
    except FrameError as error:
        return str(error)
    return ""


def _combine(
    band: tuple[int, int, np.ndarray, np.ndarray], records: Sequence[Record], scale: Sequence[float], subtract_rate: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Clipped mean of ``(frame - bias - rate t) / scale`` over a band of rows, and its variance."""
    first, last, bias, rate = band
    cube = np.empty((len(records), last - first, bias.shape[1]), np.float32)
    for i, record in enumerate(records):
        rows = _read(record)[first:last] - bias
        if subtract_rate:
            rows -= rate * np.float32(record["exposure"])
        cube[i] = rows / np.float32(scale[i])
    mean, variance, _ = clipped_mean(cube)
    return mean, variance


def _median(record: Record, bias: np.ndarray, rate: np.ndarray) -> float:
    """Median level of one flat, bias and dark taken off."""
    exposure = record["exposure"] if np.isfinite(record["exposure"]) else 0.0
    return float(np.median(_read(record) - bias - rate * np.float32(exposure)))


def _master(
    records: Sequence[Record],
    scale: Sequence[float],
    bias: np.ndarray,
    rate: np.ndarray | None,
    client: Client | None,
) -> tuple[np.ndarray, np.ndarray]:
    ny, nx = bias.shape
    height = max(1, min(ny, BAND_BYTES // (4 * nx * len(records))))
    dark = np.zeros_like(bias) if rate is None else rate
    bands = [(i, min(i + height, ny), bias[i : i + height], dark[i : i + height]) for i in range(0, ny, height)]
    mean, variance = np.empty_like(bias), np.empty_like(bias)
    for band, result in run(_combine, bands, records, scale, rate is not None, client=client):
        mean[band[0] : band[1]], variance[band[0] : band[1]] = result
    return mean, variance


def _band_median(band: tuple[int, int], records: Sequence[Record], levels: Sequence[float]) -> np.ndarray:
    """Median over a band of rows of frames less their levels."""
    first, last = band
    return np.median(
        np.stack([_read(r)[first:last] - np.float32(v) for r, v in zip(records, levels, strict=True)]), axis=0
    )


def _pattern(lights: Sequence[Record], shape: tuple[int, int], client: Client | None) -> np.ndarray:
    """Fixed pattern of the detector from lights of a drifting field (see `dphot.kernels.pattern`)."""
    places = np.unique(np.linspace(0, len(lights) - 1, min(PATTERN_FRAMES, len(lights))).round().astype(int))
    chosen = [lights[i] for i in places]
    zero = np.float32(0)
    found = {r["path"]: v for r, v in run(_median, chosen, zero, zero, client=client)}
    ny, nx = shape
    height = max(1, min(ny, BAND_BYTES // (4 * nx * len(chosen))))
    bands = [(i, min(i + height, ny)) for i in range(0, ny, height)]
    median = np.empty(shape, np.float32)
    levels = [found[r["path"]] for r in chosen]
    for (first, last), rows in run(_band_median, bands, chosen, levels, client=client):
        median[first:last] = rows
    return fixed_pattern(median)


def build(choice: Choice, light: Record, client: Client | None, lights: Sequence[Record] = ()) -> xr.Dataset:
    """See `dphot.calibration.masters`."""
    shape = trimmed_shape(light)
    zero = np.zeros(shape, np.float32)
    images = {"bias": zero, "dark_rate": zero, "flat": np.ones(shape, np.float32)}
    variances = dict.fromkeys(images, zero)
    usable: dict[str, list[Record]] = {}
    notes = list(choice.notes)
    for kind in ("bias", "dark", "flat"):
        results = {r["path"]: why for r, why in run(_readable, getattr(choice, kind), client=client)}
        usable[kind] = [r for r in getattr(choice, kind) if not results[r["path"]]]
        notes += sorted(f"{kind} left out: {why}" for why in results.values() if why)

    if usable["bias"]:
        images["bias"], variances["bias"] = _master(usable["bias"], [1.0] * len(usable["bias"]), zero, None, client)
    if usable["dark"] and choice.dark_is_pedestal:
        images["bias"], variances["bias"] = _master(usable["dark"], [1.0] * len(usable["dark"]), zero, None, client)
        notes.append("there is no bias; the dark is subtracted whole")
    elif usable["dark"]:
        exposures = [float(r["exposure"]) for r in usable["dark"]]
        images["dark_rate"], variances["dark_rate"] = _master(usable["dark"], exposures, images["bias"], None, client)
    flats, levels = [], []
    for record, level in sorted(
        run(_median, usable["flat"], images["bias"], images["dark_rate"], client=client), key=lambda r: r[0]["path"]
    ):
        if level > 0:
            flats.append({**record, "exposure": record["exposure"] if np.isfinite(record["exposure"]) else 0.0})
            levels.append(level)
        else:
            notes.append(f"flat left out: {record['path']} has a level of {level:.0f} ADU above the bias")
    if flats:
        images["flat"], variances["flat"] = _master(flats, levels, images["bias"], images["dark_rate"], client)
        # Each frame's median is 1; their clipped mean's is so to a few parts in a million, and is made so exactly.
        images["flat"] /= np.float32(np.median(images["flat"]))
    dark = images["dark_rate"] if usable["dark"] and not choice.dark_is_pedestal else None
    whole = [r for r in lights if not _unfit(r, light)]
    if whole and not usable["dark"]:
        dark = _pattern(whole, shape, client)
        images["bias"] = images["bias"] + dark
        notes.append(f"the fixed pattern is taken from the lights themselves ({min(len(whole), PATTERN_FRAMES)} frames)")
    known = dark is not None or bool(flats)
    bad = bad_pixels(dark, images["flat"] if flats else None) if known else np.zeros(shape, bool)
    # A dead pixel is flagged; dividing by its response would only blow up its noise.
    images["flat"] = np.where(bad & ~(images["flat"] > 0.05), np.float32(1.0), images["flat"])

    ds = xr.Dataset({name: (("y", "x"), image) for name, image in images.items()})
    ds.update({f"{name}_variance": (("y", "x"), np.nan_to_num(v)) for name, v in variances.items()})
    ds["bad"] = ("y", "x"), bad.astype(np.uint8)
    ds.attrs.update(
        flat_variance=float(np.median(ds["flat_variance"])),
        inputs={kind: [str(r["path"]) for r in records] for kind, records in usable.items()},
        missing=list(choice.missing),
        notes=notes,
    )
    return ds
