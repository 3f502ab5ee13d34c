"""What is drawn, as numbers, shared by the interactive views and the static pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ..errors import InputError
from ..kernels.psf import PsfModel, render
from . import facts, palette, prepare, select

#: What may disturb a light curve: variable, name in the plot, format of its range, unit.
DISTURBANCES = (
    ("dx", "dx", ".1f", "px"),
    ("dy", "dy", ".1f", "px"),
    ("fwhm", "FWHM", ".2f", "px"),
    ("airmass", "airmass", ".2f", ""),
    ("sky_frame", "sky", ".1f", "per px"),
    ("rotation", "rotation", ".3f", "deg"),
    ("flip", "flip", ".0f", ""),
)
PARAMETERS = ("amplitude", "x0", "y0", "s1", "s2", "theta", "beta", "background")
TERM_STYLE = {
    "photons": ("photons", palette.GREEN, "dashed"),
    "sky": ("sky, dark and read noise", palette.PURPLE, "dotted"),
    "dark sky": ("sky and dark", palette.PURPLE, "dotted"),
    "read noise": ("read noise", palette.SKY, "dotted"),
    "scintillation": ("scintillation", palette.ORANGE, "dotdash"),
    "total": ("all together", palette.INK, "solid"),
}
#: Role of a star in the precision plot: colour and size.
ROLE_STYLE = (
    ("other stars", palette.FAINT, 22),
    ("comparison stars", palette.BLUE, 40),
    ("target", palette.VERMILLION, 90),
)


def curve_limits(c: select.Curve, bins: float, truth: np.ndarray | None = None) -> tuple[float, float]:
    """Range of the flux axis: good points, error bars, truth, and flagged points that lie not far outside."""
    use = c.good if c.good.any() else np.ones(c.time.size, bool)
    shown = [c.flux[use]]
    if truth is not None:
        shown.append(scaled_truth(c, truth))
    _, f, e, _ = c.bins(bins) if c.has_bins(bins) else (c.time, c.flux[use], c.error[use], None)
    shown.extend([f - np.nan_to_num(e), f + np.nan_to_num(e)])
    low, high = prepare.limits(np.concatenate(shown))
    span = high - low
    near = c.flux[(c.flux > low - span) & (c.flux < high + span)]
    if near.size:
        low, high = min(low, near.min() - 0.05 * span), max(high, near.max() + 0.05 * span)
    return float(low), float(high)


def scaled_truth(c: select.Curve, truth: np.ndarray) -> np.ndarray:
    """The known flux at the points of a curve, times the median ratio of the good points to it."""
    known = np.asarray(truth, float)[c.rows]
    use = c.good if c.good.any() else np.ones(c.time.size, bool)
    return known * np.median(c.flux[use] / known[use]) if use.any() else known


def truth_line(c: select.Curve, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and `scaled_truth` as a line that breaks between nights: NaN in each gap."""
    gaps = np.flatnonzero(np.diff(c.time) > prepare.NIGHT_GAP) + 1
    between = 0.5 * (c.time[gaps - 1] + c.time[gaps])
    return np.insert(c.time, gaps, between), np.insert(scaled_truth(c, truth), gaps, np.nan)


def comparison_rows(
    lc: xr.Dataset, aperture: int | None, count: int
) -> tuple[list[select.Curve], list[str], list[float]]:
    """Curves of the target and its comparison stars, their labels, and the level each is drawn at."""
    target, ap = select.resolve(lc, None, aperture)
    weight = select.weights(lc, ap)
    measured = np.isfinite(lc["diff_flux"].isel(aperture=ap).transpose("time", "star").values).any(axis=0)
    stars = [star for star in select.comparisons(lc, ap, target, count) if measured[star]]
    curves = [select.curve(lc, star, ap) for star in (target, *stars)]
    scatter = select.point_scatter(lc, ap, [c.star for c in curves])
    labels = [
        f"{'target' if c.star == target else 'star'} {c.star}   {facts.ppt(own)}"
        + ("" if c.star == target else f"   w {weight[c.star]:.3f}")
        for c, own in zip(curves, scatter, strict=True)
    ]
    spans = [
        float(np.subtract(*prepare.limits(c.flux[c.good], 0)[::-1])) if c.good.any() else 0.0 for c in curves
    ]
    step = 1.15 * float(np.median(spans[1:] or spans)) or 0.01
    level = [0.0, -max(step, 0.65 * (spans[0] + step) if len(spans) > 1 else step)]
    level.extend(level[1] - step * (row + 1) for row in range(len(curves)))
    return curves, labels, level[: len(curves)]


def row_limits(curves: list[select.Curve], level: list[float]) -> tuple[float, float]:
    """Range of the axis of `comparison_rows`: the whole of the first and the last curve, and some room."""
    step = abs(level[-1]) / len(level)
    first, last = (
        prepare.limits(c.flux[c.good] - 1) if c.good.any() else (0.0, 0.0) for c in (curves[0], curves[-1])
    )
    return min(level[-1] - 0.7 * step, level[-1] + last[0]), max(0.8 * step, first[1])


def row_colour(row: int) -> str:
    """Colour of a row of `systematics`."""
    return palette.ROWS[row % len(palette.ROWS)]


def disturbances(
    lc: xr.Dataset, target: int | None, aperture: int | None, night: str | None
) -> tuple[select.Curve, list[tuple[str, np.ndarray, np.ndarray, tuple[str, str]]]]:
    """The differential flux and every known disturbance: label, values, scaled values, (name, unit)."""
    c = select.curve(lc, target, aperture, night)
    flux = np.where(c.flagged, np.nan, c.flux) if c.good.any() else c.flux
    level, low, high = prepare.scaled(flux)
    table = [(f"diff. flux\n{low:.4f} to {high:.4f}", flux, level, ("flux", ""))]
    for name, shown, form, unit in DISTURBANCES:
        if name not in lc.variables:
            continue
        values = lc[name].values[c.rows].astype(float)
        if name == "rotation":  # the half turn of a meridian flip has its own row and would hide the rest
            values = (values + 90) % 180 - 90
        level, low, high = prepare.scaled(values)
        if not np.isfinite(low) or (low == high and name in ("flip", "rotation")):
            continue
        unit = f"{lc.attrs.get('flux_unit', 'e-')}/px" if name == "sky_frame" else unit
        span = f"{low:z{form}} to {high:z{form}} {unit}".rstrip().replace("-", "−").replace("e−", "e-")
        table.append((f"{shown}\n{span}", values, level, (shown, unit)))
    return c, table


def raw_rows(
    lc: xr.Dataset, aperture: int | None, night: str | None
) -> tuple[select.Curve, np.ndarray, np.ndarray, float]:
    """The curve, the target's raw flux and the artificial star, each over its median; the flux's median."""
    select.require(lc, "flux", "artificial")
    c = select.curve(lc, None, aperture, night)
    flux = lc["flux"].isel(star=c.star, aperture=c.aperture).values[c.rows].astype(float)
    artificial = lc["artificial"].isel(aperture=c.aperture).values[c.rows].astype(float)
    use = c.good if c.good.any() else np.ones(c.time.size, bool)
    middle = float(np.nanmedian(flux[use])) if use.any() else float("nan")
    return c, flux / middle, artificial / np.nanmedian(artificial[use]) if use.any() else artificial, middle


def star_marks(lc: xr.Dataset, aperture: int | None = None) -> dict[str, Any]:
    """Positions on the reference, weights, and the roles of the stars.

    Returns
    -------
    dict
        ``x, y, weight, opacity``, shape (star,); ``target``; indices ``comparisons`` (heaviest first) and
        ``others``.
        Opacity grows with the weight from 0.35 to 1, so that a comparison of no weight is still seen.
    """
    target, ap = select.resolve(lc, None, aperture)
    x, y = lc["star_x"].values.astype(float), lc["star_y"].values.astype(float)
    weight = select.weights(lc, ap)
    chosen = np.array(select.comparisons(lc, ap, target), int)
    heaviest = weight[chosen].max() if chosen.size and weight[chosen].max() > 0 else 1.0
    others = np.setdiff1d(np.arange(x.size), np.append(chosen, target))
    opacity = 0.35 + 0.65 * np.sqrt(np.clip(weight / heaviest, 0, 1))
    return {
        "x": x,
        "y": y,
        "weight": weight,
        "opacity": opacity,
        "target": target,
        "comparisons": chosen,
        "others": others,
    }


def roles(count: int, target: int, comparisons: list[int]) -> np.ndarray:
    """Role of every star: ``target``, ``comparison stars`` or ``other stars``."""
    role = np.full(count, "other stars", object)
    role[comparisons] = "comparison stars"
    role[target] = "target"
    return role


def precision_table(
    lc: xr.Dataset, aperture: int | None = None, read_noise: float = np.nan
) -> dict[str, Any]:
    """Flux, scatter (ppt) and weight of every star, and the noise terms on a grid of fluxes.

    `read_noise` (e-), where it is known, is a term of its own.

    Returns
    -------
    dict
        ``flux, scatter, weight`` (star,), ``target``, ``comparisons``, ``grid`` and ``terms`` (relative;
        empty where the flux is not in electrons).
    """
    target, ap = select.resolve(lc, None, aperture)
    flux, scatter = select.star_scatter(lc, ap)
    out: dict[str, Any] = {
        "flux": flux,
        "scatter": scatter * 1e3,
        "weight": select.weights(lc, ap),
        "target": target,
        "comparisons": select.comparisons(lc, ap, target),
        "grid": np.empty(0),
        "terms": {},
    }
    positive = flux[np.isfinite(flux) & (flux > 0)]
    needed = ("aperture_area", "sky_rms", "sky_pixels")
    if (
        positive.size
        and lc.attrs.get("flux_unit", "e-") == "e-"
        and all(name in lc.variables for name in needed)
    ):
        area = float(np.nanmedian(lc["aperture_area"].isel(aperture=ap).values))
        sky_rms, pixels = (
            float(np.nanmedian(lc[name].values.astype(float))) for name in ("sky_rms", "sky_pixels")
        )
        known = lc["scintillation"].values if "scintillation" in lc.variables else np.array([np.nan])
        scintillation = float(np.nanmedian(known)) if np.isfinite(known).any() else float("nan")
        out["grid"] = np.geomspace(positive.min() / 1.4, positive.max() * 1.4, 60)
        out["terms"] = prepare.noise_terms(
            out["grid"], area, sky_rms, max(pixels, 1), scintillation, read_noise
        )
    return out


def stamps(reference: xr.Dataset) -> tuple[np.ndarray, np.ndarray, PsfModel]:
    """Stamp and model of the reference's PSF, background off, over the model's peak; and the model.

    Raises
    ------
    InputError
        If there is no stamp, or no fitted model among its attributes (or the reference's).
    """
    if "psf" not in reference:
        raise InputError(
            "there is no variable psf: give the reference of a store, reference=dphot.open(path).reference"
        )
    attrs = {**reference.attrs, **reference["psf"].attrs}
    missing = [name for name in PARAMETERS if name not in attrs]
    if missing:
        raise InputError(f"the PSF has no attribute {', '.join(missing)}: it holds no fitted model")
    model = PsfModel(*(float(attrs[name]) for name in PARAMETERS))
    stamp = np.asarray(reference["psf"].values, float)
    ny, nx = stamp.shape
    shown, fitted = (
        (image - model.background) / model.amplitude for image in (stamp, render(model, (ny, nx)))
    )
    return shown, fitted, model


def round_profile(model: PsfModel, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Profile, over its peak, of the round model of the same area, at 120 distances out to `radius` (px)."""
    grid = np.linspace(0, radius, 120)
    q = grid**2 / (model.s1 * model.s2)
    return grid, np.exp(-q / 2) if np.isinf(model.beta) else (1 + q) ** -model.beta
