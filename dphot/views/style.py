"""Colours, fonts and the few plot elements all views share (HoloViews with Bokeh, made through hvPlot)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import hvplot.pandas  # noqa: F401  registers DataFrame.hvplot and the Bokeh backend
import numpy as np
import pandas as pd

from .palette import BLUE, FAINT, GRID, INK, MUTED

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
WIDTH = 880


def finish(plot: Any, element: Any) -> None:
    """Hook on every figure: fonts, a quiet frame and grid, a toolbar that appears with the pointer."""
    figure = plot.state
    figure.background_fill_color = figure.border_fill_color = "#ffffff"
    figure.outline_line_color = None
    figure.toolbar.logo = None
    figure.toolbar.autohide = True
    figure.min_border_right = 12
    if figure.sizing_mode == "fixed" and figure.width is None:
        figure.sizing_mode = None  # sized by its frame: Bokeh would warn about a missing width
    if figure.title is not None:
        figure.title.text_font, figure.title.text_color = FONT, INK
        figure.title.text_font_size, figure.title.text_font_style = "14px", "bold"
    for axis in figure.axis:
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "13px", "12px"
        axis.axis_label_text_color, axis.major_label_text_color = INK, MUTED
        axis.axis_line_color = axis.major_tick_line_color = FAINT
        axis.minor_tick_line_color = None
    for grid in figure.grid:
        grid.grid_line_color = GRID
    for legend in figure.legend:
        legend.label_text_font, legend.label_text_font_size, legend.label_text_color = FONT, "12px", INK
        legend.border_line_color = None
        above = getattr(plot, "legend_position", "") == "top"
        legend.background_fill_alpha = 0.0 if above else 0.85
        legend.padding = legend.margin = 6
        legend.click_policy = "hide"


def no_grid(plot: Any, element: Any) -> None:
    """Hook: a figure that is no graph."""
    for grid in plot.state.grid:
        grid.visible = False


def framed(overlay: Any, **options: Any) -> Any:
    """An overlay with the common look; `options` are HoloViews plot options of the figure."""
    defaults = {"width": WIDTH, "height": 380, "show_grid": True, "hooks": [finish], "backend": "bokeh"}
    return overlay.opts(hv.opts.Overlay(**(defaults | options)))


def points(
    x: np.ndarray,
    y: np.ndarray,
    label: str = "",
    hover: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
    dims: tuple[str, str] = ("t", "level"),
    colours: np.ndarray | None = None,
    **options: Any,
) -> Any:
    """Points, the columns of `hover` under the pointer; a layout's figures share axes of equal `dims`.

    One call with `colours` for each point is much quicker than many calls. `size` is an area (screen px2).
    """
    extra = dict(hover or {})
    data = pd.DataFrame({dims[0]: x, dims[1]: y, **extra})
    settings = {"size": 16, "line_color": None, "color": BLUE} | options
    settings["size"] = settings["size"] ** 0.5  # Bokeh's is a diameter
    columns = list(extra)
    if colours is not None:
        data["colour"], settings["color"] = colours, hv.dim("colour")
        columns.append("colour")
    scatter = data.hvplot.scatter(
        x=dims[0],
        y=dims[1],
        label=label,
        hover_cols=columns,
        hover_tooltips=[(name, f"@{{{name}}}") for name in extra],
        tools=["hover"] if extra else [],
    )
    return scatter.opts(backend="bokeh", **settings)


def line(
    x: np.ndarray, y: np.ndarray, label: str = "", dims: tuple[str, str] = ("t", "level"), **options: Any
) -> Any:
    """A line without hover."""
    data = pd.DataFrame({dims[0]: x, dims[1]: y})
    settings = {"color": INK, "line_width": 1.6} | options
    return data.hvplot.line(x=dims[0], y=dims[1], label=label, hover=False, **settings)


def bars(
    x: np.ndarray, y: np.ndarray, error: np.ndarray, dims: tuple[str, str] = ("t", "level"), **options: Any
) -> Any:
    """Vertical error bars; where the error is not known none is drawn."""
    known = np.isfinite(error)
    data = pd.DataFrame({dims[0]: x[known], dims[1]: y[known], "error": error[known]})
    settings = {"color": INK, "lower_head": None, "upper_head": None} | options
    return data.hvplot.errorbars(x=dims[0], y=dims[1], yerr1="error").opts(backend="bokeh", **settings)


def marks(positions: np.ndarray) -> list[Any]:
    """Dashed vertical lines, one at each position."""
    return [
        hv.VLine(float(x)).opts(color=MUTED, line_dash="dashed", line_width=1.2, backend="bokeh")
        for x in positions
    ]


def stacked(layers: Sequence[Any]) -> Any:
    """The layers on one figure, the first at the bottom."""
    return hv.Overlay(list(layers))
