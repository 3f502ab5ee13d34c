"""Ways to read the photometry: lazily through Dask, or some of it at once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr
from store_night import make_night

import dphot
from dphot.store import Store, reading


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


def test_a_group_is_opened_once_for_each_state_of_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    store = Store.create(tmp_path / "field.dphot", {})
    with store.transaction("night 3") as tx:
        tx.append_photometry("r", make_night(3))
    opened: list[str] = []
    connect = reading.connect
    monkeypatch.setattr(
        reading, "connect", lambda session, group: opened.append(group) or connect(session, group)
    )
    rows = store.photometry["r"].sizes["time"]
    assert store.rows("r", ("night",)).sizes["time"] == rows and opened == ["photometry/r"]
    with store.transaction("night 5") as tx:
        tx.append_photometry("r", make_night(5))
    assert store.photometry["r"].sizes["time"] == store.rows("r", ("night",)).sizes["time"] == 2 * rows


def test_what_is_done_to_what_was_read_is_not_seen_by_others(store: Store) -> None:
    before = store.rows("r", ("star_x", "night"))
    changed = store.rows("r", ("star_x", "night"))
    changed.star_x.values[:] = 0
    changed.night.values[:] = ""
    changed.attrs["more"] = changed.star_x.attrs["more"] = changed.time.attrs["more"] = 1
    xr.testing.assert_identical(store.rows("r", ("star_x", "night")), before)


def test_few_groups_are_kept_open_and_none_is_pickled(store: Store) -> None:
    groups = reading.Groups(store.session)
    groups.update({str(i): xr.Dataset() for i in range(20)})
    assert groups["photometry/r"] is groups["photometry/r"]
    assert len(groups) <= 8 and "photometry/r" in groups
    copy = pickle.loads(pickle.dumps(groups))
    assert not copy and copy["photometry/r"].identical(groups["photometry/r"])


def test_variables_come_in_order_of_their_names(store: Store) -> None:
    names = list(store.photometry["r"].variables)
    assert names == sorted(names)
