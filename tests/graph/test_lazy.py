"""Lazy arrays over frames."""

import numpy as np
import pytest
from grid_field import grid_simulation

import dphot
from dphot import simulate
from dphot.errors import FrameError, InputError


@pytest.fixture(scope="module")
def table():
    records = simulate.simulated_records(grid_simulation(frames=5, flip=0.0), kinds=("light",))
    return dphot.FrameTable.from_records(records)


def test_a_cube_is_the_frames(table):
    cube = dphot.cube(table, chunk=2)
    assert cube.raw.data.chunks == ((2, 2, 1), (340,), (340,)) and cube.raw.dtype == np.uint16
    for i, record in enumerate(table):
        np.testing.assert_array_equal(cube.raw[i].values, simulate.read_simulated(record["path"])[0])
    assert list(cube.path.values) == [r["path"] for r in table]
    np.testing.assert_array_equal(cube.time.values, np.array([r["time"] for r in table], "datetime64[ns]"))


def test_a_part_of_a_cube_is_that_part(table):
    whole = dphot.calibrate(dphot.cube(table, chunk=2)).image
    part = dphot.calibrate(dphot.cube(table, chunk=2).isel(time=[4, 1])).image
    np.testing.assert_array_equal(part.values, whole.values[[4, 1]])


def test_photometry_at_positions_measures_there(table):
    cube = dphot.cube(table, chunk=3)
    reference = dphot.make_reference(cube)
    calibrated = dphot.calibrate(cube)
    free = dphot.photometry(calibrated, reference)
    positions = np.stack([free.x.values, free.y.values], axis=1)
    again = dphot.photometry(calibrated, reference, positions=positions)
    good = np.isfinite(free.flux.values).all(axis=(0, 1))
    np.testing.assert_allclose(again.flux.values[..., good], free.flux.values[..., good], rtol=1e-9)
    np.testing.assert_allclose(again["dx"].values, free["dx"].values, atol=1e-6)


def test_a_step_of_ones_own(table):
    cube = dphot.cube(table)
    once, twice = dphot.calibrate(cube), dphot.calibrate(cube, steps=(lambda image, record: 2 * image,))
    np.testing.assert_array_equal(twice.image[0].values, 2 * once.image[0].values)


def test_frames_of_several_kinds_and_no_frames_are_refused(table):
    records = table.records()
    mixed = dphot.FrameTable.from_records([{**records[0], "width": 100}, *records[1:]])
    with pytest.raises(InputError, match="several kinds.*100x340.*340x340"):
        dphot.cube(mixed)
    with pytest.raises(InputError, match="no usable light frame"):
        dphot.cube(table.select(filter="g"))


def test_a_frame_that_cannot_be_read_is_named(table):
    records = table.records()
    gone = dphot.FrameTable.from_records([{**records[0], "path": "/nowhere.fits"}, *records[1:]])
    with pytest.raises(FrameError, match="/nowhere.fits: no such file"):
        dphot.cube(gone).raw.compute()
