"""Plain Zarr, for other programs."""

from __future__ import annotations

import os
import warnings

import xarray as xr


def write_plain_zarr(ds: xr.Dataset, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a dataset as plain Zarr (format 3), without transactions.

    Parameters
    ----------
    ds : xarray.Dataset
        In memory.
    path : path
        Folder to write.
    overwrite : bool
        Replace what is there.
    """
    with warnings.catch_warnings():
        # Texts of a fixed width are not in the Zarr 3 specification yet; xarray and zarr-python read them.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        ds.to_zarr(path, mode="w" if overwrite else "w-", consolidated=False, zarr_format=3)
