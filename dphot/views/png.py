"""The plots as static pictures, by Matplotlib: no browser and no display needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ..errors import StoreError
from . import drawn, facts, paint, palette, prepare, select

DPI = 130


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write a figure, white behind, and give its path back."""
    figure.savefig(path, dpi=DPI, facecolor="white")
    return Path(path)


def save_pngs(
    folder: str | os.PathLike[str],
    lc: xr.Dataset,
    stack: xr.DataArray | None = None,
    reference: xr.Dataset | None = None,
    *,
    truth: np.ndarray | None = None,
    bins: float = prepare.BIN_WIDTH,
    prefix: str = "",
    overwrite: bool = False,
) -> list[Path]:
    """Write every plot of a light curve as a PNG.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    lc : xarray.Dataset
        Of `dphot.differential`.
    stack : xarray.DataArray, dims (y, x), optional
        For the star field.
    reference : xarray.Dataset, optional
        For the PSF, which is left out without it.
    truth : array, shape (time,), optional
        A known relative flux drawn over the light curve.
    bins : float
        Width of the bins in days.
    prefix : str
        Put before every file name.
    overwrite : bool
        Replace files that exist.

    Returns
    -------
    list of Path
        light_curve, stars, comparisons, systematics, raw, precision, psf, summary.

    Raises
    ------
    StoreError
        If a file exists and `overwrite` is not set; nothing is written then.
    """
    jobs: dict[str, Callable[[], Figure]] = {
        "light_curve": lambda: plot(lc, bins=bins, truth=truth),
        "stars": lambda: show_stars(lc, stack),
        "comparisons": lambda: comparisons(lc, bins=bins),
        "systematics": lambda: systematics(lc),
        "raw": lambda: raw(lc),
        "precision": lambda: precision_plot(lc),
    }
    if reference is not None and "psf" in reference:
        jobs["psf"] = lambda: psf_plot(reference)
    jobs["summary"] = lambda: summary(lc, stack, reference, bins=bins)
    folder = Path(folder)
    paths = {name: folder / f"{prefix}{name}.png" for name in jobs}
    there = [str(path) for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise StoreError(
            f"{', '.join(there)} would be overwritten; give overwrite=True (--overwrite) or another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return [save_png(make(), paths[name]) for name, make in jobs.items()]


def _figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, **options)
    for axis in np.atleast_1d(axes).ravel():
        paint.dress(axis)
    return figure, axes


def plot(
    lc: xr.Dataset,
    target: int | None = None,
    aperture: int | None = None,
    *,
    night: str | None = None,
    bins: float = prepare.BIN_WIDTH,
    truth: np.ndarray | None = None,
) -> Figure:
    """The differential light curve; arguments as `curves.plot`."""
    c = select.curve(lc, target, aperture, night)
    figure, axis = _figure(9, 4.2)
    paint.light_curve(axis, c, bins, truth)
    paint.title(axis, select.heading(lc, night or "", f"star {c.star}", f"aperture {c.radius:.1f} px"))
    paint.legend(axis)
    return figure


def show_stars(lc: xr.Dataset, stack: xr.DataArray | None = None, zoom: float | None = None) -> Figure:
    """The field with target (red), comparison stars (blue, the darker the heavier) and the others."""
    ny, nx = (1, 1) if stack is None else stack.shape
    figure, axis = _figure(7, min(max(7 * ny / nx, 3), 11) + 0.5)
    paint.field(axis, lc, stack, zoom)
    count = len(drawn.star_marks(lc)["comparisons"])
    paint.title(axis, select.heading(lc, f"{count} comparison stars of {lc.sizes['star']}"))
    return figure


def comparisons(
    lc: xr.Dataset, aperture: int | None = None, *, count: int = 15, bins: float = prepare.BIN_WIDTH
) -> Figure:
    """Light curves of target and comparison stars under each other; arguments as `curves.comparisons`."""
    rows, labels, level = drawn.comparison_rows(lc, aperture, count)
    figure, axis = _figure(9, 1.4 + 0.5 * len(rows))
    for row, c in enumerate(rows):
        colour = palette.VERMILLION if row == 0 else palette.BLUE
        axis.plot(c.time[c.good], c.flux[c.good] + level[row] - 1, ".", color=colour, alpha=0.3, ms=2.5)
        if c.has_bins(bins):
            t, f, _, _ = c.bins(bins)
            axis.plot(t, f + level[row] - 1, "o", color=colour, ms=3.2)
    axis.set_yticks(level, labels)
    axis.set(ylim=drawn.row_limits(rows, level), xlabel=rows[0].time_label)
    paint.title(axis, select.heading(lc, "target and comparison stars"))
    return figure


def systematics(lc: xr.Dataset, *, night: str | None = None) -> Figure:
    """What may have disturbed the light curve."""
    figure, axis = _figure(9, 6.5)
    paint.systematics(axis, lc, night)
    paint.title(axis, select.heading(lc, night or "", "systematics"))
    return figure


def raw(lc: xr.Dataset, aperture: int | None = None, *, night: str | None = None) -> Figure:
    """Raw flux of the target with its artificial star, above their ratio."""
    c, flux, artificial, middle = drawn.raw_rows(lc, aperture, night)
    unit = lc.attrs.get("flux_unit", "e-")
    figure, (top, bottom) = _figure(9, 6.5, 2, sharex=True)
    top.plot(c.time, artificial, ".", color=palette.ORANGE, ms=4, label="artificial star")
    top.plot(
        c.time, flux, ".", color=palette.BLUE, alpha=0.6, ms=4, label=f"target (1 = {middle:.4g} {unit})"
    )
    top.set_ylabel("relative raw flux")
    paint.title(top, select.heading(lc, night or "", "raw flux and artificial star"))
    paint.legend(top)
    paint.light_curve(bottom, c, prepare.BIN_WIDTH)
    return figure


def psf_plot(reference: xr.Dataset) -> Figure:
    """Stamp, model, residual and radial profile of the reference's PSF."""
    stamp, model, _ = drawn.stamps(reference)
    figure, axes = _figure(9, 7.6, 2, 2)
    parts = [
        ("median of bright stars", stamp, "viridis", (-0.02, 1)),
        ("Moffat model", model, "viridis", (-0.02, 1)),
        ("residual (scale × 10)", stamp - model, "RdBu_r", (-0.1, 0.1)),
    ]
    for axis, (title, values, cmap, (low, high)) in zip(axes.ravel(), parts, strict=False):
        shown = axis.imshow(values, origin="lower", cmap=cmap, vmin=low, vmax=high)
        axis.grid(False)
        axis.set(xlabel="x (px)", ylabel="y (px)")
        figure.colorbar(shown, ax=axis, shrink=0.85)
        paint.title(axis, title)
    paint.profile(axes[1, 1], reference)
    return figure


def precision_plot(lc: xr.Dataset, aperture: int | None = None) -> Figure:
    """Point-to-point scatter of every star against its flux, with the noise model."""
    figure, axis = _figure(9, 5)
    paint.precision(axis, lc, aperture)
    paint.title(axis, select.heading(lc, "precision of every star"))
    return figure


def summary(
    lc: xr.Dataset,
    stack: xr.DataArray | None = None,
    reference: xr.Dataset | None = None,
    *,
    bins: float = prepare.BIN_WIDTH,
) -> Figure:
    """Field, light curve, PSF, systematics and figures on one sheet."""
    figure = Figure(figsize=(13, 14), layout="constrained")
    axes = figure.subplots(3, 2, width_ratios=(1, 1.35))
    (field, light), (profile, rows), (text, noise) = axes
    for axis in (field, light, profile, rows, noise):
        paint.dress(axis)
    paint.field(field, lc, stack, None if stack is None else min(500.0, float(max(stack.shape))))
    paint.title(field, "field around the target")
    c = select.curve(lc)
    paint.light_curve(light, c, bins)
    paint.title(light, select.heading(lc, f"star {c.star}", f"aperture {c.radius:.1f} px"))
    paint.legend(light)
    if reference is not None and "psf" in reference:
        paint.profile(profile, reference)
    else:
        profile.set_axis_off()
    paint.systematics(rows, lc)
    paint.title(rows, "systematics")
    paint.precision(noise, lc)
    paint.title(noise, "precision of every star")
    text.set_axis_off()
    table = facts.facts(lc, reference, None, bins)
    for i, (name, value) in enumerate(table):
        level = 1 - (i + 0.5) / len(table)
        text.text(0.0, level, name, color=palette.MUTED, fontsize=10, va="center", transform=text.transAxes)
        text.text(0.42, level, value, color=palette.INK, fontsize=10, va="center", transform=text.transAxes)
    figure.suptitle(facts.title(lc), x=0.01, ha="left", fontsize=14, fontweight="bold", color=palette.INK)
    return figure
