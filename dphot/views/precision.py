"""How precisely each star is measured, against what the noise model expects."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from . import drawn, select, style

DIMS = ("median flux", "ppt")


def precision(lc: xr.Dataset, aperture: int | None = None) -> Any:
    """Point-to-point scatter of every star against its flux, with the terms of the noise model.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    aperture : int, optional
        Default: the best.

    Returns
    -------
    holoviews.Overlay
        Both axes logarithmic. The noise terms need fluxes in electrons: without a gain they are left out.
    """
    table = drawn.precision_table(lc, aperture)
    flux, scatter, target = table["flux"], table["scatter"], table["target"]
    use = np.isfinite(flux) & np.isfinite(scatter) & (flux > 0) & (scatter > 0)
    hover = {
        "star": np.arange(flux.size),
        "flux": np.round(flux, 1),
        "scatter (ppt)": np.round(scatter, 3),
        "weight": np.round(table["weight"], 4),
    }
    layers = [
        style.line(
            table["grid"],
            term * 1e3,
            drawn.TERM_STYLE[name][0],
            color=drawn.TERM_STYLE[name][1],
            line_dash=drawn.TERM_STYLE[name][2],
            dims=DIMS,
        )
        for name, term in table["terms"].items()
    ]
    role = drawn.roles(flux.size, target, table["comparisons"])
    for name, colour, size in drawn.ROLE_STYLE:
        chosen = use & (role == name)
        if chosen.any():
            columns = {column: values[chosen] for column, values in hover.items()}
            layers.append(
                style.points(
                    flux[chosen],
                    scatter[chosen],
                    name,
                    columns,
                    dims=DIMS,
                    color=colour,
                    size=size,
                    alpha=0.85,
                )
            )
    unit = lc.attrs.get("flux_unit", "e-")
    options: dict[str, Any] = {}
    if use.any():
        options = {
            "xlim": (flux[use].min() / 1.4, flux[use].max() * 1.4),
            "ylim": (scatter[use].min() / 2, scatter[use].max() * 1.6),
        }
    return style.framed(
        style.stacked(layers) if layers else style.points(flux, scatter, dims=DIMS),
        logx=True,
        logy=True,
        height=430,
        title=select.heading(lc, "precision of every star"),
        xlabel=f"median flux ({unit} per frame)",
        ylabel="point-to-point scatter (ppt)",
        legend_position="top_right",
        **options,
    )
