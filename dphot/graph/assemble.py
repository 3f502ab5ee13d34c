"""Rows of measurements become the time x aperture x star dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..flags import FrameFlag
from ..kernels import noise, timescale
from ..schema import PHOTOMETRY, annotate, validate

Record = Mapping[str, Any]
_KINDS = {"f": np.float64, "i": np.int32, "u": np.uint16, "O": object}


#: A frame whose stars keep less than this share of their light is flagged CLOUD.
CLOUD_SHARE = 0.3


def photometry_dataset(
    rows: Sequence[Mapping[str, Any]],
    records: Sequence[Record],
    reference: xr.Dataset,
    site: Mapping[str, float],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """The photometry dataset of some frames.

    Parameters
    ----------
    rows : sequence of mapping
        Measurements, one for each frame (see `frame.measure`).
    records : sequence of mapping
        The frames' records, in the same order.
    reference : xarray.Dataset
        The reference dataset (star coordinates, gain).
    site : mapping
        `latitude`, `longitude` (deg, east positive), `altitude` (m), `diameter` (m), `ra`, `dec` (deg); NaN where
        unknown: what needs them is NaN.
    attrs : mapping
        Further attributes.

    Returns
    -------
    xarray.Dataset
        In time order (then by path); frames without a time come last.
    """
    rows = _with_clouds(rows, records, reference)
    ds = xr.Dataset()
    for name, declared in PHOTOMETRY.items():
        if declared.dims[0] == "time" and name in rows[0]:
            values = (
                np.stack([np.asarray(row[name]) for row in rows])
                if declared.kind != "O"
                else _strings(rows, name)
            )
            ds[name] = declared.dims, values.astype(_KINDS[declared.kind])
    for name in ("path", "night"):
        ds[name] = "time", _strings(records, name)
    ds["file_size"] = "time", np.array([r["size"] for r in records], np.int64)
    ds["file_time"] = "time", np.array([r["mtime_ns"] for r in records], np.int64)
    ds["note"] = (
        "time",
        _strings([_with_note(row, record) for row, record in zip(rows, records, strict=True)], "note"),
    )
    ds["exposure"] = "time", np.array([r["exposure"] for r in records], float)
    ds["jd_utc"] = "time", np.array([r["jd_utc"] for r in records], float)
    ds = ds.assign_coords(time=instants(records))
    timeless = np.isnat(ds.time.values)
    ds["frame_flags"] = ds.frame_flags | np.where(timeless, int(FrameFlag.BAD_TIME), 0).astype(np.uint16)
    add_times(ds, site, np.array([r["airmass"] for r in records], float))
    ds = ds.assign_coords({k: ("star", reference[k].values) for k in
                           ("star_x", "star_y", "star_flux", "star_ra", "star_dec")})  # fmt: skip
    ds = ds.assign_coords(star=np.arange(ds.sizes["star"]), aperture=np.arange(ds.sizes["aperture"]))
    order = np.lexsort((ds.path.values.astype(str), ds.time.values.astype("int64"), timeless))
    ds = ds.isel(time=order)
    unit = "e-" if "gain" in reference.attrs else "ADU"
    gain = {k: reference.attrs[k] for k in ("gain", "gain_source") if k in reference.attrs}
    ds.attrs.update({"flux_unit": unit, **gain, **attrs})
    validate(ds, PHOTOMETRY, tuple(PHOTOMETRY))
    return annotate(ds, PHOTOMETRY, unit)


def _with_clouds(
    rows: Sequence[Mapping[str, Any]], records: Sequence[Record], reference: xr.Dataset
) -> list[Mapping[str, Any]]:
    """The rows, those of clouded frames flagged.

    A frame in the reference's filter is compared with the reference, for equal exposures; one in another filter, whose
    stars have other brightnesses, with the clearest tenth of its series.
    """
    exposures = np.array([r["exposure"] for r in records], float)
    own = float(reference.attrs.get("exposure") or np.nan)
    light = np.array([row["share"] for row in rows]) * np.where(exposures > 0, own / exposures, 1.0)
    light = light if np.isfinite(own) else np.array([row["share"] for row in rows])
    seen = light[np.isfinite(light)]
    alike = records[0]["filter"] == reference.attrs.get("filter", records[0]["filter"])
    clear = 1.0 if alike or not seen.size else float(np.quantile(seen, 0.9))
    out = []
    for row, share in zip(rows, light / clear, strict=True):
        if share < CLOUD_SHARE:
            note = f"the stars have {100 * share:.0f} % of their light"
            row = {**row, "frame_flags": row["frame_flags"] | int(FrameFlag.CLOUD), "note": note}
        out.append(row)
    return out


def instants(records: Sequence[Record]) -> np.ndarray:
    """Mid-exposure times of records as datetime64[ns]; NaT where there is none."""
    return np.array(["NaT" if pd.isna(r["time"]) else str(r["time"]) for r in records], "datetime64[ns]")


def add_times(ds: xr.Dataset, site: Mapping[str, float], header_airmass: np.ndarray) -> None:
    """Barycentric time, airmass and scintillation, from the site, the coordinates and the mid-exposure time."""
    jd = ds.jd_utc.values
    bjd, airmass = np.full(jd.size, np.nan), np.full(jd.size, np.nan)
    known = np.isfinite(jd)
    sky = np.isfinite([site["ra"], site["dec"]]).all()
    ground = np.isfinite([site["latitude"], site["longitude"]]).all()
    altitude = site["altitude"] if np.isfinite(site["altitude"]) else 0.0
    if sky and known.any():
        # Without a site the Earth's centre serves: at most 21 ms off.
        place = (site["latitude"], site["longitude"], altitude) if ground else (np.nan, np.nan, np.nan)
        bjd[known] = timescale.bjd_tdb(jd[known], site["ra"], site["dec"], *place)
        if ground:
            airmass[known] = timescale.airmass(jd[known], site["ra"], site["dec"], *place)
    ds["bjd_tdb"] = "time", bjd
    ds["airmass"] = "time", np.where(np.isfinite(airmass), airmass, header_airmass)
    ds["scintillation"] = (
        "time",
        noise.scintillation(ds.airmass.values, ds.exposure.values, site["diameter"], altitude),
    )


def _strings(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    out = np.empty(len(rows), object)
    out[:] = [str(row[name]) for row in rows]
    return out


def _with_note(row: Mapping[str, Any], record: Record) -> dict[str, str]:
    parts = [row["note"], *str(record["note"]).split(" | ")]
    return {"note": "; ".join(dict.fromkeys(part for part in parts if part))}
