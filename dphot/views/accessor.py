"""`ds.dphot`: the plots of a differential dataset. HoloViews and Bokeh load with the first plot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from . import prepare

if TYPE_CHECKING:
    from ..store import Store


@xr.register_dataset_accessor("dphot")
class DphotAccessor:
    """Plots of the dataset that `dphot.differential` gives; each returns a HoloViews object.

    Where a plot takes a stack or a reference and none is given, they come from the store that the attribute
    ``store`` names; without it the stars are shown without an image.
    """

    def __init__(self, ds: xr.Dataset):
        self._ds = ds

    def plot(
        self,
        target: int | None = None,
        aperture: int | None = None,
        *,
        night: str | None = None,
        bins: float = prepare.BIN_WIDTH,
        truth: np.ndarray | None = None,
        title: str | None = None,
    ) -> Any:
        """The differential light curve with bins of `bins` days (see `dphot.views.curves.plot`)."""
        from . import curves

        return curves.plot(self._ds, target, aperture, night=night, bins=bins, truth=truth, title=title)

    def show_stars(
        self, stack: xr.DataArray | None = None, aperture: int | None = None, **options: Any
    ) -> Any:
        """The field with target, comparison stars and the others (see `dphot.views.stars.show_stars`)."""
        from . import stars

        return stars.show_stars(self._ds, self._stack(stack), aperture, **options)

    def comparisons(
        self, aperture: int | None = None, *, count: int = 15, bins: float = prepare.BIN_WIDTH
    ) -> Any:
        """Light curves of the heaviest comparison stars (see `dphot.views.curves.comparisons`)."""
        from . import curves

        return curves.comparisons(self._ds, aperture, count=count, bins=bins)

    def systematics(
        self, target: int | None = None, aperture: int | None = None, *, night: str | None = None
    ) -> Any:
        """What may have disturbed the light curve (see `dphot.views.curves.systematics`)."""
        from . import curves

        return curves.systematics(self._ds, target, aperture, night=night)

    def raw(self, aperture: int | None = None, *, night: str | None = None) -> Any:
        """Raw flux of the target with its artificial star (see `dphot.views.curves.raw`)."""
        from . import curves

        return curves.raw(self._ds, aperture, night=night)

    def psf(self, reference: xr.Dataset | None = None) -> Any:
        """Stamp, model, residual and profile of the PSF (see `dphot.views.psf.psf`)."""
        from . import psf

        found = self._reference(reference)
        return psf.psf(xr.Dataset() if found is None else found)

    def precision(self, aperture: int | None = None) -> Any:
        """Scatter of every star against flux, with the noise model (`dphot.views.precision.precision`)."""
        from . import precision

        return precision.precision(self._ds, aperture)

    def summary(
        self,
        stack: xr.DataArray | None = None,
        reference: xr.Dataset | None = None,
        *,
        aperture: int | None = None,
    ) -> Any:
        """All of it at a glance (see `dphot.views.summary.summary`)."""
        from . import summary

        return summary.summary(self._ds, self._stack(stack), self._reference(reference), aperture=aperture)

    def save_pngs(
        self,
        folder: str | os.PathLike[str],
        stack: xr.DataArray | None = None,
        reference: xr.Dataset | None = None,
        *,
        overwrite: bool = False,
    ) -> list[Path]:
        """Every plot as a PNG file, without a browser (see `dphot.views.png.save_pngs`)."""
        from . import png

        return png.save_pngs(
            folder, self._ds, self._stack(stack), self._reference(reference), overwrite=overwrite
        )

    def _stack(self, given: xr.DataArray | None) -> xr.DataArray | None:
        """The stack given, or that of the store's last night in this filter."""
        store = self._store() if given is None else None
        name = str(self._ds.attrs.get("filter"))
        if store is None or name not in list(store.stack):
            return given
        night = list(store.stack[name])[-1]
        return store.stack[name][night].load()

    def _reference(self, given: xr.Dataset | None) -> xr.Dataset | None:
        store = self._store() if given is None else None
        return given if store is None else store.reference.load()

    def _store(self) -> Store | None:
        from ..store import Store

        path = self._ds.attrs.get("store")
        return Store.open(path) if path else None
