"""Measurements in other formats: CSV, Parquet, NetCDF, plain Zarr, and prose's .phot."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .differential import differential
from .errors import InputError
from .phot import phot_dataset
from .store import Store
from .store.plain import write_plain_zarr

#: Columns of a light curve, one row a frame.
COLUMNS = ("jd_utc", "bjd_tdb", "diff_flux", "diff_err", "airmass", "fwhm", "dx", "dy", "sky", "flags")
ENDINGS = {".csv": "csv", ".parquet": "parquet", ".nc": "netcdf", ".zarr": "zarr", ".phot": "phot"}
#: Rows of a Parquet row group, which bounds the memory that writing takes.
ROW_GROUP = 500_000


def refuse_existing(path: str | Path, overwrite: bool) -> None:
    """Nothing is overwritten without being told to, and a folder never by a file.

    Raises
    ------
    InputError
        If the path exists, or its folder does not.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} exists already; name another, or give --overwrite")
    if path.is_dir() and not (path / "zarr.json").is_file():
        raise InputError(f"{path} is a folder and not plain Zarr: it is not replaced; name another")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.absolute().parent} does not exist; make it first")


def light_curve(lc: xr.Dataset) -> pd.DataFrame:
    """The target's light curve in its best aperture: `COLUMNS`, one row a frame.

    `flags` holds the star's bits (`dphot.flags.StarFlag`) in its lower 16, the frame's (`FrameFlag`) in its
    higher.
    """
    star, aperture = lc.attrs["target"], lc.attrs["aperture"]
    values: dict[str, Any] = {
        name: lc[name].values for name in COLUMNS if name in lc and lc[name].dims == ("time",)
    }
    values["diff_flux"] = lc.diff_flux.values[:, aperture, star]
    values["diff_err"] = lc.diff_err.values[:, aperture, star]
    values["sky"] = lc.sky.values[:, star]
    flags = lc["flags"].values[:, star].astype(np.int64) | (lc.frame_flags.values.astype(np.int64) << 16)
    return pd.DataFrame({name: values[name].astype(np.float64) for name in COLUMNS[:-1]} | {"flags": flags})


def light_curve_csv(lc: xr.Dataset, path: str | Path) -> None:
    """Write the light curve as CSV; numbers carry all their digits, what is not known is empty."""
    _aside(path, lambda place: light_curve(lc).to_csv(place, index=False))


def long_table(ds: xr.Dataset) -> pd.DataFrame:
    """All variables of frames, apertures and stars, a row for each of their combinations.

    The transform's six coefficients are columns of their own; the dataset's attributes are the table's
    `attrs`.
    """
    if "transform" in ds:
        ds = ds.assign(
            {f"transform_{i}": ds["transform"].isel(coefficient=i) for i in range(ds.sizes["coefficient"])}
        )
    dims = ["time", "aperture", "star"]
    names = [str(v) for v in ds.data_vars if set(ds[v].dims) <= set(dims)]
    table = ds[names].to_dataframe(dim_order=dims).reset_index()
    table.attrs = {str(k): v for k, v in ds.attrs.items()}
    return table


def write_parquet(ds: xr.Dataset, path: str | Path) -> None:
    """Write `long_table` as Parquet, some frames at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = max(1, ROW_GROUP // (ds.sizes["aperture"] * ds.sizes["star"]))
    parts = (long_table(ds.isel(time=slice(i, i + frames))) for i in range(0, ds.sizes["time"], frames))
    table = pa.Table.from_pandas(next(parts), preserve_index=False)
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        for part in parts:
            writer.write_table(pa.Table.from_pandas(part, schema=table.schema, preserve_index=False))


def export(
    store: Store,
    obs: xr.Dataset,
    output: str | Path,
    format: str | None = None,
    target: int | str | tuple[float, float] | None = None,
    overwrite: bool = False,
    comparisons: Sequence[int] | None = None,
    aperture: int | None = None,
    exclude: Sequence[int] = (),
) -> str:
    """Write the measurements of one filter, with the differential light curves where there are any, in another format.

    Parameters
    ----------
    store : Store
        The store, for the stack.
    obs : xarray.Dataset
        Photometry of one filter.
    output : path
        File to write; a folder for Zarr.
    format : str, optional
        ``csv`` (the target's light curve), ``parquet`` (all measurements as a long table), ``netcdf``,
        ``zarr`` or ``phot``; by default what the ending of `output` says.
    target, comparisons, aperture, exclude : optional
        See `dphot.differential`.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    str
        The format written.

    Raises
    ------
    InputError
        If the format is not known, `output` exists, or there is no such target; nothing is written then.
    """
    kind = format or ENDINGS.get(Path(output).suffix.lower(), "")
    if kind not in ENDINGS.values():
        raise InputError(
            f"{str(output)!r} names no format; give --format, one of {', '.join(ENDINGS.values())}"
        )
    refuse_existing(output, overwrite)
    try:
        lc = differential(obs.load(), target, comparisons, aperture, exclude)
    except InputError:
        asked = any(one is not None for one in (target, comparisons, aperture)) or np.size(exclude) > 0
        if kind in ("csv", "phot") or asked:
            raise
        lc = obs  # of a frame or two there is no light curve, and nobody asked for one
    write: dict[str, Callable[[Path], Any]] = {
        "csv": lambda path: light_curve(lc).to_csv(path, index=False),
        "parquet": lambda path: write_parquet(lc, path),
        "netcdf": lambda path: write_netcdf(portable(lc), path),
        "zarr": lambda path: write_plain_zarr(portable(lc), path),
        "phot": lambda path: write_netcdf(phot_dataset(store, lc), path),
    }
    _aside(output, write[kind])
    return kind


def write_netcdf(ds: xr.Dataset, path: str | Path) -> None:
    """Write NetCDF 4; instants to the nanosecond."""
    whole = {"units": "nanoseconds since 1970-01-01", "dtype": "int64", "calendar": "proleptic_gregorian"}
    encoding = {str(n): whole for n, v in ds.variables.items() if v.dtype.kind == "M"}
    attributes = {k: _cdf_attribute(v) for k, v in ds.attrs.items()}
    ds.assign_attrs(attributes).to_netcdf(path, engine="h5netcdf", encoding=encoding)


def portable(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with texts as every format holds them, and without the encodings of the store."""
    out = ds.drop_encoding()
    for name in out.variables:
        if out[name].dtype.kind in "OT":
            out[name] = out[name].astype(str)
    return out


def _cdf_attribute(value: Any) -> Any:
    """An attribute as NetCDF has it: numbers, texts and lists of them; the rest as JSON."""
    if isinstance(value, bool) or value is None or isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return (
            list(value)
            if value and all(isinstance(v, (str, int, float)) for v in value)
            else json.dumps(value)
        )
    return value


def _aside(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Write beside the place and rename: a file is whole or not there, and what was there stays until
    then."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
