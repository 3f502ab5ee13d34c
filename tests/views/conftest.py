"""One invented night for all view tests."""

from __future__ import annotations

import pytest
import views_factory as factory
import xarray as xr


@pytest.fixture(scope="session")
def lc() -> xr.Dataset:
    return factory.make_lc()


@pytest.fixture(scope="session")
def field(lc: xr.Dataset) -> tuple[xr.DataArray, xr.Dataset]:
    return factory.make_reference(lc)
