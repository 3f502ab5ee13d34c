"""The plots drawn on Matplotlib axes, from the interactive views' numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from . import drawn, palette, prepare, select


def dress(axis: Axes) -> None:
    axis.grid(True, color=palette.GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(palette.FAINT)
    axis.tick_params(colors=palette.MUTED, labelsize=9)
    axis.ticklabel_format(useOffset=False) if axis.get_xscale() == "linear" else None


def title(axis: Axes, text: str) -> None:
    axis.set_title(text, loc="left", fontsize=11, fontweight="bold", color=palette.INK)


def legend(axis: Axes, columns: int = 4) -> None:
    axis.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=9, borderaxespad=0.1
    )
    axis.title.set_position((0, 1.0))
    axis.set_title(
        axis.get_title(loc="left"), loc="left", fontsize=11, fontweight="bold", color=palette.INK, pad=24
    )


def light_curve(axis: Axes, c: select.Curve, bins: float, truth: np.ndarray | None = None) -> None:
    """The light curve on a Matplotlib axis (see `curves.plot`)."""
    low, high = drawn.curve_limits(c, bins, truth)
    for x in c.flips:
        axis.axvline(x, color=palette.MUTED, linestyle="--", linewidth=1)
    binned = c.has_bins(bins)
    colour, opacity, size = (palette.SKY, 0.5, 4) if binned else (palette.BLUE, 0.8, 5)
    label = f"frames ({c.good.sum()})"
    if not binned:
        bars = c.time[c.good], c.flux[c.good], np.nan_to_num(c.error[c.good])
        axis.errorbar(*bars, fmt="none", ecolor=palette.BLUE, alpha=0.4, lw=1)
    axis.plot(c.time[c.good], c.flux[c.good], ".", color=colour, alpha=opacity, ms=size, label=label)
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
        axis.plot(*drawn.truth_line(c, truth), color=palette.ORANGE, linewidth=2, label="injected")
    if binned:
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


def field(
    axis: Axes, lc: xr.Dataset, stack: xr.DataArray | None, zoom: float | None = None, labels: int = 15
) -> None:
    """The field on a Matplotlib axis (see `stars.show_stars`)."""
    field = drawn.star_marks(lc)
    x, y, target = field["x"], field["y"], field["target"]
    shape: tuple[float, ...] = (np.nanmax(y) + 20, np.nanmax(x) + 20)
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
                clip_on=True,
                fontsize=8,
                color=palette.INK,
                bbox={"facecolor": "white", "alpha": 0.6, "edgecolor": "none", "pad": 0.6},
            )
    axis.set(xlim=limits[:2], ylim=limits[2:], aspect="equal", xlabel="x (px)", ylabel="y (px)")


def systematics(axis: Axes, lc: xr.Dataset, night: str | None = None) -> None:
    """The disturbances on a Matplotlib axis (see `curves.systematics`)."""
    c, table = drawn.disturbances(lc, None, None, night)
    for x in c.flips:
        axis.axvline(x, color=palette.MUTED, linestyle="--", linewidth=1)
    for row, (_, _, level, _) in enumerate(table):
        axis.plot(c.time, level - 1.25 * row, ".", color=drawn.row_colour(row), alpha=0.7, ms=3)
    axis.set_yticks([-1.25 * row for row in range(len(table))], [label for label, *_ in table])
    axis.set(ylim=(-1.25 * (len(table) - 1) - 0.8, 0.8), xlabel=c.time_label)


def profile(axis: Axes, reference: xr.Dataset) -> None:
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
    title(axis, f"Moffat β = {model.beta:.2f}, FWHM {model.fwhm_x:.2f} × {model.fwhm_y:.2f} px")


def precision(axis: Axes, lc: xr.Dataset, aperture: int | None = None) -> None:
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
