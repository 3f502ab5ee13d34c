"""The dataset of prose's ``.phot`` files (prose 2.x), as its `Observation` opens them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from .errors import BucketError, FrameError
from .io.readers import read_header
from .store import Store
from .store.encodings import restore

_CUBE, _TABLE = ("apertures", "star", "time"), ("apertures", "time")
#: prose's names and ours, by dimensions.
_CUBES = {
    "raw_fluxes": "flux",
    "raw_errors": "flux_err",
    "diff_fluxes": "diff_flux",
    "diff_errors": "diff_err",
}
_TABLES = {"apertures_area": "aperture_area", "apertures_radii": "aperture_radius", "alc": "artificial"}
_SERIES = {
    **{name: name for name in ("bjd_tdb", "fwhm", "dx", "dy", "airmass", "exposure", "annulus_area")},
    "fwhmx": "fwhm_x", "fwhmy": "fwhm_y", "sky": "sky_frame",
    "annulus_rin": "annulus_inner", "annulus_rout": "annulus_outer",
}  # fmt: skip
#: Cards that describe how the pixels of the raw file are stored, and names that HDF5 keeps for itself.
_STORAGE = (
    "BZERO", "BSCALE", "BLANK", "CHECKSUM", "DATASUM", "EXTEND", "XTENSION", "PCOUNT", "GCOUNT", "EXTNAME",
    "CLASS", "NAME",
)  # fmt: skip


def phot_dataset(store: Store, lc: xr.Dataset) -> xr.Dataset:
    """A light curve's dataset in prose's words and order.

    Parameters
    ----------
    store : Store
        For the stack and the header of the reference frame.
    lc : xarray.Dataset
        From `dphot.differential`.

    Returns
    -------
    xarray.Dataset
        Dimensions (apertures, star, time). Frames that were not measured are left out, since prose turns NaN
        into 1.
        As in prose, `jd_utc` is the START of the exposure, and `bjd_tdb` its middle; `sky` and fluxes are in
        the unit that the attribute `flux_unit` names.
    """
    measured = np.isfinite(lc.flux.values).any(axis=(1, 2))
    lc = lc.isel(time=measured)
    exposure = np.nan_to_num(lc.exposure.values)
    jd_start = lc.jd_utc.values - exposure / 2 / 86400
    barycentric = bool(np.isfinite(lc.bjd_tdb.values).all())
    comps = comparison_table(lc)
    cube = {k: lc[ours].transpose("aperture", "star", "time").values for k, ours in _CUBES.items()}
    table = {k: lc[ours].transpose("aperture", "time").values for k, ours in _TABLES.items()}
    series = {k: lc[ours].values.astype(np.float64) for k, ours in _SERIES.items()}
    variables: dict[str, Any] = {
        **{name: (_CUBE, values.astype(np.float64)) for name, values in cube.items()},
        **{name: (_TABLE, values.astype(np.float64)) for name, values in table.items()},
        "comps": (("apertures", "ncomps"), comps),
        "weights": (
            ("apertures", "ncomps"),
            np.take_along_axis(lc.weight.values.astype(np.float64), comps, axis=1),
        ),
        "peaks": (("star", "time"), lc.peak.transpose("star", "time").values.astype(np.float64)),
        "jd_utc": ("time", jd_start, {"long_name": "start of the exposure, Julian date in UTC"}),
        **{name: ("time", values) for name, values in series.items()},
        # prose marks the meridian flip where this word changes
        "flip": ("time", np.where(lc["flip"].values == 1, "EAST", "WEST").astype(object)),
        "path": ("time", lc.path.values.astype(object)),
    }
    coords: dict[str, Any] = {
        "time": ("time", series["bjd_tdb"] if barycentric else jd_start),
        "stars": (("star", "n"), np.column_stack([lc.star_x.values, lc.star_y.values]).astype(np.float64)),
    }
    nights = [str(n) for n in lc.night.values]
    stack = stack_of(store, str(lc.attrs["filter"]), nights)
    if stack is not None:
        coords["stack"] = ("w", "h"), stack.astype(np.float64)
    attrs = {
        **stack_cards(store, lc, stack, jd_start),
        "telescope": lc.attrs["telescope"],
        "filter": lc.attrs["filter"],
        "exptime": float(np.median(exposure)) if exposure.size else math.nan,
        "name": lc.attrs["object"],
        "date": nights[0] if nights else "",
        "time_format": "bjd_tdb" if barycentric else "jd_utc",
        "photometry": [
            "Calibration",
            "Detection",
            "MedianPSF",
            "Moffat2D",
            "Alignment",
            "AperturePhotometry",
            "Stack",
        ],
        "target": int(lc.attrs["target"]),
        "aperture": int(lc.attrs["aperture"]),
        "method_diff": "broeg",
        "flux_unit": lc.attrs["flux_unit"],
    }
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def comparison_table(lc: xr.Dataset) -> np.ndarray:
    """Comparison stars of each aperture, the heaviest first (int64, aperture x comparison)."""
    weight = lc.weight.values
    count = max(1, int((weight > 0).any(axis=0).sum()))
    return np.argsort(-weight, axis=1, kind="stable")[:, :count].astype(np.int64)


def stack_of(store: Store, filter: str, nights: list[str]) -> np.ndarray | None:
    """Stack of the last of some nights, or None."""
    if filter not in store.stack:
        return None
    stacks = store.stack[filter]
    present = [night for night in stacks if night in nights]
    return stacks[present[-1]].values if present else None


def stack_cards(
    store: Store, lc: xr.Dataset, stack: np.ndarray | None, jd_start: np.ndarray
) -> dict[str, Any]:
    """FITS cards of the stack: those of the reference frame's file, where it is still there.

    What they lack of the keywords that prose looks for comes from the store.
    """
    record = reference_record(store, lc)
    cards = _file_cards(lc.attrs["reference"], record)
    first = np.datetime64(round((jd_start.min() - 2440587.5) * 86400e3), "ms") if jd_start.size else ""
    series = [r for n in store.nights for r in n["series"] if r["filter"] == lc.attrs["filter"]]
    site: dict[str, Any] = series[0]["telescope"] if series else {}
    known = {
        "TELESCOP": lc.attrs["telescope"], "OBJECT": lc.attrs["object"], "FILTER": lc.attrs["filter"],
        "DATE-OBS": str(first),
        "EXPTIME": float(np.median(lc.exposure.values)) if jd_start.size else math.nan,
        "RA": site.get("ra"), "DEC": site.get("dec"),
        "AIRMASS": record.get("airmass"),
    }  # fmt: skip
    cards = {key: value for key, value in known.items() if value is not None and value == value} | cards
    if stack is not None:
        cards |= {"SIMPLE": 1, "BITPIX": -64, "NAXIS": 2, "NAXIS1": stack.shape[1], "NAXIS2": stack.shape[0],
                  "IMAGETYP": "stack", "NIMAGES": int(jd_start.size)}  # fmt: skip
    return cards


def reference_record(store: Store, lc: xr.Dataset) -> Mapping[str, Any]:
    """The frame-table row of the reference frame, where the store keeps it; else an empty mapping."""
    reference = store.reference.attrs
    if reference["filter"] not in store.frames or reference["night"] not in store.frames[reference["filter"]]:
        return {}
    frames = store.frames[reference["filter"]][reference["night"]]
    (found,) = np.nonzero(frames["path"].values.astype(str) == reference["path"])
    return restore(json.loads(str(frames["record"].values[found[0]]))) if found.size else {}


def _file_cards(path: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Cards of a frame's file with a number or text, its coordinate system moved to the trimmed frame."""
    try:
        header = read_header(path, record.get("hdu"))
    except (FrameError, BucketError):
        return {}
    # NetCDF has no booleans and no larger integers; prose turns each upper-case attribute back into a card.
    fits = {k: int(v) if isinstance(v, bool) else v for k, v in header.items()
            if re.fullmatch("[A-Z][A-Z0-9_-]{0,7}", k) and k not in _STORAGE and v == v}  # fmt: skip
    cards = {k: float(v) if isinstance(v, int) and abs(v) >= 2**63 else v for k, v in fits.items()}
    if record.get("trim"):
        for axis, part in zip((1, 2), record["trim"].split(","), strict=True):
            if isinstance(cards.get(f"CRPIX{axis}"), (int, float)):
                cards[f"CRPIX{axis}"] -= int(part.split(":")[0] or 0)
    return cards
