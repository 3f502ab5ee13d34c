"""Bilinear interpolation against cases with an exact answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from dphot.errors import InputError
from dphot.kernels.resample import add_to_reference, to_reference
from dphot.kernels.transform import apply

TURN = np.array([[np.cos(0.3), -np.sin(0.3), 30.0], [np.sin(0.3), np.cos(0.3), -12.0]])


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(100, 10, (120, 150)).astype(np.float32)


def test_identity_and_whole_pixels_keep_the_values(image):
    value, valid = to_reference(image, None, np.eye(2, 3), image.shape)
    np.testing.assert_array_equal(value, image)
    assert valid.all() and value.dtype == np.float32 and valid.dtype == np.bool_
    value, valid = to_reference(image, None, np.array([[1.0, 0, 3], [0, 1, -2]]), image.shape)
    np.testing.assert_array_equal(value[2:, :-3], image[:-2, 3:])
    assert valid[2:, :-3].all() and valid.sum() == 118 * 147 and np.isnan(value[~valid]).all()


def test_a_plane_is_exact():
    y, x = np.mgrid[:90, :110].astype(float)
    plane = (2 * x - 3 * y + 7).astype(np.float32)
    value, valid = to_reference(plane, None, TURN, (100, 100))
    j, i = np.nonzero(valid)
    u, v = apply(TURN, i, j)
    np.testing.assert_allclose(value[valid], 2 * u - 3 * v + 7, atol=2e-4)
    assert valid.sum() > 3000


def test_equals_scipy(image):
    j, i = np.mgrid[:100, :130]
    u, v = apply(TURN, i, j)
    value, valid = to_reference(image, None, TURN, (100, 130))
    expected = map_coordinates(image.astype(float), [v, u], order=1, cval=np.nan)
    np.testing.assert_allclose(value[valid], expected[valid], rtol=1e-5)
    np.testing.assert_array_equal(valid, (u >= 0) & (u <= 149) & (v >= 0) & (v <= 119))


def test_masked_and_nan_pixels_spread_to_their_neighbours_only(image):
    mask = np.zeros(image.shape, np.uint8)
    mask[50, 60] = 4
    image[20, 30] = np.nan
    half = np.array([[1.0, 0, 0.5], [0, 1, 0.5]])
    value, valid = to_reference(image, mask, half, (110, 140))
    bad = {(49, 59), (49, 60), (50, 59), (50, 60), (19, 29), (19, 30), (20, 29), (20, 30)}
    assert set(zip(*(a.tolist() for a in np.nonzero(~valid)), strict=True)) == bad
    assert np.isnan(value[~valid]).all() and np.isfinite(value[valid]).all()
    _, valid = to_reference(image, mask, np.eye(2, 3), image.shape)
    assert (~valid).sum() == 2


def test_flux_of_a_star_is_kept():
    y, x = np.mgrid[:120, :150]
    star = (1e4 * np.exp(-0.5 * ((x - 70.3) ** 2 + (y - 55.8) ** 2) / 1.5**2)).astype(np.float32)
    value, valid = to_reference(star, None, TURN, star.shape)
    assert np.where(valid, value, 0).sum(dtype=float) == pytest.approx(star.sum(dtype=float), rel=1e-3)
    shifted, valid = to_reference(star, None, np.array([[1, 0, 2.37], [0, 1, -4.81]]), star.shape)
    assert np.where(valid, shifted, 0).sum(dtype=float) == pytest.approx(star.sum(dtype=float), rel=1e-6)


def test_shapes_are_checked(image):
    with pytest.raises(InputError, match="mask"):
        to_reference(image, np.zeros((3, 3), np.uint8), np.eye(2, 3), (5, 5))
    with pytest.raises(InputError, match=r"not \(2, 3\)"):
        to_reference(image, None, np.eye(3), (5, 5))


SHEAR = np.array([[1.001, -0.004, 3.3], [0.003, 0.998, -7.6]])


@pytest.mark.parametrize("matrix", [SHEAR, np.linalg.inv(np.vstack([SHEAR, [0, 0, 1]]))[:2]])
def test_small_turns_equal_scipy(image, matrix):
    j, i = np.mgrid[:140, :170]
    u, v = apply(matrix, i, j)
    value, valid = to_reference(image, None, matrix, (140, 170))
    expected = map_coordinates(image.astype(float), [v, u], order=1, cval=np.nan)
    np.testing.assert_array_equal(valid, (u >= 0) & (u <= 149) & (v >= 0) & (v <= 119))
    np.testing.assert_allclose(value[valid], expected[valid], rtol=1e-5)


@pytest.mark.parametrize("matrix", [np.eye(2, 3), SHEAR, TURN])
def test_added_frames_are_the_aligned_ones(image, matrix):
    mask = np.zeros(image.shape, np.uint8)
    mask[40:44, 60] = 1
    total, count = np.zeros((130, 160), np.int64), np.zeros((130, 160), np.int32)
    for _ in range(3):
        add_to_reference(image, mask, matrix, 90.0, 2.0**-20, total, count)
    value, valid = to_reference(image, mask, matrix, total.shape)
    np.testing.assert_array_equal(count, 3 * valid)
    np.testing.assert_allclose(total[valid] * 2.0**-20 / 3, value[valid] - np.float32(90.0), atol=2e-6)
    assert not total[~valid].any()
