"""Everything at a glance: the field, the PSF, the light curve, what disturbed it, and the figures."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from . import curves, facts, palette, precision, prepare, psf, stars, style


def summary(
    lc: xr.Dataset,
    stack: xr.DataArray | None = None,
    reference: xr.Dataset | None = None,
    *,
    aperture: int | None = None,
    bins: float = prepare.BIN_WIDTH,
) -> Any:
    """Field around the target, light curve, PSF, systematics and a table, on one page.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    stack : xarray.DataArray, dims (y, x), optional
        Mean of the aligned frames.
    reference : xarray.Dataset, optional
        With the PSF; without it the PSF is left out.
    aperture : int, optional
        Default: the best.
    bins : float
        Width of the bins in days.

    Returns
    -------
    holoviews.Layout
        Two columns.
    """
    half = 560
    zoom = None if stack is None else min(500.0, float(max(stack.shape)))
    size = {"width": half, "height": 430, "backend": "bokeh"}
    panels = [
        stars.show_stars(lc, stack, aperture, zoom=zoom, size=430),
        curves.plot(lc, None, aperture, bins=bins).opts(**size),
    ]
    if reference is not None and "psf" in reference:
        panels.append(psf.radial_profile(reference, width=430, height=430))
    panels.append(curves.systematics(lc, None, aperture).opts(width=half, height=560, backend="bokeh"))
    panels.append(
        precision.precision(lc, aperture).opts(width=430, height=380, show_legend=False, backend="bokeh")
    )
    panels.append(_table(facts.facts(lc, reference, aperture, bins)))
    return (
        hv.Layout(panels)
        .cols(2)
        .opts(title=facts.title(lc), shared_axes=True, backend="bokeh", fontsize={"title": 15})
    )


def _table(rows: list[tuple[str, str]]) -> Any:
    """Names and values as text in a figure without axes: it needs nothing but Bokeh to be shown."""
    level = -np.arange(len(rows), dtype=float)
    common = {"text_font_size": "12px", "text_align": "left", "backend": "bokeh"}
    names = hv.Labels((np.zeros(len(rows)), level, [name for name, _ in rows]), ["column", "line"], "text")
    values = hv.Labels(
        (np.full(len(rows), 0.55), level, [value for _, value in rows]), ["column", "line"], "text"
    )
    both = names.opts(text_color=palette.MUTED, **common) * values.opts(text_color=palette.INK, **common)
    return style.framed(
        both,
        width=560,
        height=90 + 26 * len(rows),
        xaxis=None,
        yaxis=None,
        xlim=(-0.02, 1.5),
        ylim=(-len(rows) + 0.4, 0.6),
        title="figures",
        hooks=[style.finish, style.no_grid],
    )
