"""What really happened in a simulated night, as a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from .moffat import peak_fraction
from .render import Night

#: Variable to (dimensions, unit, meaning).
TRUTH: dict[str, tuple[tuple[str, ...], str, str]] = {
    "x": (("time", "star"), "px", "position, column; the first pixel's centre is 0"),
    "y": (("time", "star"), "px", "position, row"),
    "flux": (
        ("time", "star"),
        "e-",
        "expected electrons: varied, dimmed by the air; without scintillation and flat",
    ),
    "relative": (("time", "star"), "", "intrinsic light curve"),
    "peak": (
        ("time", "star"),
        "ADU",
        "expected peak, bias and sky included, were the star centred on a pixel",
    ),
    "transform": (
        ("time", "coefficient"),
        "",
        "zero-shift system to frame: x' = t0 x + t1 y + t2, y' = t3 x + t4 y + t5",
    ),
    "jd_utc": (("time",), "d", "mid-exposure, Julian date in UTC"),
    "exposure": (("time",), "s", "exposure time"),
    "airmass": (("time",), "", "airmass at mid-exposure"),
    "transmission": (("time",), "", "share of the light that the air lets through"),
    "cloud": (("time",), "mag", "extinction by clouds"),
    "sky": (("time",), "e-/px", "sky at the frame's centre"),
    "fwhm": (("time",), "px", "geometric mean of both axes"),
    "fwhm_x": (("time",), "px", "major axis"),
    "fwhm_y": (("time",), "px", "minor axis"),
    "scintillation": (("time",), "", "relative scintillation noise"),
    "flip": (("time",), "", "1 where the frame is turned by a meridian flip"),
    "path": (("time",), "", "raw file"),
    "star_x": (("star",), "px", "position in the zero-shift system, column"),
    "star_y": (("star",), "px", "position in the zero-shift system, row"),
    "star_flux": (("star",), "e-", "electrons of one exposure outside the atmosphere, not varied"),
}


def truth(night: Night, filter: str | None = None, paths: list[str] | None = None) -> xr.Dataset:
    """The truth of the lights through one filter.

    Parameters
    ----------
    night : Night
        The prepared night.
    filter : str, optional
        The first one by default.
    paths : list of str, optional
        Names of all the night's lights, in time order.

    Returns
    -------
    xarray.Dataset
        Dimensions time, star, coefficient; the variables of `TRUTH`. Attributes: target (star index, -1
        none), filter, gain (e-/ADU), read_noise (e-), dark (median, e-/px of one exposure), bias (ADU),
        saturation (ADU), beta, theta (rad), diameter (m), altitude (m), seed, night, and `simulation`, the
        JSON of the record.
    """
    spec, line, field = night.spec, night.timeline, night.field
    name = spec.filters[0] if filter is None else filter
    which = spec.filters.index(name)
    rows = np.flatnonzero(line.filter == which)
    matrix = line.matrix[rows]
    relative = field.relative(line.days[rows])
    flux = field.flux[which] * relative * line.transmission[rows, None]
    major, minor = night.axes(slice(None))
    sharp = np.array([peak_fraction(w, spec.beta) for w in line.fwhm[rows]])
    level = (line.sky[rows, None] + flux * sharp[:, None] + spec.dark_current * spec.exposure) / spec.gain
    star = np.stack([field.x, field.y, np.ones(field.x.size)])
    places = np.einsum("tij,js->its", matrix, star)
    files = np.array(paths if paths is not None else [f"light/{k}" for k in range(spec.n_lights)], object)
    values: dict[str, Any] = {
        "x": places[0],
        "y": places[1],
        "flux": flux,
        "relative": relative,
        "peak": level + spec.bias_level,
        "transform": matrix.reshape(-1, 6),
        "jd_utc": line.jd_utc[rows],
        "exposure": np.full(rows.size, spec.exposure),
        "airmass": line.airmass[rows],
        "transmission": line.transmission[rows],
        "cloud": line.cloud[rows],
        "sky": line.sky[rows],
        "fwhm": line.fwhm[rows],
        "fwhm_x": major[rows],
        "fwhm_y": minor[rows],
        "scintillation": line.scintillation[rows],
        "flip": line.flipped[rows].astype(np.int8),
        "path": files[rows],
        "star_x": field.x,
        "star_y": field.y,
        "star_flux": field.flux[which],
    }
    middle_ns = (line.start_ms[rows] * 1_000_000 + round(spec.exposure * 5e8)).astype("datetime64[ns]")
    out = xr.Dataset(
        {
            key: (dims, values[key], {"units": unit, "long_name": meaning})
            for key, (dims, unit, meaning) in TRUTH.items()
        },
        coords={"time": middle_ns, "star": np.arange(field.x.size)},
        attrs={
            "target": spec.target, "filter": name, "gain": spec.gain, "read_noise": spec.read_noise,
            "dark": spec.dark_current * spec.exposure, "bias": spec.bias_level, "saturation": spec.saturation,
            "beta": spec.beta, "theta": float(np.deg2rad(spec.theta)), "diameter": spec.diameter,
            "altitude": spec.altitude, "seed": spec.seed, "night": spec.night, "simulation": spec.to_json(),
        },
    )  # fmt: skip
    out["time"].attrs["long_name"] = "mid-exposure, UTC"
    return out
