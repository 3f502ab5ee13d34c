"""Rows of measurements become the time x aperture x star dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..flags import FrameFlag
from ..io.site import diameter_of
from ..kernels import noise, timescale
from ..schema import PHOTOMETRY, annotate, validate
from .chunks import Stack
from .frame import Reference, unit

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
        `latitude`, `longitude` (deg, east positive), `altitude` (m), `diameter` (m), `ra`, `dec` (deg), as of
        `dphot.io.site.site_of`; NaN where unknown: what needs them is NaN.
    attrs : mapping
        Further attributes; `filter` is that of the first record where it is not among them.

    Returns
    -------
    xarray.Dataset
        In time order (then by path); frames without a time come last.
    """
    # all at once: a variable more costs a Dataset milliseconds
    columns: dict[str, Any] = {}
    for name, declared in PHOTOMETRY.items():
        if declared.dims[0] == "time" and name in rows[0]:
            values = (
                np.stack([np.asarray(row[name]) for row in rows])
                if declared.kind != "O"
                else _strings(rows, name)
            )
            columns[name] = declared.dims, values.astype(_KINDS[declared.kind])
    for name in ("path", "night"):
        columns[name] = "time", _strings(records, name)
    for name, key in (("file_size", "size"), ("file_time", "mtime_ns")):
        columns[name] = "time", np.array([r[key] for r in records], np.int64)
    noted = [_with_note(row, record) for row, record in zip(rows, records, strict=True)]
    columns["note"] = "time", _strings(noted, "note")
    for name in ("exposure", "jd_utc"):
        columns[name] = "time", np.array([r[name] for r in records], float)
    stars = {
        k: ("star", reference[k].values) for k in ("star_x", "star_y", "star_flux", "star_ra", "star_dec")
    }
    ds = xr.Dataset(columns, {"time": instants(records), **stars})
    timeless = np.isnat(ds.time.values)
    ds["frame_flags"] = ds.frame_flags | np.where(timeless, int(FrameFlag.BAD_TIME), 0).astype(np.uint16)
    add_times(ds, site, records)
    ds = ds.assign_coords(star=np.arange(ds.sizes["star"]), aperture=np.arange(ds.sizes["aperture"]))
    order = np.lexsort((ds.path.values.astype(str), ds.time.values.astype("int64"), timeless))
    ds = judge_clouds(ds.isel(time=order), attrs.get("filter", records[0]["filter"]), reference.attrs)
    unit = "e-" if "gain" in reference.attrs else "ADU"
    gain = {k: reference.attrs[k] for k in ("gain", "gain_source") if k in reference.attrs}
    ds.attrs.update({"flux_unit": unit, **gain, **attrs})
    validate(ds, PHOTOMETRY, tuple(PHOTOMETRY))
    return annotate(ds, PHOTOMETRY, unit)


def judge_clouds(rows: xr.Dataset, filter: str, reference: Mapping[str, Any]) -> xr.Dataset:
    """Rows of a night with those of clouded frames flagged and noted, and no others.

    A frame in the reference's filter is compared with the reference, for equal exposures; one in another filter, whose
    stars have other brightnesses, with the clearest tenth of its night: whoever extends a night judges all of it again.

    Parameters
    ----------
    rows : xarray.Dataset
        `share`, `exposure`, `frame_flags` and `note` of all frames of one night and filter, in any order.
    filter : str
        Their filter.
    reference : mapping
        The reference's attributes.

    Returns
    -------
    xarray.Dataset
        With new `frame_flags` and `note`; frames without a share keep theirs.
    """
    exposure, light = rows.exposure.values, rows.share.values.copy()
    own = float(reference.get("exposure") or np.nan)
    if np.isfinite(own):
        timed = exposure > 0
        light[timed] *= own / exposure[timed]
    known = np.flatnonzero(np.isfinite(light))
    alike = filter == reference.get("filter", filter)
    clear = 1.0 if alike or not known.size else float(np.quantile(light[known], 0.9))
    flags, notes = rows.frame_flags.values.copy(), rows.note.values.astype(object)
    cloud = np.uint16(FrameFlag.CLOUD)
    for i in known:
        if flags[i] & cloud:  # as the night was known then; the note begins with it
            flags[i] &= ~cloud
            notes[i] = str(notes[i]).partition("; ")[2]
        if light[i] / clear < CLOUD_SHARE:
            flags[i] |= cloud
            words = f"the stars have {100 * light[i] / clear:.0f} % of their light"
            notes[i] = f"{words}; {notes[i]}" if notes[i] else words
    return rows.assign(frame_flags=rows.frame_flags.copy(data=flags), note=rows.note.copy(data=notes))


def instants(records: Sequence[Record]) -> np.ndarray:
    """Mid-exposure times of records as datetime64[ns]; NaT where there is none."""
    return np.array(["NaT" if pd.isna(r["time"]) else str(r["time"]) for r in records], "datetime64[ns]")


def add_times(ds: xr.Dataset, site: Mapping[str, float], records: Sequence[Record]) -> None:
    """Barycentric time, airmass and scintillation, from the site, the coordinates and the mid-exposure time.

    A frame whose record tells a place was taken there; the others at the site.
    """
    jd = ds.jd_utc.values
    bjd, airmass, height = (np.full(jd.size, np.nan) for _ in range(3))
    known = np.isfinite(jd)
    sky = np.isfinite([site["ra"], site["dec"]]).all()
    for (latitude, longitude, altitude), frames in _places(site, records).items():
        rows = frames & known
        ground = np.isfinite([latitude, longitude]).all()
        height[frames] = altitude if np.isfinite(altitude) else 0.0
        if sky and rows.any():
            # Without a site the Earth's centre serves: at most 21 ms off.
            place = (latitude, longitude, height[frames][0]) if ground else (np.nan, np.nan, np.nan)
            bjd[rows] = timescale.bjd_tdb(jd[rows], site["ra"], site["dec"], *place)
            if ground:
                airmass[rows] = timescale.airmass(jd[rows], site["ra"], site["dec"], *place)
    ds["bjd_tdb"] = "time", bjd
    told = np.array([r["airmass"] for r in records], float)
    ds["airmass"] = "time", np.where(np.isfinite(airmass), airmass, told)
    diameter = np.array([diameter_of(r, site) for r in records])
    ds["scintillation"] = (
        "time",
        noise.scintillation(ds.airmass.values, ds.exposure.values, diameter, height),
    )


def _places(
    site: Mapping[str, float], records: Sequence[Record]
) -> dict[tuple[float, float, float], np.ndarray]:
    """Latitude, longitude and altitude to the frames (bool) that were taken there."""
    names = ("latitude", "longitude", "altitude")
    places = []
    for record in records:
        told = np.isfinite([float(record[name]) for name in names[:2]]).all()
        places.append(tuple(float((record if told else site)[name]) for name in names))
    # by their texts, since NaN equals nothing
    texts = np.array([repr(place) for place in places], object)
    return {places[int(np.argmax(texts == text))]: texts == text for text in dict.fromkeys(texts)}  # type: ignore[misc]


def _strings(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    out = np.empty(len(rows), object)
    out[:] = [str(row[name]) for row in rows]
    return out


def _with_note(row: Mapping[str, Any], record: Record) -> dict[str, str]:
    parts = [row["note"], *str(record["note"]).split(" | ")]
    return {"note": "; ".join(dict.fromkeys(part for part in parts if part))}


def stack_dataset(stack: Stack, skies: np.ndarray, reference: Reference) -> xr.Dataset:
    """The stack of a night as it is stored: the mean of its frames, and what later frames are added to.

    Frames were summed without their skies, so that the edge of a drifting field shows no steps; the mean has their
    median sky.

    Parameters
    ----------
    stack : Stack
        The sum, whose arrays become part of the dataset.
    skies : (frames,) array
        Sky of each frame, in the unit of the fluxes; NaN where it is not known.
    reference : Reference
        What the frames are aligned with.

    Returns
    -------
    xarray.Dataset
        ``stack`` (y, x) in ADU, ``total`` and ``count``.
    """
    known = skies[np.isfinite(skies)] / unit(reference)
    level = np.float32(np.median(known)) if known.size else np.float32(0)
    images = {"stack": stack.mean() + level, "total": stack.total, "count": stack.count}
    return xr.Dataset({name: (("y", "x"), image) for name, image in images.items()})
