"""The figures of a light curve in words: precision, aperture, flags, weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ..flags import FrameFlag, StarFlag
from ..graph.gain import PAIRS
from . import prepare, select


def ppt(value: float | None) -> str:
    """A relative figure in parts per thousand, or a dash where it is not known."""
    if value is None or not np.isfinite(value):
        return "–"
    value *= 1e3
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f} ppt"


def nights(lc: xr.Dataset) -> list[str]:
    """Local nights of the dataset, in order."""
    return sorted(set(lc["night"].values.astype(str)) - {""}) if "night" in lc.variables else []


def title(lc: xr.Dataset) -> str:
    """Object, filter, telescope and nights, joined by dots."""
    when = nights(lc)
    span = "" if not when else when[0] if len(when) == 1 else f"{when[0]} to {when[-1]}"
    parts = [str(lc.attrs.get(name) or "") for name in ("object", "filter", "telescope")]
    return "  ·  ".join([part for part in [*parts, span] if part])


def facts(
    lc: xr.Dataset,
    reference: xr.Dataset | None = None,
    aperture: int | None = None,
    bins: float = prepare.BIN_WIDTH,
) -> list[tuple[str, str]]:
    """Name and value of what one wants to know first of a light curve.

    Returns
    -------
    list of (str, str)
        Plain text.
    """
    c = select.curve(lc, None, aperture)
    p = c.precision(bins or prepare.BIN_WIDTH)
    (scatter,) = select.point_scatter(lc, c.aperture, [c.star])
    lost = lc.sizes["time"] - c.time.size
    width = f"{(bins or prepare.BIN_WIDTH) * 1440:.1f} min"
    out = [
        (
            "Target",
            f"star {c.star} at ({float(lc['star_x'][c.star]):.1f}, {float(lc['star_y'][c.star]):.1f}) px",
        ),
        ("Frames", f"{c.time.size} measured ({int(c.flagged.sum())} flagged), {lost} lost"),
        ("Aperture", f"{c.radius:.2f} px radius ({aperture_name(lc, c.aperture)})"),
        ("Comparison stars", str(len(select.comparisons(lc, c.aperture, c.star)))),
        (
            "Scatter about the mean",
            f"{ppt(p['rms'])} (the star's own variation included{', flagged points not' * bool(c.flagged.any())})",
        ),
        ("Point-to-point scatter", f"{ppt(scatter)} per frame"),
        (
            f"Scatter of {width} bins",
            f"{ppt(p['binned_scatter'])} from bin to bin, slopes taken off ({p['bins']} bins)"
            if c.has_bins(bins or prepare.BIN_WIDTH)
            else "each holds one frame",
        ),
        ("Noise model expects", f"{ppt(c.expected)} per frame, scintillation included where known"),
    ]
    scintillation = lc["scintillation"].values if "scintillation" in lc.variables else np.empty(0)
    if np.isfinite(scintillation).any():
        out.append(("Scintillation expected", f"{ppt(float(np.nanmedian(scintillation)))} per frame"))
    if lc.attrs.get("gain_source") == PAIRS:
        out.append(("Gain", f"{lc.attrs['gain']:.4g} e-/ADU, estimated from pairs of flats"))
    if "gain_from_scatter" in lc.attrs:
        gain, error = (lc.attrs[k] for k in ("gain_from_scatter", "gain_from_scatter_err"))
        told = f"{gain:.3g} +- {error:.2g} e-/ADU, from the scatter of the stars"
        untold = "1 e-/ADU: not known, and the stars do not tell it; errors are not to be trusted"
        out.append(("Gain taken for the errors", told if np.isfinite(gain) else untold))
    if "exposure" in lc.variables and np.isfinite(lc["exposure"].values).any():
        out.append(("Exposure", f"{float(np.nanmedian(lc['exposure'].values)):g} s"))
    known = (
        {}
        if reference is None
        else {**(reference["psf"].attrs if "psf" in reference else {}), **reference.attrs}
    )
    if "fwhm" in known:
        out.append(("FWHM of the reference", f"{float(known['fwhm']):.2f} px"))
    return out


def aperture_name(lc: xr.Dataset, aperture: int) -> str:
    """An aperture by its index, as ``--aperture`` takes it."""
    return f"aperture {aperture} of 0 to {lc.sizes['aperture'] - 1}"


def flag_counts(lc: xr.Dataset, target: int) -> list[tuple[str, int, int | None]]:
    """How often each flag is set.

    Returns
    -------
    list of (name, int, int or None)
        Of a star flag: frames of the target, and measurements of all stars; of a frame flag: frames, None.
        Flags that never occur are left out.
    """
    out: list[tuple[str, int, int | None]] = []
    if "flags" in lc.variables:
        flags = lc["flags"].transpose("time", "star").values
        for bit in StarFlag:
            hit = (flags & int(bit)) != 0
            if hit.any():
                out.append((str(bit.name), int(hit[:, target].sum()), int(hit.sum())))
    if "frame_flags" in lc.variables:
        flags = lc["frame_flags"].values
        for frame_bit in FrameFlag:
            count = int(((flags & int(frame_bit)) != 0).sum())
            if count:
                out.append((str(frame_bit.name), count, None))
    return out


def weight_rows(lc: xr.Dataset, aperture: int | None = None) -> list[dict[str, Any]]:
    """Comparison stars, the heaviest first: star, x, y, flux, weight, scatter."""
    target, ap = select.resolve(lc, None, aperture)
    flux, scatter = select.star_scatter(lc, ap)
    weight = select.weights(lc, ap)
    return [
        {
            "star": star,
            "x": float(lc["star_x"][star]),
            "y": float(lc["star_y"][star]),
            "flux": float(flux[star]),
            "weight": float(weight[star]),
            "scatter": float(scatter[star]),
        }
        for star in select.comparisons(lc, ap, target)
    ]


def aperture_rows(lc: xr.Dataset) -> list[dict[str, float]]:
    """Every aperture: index, median radius (px), and the target's scatter, by which the best is chosen."""
    select.require(lc, "scatter")
    with_radius = np.isfinite(lc["aperture_radius"].values).any(
        axis=lc["aperture_radius"].get_axis_num("time")
    )
    out = []
    for i in range(lc.sizes["aperture"]):
        radius = (
            float(np.nanmedian(lc["aperture_radius"].isel(aperture=i).values))
            if with_radius[i]
            else float("nan")
        )
        out.append({"aperture": i, "radius": radius, "scatter": float(lc["scatter"][i])})
    return out
