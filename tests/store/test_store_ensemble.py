"""The ensemble that lives with the store: the same whatever the order of arrival, and its verdicts in the history."""

import numpy as np
import pytest
import xarray as xr

from dphot.flags import FrameFlag
from dphot.store import Store
from dphot.store.verdict import Verdict, facts

#: What the ensemble is made of, and what tells frames and nights apart; of other variables a store grows slower.
NEEDED = ["flux", "flux_err", "flags", "frame_flags", "scintillation", "digest", "night"]
STARS = 12
BRIGHT = 10 ** np.random.default_rng(1).uniform(5, 6, STARS)


@pytest.fixture
def measured(night):
    """A maker of nights of photon noise; star 3 changes by 3 % from night to night after the fourth."""

    def make(day, frames=30, steady=False):
        rng = np.random.default_rng(day)
        ds = night(day, frames=frames, stars=STARS)[NEEDED]
        signal = np.ones(STARS)
        signal[3] = 1.0 if day <= 4 or steady else 1 + 0.03 * (-1) ** day
        flux = BRIGHT * signal * (1 + 0.03 * rng.normal(size=(frames, 1, 1))) * np.ones((1, 3, 1))
        error = np.sqrt(flux)
        zero = np.uint16(0)
        return ds.assign(
            flux=(ds.flux.dims, flux + error * rng.normal(size=flux.shape)),
            flux_err=(ds.flux.dims, error),
            flags=ds["flags"] * zero,
            frame_flags=ds.frame_flags * zero,
            scintillation=ds.scintillation * 0,
        )

    return make


def append(store, *parts):
    with store.transaction("night", {"night": str(parts[0].night.values[0])}) as tx:
        for part in parts:
            tx.append_photometry("r", part)


def test_the_history_says_when_a_star_was_demoted(tmp_path, measured):
    store = Store.create(tmp_path / "a.dphot", {})
    for day in range(1, 12):
        append(store, measured(day))
    demoted = {c.metadata["night"]: c.metadata["demoted"] for c in store.history() if "demoted" in c.metadata}
    assert len(demoted) == 1
    (when,) = demoted
    assert demoted[when] == {"r": [3]} and when == "2026-11-05"
    assert store.ensemble["r"].attrs["variable"] == [3]
    assert all(
        c.metadata["precision"]["r"] == pytest.approx(1 / np.sqrt(BRIGHT.max()), rel=0.5)
        for c in store.history()[:-1]
    )


def test_a_step_tells_what_changed_since_the_one_before(tmp_path, measured):
    store = Store.create(tmp_path / "a.dphot", {})
    with store.transaction("the end") as tx:
        for day in range(1, 9):
            tx.append_photometry("r", measured(day))
            tx.step(f"night {day}")
        tx.write_attrs({"done": True})
    commits = store.history()[:-1]
    told = {c.message: c.metadata["demoted"] for c in commits if "demoted" in c.metadata}
    assert told == {"night 5": {"r": [3]}} and len(commits) == 9
    assert all(c.metadata["precision"]["r"] > 0 for c in commits)


def test_what_came_and_went_between_two_commits_is_not_told():
    first, second = Verdict([3, 4], [5], 1e-3), Verdict([5, 6], [4], np.nan)
    assert second.after(first) == Verdict([3, 6], [], 1e-3) and first.after(None) is first
    assert facts({"r": Verdict([2], [], 1e-3), "g": Verdict()}) == {
        "demoted": {"r": [2]},
        "precision": {"r": 1e-3},
    }


def test_nights_without_flats_judge_no_star(tmp_path, measured):
    def unflattened(day):
        ds = measured(day, steady=True)
        dust = np.where(np.arange(STARS) == 5, 1 + 0.04 * (-1) ** day, 1.0)  # on the pixels of one star
        ds["flux"] = ds.flux * dust
        ds["frame_flags"] = ds.frame_flags + np.uint16(FrameFlag.CALIBRATION_MISSING)
        return ds

    store = Store.create(tmp_path / "a.dphot", {})
    for day in range(1, 9):
        append(store, unflattened(day) if day in (3, 6, 8) else measured(day, steady=True))
    told = store.ensemble["r"]
    assert told.calibrated.values.tolist() == [1, 1, 0, 1, 1, 0, 1, 0] and not told.attrs.get("variable")
    assert not any("demoted" in commit.metadata for commit in store.history())
    # where most nights are so, they are all that there is
    append(store, *(unflattened(day) for day in (9, 10, 11)))
    assert store.ensemble["r"].attrs["variable"] == [5]


def test_a_store_that_tells_no_calibration_of_its_nights_goes_on(tmp_path, measured):
    store = Store.create(tmp_path / "a.dphot", {})
    append(store, measured(1))
    with store.transaction("as it was written before") as tx:
        del tx.root["ensemble/r/calibrated"]
    append(store, measured(2))
    assert store.ensemble["r"].calibrated.values.tolist() == [1, 1]


def test_the_order_of_arrival_and_late_frames_change_no_bit(tmp_path, measured):
    nights = [measured(day) for day in range(1, 7)]
    at_once = Store.create(tmp_path / "a.dphot", {})
    append(at_once, xr.concat(nights, "time", data_vars="minimal"))
    late = Store.create(tmp_path / "b.dphot", {})
    for ds in nights[::-1]:
        append(late, ds.isel(time=slice(20, None)))
    for ds in (nights[2], nights[0], *nights[3:], nights[1]):
        append(late, ds.isel(time=slice(20)))
    xr.testing.assert_identical(at_once.ensemble["r"].drop_attrs(), late.ensemble["r"].drop_attrs())
    assert at_once.ensemble["r"].attrs["variable"] == late.ensemble["r"].attrs["variable"]
    assert at_once.ensemble["r"].night.values.tolist() == [f"2026-11-0{d}" for d in range(1, 7)]


def test_lost_frames_and_flagged_points_do_not_count(tmp_path, measured):
    ds = measured(1)
    ds["frame_flags"][:5] = 2
    ds["flags"][10:, 7] = 1
    store = Store.create(tmp_path / "a.dphot", {})
    append(store, ds)
    points = store.ensemble["r"].points.values[0]
    assert (points[:, 7] == 5).all() and (points[:, 0] == 25).all()


def test_an_aperture_that_only_the_bright_fit_into_judges_nobody_and_luck_is_no_precision(tmp_path, night):
    stars, frames, noise = 60, 6, 2e-3
    store = Store.create(tmp_path / "a.dphot", {})
    for day in range(1, 4):
        rng = np.random.default_rng(day)
        ds = night(day, frames=frames, stars=stars)[NEEDED]
        size = (frames, 3, stars)
        error = np.full(size, 1e5 * noise)
        error[..., 10:] *= 20  # ten bright stars among faint ones
        flux = 1e5 + error * rng.normal(size=size)
        flux[:, 2, 10:] = np.nan
        flux[:, 2, :3] *= 1 + 0.03 * rng.normal(size=(frames, 3))  # the neighbours' light, say
        zero = np.uint16(0)
        append(store, ds.assign(
            flux=(ds.flux.dims, flux), flux_err=(ds.flux.dims, error), flags=ds["flags"] * zero,
            frame_flags=ds.frame_flags * zero, scintillation=ds.scintillation * 0,
        ))  # fmt: skip
    assert not any("demoted" in commit.metadata for commit in store.history())
    told = [commit.metadata["precision"]["r"] for commit in store.history()[:-1]]
    np.testing.assert_allclose(told, noise, rtol=0.5)
