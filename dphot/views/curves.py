"""Light curves: the target's, the comparison stars', the raw one, and what may have disturbed them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from . import drawn, palette, prepare, select, style

#: More points than this of comparison stars are left to the bins: a page of them would be slow and as full.
POINTS_SHOWN = 60_000
#: Curves drawn under each other share their time axis with the light curve, not the other one.
ROWS = ("t", "row")


def plot(
    lc: xr.Dataset,
    target: int | None = None,
    aperture: int | None = None,
    *,
    night: str | None = None,
    bins: float = prepare.BIN_WIDTH,
    truth: np.ndarray | None = None,
    title: str | None = None,
) -> Any:
    """The differential light curve: points, bins with errors, flagged points apart, meridian flips.

    Where no bin holds two points, the points have the errors.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    target, aperture : int, optional
        Default: the dataset's target and best aperture.
    night : str, optional
        Only this local night.
    bins : float
        Width of the bins in days (default 0.005 d = 7.2 min); 0 draws none.
    truth : array, shape (time,), optional
        A known relative flux to be drawn over the points, times one factor.
    title : str, optional
        Default: object, filter, star and aperture.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    dphot.errors.InputError
        If the dataset holds no differential photometry, or no such star, aperture or night.
    """
    c = select.curve(lc, target, aperture, night)
    good, bad = c.good, c.flagged
    low, high = drawn.curve_limits(c, bins, truth)
    outside = int((bad & ((c.flux < low) | (c.flux > high))).sum())
    layers = [*style.marks(c.flips)]
    binned = c.has_bins(bins)
    looks: dict[str, Any] = {"color": palette.SKY, "alpha": 0.45, "size": 14}
    looks = (
        looks if binned else {"color": palette.BLUE, "alpha": 0.8, "size": 20}
    )  # nothing lies on the frames
    if not binned and np.isfinite(c.error[good]).any():
        bars = c.time[good], c.flux[good], c.error[good]
        layers.append(style.bars(*bars, color=palette.BLUE, alpha=0.4, line_width=1))
    layers.append(
        style.points(c.time[good], c.flux[good], f"frames ({good.sum()})", _hover(c, good), **looks)
    )
    if bad.any():
        label = f"flagged ({bad.sum()}" + (f", {outside} outside the plot)" if outside else ")")
        layers.append(
            style.points(
                c.time[bad],
                c.flux[bad],
                label,
                _hover(c, bad, reason=True),
                marker="x",
                color=palette.VERMILLION,
                line_color=palette.VERMILLION,
                size=36,
            )
        )
    if truth is not None:
        layers.append(
            style.line(*drawn.truth_line(c, truth), "injected", color=palette.ORANGE, line_width=2.5)
        )
    if binned:
        t, f, e, n = c.bins(bins)
        layers.append(style.bars(t, f, e, color=palette.BLUE, line_width=1.4))
        table = {"time": t + c.offset, "flux": f, "error": e, "frames": n}
        layers.append(style.points(t, f, f"{bins * 1440:.1f} min bins", table, color=palette.BLUE, size=34))
    heading = title or select.heading(lc, night or "", f"star {c.star}", f"aperture {c.radius:.1f} px")
    return style.framed(
        style.stacked(layers),
        title=heading,
        xlabel=c.time_label,
        xlim=c.time_limits,
        ylabel="differential flux",
        ylim=(low, high),
        legend_position="top",
        legend_cols=4,
    )


def _hover(c: select.Curve, use: np.ndarray, reason: bool = False) -> dict[str, Any]:
    index = np.flatnonzero(use)
    columns = {
        "time": np.round(c.time[use] + c.offset, 6),
        "flux": np.round(c.flux[use], 6),
        "error": np.round(c.error[use], 6),
        "frame": [c.frame[i] for i in index],
    }
    return columns | ({"flags": [c.reason[i] for i in index]} if reason else {})


def comparisons(
    lc: xr.Dataset, aperture: int | None = None, *, count: int = 15, bins: float = prepare.BIN_WIDTH
) -> Any:
    """Differential light curves of the target and the heaviest comparison stars, drawn under each other.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    aperture : int, optional
        Default: the dataset's best.
    count : int
        At most this many comparison stars, the heaviest first.
    bins : float
        Width of the bins in days; 0 draws none.

    Returns
    -------
    holoviews.Overlay
        The tick of each curve says star, weight and point-to-point scatter.
    """
    curves, labels, level = drawn.comparison_rows(lc, aperture, count)
    parts: dict[str, list[tuple[np.ndarray, ...]]] = {"points": [], "bins": []}
    for row, c in enumerate(curves):
        good, colour = c.good, palette.VERMILLION if row == 0 else palette.BLUE
        parts["points"].append(_row(c.time[good], c.flux[good], level[row], c.star, colour))
        if c.has_bins(bins):
            parts["bins"].append(_row(*c.bins(bins)[:2], level[row], c.star, colour))
    layers = []
    if not parts["bins"] or sum(part[0].size for part in parts["points"]) <= POINTS_SHOWN:
        t, y, _, _, colours = (np.concatenate(column) for column in zip(*parts["points"], strict=True))
        layers.append(style.points(t, y, colours=colours, alpha=0.3, size=8, dims=ROWS))
    if parts["bins"]:
        t, y, flux, star, colours = (np.concatenate(column) for column in zip(*parts["bins"], strict=True))
        hover = {"star": star, "flux": np.round(flux, 5)}
        layers.append(style.points(t, y, hover=hover, colours=colours, size=22, dims=ROWS))
    height = 90 + 46 * len(curves)
    return style.framed(
        style.stacked(layers),
        title=select.heading(lc, "target and comparison stars"),
        height=height,
        xlabel=curves[0].time_label,
        xlim=curves[0].time_limits,
        ylabel="",
        yticks=list(zip(level, labels, strict=True)),
        ylim=drawn.row_limits(curves, level),
        show_legend=False,
    )


def _row(time: np.ndarray, flux: np.ndarray, level: float, star: int, colour: str) -> tuple[np.ndarray, ...]:
    """Time, height in the plot, flux, star and colour of the points of one curve of several."""
    return time, flux + level - 1, flux, np.full(time.size, star), np.full(time.size, colour)


def systematics(
    lc: xr.Dataset, target: int | None = None, aperture: int | None = None, *, night: str | None = None
) -> Any:
    """What may have disturbed the light curve, each scaled to the same height under the differential flux.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    target, aperture : int, optional
        Default: the dataset's target and best aperture.
    night : str, optional
        Only this local night.

    Returns
    -------
    holoviews.Overlay
        The tick of each row says the quantity and its range, lowest to highest.
    """
    c, table = drawn.disturbances(lc, target, aperture, night)
    layers = [*style.marks(c.flips)]
    count = c.time.size
    hover = {
        "quantity": np.repeat([name for *_, (name, _) in table], count),
        "value": np.round(np.concatenate([values for _, values, _, _ in table]), 5),
    }
    height = np.concatenate([level - row * 1.25 for row, (_, _, level, _) in enumerate(table)])
    colours = np.repeat([drawn.row_colour(row) for row in range(len(table))], count)
    time = np.tile(c.time, len(table))
    layers.append(style.points(time, height, hover=hover, colours=colours, alpha=0.7, size=10, dims=ROWS))
    labels = [label for label, *_ in table]
    return style.framed(
        style.stacked(layers),
        title=select.heading(lc, night or "", "systematics"),
        xlabel=c.time_label,
        xlim=c.time_limits,
        ylabel="",
        height=110 + 74 * len(table),
        yticks=[(-1.25 * row, label) for row, label in enumerate(labels)],
        show_legend=False,
        ylim=(-1.25 * (len(table) - 1) - 0.8, 0.8),
    )


def raw(lc: xr.Dataset, aperture: int | None = None, *, night: str | None = None) -> Any:
    """Raw flux of the target with its artificial star, above their ratio.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    aperture : int, optional
        Default: the dataset's best.
    night : str, optional
        Only this local night.

    Returns
    -------
    holoviews.Layout
        Two figures with one time axis.
    """
    c, flux, artificial, middle = drawn.raw_rows(lc, aperture, night)
    unit = lc.attrs.get("flux_unit", "e-")
    top = style.points(
        c.time, artificial, "artificial star", dims=("t", "raw"), color=palette.ORANGE, size=14, alpha=0.8
    ) * style.points(
        c.time,
        flux,
        f"target (1 = {middle:.4g} {unit})",
        dims=("t", "raw"),
        color=palette.BLUE,
        size=14,
        alpha=0.6,
    )
    both = np.concatenate([flux, artificial])
    top = style.framed(
        top,
        height=290,
        title=select.heading(lc, night or "", "raw flux and artificial star"),
        xlabel="",
        xlim=c.time_limits,
        ylabel="relative raw flux",
        ylim=prepare.limits(both, percent=0),
        legend_position="top",
        legend_cols=2,
    )
    ratio = plot(lc, None, aperture, night=night, title="their ratio: the differential flux")
    return (top + ratio.opts(height=320, backend="bokeh")).cols(1)
