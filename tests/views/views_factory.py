"""A small invented night with known properties, in the shape the photometry verbs give."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dphot.flags import FrameFlag, StarFlag
from dphot.kernels.scatter import point_scatter
from dphot.schema import DIFFERENTIAL, PHOTOMETRY, annotate, validate

DEPTH = 0.012


def transit(time: np.ndarray, middle: float, half: float = 0.045, depth: float = DEPTH) -> np.ndarray:
    """A trapezoid: 1 outside, 1 - depth inside."""
    return 1 - depth * np.clip((half - np.abs(time - middle)) / 0.012, 0, 1)


def make_lc(
    frames: int = 240,
    stars: int = 40,
    apertures: int = 6,
    seed: int = 3,
    nights: int = 1,
    name: str = "Demo-1",
) -> xr.Dataset:
    """Photometry and differential variables of one filter; the target's truth is `make_truth`."""
    rng = np.random.default_rng(seed)
    night = np.arange(frames) * nights // frames
    phase = (np.arange(frames) * nights % frames) / frames
    time = 2461000.62 + night * 1.0 + phase * 0.21
    flux0 = 10 ** np.sort(rng.uniform(3.6, 6.0, stars))[::-1]
    flux0[0] = 3.2e5
    truth = make_truth(time)
    airmass = 1 / np.cos(1.1 * (phase - 0.4))
    seeing = 3.4 + 0.5 * np.sin(6 * phase) + rng.normal(0, 0.08, frames)
    sky = 210 + 60 * (airmass - 1) / 0.2
    transparency = 0.9**airmass * (1 - 0.25 * np.exp(-(((phase - 0.8) / 0.03) ** 2)))
    radius = np.linspace(2.5, 11, apertures) * 1.0
    growth = 1 - np.exp(-((radius[None, :] / seeing[:, None] * 1.4) ** 2))
    signal = np.tile(flux0, (frames, 1))
    signal[:, 0] *= truth
    signal *= transparency[:, None] * (1 + 0.0012 * rng.normal(size=(frames, stars)))
    area = np.pi * radius**2
    s = np.sqrt(sky)[:, None] * np.ones(stars)
    model = signal[:, None, :] * growth[:, :, None]
    error = np.sqrt(
        model + area[None, :, None] * s[:, None, :] ** 2 * (1 + np.pi / 2 * area[None, :, None] / 900)
    )
    flux = model + rng.normal(size=model.shape) * error
    weight = np.zeros((apertures, stars))
    chosen = np.array([1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 15, 16, 18, 20, 21])
    chosen = chosen[chosen < stars]
    weight[:, chosen] = 1 / (0.0012**2 + (np.nanmedian(error / flux, axis=0) ** 2))[:, chosen]
    weight /= weight.sum(axis=1, keepdims=True)
    relative = flux / flux.mean(axis=0)
    total = np.einsum("tas,as->ta", relative, weight)
    diff = relative / total[:, :, None]
    diff /= np.median(diff, axis=0)
    diff_err = error / flux * diff
    flags = np.zeros((frames, stars), np.uint16)
    flags[100:104, 0] = StarFlag.SATURATED
    flags[:, 6] = StarFlag.NEIGHBOUR
    diff[100:104, :, 0] *= 0.985
    frame_flags = np.zeros(frames, np.uint16)
    cloudy = np.abs(phase - 0.8) < 0.02
    frame_flags[cloudy] = FrameFlag.CLOUD
    frame_flags[17] = FrameFlag.UNREADABLE
    flux[17] = error[17] = diff[17] = diff_err[17] = np.nan
    flip = (phase > 0.6).astype(np.int8)
    dims3, ta, ts = ("time", "aperture", "star"), ("time", "aperture"), ("time", "star")
    x0, y0 = rng.uniform(30, 610, stars), rng.uniform(30, 490, stars)
    x0[0], y0[0] = 320.4, 261.7
    dx, dy = 2 * np.sin(4 * phase) + rng.normal(0, 0.2, frames), 3 * phase + rng.normal(0, 0.2, frames)
    scatter = point_scatter(diff[..., 0], night)
    ds = xr.Dataset(
        {
            "flux": (dims3, flux),
            "flux_err": (dims3, error),
            "diff_flux": (dims3, diff),
            "diff_err": (dims3, diff_err),
            "artificial": (ta, total),
            "weight": (("aperture", "star"), weight),
            "scatter": ("aperture", scatter),
            "x": (ts, x0 + dx[:, None]),
            "y": (ts, y0 + dy[:, None]),
            "sky": (ts, np.tile(sky[:, None], (1, stars))),
            "sky_rms": (ts, s),
            "sky_pixels": (ts, np.full((frames, stars), 900, np.int32)),
            "peak": (ts, signal / 12),
            "flags": (ts, flags),
            "aperture_radius": (ta, np.tile(radius, (frames, 1))),
            "aperture_area": (ta, np.tile(area, (frames, 1))),
            "annulus_inner": ("time", np.full(frames, 17.0)),
            "annulus_outer": ("time", np.full(frames, 27.0)),
            "annulus_area": ("time", np.full(frames, np.pi * (27**2 - 17**2))),
            "jd_utc": ("time", time - 0.004),
            "bjd_tdb": ("time", time),
            "exposure": ("time", np.full(frames, 60.0)),
            "airmass": ("time", airmass),
            "scintillation": ("time", 0.0009 * airmass**1.5),
            "fwhm": ("time", seeing),
            "fwhm_x": ("time", seeing * 1.02),
            "fwhm_y": ("time", seeing * 0.98),
            "theta": ("time", np.full(frames, 0.3)),
            "dx": ("time", dx),
            "dy": ("time", dy),
            "rotation": ("time", 180.0 * flip + rng.normal(0, 0.01, frames)),
            "scale": ("time", np.ones(frames)),
            "flip": ("time", flip),
            "mirror": ("time", np.zeros(frames, np.int8)),
            "n_matched": ("time", np.full(frames, 30, np.int32)),
            "match_rms": ("time", np.full(frames, 0.08)),
            "sky_frame": ("time", sky),
            "frame_flags": ("time", frame_flags),
            "path": (
                "time",
                np.array([f"/data/night{n}/demo_{i:04d}.fits" for i, n in enumerate(night)], object),
            ),
            "digest": ("time", np.array(["0" * 64] * frames, object)),
            "night": ("time", np.array([f"2025-11-{21 + n}" for n in night], object)),
            "note": ("time", np.array([""] * frames, object)),
            "star_x": ("star", x0),
            "star_y": ("star", y0),
            "star_flux": ("star", flux0),
        },
        coords={"time": ((time - 2440587.5) * 86400e9).astype("int64").astype("datetime64[ns]")},
        attrs={
            "target": 0,
            "aperture": int(np.argmin(scatter)),
            "comparisons": [int(i) for i in chosen],
            "flux_unit": "e-",
            "filter": "r",
            "telescope": "Demo 60 cm",
            "object": name,
            "method": "Broeg et al. (2005), weights 1/var of each star's differential flux, 6 iterations",
        },
    )
    ds = annotate(annotate(ds, PHOTOMETRY), DIFFERENTIAL)
    validate(ds, PHOTOMETRY)
    validate(ds, DIFFERENTIAL)
    return ds


def make_truth(time: np.ndarray) -> np.ndarray:
    """The relative flux injected into the target of `make_lc`."""
    return transit(np.asarray(time) % 1.0, 0.735)


MODEL = {
    "amplitude": 0.055,
    "x0": 10.2,
    "y0": 9.8,
    "s1": 3.1,
    "s2": 2.6,
    "theta": 0.5,
    "beta": 2.8,
    "background": 0.0002,
}


def make_reference(lc: xr.Dataset, shape: tuple[int, int] = (520, 640)) -> tuple[xr.DataArray, xr.Dataset]:
    """Stack (with an unseen corner) and reference with PSF."""
    rng = np.random.default_rng(5)
    y, x = np.indices(shape)
    image = rng.normal(210, 1.2, shape)
    for sx, sy, f in zip(lc["star_x"].values, lc["star_y"].values, lc["star_flux"].values, strict=True):
        cut = (slice(max(int(sy) - 25, 0), int(sy) + 26), slice(max(int(sx) - 25, 0), int(sx) + 26))
        r2 = (x[cut] - sx) ** 2 + (y[cut] - sy) ** 2
        image[cut] += f / 30 / (1 + r2 / 8) ** 2.8
    image[:12] = np.nan
    image[:, :8] = np.nan
    m = MODEL
    py, px = np.indices((21, 21))
    u = (px - m["x0"]) * np.cos(m["theta"]) + (py - m["y0"]) * np.sin(m["theta"])
    v = -(px - m["x0"]) * np.sin(m["theta"]) + (py - m["y0"]) * np.cos(m["theta"])
    stamp = m["background"] + m["amplitude"] / (1 + (u / m["s1"]) ** 2 + (v / m["s2"]) ** 2) ** m["beta"]
    stamp = stamp + rng.normal(0, 2e-4, stamp.shape)
    widths = [2 * m[k] * np.sqrt(2 ** (1 / m["beta"]) - 1) for k in ("s1", "s2")]
    attrs = m | {"fwhm": float(np.mean(widths)), "fwhm_x": widths[0], "fwhm_y": widths[1]}
    reference = xr.Dataset(
        {
            "image": (("y", "x"), image.astype(np.float32)),
            "psf": (("psf_y", "psf_x"), stamp),
            "star_x": lc["star_x"],
            "star_y": lc["star_y"],
            "star_flux": lc["star_flux"],
        },
        attrs=attrs,
    )
    return xr.DataArray(image.astype(np.float32), dims=("y", "x"), name="stack"), reference


def make_nights(lc: xr.Dataset) -> list[dict[str, Any]]:
    """The records of the nights of a light curve, as a store gives them."""
    nights = lc["night"].values.astype(str)
    return [
        {"night": night, "series": [_series(lc, int((nights == night).sum()))]}
        for night in sorted(set(nights))
    ]


def _series(lc: xr.Dataset, frames: int) -> dict[str, Any]:
    return {
        "filter": lc.attrs["filter"],
        "frames": frames,
        "frames_used": frames - 2,
        "frames_dropped": [
            {
                "path": "/data/demo_0017.fits",
                "flags": ["UNREADABLE"],
                "reason": "holds 312000 of 524288 bytes",
            },
            {"path": "/data/demo_0201.fits", "flags": ["ALIGN_FAILED"], "reason": "4 of 31 stars match <6>"},
        ],
        "frames_noted": [
            {"path": f"/data/demo_{i:04d}.fits", "note": "DATE-OBS and JD disagree; DATE-OBS used"}
            for i in range(3)
        ],
        "calibration": {
            "inputs": {
                "bias": [f"/data/cal/bias_{i:02d}.fits" for i in range(20)],
                "dark": [f"/data/cal/dark_{i:02d}.fits" for i in range(10)],
                "flat": [],
            },
            "missing": ["flat in filter 'r': vignetting and dust follow the stars' drift"],
            "notes": ["dark of 60 s from 2025-11-19"],
            "bad_pixels": 113,
        },
        "reference": {"path": "/data/demo_0042.fits", "fwhm": 3.12, "stars": 40, "gain": 1.1},
        "config": {"telescope": "", "aperture_unit": "fwhm", "annulus": [5.0, 8.0], "strict": False},
        "software": {"dphot": "0.1.0", "numpy": "2.4.6", "python": "3.11.7"},
        "telescope": {"name": "Demo 60 cm", "diameter": 0.6, "latitude": 31.2, "longitude": 7.86},
        "missing": [{"name": "altitude", "cost": "scintillation is computed for sea level"}],
        "elapsed_s": 12.4,
        "frames_per_second": 19.4,
    }
