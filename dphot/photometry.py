"""Photometry of a calibrated cube."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .config import Config
from .graph import lazy
from .graph.assemble import photometry_dataset
from .graph.context import masters_of, reference_from_dataset
from .graph.priors import is_aligned, priors
from .io.site import site_of


def photometry(
    calibrated: xr.Dataset,
    reference: xr.Dataset,
    masters: xr.Dataset | None = None,
    config: Config | None = None,
    positions: np.ndarray | None = None,
) -> xr.Dataset:
    """Align and measure every frame of a calibrated cube.

    The cube is read block by block on the scheduler in force; only the measurements are kept.

    Parameters
    ----------
    calibrated : xarray.Dataset
        From `dphot.calibrate`.
    reference : xarray.Dataset
        From `dphot.make_reference`, or a store's.
    masters : xarray.Dataset, optional
        The masters used, for their share of the noise.
    config : Config, optional
        Apertures, annulus, centroids.
    positions : ndarray (time, 2, star), optional
        Measure at these x and y of each frame instead of where the transform puts the stars.

    Returns
    -------
    xarray.Dataset
        time x aperture x star (see `dphot.schema.PHOTOMETRY`), with the same numbers as the store's.
    """
    config = config or Config()
    plan = reference_from_dataset(reference)
    records = list(calibrated.record.values)
    image, mask, counts = calibrated.image.data, calibrated["mask"].data, calibrated.counts.data
    arrays = masters_of(masters, records[0])
    rows = list(lazy.measured_rows(image, mask, counts, plan, arrays, config, positions).compute())
    if positions is None and (again := priors(records, rows)):
        places, given = list(again), np.stack(list(again.values()))
        retried = lazy.measured_rows(
            image[places], mask[places], counts[places], plan, arrays, config, priors=given
        )
        for i, row in zip(again, retried.compute(), strict=True):
            rows[i] = row if is_aligned(row) else rows[i]
    attrs = {**{k: records[0][k] for k in ("telescope", "object", "filter")}, "target": config.target}
    site = site_of(records[0], config.telescope, config.coordinates, reference.attrs.get("site"))
    return photometry_dataset(rows, records, reference, site, attrs)
