"""The stars on the stack: the target, the comparison stars with their weights, the others."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import hvplot.xarray  # noqa: F401  registers DataArray.hvplot
import numpy as np
import xarray as xr
from bokeh.core.properties import value

from . import drawn, palette, prepare, select, style


def show_stars(
    lc: xr.Dataset,
    stack: xr.DataArray | None = None,
    aperture: int | None = None,
    *,
    zoom: float | None = None,
    size: int = 720,
    labels: int = 15,
) -> Any:
    """The field with the target, its comparison stars and the other stars.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    stack : xarray.DataArray, dims (y, x), optional
        Mean of the aligned frames; without it only the positions are drawn.
    aperture : int, optional
        Whose weights are shown; default: the best.
    zoom : float, optional
        Show only this many pixels around the target.
    size : int
        Width of the figure in screen pixels.
    labels : int
        Name at most this many comparison stars, the heaviest first.

    Returns
    -------
    holoviews.Overlay
        x to the right, y upward, first pixel's centre at (0, 0).
    """
    field = drawn.star_marks(lc, aperture)
    x, y, target = field["x"], field["y"], field["target"]
    layers = []
    shape = (np.nanmax(y) + 20, np.nanmax(x) + 20) if stack is None else stack.shape
    if stack is not None:
        layers.append(_image(np.asarray(stack.values)))
    hover = {"star": np.arange(x.size), "weight": np.round(field["weight"], 4), "opacity": field["opacity"]}
    groups = [
        (field["others"], "others", {"line_color": palette.MUTED, "line_alpha": 0.45, "size": 11}),
        (
            field["comparisons"],
            "comparisons",
            {"line_color": palette.BLUE, "line_width": 2, "line_alpha": "opacity", "size": 17},
        ),
        (np.array([target]), "target", {"line_color": palette.VERMILLION, "line_width": 2.6, "size": 21}),
    ]
    for chosen, label, options in groups:
        if chosen.size:
            columns = {name: values[chosen] for name, values in hover.items()}
            layers.append(_circles(x[chosen], y[chosen], label, columns, options))
    named = np.concatenate([[target], field["comparisons"][:labels]]).astype(int)
    text = hv.Labels((x[named], y[named], [str(star) for star in named]), vdims="text")
    layers.append(
        text.opts(
            text_font_size="12px",
            text_color=palette.INK,
            xoffset=0,
            yoffset=0,
            text_align="left",
            text_baseline="bottom",
            hooks=[_halo],
            backend="bokeh",
        )
    )
    ny, nx = shape
    limits = {"xlim": (-0.5, nx - 0.5), "ylim": (-0.5, ny - 0.5)}
    if zoom is not None:
        half = zoom / 2
        limits = {"xlim": (x[target] - half, x[target] + half), "ylim": (y[target] - half, y[target] + half)}
    aspect = (limits["ylim"][1] - limits["ylim"][0]) / (limits["xlim"][1] - limits["xlim"][0])
    return style.framed(
        style.stacked(layers),
        width=None,
        height=None,
        frame_width=size - 80,
        frame_height=int((size - 80) * aspect),
        data_aspect=1,
        show_grid=False,
        title=select.heading(lc, f"{field['comparisons'].size} comparison stars of {x.size}"),
        xlabel="x (px)",
        ylabel="y (px)",
        legend_position="top",
        legend_cols=3,
        **limits,
    )


def _image(stack: np.ndarray) -> Any:
    """The stretched stack, dark stars on white, small enough to travel inside a page."""
    small, factor = prepare.block_mean(stack)
    grey = prepare.stretch(small)
    centre = (factor - 1) / 2
    coords = {
        "y": centre + factor * np.arange(grey.shape[0]),
        "x": centre + factor * np.arange(grey.shape[1]),
    }
    array = xr.DataArray(grey, coords, ("y", "x"), "level")
    return array.hvplot.image(x="x", y="y", cmap="gray_r", clim=(0, 255), colorbar=False, hover=False)


def _circles(
    x: np.ndarray, y: np.ndarray, label: str, columns: dict[str, np.ndarray], options: dict[str, Any]
) -> Any:
    settings = dict(options)
    if settings.get("line_alpha") == "opacity":
        settings["line_alpha"] = hv.dim("opacity")
    names = ("star", "px", "py", "weight", "opacity")
    data = {"x": x, "y": y, "px": x.round(2), "py": y.round(2), **columns}
    points = hv.Points(data, ["x", "y"], list(names), label=label)
    tips = [("star", "@star"), ("x, y", "@px, @py"), ("weight", "@weight")]
    return points.opts(
        fill_color=None, fill_alpha=0, tools=["hover"], hover_tooltips=tips, backend="bokeh", **settings
    )


def _halo(plot: Any, element: Any) -> None:
    """Star numbers up and to the right of the circle, on a light plate, in screen pixels."""
    glyph = plot.handles["glyph"]
    glyph.x_offset, glyph.y_offset = 9, -7
    glyph.background_fill_color, glyph.background_fill_alpha = "#ffffff", 0.65
    glyph.text_font = value(style.FONT)
