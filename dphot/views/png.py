"""The plots as static pictures, by Matplotlib, with the interactive views' numbers: no browser, no display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ..errors import StoreError
from . import drawn, facts, palette, prepare, select

DPI = 130


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write a figure, white behind, and give its path back."""
    figure.savefig(path, dpi=DPI, facecolor="white")
    return Path(path)


def save_pngs(
    folder: str | Path,
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
        _dress(axis)
    return figure, axes


def _dress(axis: Axes) -> None:
    axis.grid(True, color=palette.GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(palette.FAINT)
    axis.tick_params(colors=palette.MUTED, labelsize=9)
    axis.ticklabel_format(useOffset=False) if axis.get_xscale() == "linear" else None


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, loc="left", fontsize=11, fontweight="bold", color=palette.INK)


def _legend(axis: Axes, columns: int = 4) -> None:
    axis.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=9, borderaxespad=0.1
    )
    axis.title.set_position((0, 1.0))
    axis.set_title(
        axis.get_title(loc="left"), loc="left", fontsize=11, fontweight="bold", color=palette.INK, pad=24
    )


def draw_curve(axis: Axes, c: select.Curve, bins: float, truth: np.ndarray | None = None) -> None:
    """The light curve on a Matplotlib axis (see `curves.plot`)."""
    low, high = drawn.curve_limits(c, bins, truth)
    for x in prepare.flip_times(c.time, c.flip):
        axis.axvline(x, color=palette.MUTED, linestyle="--", linewidth=1)
    axis.plot(
        c.time[c.good],
        c.flux[c.good],
        ".",
        color=palette.SKY,
        alpha=0.5,
        ms=4,
        label=f"frames ({c.good.sum()})",
    )
    if c.flagged.any():
        axis.plot(
            c.time[c.flagged],
            c.flux[c.flagged],
            "x",
            color=palette.VERMILLION,
            ms=5,
            label=f"flagged ({c.flagged.sum()})",
        )
    if truth is not None:
        axis.plot(c.time, drawn.scaled_truth(c, truth), color=palette.ORANGE, linewidth=2, label="injected")
    if bins > 0 and c.good.any():
        t, f, e, _ = c.bins(bins)
        axis.errorbar(
            t,
            f,
            np.nan_to_num(e),
            fmt="o",
            color=palette.BLUE,
            ms=4,
            lw=1.2,
            label=f"{bins * 1440:.1f} min bins",
        )
    axis.set_ylim(low, high)
    axis.set_xlabel(c.time_label)
    axis.set_ylabel("differential flux")


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
    draw_curve(axis, c, bins, truth)
    _title(axis, select.heading(lc, night or "", f"star {c.star}", f"aperture {c.radius:.1f} px"))
    _legend(axis)
    return figure


def draw_stars(
    axis: Axes, lc: xr.Dataset, stack: xr.DataArray | None, zoom: float | None = None, labels: int = 15
) -> None:
    """The field on a Matplotlib axis (see `stars.show_stars`)."""
    field = drawn.star_marks(lc)
    x, y, target = field["x"], field["y"], field["target"]
    shape = (np.nanmax(y) + 20, np.nanmax(x) + 20)
    if stack is not None:
        shape = stack.shape
        small, factor = prepare.block_mean(np.asarray(stack.values))
        extent = (-0.5, small.shape[1] * factor - 0.5, -0.5, small.shape[0] * factor - 0.5)
        axis.imshow(prepare.stretch(small), origin="lower", cmap="gray_r", vmin=0, vmax=255, extent=extent)
    axis.grid(False)
    for chosen, colour, size, width in (
        (field["others"], palette.MUTED, 40, 0.6),
        (field["comparisons"], palette.BLUE, 110, 1.5),
        (np.array([target]), palette.VERMILLION, 170, 2.0),
    ):
        opacity = (
            field["opacity"][chosen] if colour == palette.BLUE else 0.45 if colour == palette.MUTED else 1.0
        )
        edges = [to_rgba(colour, alpha) for alpha in np.broadcast_to(opacity, chosen.size)]
        axis.scatter(x[chosen], y[chosen], s=size, facecolors="none", edgecolors=edges, linewidths=width)
    ny, nx = shape
    limits = (-0.5, nx - 0.5, -0.5, ny - 0.5)
    if zoom is not None:
        limits = (x[target] - zoom / 2, x[target] + zoom / 2, y[target] - zoom / 2, y[target] + zoom / 2)
    for star in [target, *field["comparisons"][:labels]]:
        if limits[0] < x[star] < limits[1] and limits[2] < y[star] < limits[3]:
            axis.annotate(
                str(star),
                (x[star], y[star]),
                xytext=(6, 5),
                textcoords="offset points",
                fontsize=8,
                color=palette.INK,
                bbox={"facecolor": "white", "alpha": 0.6, "edgecolor": "none", "pad": 0.6},
            )
    axis.set(xlim=limits[:2], ylim=limits[2:], aspect="equal", xlabel="x (px)", ylabel="y (px)")


def show_stars(lc: xr.Dataset, stack: xr.DataArray | None = None, zoom: float | None = None) -> Figure:
    """The field with target (red), comparison stars (blue, the darker the heavier) and the others."""
    ny, nx = (1, 1) if stack is None else stack.shape
    figure, axis = _figure(7, min(max(7 * ny / nx, 3), 11) + 0.5)
    draw_stars(axis, lc, stack, zoom)
    count = len(drawn.star_marks(lc)["comparisons"])
    _title(axis, select.heading(lc, f"{count} comparison stars of {lc.sizes['star']}"))
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
        if bins > 0 and c.good.any():
            t, f, _, _ = c.bins(bins)
            axis.plot(t, f + level[row] - 1, "o", color=colour, ms=3.2)
    axis.set_yticks(level, labels)
    step = abs(level[-1]) / len(level)
    axis.set(ylim=(level[-1] - 0.7 * step, 0.8 * step), xlabel=rows[0].time_label)
    _title(axis, select.heading(lc, "target and comparison stars"))
    return figure


def draw_systematics(axis: Axes, lc: xr.Dataset, night: str | None = None) -> None:
    """The disturbances on a Matplotlib axis (see `curves.systematics`)."""
    c, table = drawn.disturbances(lc, None, None, night)
    for x in prepare.flip_times(c.time, c.flip):
        axis.axvline(x, color=palette.MUTED, linestyle="--", linewidth=1)
    for row, (_, _, level, _) in enumerate(table):
        axis.plot(c.time, level - 1.25 * row, ".", color=drawn.row_colour(row), alpha=0.7, ms=3)
    axis.set_yticks([-1.25 * row for row in range(len(table))], [label for label, *_ in table])
    axis.set(ylim=(-1.25 * (len(table) - 1) - 0.8, 0.8), xlabel=c.time_label)


def systematics(lc: xr.Dataset, *, night: str | None = None) -> Figure:
    """What may have disturbed the light curve."""
    figure, axis = _figure(9, 6.5)
    draw_systematics(axis, lc, night)
    _title(axis, select.heading(lc, night or "", "systematics"))
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
    _title(top, select.heading(lc, night or "", "raw flux and artificial star"))
    _legend(top)
    draw_curve(bottom, c, prepare.BIN_WIDTH)
    return figure


def draw_profile(axis: Axes, reference: xr.Dataset) -> None:
    """The radial profile on a Matplotlib axis (see `psf.radial_profile`)."""
    stamp, _, model = drawn.stamps(reference)
    radius, value = prepare.radial_profile(stamp, model.x0, model.y0)
    half = model.fwhm / 2
    axis.plot(radius, value, ".", color=palette.SKY, alpha=0.6, ms=4, label="pixels of the stamp")
    axis.plot(
        *drawn.round_profile(model, float(radius.max())),
        color=palette.BLUE,
        linewidth=2,
        label="Moffat model",
    )
    axis.plot(
        [half, half, 0],
        [0, 0.5, 0.5],
        color=palette.VERMILLION,
        linestyle="--",
        label=f"half of FWHM {model.fwhm:.2f} px",
    )
    axis.set(xlabel="distance from the centre (px)", ylabel="of the peak", ylim=(-0.08, 1.12))
    axis.legend(frameon=False, fontsize=9)
    _title(axis, f"Moffat β = {model.beta:.2f}, FWHM {model.fwhm_x:.2f} × {model.fwhm_y:.2f} px")


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
        _title(axis, title)
    draw_profile(axes[1, 1], reference)
    return figure


def draw_precision(axis: Axes, lc: xr.Dataset, aperture: int | None = None) -> None:
    """Scatter against flux on a Matplotlib axis (see `precision.precision`)."""
    table = drawn.precision_table(lc, aperture)
    flux, scatter = table["flux"], table["scatter"]
    dashes = {"dashed": "--", "dotted": ":", "dotdash": "-.", "solid": "-"}
    for name, term in table["terms"].items():
        label, colour, dash = drawn.TERM_STYLE[name]
        axis.plot(table["grid"], term * 1e3, color=colour, linestyle=dashes[dash], label=label)
    role = drawn.roles(flux.size, table["target"], table["comparisons"])
    use = np.isfinite(flux) & np.isfinite(scatter) & (flux > 0) & (scatter > 0)
    for name, colour, size in drawn.ROLE_STYLE:
        chosen = use & (role == name)
        if chosen.any():
            axis.scatter(
                flux[chosen], scatter[chosen], s=0.7 * size, color=colour, label=name, linewidths=0, zorder=3
            )
    if use.any():
        axis.set(xscale="log", yscale="log", ylim=(scatter[use].min() / 2, scatter[use].max() * 1.6))
        axis.legend(frameon=False, fontsize=9)
    unit = lc.attrs.get("flux_unit", "e-")
    axis.set(xlabel=f"median flux ({unit} per frame)", ylabel="point-to-point scatter (ppt)")


def precision_plot(lc: xr.Dataset, aperture: int | None = None) -> Figure:
    """Point-to-point scatter of every star against its flux, with the noise model."""
    figure, axis = _figure(9, 5)
    draw_precision(axis, lc, aperture)
    _title(axis, select.heading(lc, "precision of every star"))
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
        _dress(axis)
    draw_stars(field, lc, stack, None if stack is None else min(500.0, float(max(stack.shape))))
    _title(field, "field around the target")
    c = select.curve(lc)
    draw_curve(light, c, bins)
    _title(light, select.heading(lc, f"star {c.star}", f"aperture {c.radius:.1f} px"))
    _legend(light)
    if reference is not None and "psf" in reference:
        draw_profile(profile, reference)
    else:
        profile.set_axis_off()
    draw_systematics(rows, lc)
    _title(rows, "systematics")
    draw_precision(noise, lc)
    _title(noise, "precision of every star")
    text.set_axis_off()
    table = facts.facts(lc, reference, None, bins)
    for i, (name, value) in enumerate(table):
        level = 1 - (i + 0.5) / len(table)
        text.text(0.0, level, name, color=palette.MUTED, fontsize=10, va="center", transform=text.transAxes)
        text.text(0.42, level, value, color=palette.INK, fontsize=10, va="center", transform=text.transAxes)
    figure.suptitle(facts.title(lc), x=0.01, ha="left", fontsize=14, fontweight="bold", color=palette.INK)
    return figure
