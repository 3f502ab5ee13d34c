"""Plain Zarr, for other programs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import xarray as xr

from ..errors import StoreError


def write_plain_zarr(ds: xr.Dataset, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a dataset as plain Zarr (format 3), without transactions.

    Parameters
    ----------
    ds : xarray.Dataset
        In memory.
    path : path
        Folder to write.
    overwrite : bool
        Replace a Zarr group that is there; nothing else is ever deleted.

    Raises
    ------
    StoreError
        If something is there that may not be replaced.
    """
    if os.path.lexists(path):
        if not overwrite:
            raise StoreError(f"{path}: exists; choose another name, or pass --overwrite")
        if not (Path(path) / "zarr.json").is_file():  # mode "w" would empty any folder
            raise StoreError(f"{path}: exists and is no Zarr v3 group; choose another name")
    with warnings.catch_warnings():
        # Texts of a fixed width are not in the Zarr 3 specification yet; xarray and zarr-python read them.
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        ds.to_zarr(path, mode="w" if overwrite else "w-", consolidated=False, zarr_format=3)
