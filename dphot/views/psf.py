"""The point-spread function: stamp, model, what is left, and the radial profile."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import hvplot.xarray  # noqa: F401  registers DataArray.hvplot
import numpy as np
import xarray as xr

from . import drawn, palette, prepare, style

DIMS = ("radius", "of the peak")


def psf(reference: xr.Dataset) -> Any:
    """Stamp, model, residual and radial profile of the reference's point-spread function.

    Parameters
    ----------
    reference : xarray.Dataset
        With the stamp ``psf`` (psf_y, psf_x) and the Moffat parameters among its attributes.

    Returns
    -------
    holoviews.Layout
        Three images on one scale of the peak (the residual stretched ten times), and the profile.

    Raises
    ------
    dphot.errors.InputError
        If there is no stamp, or no fitted model.
    """
    stamp, model, _ = drawn.stamps(reference)
    parts = [
        ("median of bright stars", stamp, "viridis", (-0.02, 1.0)),
        ("Moffat model", model, "viridis", (-0.02, 1.0)),
        ("residual (scale × 10)", stamp - model, "RdBu_r", (-0.1, 0.1)),
    ]
    images = [_image(values, title, cmap, clim) for title, values, cmap, clim in parts]
    return hv.Layout([*images, radial_profile(reference)]).cols(2).opts(shared_axes=False)


def _image(values: np.ndarray, title: str, cmap: str, clim: tuple[float, float]) -> Any:
    coords = {"y": np.arange(values.shape[0]), "x": np.arange(values.shape[1])}
    array = xr.DataArray(values.astype(np.float32), coords, ("y", "x"), "of the peak")
    image = array.hvplot.image(x="x", y="y", cmap=cmap, clim=clim, colorbar=True, clabel="")
    return image.opts(
        title=title,
        frame_width=270,
        frame_height=270,
        data_aspect=1,
        xlabel="x (px)",
        ylabel="y (px)",
        hooks=[style.finish],
        backend="bokeh",
    )


def radial_profile(reference: xr.Dataset, *, width: int = 430, height: int = 330) -> Any:
    """Radial profile of the stamp with the model and its full width at half maximum."""
    stamp, _, model = drawn.stamps(reference)
    radius, value = prepare.radial_profile(stamp, model.x0, model.y0)
    grid, curve = drawn.round_profile(model, float(radius.max()))
    half = model.fwhm / 2
    layers = [
        style.points(radius, value, "pixels of the stamp", color=palette.SKY, alpha=0.55, size=14, dims=DIMS),
        style.line(grid, curve, "Moffat model", color=palette.BLUE, line_width=2.2, dims=DIMS),
        style.line(
            np.array([half, half]),
            np.array([0, 0.5]),
            f"half of FWHM {model.fwhm:.2f} px",
            color=palette.VERMILLION,
            line_dash="dashed",
            dims=DIMS,
        ),
        style.line(
            np.array([0, half]), np.array([0.5, 0.5]), color=palette.VERMILLION, line_dash="dashed", dims=DIMS
        ),
    ]
    title = f"Moffat β = {model.beta:.2f}, FWHM {model.fwhm_x:.2f} × {model.fwhm_y:.2f} px"
    return style.framed(
        style.stacked(layers),
        title=title,
        xlabel="distance from the centre (px)",
        width=width,
        height=height,
        ylabel="of the peak",
        legend_position="top_right",
        ylim=(-0.08, 1.12),
    )
