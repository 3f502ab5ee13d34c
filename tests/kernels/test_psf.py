"""PSF fits against truth and astropy's fitter."""

import numpy as np
import pytest
from astropy.modeling.fitting import LevMarLSQFitter
from astropy.modeling.models import Const2D, Moffat2D

from dphot import simulate
from dphot.errors import InputError
from dphot.flags import PIXEL_BAD, PIXEL_SATURATED
from dphot.kernels.detect import find_stars
from dphot.kernels.psf import PsfModel, fit_gaussian, fit_moffat, frame_psf, median_psf, render
from dphot.simulate.moffat import draw_stars


def truth(fwhm_x, fwhm_y, theta=0.4, beta=3.0, **changes):
    width = 2 * np.sqrt(2 ** (1 / beta) - 1) if np.isfinite(beta) else 2 * np.sqrt(2 * np.log(2))
    values = dict(amplitude=100.0, x0=10.3, y0=9.6, background=5.0) | changes
    return PsfModel(s1=fwhm_x / width, s2=fwhm_y / width, theta=theta, beta=beta, **values)


def scene(fwhm, ratio=1.0, beta=3.0, n=40, noise=0.0, seed=1):
    """Stars of falling brightness at random pixel phases, on a sky of 100."""
    rng = np.random.default_rng(seed)
    pitch, m = 12 * int(np.ceil(fwhm)) + 1, 7
    image = np.zeros((m * pitch, m * pitch))
    x, y = np.empty(n), np.empty(n)
    for k in range(n):
        i, j = k // m * pitch, k % m * pitch
        dx, dy = pitch // 2 + rng.uniform(-0.5, 0.5, 2)
        model = truth(fwhm * np.sqrt(ratio), fwhm / np.sqrt(ratio), 0.6, beta, x0=dx, y0=dy, background=0.0,
                      amplitude=20000 / (1 + 0.2 * k))  # fmt: skip
        image[i : i + pitch, j : j + pitch] = render(model, (pitch, pitch))
        x[k], y[k] = j + dx, i + dy
    image += 100 + rng.normal(0, 1, image.shape) * noise
    return image.astype(np.float32), x, y


@pytest.mark.parametrize("beta", [1.5, 2.5, 4.0, 10.0])
@pytest.mark.parametrize("theta", [-1.5, -0.7, 0.0, 0.4, np.pi / 2])
def test_moffat_comes_back(beta, theta):
    model = truth(5.0, 3.5, theta, beta)
    found = fit_moffat(render(model, (21, 21)))
    for name in ("amplitude", "x0", "y0", "s1", "s2", "beta", "fwhm_x", "fwhm_y", "ellipticity"):
        assert getattr(found, name) == pytest.approx(getattr(model, name), rel=1e-4), name
    assert np.sin(found.theta - theta) == pytest.approx(0, abs=1e-4)
    assert found.rms < 1e-3


def test_gaussian_comes_back():
    model = truth(4.0, 3.0, -0.3, np.inf)
    found = fit_gaussian(render(model, (21, 21)))
    assert np.isinf(found.beta)
    assert (found.fwhm_x, found.fwhm_y) == (pytest.approx(4.0, rel=1e-5), pytest.approx(3.0, rel=1e-5))
    assert found.theta == pytest.approx(-0.3, abs=1e-5)
    # a Gaussian lies beyond the bound of the Moffat's exponent
    bounded = fit_moffat(render(model, (21, 21)))
    assert bounded.beta == pytest.approx(50.0)
    assert bounded.fwhm == pytest.approx(model.fwhm, rel=0.01)


def test_agrees_with_astropy_on_noisy_pixels():
    rng = np.random.default_rng(3)
    stamp = render(truth(4.0, 4.0, beta=2.8), (25, 25)) + rng.normal(0, 0.5, (25, 25))
    yy, xx = np.mgrid[:25, :25]
    start = Moffat2D(90, 10, 10, 2.5, 3.0) + Const2D(4.0)
    fitted = LevMarLSQFitter()(start, xx, yy, stamp, maxiter=1000)
    theirs = render(
        PsfModel(fitted.amplitude_0.value, fitted.x_0_0.value, fitted.y_0_0.value, abs(fitted.gamma_0.value),
                 abs(fitted.gamma_0.value), 0.0, fitted.alpha_0.value, fitted.amplitude_1.value), (25, 25),
    )  # fmt: skip
    ours = fit_moffat(stamp)
    # two more parameters cannot fit worse, and change little where the truth is round
    assert ((stamp - render(ours, (25, 25))) ** 2).sum() <= ((stamp - theirs) ** 2).sum() * (1 + 1e-9)
    width = 2 * abs(fitted.gamma_0.value) * np.sqrt(2 ** (1 / fitted.alpha_0.value) - 1)
    assert ours.fwhm == pytest.approx(width, rel=2e-3)
    assert ours.x0 == pytest.approx(fitted.x_0_0.value, abs=2e-3)


def test_same_stamp_same_bits_and_weights():
    stamp = render(truth(4.0, 3.0), (21, 21)) + np.random.default_rng(1).normal(0, 1, (21, 21))
    assert fit_moffat(stamp) == fit_moffat(stamp.copy())
    spoiled = stamp.copy()
    spoiled[3, 4] = 1e4
    weights = np.ones_like(stamp)
    weights[3, 4] = 0
    gap = stamp.copy()
    gap[3, 4] = np.nan
    assert fit_moffat(spoiled, weights).fwhm == pytest.approx(fit_moffat(gap).fwhm, rel=1e-5)


def test_stamps_without_a_star():
    assert fit_moffat(np.zeros((11, 11))) is None
    assert fit_moffat(np.full((11, 11), np.nan)) is None
    with pytest.raises(InputError, match="stamp: shape"):
        fit_moffat(np.zeros(9))
    with pytest.raises(InputError, match="weights: shape"):
        fit_moffat(np.zeros((9, 9)), np.ones((8, 8)))


@pytest.mark.parametrize("fwhm", [1.6, 2.0, 3.0, 5.0, 8.0])
@pytest.mark.parametrize("ratio", [1.0, 1.25, 1.4])
def test_frame_fwhm_within_a_percent(fwhm, ratio):
    image, x, y = scene(fwhm, ratio, noise=10.0)
    rng = np.random.default_rng(8)
    found = frame_psf(image, None, x + rng.normal(0, 0.3, len(x)), y + rng.normal(0, 0.3, len(x)))
    assert found.fwhm == pytest.approx(fwhm, rel=0.01)
    assert found.fwhm_x / found.fwhm_y == pytest.approx(ratio, rel=0.02)
    if ratio > 1:
        assert found.theta == pytest.approx(0.6, abs=0.05)
    assert found.x0 == pytest.approx(0, abs=0.02)


def seen_fwhm(fwhm, beta, ratio):
    """Full width at half maximum, in the pixels, of a Moffat that they integrate: mean of the two axes'."""
    axes = (fwhm * np.sqrt(ratio), fwhm / np.sqrt(ratio))
    widths = []
    for k in range(2):
        phases, size = np.linspace(-0.5, 0.5, 201)[:-1], 41
        image = np.zeros((size, size * phases.size))
        x = size // 2 + np.arange(phases.size) * float(size)
        draw_stars(
            image,
            x + phases,
            np.full(phases.size, 20.0),
            np.full(phases.size, 1e6),
            axes if k == 0 else axes[::-1],
            0.0,
            beta,
        )
        line = image[20].reshape(-1, size).T[:, ::-1].ravel()  # one finely sampled profile
        widths.append(np.count_nonzero(line > line.max() / 2) / phases.size)
    return np.sqrt(widths[0] * widths[1])


@pytest.mark.parametrize("fwhm, ellipticity", [(1.6, 0.0), (1.6, 0.3), (2.2, 0.3), (3.5, 0.0), (8.0, 0.3)])
def test_fwhm_of_a_field_of_25_stars(fwhm, ellipticity):
    """Two or three bright stars and many faint ones: still within 2 %, as each star weighs what it tells."""
    truth_px = seen_fwhm(fwhm, 4.0, 1 / (1 - ellipticity))
    errors = []
    for seed in range(1, 5):
        spec = simulate.simulation(stars=25, frames=1, fwhm=fwhm, ellipticity=ellipticity, seeing_rms=0.0,
                                   seeing_airmass=0.0, seed=seed)  # fmt: skip
        image = simulate.prepare(spec).frame("light", 0).astype(np.float32)
        x, y, flux, _ = find_stars(image)
        errors.append(frame_psf(image, None, x, y, flux=flux).fwhm / truth_px - 1)
    # below two pixels a Moffat that the pixels integrate is none any more, and two stars show it at two phases
    assert np.max(np.abs(errors)) < (0.02 if fwhm > 2 else 0.03), errors


def test_one_odd_star_does_not_make_the_psf():
    image, x, y = scene(3.0, noise=5.0)
    clean = frame_psf(image, None, x, y)
    image[: image.shape[1] // 7, : image.shape[1] // 7] = np.minimum(
        image[: image.shape[1] // 7, : image.shape[1] // 7], 4000
    )  # the brightest is saturated, and no mask says so
    assert frame_psf(image, None, x, y).fwhm == pytest.approx(clean.fwhm, rel=0.01)


def test_median_psf_is_the_psf():
    image, x, y = scene(3.0)
    stamp = median_psf(image, x, y, sky=100.0, size=21)
    expected = render(truth(3.0, 3.0, x0=10, y0=10, background=0.0), (21, 21))
    np.testing.assert_allclose(stamp, expected / expected.sum(), atol=2e-3 * stamp.max())
    assert stamp.sum() == pytest.approx(1.0)


def test_median_bears_neighbours_and_cosmic_rays():
    image, x, y = scene(3.0, noise=5.0)
    clean = frame_psf(image, None, x, y)
    spoiled = image.copy()
    for k in range(0, 20, 3):
        spoiled[int(y[k]) + 3, int(x[k]) - 2] += 5000
    assert frame_psf(spoiled, None, x, y).fwhm == pytest.approx(clean.fwhm, rel=0.01)
    spoiled = image.copy()
    for k in range(0, 20, 3):
        spoiled[int(y[k]) + 6, int(x[k]) - 2] = np.nan
    assert frame_psf(spoiled, None, x, y).fwhm == pytest.approx(clean.fwhm, rel=0.01)


def test_marked_stars_are_left_out():
    image, x, y = scene(3.0, noise=5.0)
    clean = frame_psf(image, None, x, y)
    mask = np.zeros(image.shape, np.uint8)
    for k in range(30):
        i, j = round(y[k]), round(x[k])
        image[i - 3 : i + 4, j - 3 : j + 4] = 30000
        mask[i, j] = PIXEL_SATURATED if k % 2 else PIXEL_BAD
    assert frame_psf(image, mask, x, y).fwhm == pytest.approx(clean.fwhm, rel=0.01)


def test_no_psf_without_stars():
    image, x, y = scene(3.0)
    assert frame_psf(image, None, [], []) is None
    assert frame_psf(image, None, x, y, n_min=100) is None
    assert frame_psf(np.full((100, 100), 5.0, np.float32), None, [50.0], [50.0]) is None
    assert frame_psf(image, None, [1.0], [1.0]) is None
    with pytest.raises(InputError, match="none of 1 stars"):
        median_psf(image, [1.0], [1.0])
    with pytest.raises(InputError, match="size: 20"):
        median_psf(image, x, y, size=20)
