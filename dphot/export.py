"""Measurements in other formats: CSV, Parquet, NetCDF, plain Zarr, and prose's .phot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .differential import differential
from .errors import InputError
from .store import Store
from .store.plain import write_plain_zarr

#: Columns of a light curve, one row a frame.
COLUMNS = ("jd_utc", "bjd_tdb", "diff_flux", "diff_err", "airmass", "fwhm", "dx", "dy", "sky", "flags")
ENDINGS = {".csv": "csv", ".parquet": "parquet", ".nc": "netcdf", ".zarr": "zarr", ".phot": "phot"}


def refuse_existing(path: str | Path, overwrite: bool) -> None:
    """Nothing is overwritten without being told to.

    Raises
    ------
    InputError
        If the path exists.
    """
    if Path(path).exists() and not overwrite:
        raise InputError(f"{path} exists already; name another, or give --overwrite")


def light_curve(lc: xr.Dataset) -> pd.DataFrame:
    """The target's light curve in its best aperture: `COLUMNS`, one row a frame.

    `flags` holds the star's bits (`dphot.flags.StarFlag`) in its lower 16, the frame's (`FrameFlag`) in its higher.
    """
    star, aperture = lc.attrs["target"], lc.attrs["aperture"]
    values: dict[str, Any] = {name: lc[name].values for name in COLUMNS if name in lc and lc[name].dims == ("time",)}
    values["diff_flux"] = lc.diff_flux.values[:, aperture, star]
    values["diff_err"] = lc.diff_err.values[:, aperture, star]
    values["sky"] = lc.sky.values[:, star]
    values["flags"] = lc["flags"].values[:, star].astype(np.int64) | (lc.frame_flags.values.astype(np.int64) << 16)
    return pd.DataFrame({name: values[name] for name in COLUMNS})


def light_curve_csv(lc: xr.Dataset, path: str | Path) -> None:
    """Write the light curve as CSV; numbers carry all their digits, what is not known is empty."""
    light_curve(lc).to_csv(path, index=False)


def long_table(obs: xr.Dataset) -> pd.DataFrame:
    """All measurements, a row for each frame, aperture and star."""
    names = [str(v) for v in obs.data_vars if set(obs[v].dims) <= {"time", "aperture", "star"}]
    return obs[names].to_dataframe(dim_order=["time", "aperture", "star"]).reset_index()


def export(
    store: Store,
    obs: xr.Dataset,
    output: str | Path,
    format: str | None = None,
    target: Any = None,
    overwrite: bool = False,
) -> str:
    """Write the measurements of one filter, with the differential light curves, in another format.

    Parameters
    ----------
    store : Store
        The store, for the stack.
    obs : xarray.Dataset
        Photometry of one filter.
    output : path
        File to write; a folder for Zarr.
    format : str, optional
        ``csv`` (the target's light curve), ``parquet`` (all measurements as a long table), ``netcdf``, ``zarr`` or
        ``phot``; by default what the ending of `output` says.
    target : optional
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
        If the format is not known, or `output` exists.
    """
    kind = format or ENDINGS.get(Path(output).suffix, "")
    if kind not in ENDINGS.values():
        raise InputError(f"export: {str(output)!r} names no format; give --format, one of {', '.join(ENDINGS.values())}")
    refuse_existing(output, overwrite)
    lc = differential(obs.load(), target)
    if kind == "csv":
        light_curve_csv(lc, output)
    elif kind == "parquet":
        long_table(lc).to_parquet(output, index=False)
    elif kind == "netcdf":
        portable(lc).to_netcdf(output, engine="h5netcdf")
    elif kind == "zarr":
        write_plain_zarr(portable(lc), output, overwrite=overwrite)
    else:
        phot_dataset(lc, stack_of(store, lc)).to_netcdf(output, engine="h5netcdf")
    return kind


def portable(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with attributes and texts that every format holds."""
    out = ds.copy()
    for name in out.variables:
        if out[name].dtype.kind in "OT":
            out[name] = out[name].astype(str)
    out.attrs = {k: v if isinstance(v, (str, int, float, list)) and v != [] else str(v) for k, v in ds.attrs.items()}
    return out


def stack_of(store: Store, lc: xr.Dataset) -> np.ndarray | None:
    """Stack of the filter's last night, or None."""
    nights = store.stack.get(lc.attrs["filter"], {})
    return nights[list(nights)[-1]].values if len(nights) else None


def phot_dataset(lc: xr.Dataset, stack: np.ndarray | None) -> xr.Dataset:
    """The dataset of prose's ``.phot`` files (prose 2.x), which its `Observation` opens.

    Dimensions are (apertures, star, time); frames that were not measured are left out, since prose replaces NaN.
    """
    measured = np.isfinite(lc.flux.values).any(axis=(1, 2))
    lc = lc.isel(time=measured)
    star, comps = lc.attrs["target"], lc.attrs["comparisons"]
    barycentric = bool(np.isfinite(lc.bjd_tdb.values).all())
    cube_, table = ("apertures", "star", "time"), ("apertures", "time")

    def flat(name: str) -> np.ndarray:
        return lc[name].transpose("aperture", "star", "time").values

    n_apertures = lc.sizes["aperture"]
    variables: dict[str, Any] = {
        "raw_fluxes": (cube_, flat("flux")), "raw_errors": (cube_, flat("flux_err")),
        "diff_fluxes": (cube_, flat("diff_flux")), "diff_errors": (cube_, flat("diff_err")),
        "apertures_area": (table, lc.aperture_area.T.values), "apertures_radii": (table, lc.aperture_radius.T.values),
        "alc": (table, lc.artificial.T.values),
        "comps": (("apertures", "ncomps"), np.tile(np.asarray(comps, np.int64), (n_apertures, 1))),
        "weights": (("apertures", "ncomps"), lc.weight.values[:, comps]),
        "peaks": (("star", "time"), lc.peak.T.values),
        "fwhmx": ("time", lc.fwhm_x.values), "fwhmy": ("time", lc.fwhm_y.values),
        "sky": ("time", lc.sky_frame.values), "flip": ("time", np.where(lc["flip"].values == 1, "EAST", "WEST")),
        "annulus_rin": ("time", lc.annulus_inner.values), "annulus_rout": ("time", lc.annulus_outer.values),
        "path": ("time", lc.path.values.astype(str)),
    }  # fmt: skip
    for name in ("jd_utc", "bjd_tdb", "fwhm", "dx", "dy", "airmass", "exposure", "annulus_area"):
        variables[name] = "time", lc[name].values
    coords: dict[str, Any] = {
        "time": ("time", lc["bjd_tdb" if barycentric else "jd_utc"].values),
        "stars": (("star", "n"), np.column_stack([lc.star_x.values, lc.star_y.values])),
    }
    if stack is not None:
        coords["stack"] = ("w", "h"), stack.astype(np.float64)
    night = str(lc.night.values[0])
    attrs = {
        "telescope": lc.attrs["telescope"], "TELESCOP": lc.attrs["telescope"], "filter": lc.attrs["filter"],
        "FILTER": lc.attrs["filter"], "exptime": float(np.median(lc.exposure.values)), "name": lc.attrs["object"],
        "OBJECT": lc.attrs["object"], "date": night, "time_format": "bjd_tdb" if barycentric else "jd_utc",
        "photometry": ["dphot"], "target": int(star), "aperture": int(lc.attrs["aperture"]), "method_diff": "broeg2005",
    }  # fmt: skip
    return xr.Dataset(variables, coords=coords, attrs=attrs)
