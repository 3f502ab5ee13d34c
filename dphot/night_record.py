"""The record of a night: how it was made, everything a reader needs to trust it, or not."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from . import schema, telescope
from .config import Config
from .flags import FrameFlag, decode
from .graph.gain import PAIRS
from .graph.steps import Step
from .io.site import diameter_of, site_of
from .planning import NightSeries

Record = dict[str, Any]

#: Packages whose versions can change a number.
SOFTWARE = (
    "dphot",
    "numpy",
    "scipy",
    "numba",
    "astropy",
    "photutils",
    "sep",
    "dask",
    "xarray",
    "zarr",
    "icechunk",
)

#: Flags of a frame without measurements.
LOST = int(FrameFlag.UNREADABLE | FrameFlag.ALIGN_FAILED | FrameFlag.FEW_STARS)
#: Variables of the photometry that a record is made of.
ROWS = ("path", "frame_flags", "note")


def series_record(
    series: NightSeries,
    rows: xr.Dataset,
    config: Config,
    masters: xr.Dataset,
    reference: xr.Dataset,
    elapsed: float,
    steps: Sequence[str],
    before: Mapping[str, Any] | None = None,
) -> Record:
    """The record of one filter of a night.

    Parameters
    ----------
    series : NightSeries
        What was planned.
    rows : xarray.Dataset
        `ROWS` of all its frames in the store, those of earlier commits included.
    config : Config
        The settings.
    masters, reference : xarray.Dataset
        What the frames were measured with.
    elapsed : float
        Seconds that this part took.
    steps : sequence of str
        Names of the user's steps given in a script: the settings hold those with a name to import.
    before : mapping, optional
        The record of this filter's earlier part.
    """
    flags = rows.frame_flags.values
    dropped = [
        {"path": str(p), "flags": decode(f, FrameFlag), "reason": str(note)}
        for p, f, note in zip(rows.path.values, flags, rows.note.values, strict=True)
        if f & LOST
    ]
    earlier: Mapping[str, Any] = before or {"frames_dropped": [], "elapsed_s": 0.0}
    copies = [d for d in earlier["frames_dropped"] if d["flags"] == ["DUPLICATE"]]
    copies += [
        {"path": path, "flags": ["DUPLICATE"], "reason": f"a copy of {kept}"} for path, kept in series.copies
    ]
    seconds = elapsed + earlier["elapsed_s"]
    site = site_of(series.light, config.telescope, config.coordinates, reference.attrs.get("site"))
    site["diameter"] = diameter_of(series.light, site)
    return {
        "night": series.night,
        "filter": series.filter,
        "object": series.light["object"],
        "telescope": {"name": series.light["telescope"], **{k: v for k, v in site.items() if not _unknown(v)}},
        "missing": site_missing(site, series.light, reference.attrs),
        "frames": int(rows.sizes["time"]) + len(copies),
        "frames_used": int(rows.sizes["time"] - len(dropped)),
        "frames_dropped": dropped + copies,
        "frames_noted": [
            {"path": str(p), "note": str(n)} for p, n, f in zip(rows.path.values, rows.note.values, flags, strict=True)
            if n and not f & LOST
        ],
        "calibration": calibration_facts(masters),
        "reference": {k: reference.attrs[k] for k in ("path", "night", "filter", "fwhm")}
        | {"stars": int(reference.sizes["star"]), "saturation": reference.attrs.get("saturation"),
           **{k: reference.attrs.get(k) for k in ("gain", "gain_source")}},
        "telescope_digest": telescope_digest(config),
        "config": asdict(config),
        "config_digest": config.digest(),
        "format": schema.FORMAT_VERSION,
        "software": software(),
        "steps": list(steps),
        "elapsed_s": round(seconds, 3),
        "frames_per_second": round(rows.sizes["time"] / seconds, 2),
        **({"redone": True} if earlier.get("redone") else {}),
    }  # fmt: skip


def settings_of(record: Mapping[str, Any], config: Config) -> Config:
    """The settings that a record tells of, for more frames of its night; how the work is done is `config`'s."""
    own = Config().patch(**record["config"])
    return replace(own, strict=config.strict, chunk=config.chunk)


def step_names(steps: Sequence[Step]) -> list[str]:
    """Names of the user's steps, as a record tells them."""
    return [getattr(step, "__name__", repr(step)) for step in steps]


def calibration_facts(masters: xr.Dataset) -> Record:
    """What a record says of the masters."""
    return {
        **{k: masters.attrs[k] for k in ("inputs", "missing", "notes")},
        "bad_pixels": int(masters["bad"].sum()),
    }


def _unknown(value: Any) -> bool:
    return isinstance(value, float) and not np.isfinite(value)


def site_missing(
    site: Mapping[str, Any], light: Record, reference: Mapping[str, Any]
) -> list[dict[str, str]]:
    """What is not known of the telescope, and what that costs; the reference's attributes tell the gain in use."""
    airmass = "no airmass" if _unknown(light["airmass"]) else "airmass is taken from the headers"
    costs = {
        "latitude": f"{airmass}; barycentric times are up to 21 ms off",
        "longitude": f"nights are split at noon UTC; {airmass}",
        "ra": f"no barycentric time; {airmass}",
        "diameter": "no scintillation estimate",
    }
    out = [{"name": k, "cost": cost} for k, cost in costs.items() if _unknown(site[k])]
    if reference.get("gain_source") == PAIRS:
        cost = f"{reference['gain']:.4g} e-/ADU are taken, estimated from pairs of flats and of bias frames"
        out.append({"name": "gain", "cost": cost})
    elif "gain" not in reference:
        cost = (
            "fluxes are in ADU; the errors of light curves rest on a gain that the stars' own scatter tells"
        )
        if "gain_refused" in reference:
            cost += (
                f" (with the {reference['gain_refused']:g} e-/ADU told, no camera's noise would be so low)"
            )
        out.append({"name": "gain", "cost": cost})
    if _unknown(light["exposure"]):
        out.append({"name": "exposure", "cost": "times are not mid-exposure; darks cannot be scaled"})
    return out


def software() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    return dict(_versions())


@cache  # to look for packages on the disk takes a tenth of a second
def _versions() -> tuple[tuple[str, str], ...]:
    return ("python", platform.python_version()), *((name, version(name)) for name in SOFTWARE)


def root_attributes(nights: Sequence[NightSeries], config: Config) -> dict[str, Any]:
    """Attributes of a new store: field, telescope, how it was made."""
    light = nights[0].light
    return {
        "object": light["object"],
        "telescope": light["telescope"],
        "created_by": f"dphot {version('dphot')}",
        "config": asdict(config),
        "config_digest": config.digest(),
    }


def telescope_digest(config: Config) -> str:
    """What the settings' telescope says, as a digest; empty where the headers tell which it is."""
    return telescope.get(config.telescope).digest() if config.telescope else ""
