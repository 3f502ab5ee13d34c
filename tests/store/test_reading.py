"""Ways to read the photometry: lazily through Dask, or some of it at once."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from store_night import make_night

import dphot
from dphot.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two nights, the later one appended first, of more stars and apertures than a chunk holds."""
    store = Store.create(tmp_path_factory.mktemp("reading") / "field.dphot", {})
    for day in (5, 3):
        with store.transaction(f"night {day}") as tx:
            tx.append_photometry("r", make_night(day, frames=4, stars=150, apertures=5))
    return store


def test_dask_chunks_hold_all_stars_and_the_apertures_stored_together(store: Store) -> None:
    photometry = store.photometry["r"]
    assert photometry.flux.chunks == ((8,), (2, 2, 1), (150,))
    assert photometry["flags"].chunks == ((8,), (150,))
    assert all(v.chunks is not None for name, v in photometry.variables.items() if name != "time")


def test_rows_are_those_of_the_photometry_in_order_of_time(store: Store) -> None:
    names = ("flux", "flags", "night", "path")
    rows = store.rows("r", names, aperture=slice(3, 4))
    assert set(rows.data_vars) == set(names)
    assert np.all(np.diff(rows.time.values.astype(np.int64)) > 0)
    xr.testing.assert_equal(rows, store.photometry["r"][list(names)].isel(aperture=[3]))


def test_rows_leave_out_what_a_store_does_not_have(store: Store) -> None:
    rows = store.rows("r", ("flux", "of-a-later-version"), star=[1, 7])
    assert set(rows.data_vars) == {"flux"} and rows.sizes["star"] == 2


def test_a_filter_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(dphot.errors.StoreError, match="photometry/g"):
        store.rows("g", ("flux",))
