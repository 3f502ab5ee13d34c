"""Calibration: masters, and the calibrated cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .config import Config
from .graph import lazy
from .graph.context import masters_of
from .graph.frame import parse_section
from .graph.masters import build
from .graph.steps import Step
from .io.bayer import merge
from .io.choice import Choice, choose

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Choice", "calibrate", "choose", "masters"]

Record = Mapping[str, Any]


def masters(
    choice: Choice,
    light: Record,
    client: Client | None = None,
    lights: Sequence[Record] = (),
    config: Config | None = None,
) -> xr.Dataset:
    """Master bias, dark rate and flat, the bad pixels, and their variances.

    Parameters
    ----------
    choice : Choice
        The frames to combine.
    light : mapping
        A light's record, for the trimmed shape.
    client : distributed.Client, optional
        Where to read and combine; without one, in this process.
    lights : sequence of mapping
        The night's lights in time order: where there is no dark, their median can give the detector's fixed pattern.
    config : Config, optional
        Its `pattern` tells whether it shall.

    Returns
    -------
    xarray.Dataset
        `bias` (ADU), `dark_rate` (ADU/s), `flat` (1), `bad` (0 or 1), dims (y, x), and the variance of each; attributes
        tell inputs and notes. What is missing is 0, 0 and 1.

    Raises
    ------
    FrameError
        If a calibration frame cannot be read.
    """
    return build(choice, light, client, lights, config)


def calibrate(
    cube: xr.Dataset,
    masters: xr.Dataset | None = None,
    saturation: float = float("inf"),
    steps: tuple[Step, ...] = (),
) -> xr.Dataset:
    """Calibrated frames, lazily: ``(raw - bias - rate t) / flat``, trimmed and overscan-corrected.

    Parameters
    ----------
    cube : xarray.Dataset
        From `dphot.cube`, or a store's frames.
    masters : xarray.Dataset, optional
        From `dphot.masters`; without them frames are only trimmed.
    saturation : float
        Raw level in ADU at and above which pixels are marked saturated.
    steps : tuple of callable
        Steps of your own, ``f(image, record) -> image``, in order.

    Returns
    -------
    xarray.Dataset
        `image` (float32, ADU), `mask` (uint8, see `dphot.flags`), `counts` (trimmed raw), dims (time, y, x); `record`.
    """
    record = dict(cube.record.values[0])
    arrays = masters_of(masters, record)
    items = lazy.records_array(cube.record.values, cube.raw.data.chunks[0])
    image, mask = lazy.calibrated_cube(cube.raw.data, items, arrays, saturation, steps)
    rows, columns = parse_section(record["trim"]) or (slice(None), slice(None))
    counts = merge(cube.raw.data[:, rows, columns], record, np.maximum)
    dims = ("time", "y", "x")
    ds = xr.Dataset({"image": (dims, image), "mask": (dims, mask), "counts": (dims, counts),
                     "record": cube.record})  # fmt: skip
    ds["image"].attrs.update(units="ADU", long_name="calibrated counts")
    return ds.assign_coords({k: v for k, v in cube.coords.items() if v.dims == ("time",)})
