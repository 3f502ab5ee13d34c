"""What changed between two versions: known changes come back."""

import numpy as np
import pytest
import xarray as xr
from store_night import make_night

from dphot.changes import change_lines, diff
from dphot.store import Store, repairs


def record(**config):
    return {"series": [{"filter": "r", "config": {"gain": 1.5, **config}, "software": {"numpy": "2.0"}}]}


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "field.dphot", {})
    for day in (1, 2):
        with store.transaction(f"night {day}") as tx:
            tx.append_photometry("r", make_night(day))
            tx.write_night(f"2026-11-0{day}", record())
    return store


def measured_anew(store, ds, **config):
    """A version in which night 2 has these rows instead."""
    store.rollback(store.history()[1].id)
    with store.transaction("night 2 again") as tx:
        tx.append_photometry("r", ds)
        tx.write_night("2026-11-02", record(**config))


def test_a_night_more(store):
    first = store.at(store.history()[1].id)
    result = diff(first, store)
    assert result["nights"] == {"added": ["2026-11-02"], "removed": [], "changed": []}
    numbers = {"frames_added": 5, "frames_removed": 0, "frames_changed": 0, "max_relative_change": 0.0}
    assert result["filters"] == {"r": numbers}
    assert diff(store, first)["filters"]["r"]["frames_removed"] == 5
    assert "nights added: 2026-11-02" in change_lines(result)[1]


def test_the_largest_change_is_found_with_its_place(store):
    before = store.at(store.history()[0].id)
    ds = make_night(2)
    ds.flux[3, 2, 1] *= 1.01
    ds.flux[4, 0, 0] *= 0.97
    ds.flux[1, 0, 0] = np.nan
    measured_anew(store, ds, gain=1.6)
    result = diff(before, store)
    assert result["nights"]["changed"] == ["2026-11-02"]
    assert result["settings"] == {"2026-11-02 r": {"gain": [1.5, 1.6]}} and result["software"] == {}
    numbers = result["filters"]["r"]
    assert numbers["frames_changed"] == 3 and numbers["max_relative_change"] == pytest.approx(0.03)
    assert numbers["where"] == {"path": str(ds.path.values[4]), "aperture": 0, "star": 0}
    text = "\n".join(change_lines(result))
    assert "gain 1.5 -> 1.6" in text and "differ by up to 0.03" in text


def test_nothing_changed(store):
    again = store.at(store.history()[0].id)
    assert change_lines(diff(again, store))[-1].endswith("0 added, 0 removed, 0 changed")


def test_another_star_list_is_told(store, tmp_path):
    other = Store.create(tmp_path / "other.dphot", {})
    with other.transaction("x") as tx:
        tx.append_photometry("r", make_night(2, stars=7))
    numbers = diff(store, other)["filters"]["r"]
    assert (numbers["frames_removed"], numbers["frames_changed"]) == (5, 5)
    assert numbers["max_relative_change"] is None and "4 stars x 3 apertures and 7 stars" in numbers["note"]
    assert any("another star list" in line for line in change_lines(diff(store, other)))


def test_files_that_only_moved_are_no_change(store):
    def calibrated(store, flats, digests):
        with store.transaction("flats") as tx:
            tx.write_masters(
                "2026-11-02/r", xr.Dataset(attrs={"digests": dict(zip(flats, digests, strict=True))})
            )
            (series,) = record()["series"]
            tx.write_night("2026-11-02", {"series": [{**series, "calibration": {"inputs": {"flat": flats}}}]})
        return store.at(store.history()[0].id)

    with store.transaction("reference") as tx:
        tx.write_reference(xr.Dataset(attrs={"path": "/raw/02/frame-0.fits", "digest": "r"}))
    before = calibrated(store, ["/raw/a", "/raw/b"], ["A", "B"])
    moved = {"/raw/a": "/old/z", "/raw/b": "/old/y", "/raw/02/frame-0.fits": "/old/frame-0.fits"}
    with store.transaction("files that moved") as tx:
        repairs.move_paths(tx.root, moved)
    assert store.nights[1]["series"][0]["calibration"]["inputs"]["flat"] == ["/old/z", "/old/y"]
    assert store.reference.attrs["path"] == "/old/frame-0.fits"
    result = diff(before, store)
    assert result["calibration"] == {} and result["nights"]["changed"] == []
    other = calibrated(store, ["/old/z", "/old/y"], ["A", "C"])
    result = diff(before, other)
    assert result["calibration"] == {"2026-11-02 r": {"flat": [["/raw/a", "/raw/b"], ["/old/z", "/old/y"]]}}
    assert result["nights"]["changed"] == ["2026-11-02"]
    assert "  2026-11-02 r: 2 flat frames -> 2, others" in change_lines(result)
