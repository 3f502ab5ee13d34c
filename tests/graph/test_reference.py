"""Which frame is the reference, and its star list."""

import numpy as np
import pytest
from grid_field import grid_simulation

import dphot
from dphot import simulate
from dphot.config import Config
from dphot.errors import FrameError, InputError
from dphot.flags import StarFlag
from dphot.graph import reference as references
from dphot.graph.context import reference_from_dataset
from dphot.graph.frame import Masters
from dphot.graph.reference import NoReference

NONE = Masters.none((340, 340))


def records(**changes):
    spec = grid_simulation(**{"frames": 5, "flip": 0.0, **changes})
    return dphot.FrameTable.from_records(simulate.simulated_records(spec, kinds=("light",))).records()


@pytest.fixture(scope="module")
def lights():
    return records()


@pytest.fixture(scope="module")
def made(lights):
    return references.make(lights[2], NONE, Config())


def test_all_stars_are_in_the_list_by_brightness(lights, made):
    truth = simulate.truth(simulate.prepare(grid_simulation(frames=5, flip=0.0)))
    assert made.sizes["star"] >= 24  # without masters, the faintest is at the limit
    x, y = truth.x.values[2], truth.y.values[2]
    distance = np.hypot(made.star_x.values[:, None] - x, made.star_y.values[:, None] - y)
    assert distance.min(axis=1).max() < 0.5
    order = distance.argmin(axis=1)
    assert len(set(order)) == order.size and list(order[:10]) == list(range(10))
    # a star's flux in the list is in electrons, good to some per cent: it only ranks them
    np.testing.assert_allclose(made.star_flux.values[1:10], truth.flux.values[2][1:10], rtol=0.1)


def test_it_survives_the_dataset(made):
    one = reference_from_dataset(made)
    assert one.shape == (340, 340) and one.gain == 1.3 and one.saturation <= 65535
    assert one.star_x.tobytes() == made.star_x.values.tobytes()
    unknown = made.copy()
    unknown.attrs = {k: v for k, v in made.attrs.items() if k not in ("gain", "saturation")}
    beyond = reference_from_dataset(unknown)
    assert np.isnan(beyond.gain) and beyond.saturation == np.inf


def test_the_psf_is_the_stars(made):
    # Moffat beta 4 of the seeing at that airmass
    truth = simulate.truth(simulate.prepare(grid_simulation(frames=5, flip=0.0)))
    wide = np.hypot(truth.fwhm.values[2], 2.3548 / 12**0.5)
    np.testing.assert_allclose([made.attrs["fwhm"], made.psf.attrs["fwhm"]], wide, rtol=0.06)
    assert abs(float(made.psf.sum()) - 1) < 1e-6


def test_neighbours_are_flagged():
    near = records(catalogue=((100.0, 100.0, 5000.0), (108.0, 100.0, 2500.0), (240.0, 240.0, 4000.0), (240.0, 100.0, 3000.0),
                              (100.0, 250.0, 3500.0)), frames=1, target=0)  # fmt: skip
    ds = references.make(near[0], NONE, Config())
    flagged = {(round(float(x) / 10), round(float(y) / 10)): bool(f & StarFlag.NEIGHBOUR)
               for x, y, f in zip(ds.star_x, ds.star_y, ds.star_flags.values, strict=True)}  # fmt: skip
    assert sum(flagged.values()) == 2 and len(flagged) == 5


def test_a_frame_is_named_by_index_or_path(lights):
    for name, i in (("3", 3), ("-1", 4), (lights[2]["path"], 2)):
        assert references.rank(lights, NONE, Config(reference=name)) == [lights[i]]
    for name, message in (("5", "numbered 0 to 4"), ("nothing.fits", "names 0 of 5")):
        with pytest.raises(NoReference, match=message):
            references.rank(lights, NONE, Config(reference=name))
    bad = [{**lights[0], "error": "truncated"}, *lights[1:]]
    with pytest.raises(NoReference, match="truncated; name another"):
        references.rank(bad, NONE, Config(reference="0"))


def test_the_sharp_frame_in_the_middle_of_the_drift_wins():
    spec = simulate.simulation(
        frames=7, size=256, stars=80, seed=2, drift=(60.0, 0.0), hours=2.0, seeing_rms=0.0, seeing_airmass=0.0
    )
    drifting = dphot.FrameTable.from_records(simulate.simulated_records(spec, kinds=("light",))).records()
    ranked = [drifting.index(r) for r in references.rank(drifting, Masters.none((256, 256)), Config())]
    assert ranked[0] in (2, 3, 4) and ranked[-1] in (0, 6) and sorted(ranked) == list(range(7))


def test_a_frame_that_cannot_be_read_is_passed_over(lights):
    gone = [{**r, "path": f"/nowhere/{i}.fits"} if i != 3 else r for i, r in enumerate(lights)]
    assert references.rank(gone, NONE, Config()) == [gone[3]]
    with pytest.raises(NoReference, match=r"none of 2 frames .*/nowhere/0.fits: no such file"):
        references.rank(gone[:2], NONE, Config())
    with pytest.raises(NoReference, match="none that can be read"):
        references.rank([{**r, "error": "bad"} for r in lights], NONE, Config())


def test_where_the_best_frame_fails_the_next_one_serves(lights, monkeypatch):
    real, tried = references.make, []

    def fails_once(record, *rest):
        tried.append(record["path"])
        if len(tried) == 1:
            raise FrameError(record["path"], "vanished")
        return real(record, *rest)

    monkeypatch.setattr(references, "make", fails_once)
    ds = references.build(lights, NONE, Config())
    assert len(tried) == 2 and ds.attrs["path"] == tried[1] != tried[0]


def test_saturation_is_the_lowest_that_is_known(lights):
    raw = np.random.default_rng(1).poisson(1000, (100, 100)).astype(np.uint16)
    unknown = {**lights[0], "saturation": np.nan}
    assert references.saturation_level(raw, unknown, Config()) == np.inf
    assert references.saturation_level(raw, lights[0], Config()) == 65535
    assert references.saturation_level(raw, lights[0], Config(saturation=50000)) == 50000
    raw[:5, :5] = 40000
    assert references.saturation_level(raw, unknown, Config()) == 40000


def test_too_few_stars_are_said(lights):
    with pytest.raises(InputError, match=r"25 stars at 5 sigma, 40 needed"):
        references.make(lights[0], NONE, Config(min_stars=40))
