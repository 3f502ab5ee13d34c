"""The ensemble of comparison stars lives with the store: what each night tells of each star, beside the photometry.

Whoever appends rows leaves the summary of their nights. From these few numbers the stars are judged anew at each
commit, and a light curve over years finds its aperture, its comparisons and their weights without reading all that was
measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ..flags import LOST, UNFIT, FrameFlag
from ..kernels import nightly
from . import encodings, layout
from .verdict import Verdict
from .writing import extend, write

#: Array of the nights whose calibration was complete (1) or not (0).
CALIBRATED = "calibrated"
#: Nights to a chunk: a commit rewrites the last one.
_NIGHTS = 8
_STARS = 128
_NAMES = tuple(f.name for f in fields(nightly.Night))
#: Stars that tell the precision of a night.
BRIGHTEST = 5
#: Apertures in which fewer than this share of the stars are measured do not compete: that only the bright are makes
#: none of them steadier.
_COMPLETE = 0.9
_ORDER = ("time", "digest", "path")
#: Variables of the rows that a summary rests on.
_ROWS = ("flux", "flux_err", "flags", "frame_flags", "scintillation", *_ORDER)


def update(root: zarr.Group, filter: str, ds: xr.Dataset) -> Verdict:
    """Summarise the nights of rows that were appended, and judge the stars anew.

    Parameters
    ----------
    root : zarr.Group
        The store's root, with the rows.
    filter : str
        The filter.
    ds : xarray.Dataset
        The rows.
    """
    path = layout.ensemble_group(filter)
    names = ds["night"].values.astype(object).astype(str) if "night" in ds else np.full(ds.sizes["time"], "")
    verdict = Verdict()
    last: nightly.Night | None = None
    for night in sorted(set(names)):
        rows = {k: ds.variables[k].values[names == night] for k in _ROWS if k in ds.variables}
        group = root.get(path)
        place = None if group is None else _place(group, night)
        if place is not None:
            rows = _stored(root, filter, night)
        summary = _summarise(rows)
        _write(root, path, night, place, summary, _is_calibrated(rows))
        if np.isfinite(summary.scatter).any():
            last = summary
    group = root[path]
    assert isinstance(group, zarr.Group)
    arrays = dict(group.arrays())
    aperture = _steadiest(np.asarray(arrays["scatter"][:]))
    if last is not None:
        verdict.precision = _precision(last.scatter[aperture], last.noise[aperture])
    before = {int(i) for i in encodings.restore(group.attrs.asdict()).get("variable", [])}
    now = set(_variable(arrays, aperture))
    if before != now:
        group.attrs["variable"] = sorted(now)
    verdict.demoted, verdict.restored = sorted(now - before), sorted(before - now)
    return verdict


def _place(group: Any, night: str) -> int | None:
    found = np.flatnonzero(_texts(group["night"]) == night)
    return int(found[0]) if found.size else None


def _texts(array: zarr.Array) -> np.ndarray:
    return np.asarray(array[:]).astype(object).astype(str)


def _stored(root: zarr.Group, filter: str, night: str) -> dict[str, np.ndarray]:
    """All rows of a night that the store holds."""
    arrays = dict(root[layout.photometry_group(filter)].arrays())  # type: ignore[union-attr]
    rows = np.flatnonzero(_texts(arrays["night"]) == night)
    return {name: np.asarray(arrays[name].oindex[rows]) for name in _ROWS if name in arrays}


def _summarise(rows: dict[str, np.ndarray]) -> nightly.Night:
    """The summary of a night's rows: the same in whatever order they came."""
    keys = [rows[k].astype(object).astype(str) if rows[k].dtype.kind in "OTU" else rows[k].astype(np.int64)
            for k in reversed(_ORDER) if k in rows]  # fmt: skip
    order = np.lexsort(keys)
    flux, flux_err = (rows[k][order].astype(np.float64) for k in ("flux", "flux_err"))
    good = np.ones((len(order), flux.shape[2]), bool)
    if "flags" in rows:
        good &= (rows["flags"][order].astype(np.int64) & int(UNFIT)) == 0
    if "frame_flags" in rows:
        good &= ((rows["frame_flags"][order].astype(np.int64) & int(LOST)) == 0)[:, None]
    if "scintillation" in rows:
        flux_err = np.hypot(flux_err, np.nan_to_num(rows["scintillation"][order])[:, None, None] * flux)
    return nightly.summarise(flux, flux_err, good)


def _is_calibrated(rows: dict[str, np.ndarray]) -> bool:
    """Whether no more than half of a night's frames lack calibration."""
    if "frame_flags" not in rows:
        return True
    flags = rows["frame_flags"].astype(np.int64)
    measured = flags[(flags & int(LOST)) == 0]
    return 2 * np.count_nonzero(measured & int(FrameFlag.CALIBRATION_MISSING)) <= measured.size


def calibrated(arrays: Mapping[Any, Any]) -> np.ndarray:
    """Of each night whether its calibration was complete; what was written before this was told counts as such."""
    told = arrays.get(CALIBRATED)
    return np.ones(arrays["night"].shape, bool) if told is None else np.asarray(told[:]).astype(bool)


def _write(
    root: zarr.Group, path: str, night: str, place: int | None, summary: nightly.Night, is_calibrated: bool
) -> None:
    values = {name: getattr(summary, name)[None].astype(np.float32) for name in _NAMES}
    values["level"] = summary.level[None]
    label = np.array([night], np.dtypes.StringDType())
    told = np.array([is_calibrated], np.uint8)
    if path not in root:
        group = root.create_group(path)
        dims = ("night", "aperture", "star")
        new = {
            name: encodings.New(dims, value, {}, (_NIGHTS, value.shape[1], min(value.shape[2], _STARS)))
            for name, value in values.items()
        }
        new["night"] = encodings.New(dims[:1], label, {}, (1024,))
        new[CALIBRATED] = encodings.New(dims[:1], told, {}, (1024,))
        encodings.create(group, new)
        return
    group = root[path]  # type: ignore[assignment]
    arrays = dict(group.arrays())
    if CALIBRATED not in arrays:
        before = np.ones(arrays["night"].shape, np.uint8)
        arrays |= encodings.create(group, {CALIBRATED: encodings.New(("night",), before, {}, (1024,))})
    rows = {"night": label, CALIBRATED: told, **values}
    if place is None:
        extend((arrays[name], value) for name, value in rows.items())
    else:
        write((arrays[name], slice(place, place + 1), value) for name, value in rows.items())


def _steadiest(scatter: np.ndarray) -> int:
    """The aperture in which stars scatter least, (night, aperture, star)."""
    measured = np.isfinite(scatter).sum(axis=(0, 2))
    if not measured.any():
        return scatter.shape[1] // 2
    complete = measured >= _COMPLETE * measured.max()
    typical = [np.nanmedian(scatter[:, i]) if fit else np.inf for i, fit in enumerate(complete)]
    return int(np.argmin(typical))


def _precision(scatter: np.ndarray, noise: np.ndarray) -> float:
    """What the brightest stars of a night scatter; NaN where none does."""
    known = scatter[np.argsort(noise, kind="stable")]
    known = known[np.isfinite(known)][:BRIGHTEST]
    return float(np.median(known)) if known.size else np.nan


def _variable(arrays: dict[str, zarr.Array], aperture: int) -> list[int]:
    """Stars that vary beyond doubt, in one aperture."""
    order = np.argsort(_texts(arrays["night"]), kind="stable")
    order = order[nightly.comparable(calibrated(arrays)[order])]
    tables = (
        np.asarray(arrays[k][:, aperture])[order] for k in ("level", "level_err", "rms", "noise", "points")
    )
    return [int(i) for i in np.flatnonzero(nightly.judge(*tables).variable)]
