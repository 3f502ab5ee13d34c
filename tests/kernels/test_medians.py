"""Medians and quantiles, exactly those of NumPy; the smooth part of an image, that of SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from dphot.kernels import medians
from dphot.kernels.medians import median, quantile, tile_medians
from dphot.kernels.surroundings import surroundings

SHAPES = [(1, 1), (1, 2), (3, 5), (40, 50), (64, 64), (200, 301), (512, 1024)]
IMAGES = {
    "float32": lambda rng, shape: rng.normal(1000, 5, shape).astype("f4"),
    "float64": lambda rng, shape: rng.normal(0, 1e-9, shape),
    "uint16": lambda rng, shape: rng.poisson(1000, shape).astype("u2"),
    "int32": lambda rng, shape: rng.integers(-(2**31), 2**31, shape).astype("i4"),
    "uint8": lambda rng, shape: rng.integers(0, 3, shape).astype("u1"),
    "constant": lambda rng, shape: np.full(shape, 7, "f4"),
    "a slope": lambda rng, shape: np.arange(np.prod(shape), dtype=float).reshape(shape),
    "two halves": lambda rng, shape: np.where(np.arange(shape[1]) % 2, 1e9, -1e9) + rng.normal(0, 1, shape),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", IMAGES)
def test_medians_and_quantiles_are_numpys(kind, shape):
    image = IMAGES[kind](np.random.default_rng(1), shape)
    assert median(image) == np.median(image)
    for share in (0.0, 0.1587, 0.5, 0.9, 1.0):
        assert quantile(image, share) == np.quantile(image.astype(float), share)


def test_a_misleading_sample_costs_time_and_nothing_else(monkeypatch):
    image = IMAGES["float32"](np.random.default_rng(2), (300, 400))
    size = image.size
    places = ((np.arange(medians.SAMPLE) * 2654435769) % 2**32) * size >> 32
    image.ravel()[places] += 1e6  # all that is looked at lies above the median
    assert median(image) == np.median(image)
    assert quantile(image, 0.1587) == np.quantile(image.astype(float), 0.1587)


def test_what_is_not_a_number_is_left_out_and_what_is_infinite_if_told():
    rng = np.random.default_rng(3)
    image = rng.normal(10, 1, (150, 170)).astype("f4")
    image[rng.random(image.shape) < 0.2] = np.nan
    image[rng.random(image.shape) < 0.1] = np.inf
    finite = image[np.isfinite(image)]
    assert median(image) == np.nanmedian(image) > median(image, finite=True) == np.median(finite)
    assert quantile(image, 0.3) == np.quantile(finite.astype(float), 0.3)
    nothing = np.full((80, 80), np.nan)
    assert np.isnan([median(nothing), quantile(nothing, 0.5), median(nothing + np.inf, finite=True)]).all()
    assert median(np.full((3, 3), -np.inf)) == -np.inf


def test_tiles_have_the_medians_of_their_pixels():
    rng = np.random.default_rng(4)
    image = rng.normal(0, 1, (230, 310)).astype("f4")
    image[:50, 100:205] = np.nan
    rows, columns = [0, 50, 51, 230], [0, 100, 205, 310]
    found = tile_medians(image, rows, columns)
    assert found.dtype == np.float64 and np.isnan(found[0, 1])
    for j, i in np.ndindex(3, 3):
        part = image[rows[j] : rows[j + 1], columns[i] : columns[i + 1]]
        assert (j, i) == (0, 1) or found[j, i] == np.nanmedian(part)


@pytest.mark.parametrize("shape", [(7, 5), (64, 90), (131, 200)])
def test_surroundings_are_the_medians_of_tiles_between_their_centres(shape):
    rng = np.random.default_rng(5)
    image = rng.normal(100, 10, shape)
    image[rng.random(shape) < 0.1] = np.nan
    image[0, 0] = np.inf
    counts = [max(1, n // 32) for n in shape]
    edges = [np.linspace(0, n, k + 1).astype(int) for n, k in zip(shape, counts, strict=True)]
    mesh = tile_medians(image, *edges, finite=True)
    # the outer half tiles go on as the line between the two outermost centres does
    for axis, k in enumerate(counts):
        width = [(1, 1) if a == axis and k > 1 else (0, 0) for a in (0, 1)]
        mesh = np.pad(mesh, width, mode="reflect", reflect_type="odd")
    at = [(np.arange(n) + 0.5) * k / n - 0.5 + (k > 1) for n, k in zip(shape, counts, strict=True)]
    truth = ndimage.map_coordinates(mesh, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(surroundings(image), truth, rtol=1e-14)


def test_surroundings_follow_a_slope_and_fill_what_is_missing():
    ys, xs = np.mgrid[:128, :160]
    slope = 3.0 + 0.5 * xs - 0.25 * ys
    np.testing.assert_allclose(surroundings(slope), slope, atol=1e-9)
    np.testing.assert_array_equal(surroundings(np.full((20, 30), 4.0)), np.full((20, 30), 4.0))
    holed = np.full((128, 160), 5.0)
    holed[:40, :40] = np.nan
    np.testing.assert_array_equal(surroundings(holed), np.full(holed.shape, 5.0))
    assert np.isnan(surroundings(np.full((70, 70), np.nan))).all()
