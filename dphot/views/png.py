"""The plots as static pictures, by Matplotlib: no browser and no display needed."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..errors import StoreError
from . import drawn, facts, paint, palette, prepare, select

DPI = 130

#: Sizes of letters of the figures' table, in points: the first at which it fits is taken.
TABLE_SIZES = (10, 9, 8, 7, 6, 5)

#: Distance of its lines, in sizes of letters.
LINE = 1.2


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
    figure = Figure(figsize=(13, 14), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # measures the texts as they will be saved
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
    figure.suptitle(facts.title(lc), x=0.01, ha="left", fontsize=14, fontweight="bold", color=palette.INK)
    figure.draw_without_rendering()  # the layout tells how much room the table has
    _write_table(text, facts.facts(lc, reference, None, bins))
    return figure


def _write_table(axis: Axes, table: list[tuple[str, str]]) -> None:
    """Names, and beside the longest of them the values, broken into lines that end within the axes.

    The layout leaves the texts aside: a long value would take its room from the plots of the column.
    """
    names = [_write(axis, name, palette.MUTED) for name, _ in table]
    values = [_write(axis, value, palette.INK) for _, value in table]
    width, height = axis.bbox.size
    for size in TABLE_SIZES:
        for text in (*names, *values):
            text.set_fontsize(size)
        left = max(map(_width, names)) + 0.04 * width
        lines = [
            _wrap(text, value, 0.98 * width - left) for text, (_, value) in zip(values, table, strict=True)
        ]
        line = LINE * size * DPI / 72 / height
        if sum(lines) * line <= 1:
            break
    gap = max(0.0, 1 - sum(lines) * line) / len(table)
    tops = 1 - line * (np.cumsum(lines) - lines) - gap * np.arange(len(table))
    for name, text, top in zip(names, values, tops, strict=True):
        name.set_y(top)
        text.set(x=left / width, y=top)


def _write(axis: Axes, words: str, colour: str) -> Text:
    text = axis.text(0, 0, words, color=colour, va="top", linespacing=LINE, transform=axis.transAxes)
    text.set_in_layout(False)
    return text


def _width(text: Text) -> float:
    """Width of a text in pixels."""
    return float(text.get_window_extent().width)


def _wrap(text: Text, words: str, room: float) -> int:
    """Break the words into lines no wider than `room` (pixels); how many they are."""
    text.set_text(words)
    letters = len(words)
    while (width := _width(text)) > room and letters > 1:
        letters = max(1, min(letters - 1, int(1.1 * letters * room / width)))  # in one leap near to what fits
        text.set_text("\n".join(textwrap.wrap(words, letters)))
    return 1 + text.get_text().count("\n")
