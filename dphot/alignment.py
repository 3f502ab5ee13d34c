"""The reference, and the aligned frames of a calibrated cube."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .config import Config
from .graph import lazy
from .graph import reference as references
from .graph.context import masters_of
from .graph.steps import Step


def make_reference(
    cube: xr.Dataset,
    masters: xr.Dataset | None = None,
    config: Config | None = None,
    steps: tuple[Step, ...] = (),
) -> xr.Dataset:
    """Choose the reference of a cube and find its stars.

    Parameters
    ----------
    cube : xarray.Dataset
        From `dphot.cube`.
    masters : xarray.Dataset, optional
        From `dphot.masters`.
    config : Config, optional
        `reference` (``"auto"``, an index, a path), detection threshold, star list.
    steps : tuple of callable
        Steps of your own on the calibrated frame.

    Returns
    -------
    xarray.Dataset
        See `dphot.graph.reference.make`.

    Raises
    ------
    InputError
        If no frame has enough stars.
    """
    config = config or Config()
    records = list(cube.record.values)
    arrays = masters_of(masters, records[0])
    return references.build(records, arrays, config, steps=steps)


def align(
    calibrated: xr.Dataset, transforms: xr.DataArray, shape: tuple[int, int] | None = None
) -> xr.DataArray:
    """Frames resampled onto the reference, lazily (bilinear), for stacks and for looking at.

    Photometry is never done on these: it measures the frames as they are.

    Parameters
    ----------
    calibrated : xarray.Dataset
        From `dphot.calibrate`.
    transforms : xarray.DataArray (time, coefficient)
        `transform` of the photometry dataset.
    shape : (int, int), optional
        Shape of the reference; by default that of the frames.

    Returns
    -------
    xarray.DataArray (time, y, x)
        float32, ADU; NaN where a frame does not reach.
    """
    ny, nx = shape or calibrated.image.shape[1:]
    data = lazy.aligned_cube(calibrated.image.data, calibrated["mask"].data, np.asarray(transforms), (ny, nx))
    return xr.DataArray(data, dims=("time", "y", "x"), coords=calibrated.image.coords, name="aligned")
