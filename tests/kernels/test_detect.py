"""Finding stars: simulated truth, and real uncalibrated frames."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.spatial import cKDTree

from dphot.errors import InputError
from dphot.flags import PIXEL_BAD, PIXEL_NONFINITE, PIXEL_SATURATED
from dphot.kernels.detect import background, detect, find_stars


def field(fwhm, n=60, size=400, seed=1, sky=200.0, bright=(3.7, 5.3), beta=3.0, gap=None):
    """Moffat stars of flux 10^bright, apart from each other, with photon noise; returns image, x, y, flux."""
    rng = np.random.default_rng(seed)
    gap = 4 * fwhm if gap is None else gap
    places: list[np.ndarray] = []
    for place in rng.uniform(3 * fwhm, size - 3 * fwhm, (20 * n, 2)):
        if len(places) < n and all(np.hypot(*(place - other)) > gap for other in places):
            places.append(place)
    x, y = np.array(places).T
    flux = 10 ** rng.uniform(*bright, len(x))
    s2 = fwhm**2 / 4 / (2 ** (1 / beta) - 1)
    yy, xx = np.mgrid[:size, :size]
    image = np.zeros((size, size))
    for px, py, f in zip(x, y, flux, strict=True):
        image += f * (beta - 1) / np.pi / s2 * (1 + ((xx - px) ** 2 + (yy - py) ** 2) / s2) ** -beta
    image = rng.poisson(image + sky) + rng.normal(0, 5, image.shape)
    return image.astype(np.float32), x, y, flux


def score(x, y, true_x, true_y, within=1.0):
    """Share of the true stars found, and number of false ones."""
    distance, index = cKDTree(np.c_[true_x, true_y]).query(np.c_[x, y])
    return len(set(index[distance < within])) / len(true_x), int((distance >= within).sum())


@pytest.mark.parametrize("fwhm", [1.6, 2.0, 3.0, 5.0, 8.0])
def test_stars_are_found_and_nothing_else(fwhm):
    image, x, y, flux = field(fwhm, bright=(3.9, 5.3))
    fx, fy, found_flux, snr = find_stars(image)
    share, false = score(fx, fy, x, y)
    assert share > 0.97
    assert false <= 1
    assert (np.diff(found_flux) <= 0).all()
    assert (snr > 5).all()
    _, index = cKDTree(np.c_[fx, fy]).query(np.c_[x, y])
    bright = flux > 3e4
    assert np.median(np.hypot(fx[index] - x, fy[index] - y)[bright]) < 0.015 * fwhm
    ratio = found_flux[index][bright] / flux[bright]
    assert np.std(ratio) / np.mean(ratio) < 0.1


def test_gradients_hot_pixels_cosmic_rays_and_trails():
    image, x, y, _ = field(2.5, n=80, bright=(4, 5.3))
    rng = np.random.default_rng(4)
    size = len(image)
    ramp = np.arange(size) / size
    image += (3000 * ramp + 2000 * ramp[:, None] ** 2).astype(np.float32)
    image *= (1 - 0.6 * ((ramp - 0.5) ** 2 + (ramp[:, None] - 0.5) ** 2)).astype(np.float32)
    hot = rng.integers(2, size - 2, (2, 400))
    image[hot[0], hot[1]] += rng.uniform(200, 60000, 400)
    for _ in range(15):  # cosmic rays, two or three pixels long
        i, j = rng.integers(5, size - 5, 2)
        image[i, j : j + rng.integers(2, 4)] += 3000
    across = np.arange(size)
    for width, light in ((0, 400), (1, 250), (-1, 250)):  # a satellite
        image[across, np.clip(across // 2 + 60 + width, 0, size - 1)] += light
    fx, fy, _, _ = find_stars(image)
    share, false = score(fx, fy, x, y)
    assert share > 0.9
    # two and three pixels of a cosmic ray look like a star of FWHM 2 where noise helps
    assert false <= 10


def test_empty_noise_gives_no_stars():
    image = np.random.default_rng(2).normal(500, 20, (512, 512)).astype(np.float32)
    assert len(find_stars(image)[0]) <= 1
    assert len(detect(image)) <= 2


@pytest.mark.parametrize("constant", [0.0, 7.0, np.nan])
def test_constant_images(constant):
    for column in find_stars(np.full((64, 80), constant, np.float32)):
        assert len(column) == 0


def test_quantised_and_noiseless_images():
    image, x, y, _ = field(3.0)
    coarse = np.round(image / 50)
    assert score(*find_stars(coarse)[:2], x, y)[0] > 0.9
    yy, xx = np.mgrid[:64, :64]
    clean = 10 + 100 * np.exp(-0.5 * ((xx - 30.2) ** 2 + (yy - 33.9) ** 2) / 2.0)
    fx, fy, _, _ = find_stars(clean)
    assert (len(fx), fx[0], fy[0]) == (1, pytest.approx(30.2, abs=0.01), pytest.approx(33.9, abs=0.01))


def test_saturated_plateau_is_one_star():
    image, x, y, flux = field(4.0, n=30, bright=(4, 6.3))
    image = np.minimum(image, 12000)
    assert np.count_nonzero(image == 12000) > 50
    fx, fy, _, _ = find_stars(image)
    share, false = score(fx, fy, x, y)
    assert share > 0.95
    assert false <= 1
    mask = np.where(image == 12000, PIXEL_SATURATED, 0).astype(np.uint8)
    table = detect(image, mask)
    _, index = cKDTree(np.c_[table["x"], table["y"]]).query(np.c_[x, y])
    peak = image[np.rint(y).astype(int), np.rint(x).astype(int)]
    assert table["saturated"][index][peak == 12000].all()
    assert not table["saturated"][index][flux < 1e5].any()


def test_bad_and_nan_pixels_are_bridged():
    image, x, y, _ = field(3.0)
    rng = np.random.default_rng(6)
    mask = np.zeros(image.shape, np.uint8)
    bad = rng.random(image.shape) < 0.02
    image[bad] = rng.choice([0, 60000], bad.sum())
    mask[bad] = PIXEL_BAD
    image[100:110, :] = np.nan
    mask[100:110, :] = PIXEL_NONFINITE
    away = (y < 90) | (y > 120)
    for find in (lambda: find_stars(image, mask)[:2], lambda: [detect(image, mask)[k] for k in ("x", "y")]):
        share, _ = score(*find(), x[away], y[away], within=1.5)
        assert share > 0.9


def test_n_max_keeps_the_brightest_and_bits_are_the_same():
    image, *_ = field(3.0)
    every, few = find_stars(image), find_stars(image, n_max=10)
    for a, b in zip(every, few, strict=True):
        np.testing.assert_array_equal(a[:10], b)
    again = find_stars(image.astype(np.float64).copy(order="F"))
    for a, b in zip(every, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_background_follows_the_sky():
    rng = np.random.default_rng(1)
    ramp = np.linspace(100, 400, 512)
    level, rms = background((ramp + rng.normal(0, 8, (512, 512))).astype(np.float32))
    assert level.shape == rms.shape == (512, 512)
    assert np.abs(level[:, 64:-64] - ramp[64:-64]).max() < 5
    assert np.median(rms) == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("fwhm", [2.0, 3.0, 6.0])
def test_detect_finds_sorts_and_marks(fwhm):
    image, x, y, _ = field(fwhm, n=50, bright=(4.2, 5.3))
    yy, xx = np.mgrid[: len(image), : len(image)]
    clear = next(p for p in np.random.default_rng(3).uniform(60, 340, (999, 2))
                 if np.hypot(x - p[0], y - p[1]).min() > 6 * fwhm)  # fmt: skip
    image += 2e5 / (2 * np.pi * (2 * fwhm) ** 2) * np.exp(
        -0.5 * ((xx - clear[0]) ** 2 + (yy - clear[1]) ** 2) / (2 * fwhm) ** 2
    )  # fmt: skip
    table = detect(image)
    assert (np.diff(table["flux"]) <= 0).all()
    tree = cKDTree(np.c_[table["x"], table["y"]])
    distance, index = tree.query(np.c_[x, y])
    assert (distance < 0.5).mean() > 0.97
    stars = table[index]
    assert np.median(stars["fwhm"]) == pytest.approx(fwhm, rel=0.25)
    assert not stars["sharp"].any()
    assert stars["extended"].mean() < 0.1
    galaxy = table[tree.query(clear)[1]]
    assert galaxy["extended"] and not galaxy["sharp"]


def test_saturated_stars_with_halos_do_not_hide_the_sharp_stars():
    image, x, y, _ = field(1.6, n=150, size=600, bright=(4.2, 5.0))
    rng = np.random.default_rng(5)
    yy, xx = np.mgrid[:600, :600]
    bright = rng.uniform(30, 570, (50, 2))
    for k, (px, py) in enumerate(bright):
        r = np.hypot(xx - px, yy - py)
        image += 1e6 * np.exp(-0.5 * (r / 2.5) ** 2)
        if k < 8:  # with a halo, and ripples in it
            image += np.where(r < 60, 1500.0 + 1200.0 * np.cos(r / 1.5) ** 2 * (r > 40), 0.0)
    image = np.minimum(image + rng.normal(0, 15, image.shape), 65535).astype(np.float32)
    mask = np.where(image >= 65535, PIXEL_SATURATED, 0).astype(np.uint8)
    fx, fy, _, _ = find_stars(image, mask, n_max=300)
    reach = np.where(np.arange(50) < 8, 70.0, 15.0)
    clear = [i for i in range(len(x)) if (np.hypot(*(bright - (x[i], y[i])).T) > reach).all()]
    share, _ = score(fx, fy, x[clear], y[clear])
    assert len(clear) > 50
    assert share > 0.97


def test_a_bad_pixel_in_the_wings_of_a_star_does_not_hide_its_neighbour():
    rng = np.random.default_rng(2)
    yy, xx = np.mgrid[:200, :200]
    image = rng.normal(300, 2, (200, 200))
    for px, py, flux in ((100, 100, 3e6), (107, 121, 6e4)):
        image += flux * (1 + ((xx - px) ** 2 + (yy - py) ** 2) / 4) ** -2.5 / 8
    mask = np.zeros(image.shape, np.uint8)
    mask[86, 113] = PIXEL_BAD
    for given in (None, mask):
        table = detect(image, given)
        assert np.hypot(table["x"] - 107, table["y"] - 121).min() < 0.2


def test_detect_marks_edge_and_hot_pixels():
    image, _, _, _ = field(2.5)
    image[200, 133] += 30000
    yy, xx = np.mgrid[:400, :400]
    image += 5000 * np.exp(-0.5 * ((xx - 2) ** 2 + (yy - 250) ** 2))
    table = detect(image)
    near = lambda px, py: table[np.argmin(np.hypot(table["x"] - px, table["y"] - py))]  # noqa: E731
    assert near(133, 200)["sharp"]
    assert near(2, 250)["edge"]
    assert not near(200, 200)["edge"]


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="image: shape"):
        find_stars(np.zeros((3, 20, 20)))
    with pytest.raises(InputError, match="mask: shape"):
        detect(np.zeros((64, 64)), np.zeros((32, 64), np.uint8))


@pytest.mark.real
def test_uncalibrated_frames_of_hatp32():
    data = os.environ.get("DPHOT_DATA")
    folder = Path(data) if data else Path(__file__).parents[3] / "shared" / "data"
    paths = sorted(folder.glob("hatp32/*.FITS.gz"))
    if not paths:
        pytest.skip("no folder hatp32 in DPHOT_DATA")
    lists = [find_stars(fits.getdata(path), n_max=3000) for path in (paths[0], paths[3])]
    first, second = (np.c_[a[0], a[1]] for a in lists)
    shift = np.array([-2.016, 4.573])
    bright = (lists[0][3] > 10) & (first + shift > 5).all(1) & (first + shift < [644, 494]).all(1)
    assert bright.sum() > 600
    # hot pixels do not move with the sky
    distance, _ = cKDTree(second - shift).query(first[bright])
    assert (distance < 1).mean() > 0.95
