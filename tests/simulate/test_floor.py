"""The floor: what true positions and true variances reach."""

from __future__ import annotations

import numpy as np
import pytest
import sep
import xarray as xr

from dphot.errors import InputError
from dphot.simulate import ensemble_floor, prepare, residual_rms, simulation, truth


def dataset(flux, relative, *, sky=100.0, scintillation=0.0, target=0):
    nt = len(flux)
    return xr.Dataset(
        {
            "flux": (("time", "star"), flux),
            "relative": (("time", "star"), relative),
            "sky": ("time", np.full(nt, sky)),
            "scintillation": ("time", np.full(nt, scintillation)),
        },
        attrs={"target": target, "dark": 0.0, "read_noise": 5.0},
    )


def test_residual_rms():
    t = np.linspace(0, 1, 200)
    injected = 1 + 0.1 * np.sin(9 * t)
    assert residual_rms(7 * injected, injected) == pytest.approx(0, abs=1e-12)
    noise = np.where(np.arange(200) % 2, 1e-3, -1e-3)
    assert residual_rms(3 * (injected + noise), 2 * injected) == pytest.approx(
        1e-3 / injected.mean(), rel=1e-3
    )
    assert np.isnan(residual_rms([1, np.nan], [1, 1]))


def test_weights_are_one_over_the_true_variance():
    rng = np.random.default_rng(3)
    nt, mean = 4000, np.array([1e6, 4e5, 1e5, 2e4])
    common = 1 + 0.05 * np.sin(np.arange(nt) / 300)
    relative = np.ones((nt, 4))
    relative[:, 2] += 0.004 * np.sin(np.arange(nt) / 50)
    flux = mean * relative * common[:, None]
    area = np.array([30.0, 200.0])
    sky = area[:, None] * (100 + 25)
    measured = flux[:, None, :] + rng.standard_normal((nt, 2, 4)) * np.sqrt(flux[:, None, :] + sky)
    floor = ensemble_floor(measured, dataset(flux, relative), area)
    variance = 1 / mean + sky / mean**2 + np.array([0, 0, 0.004**2 / 2, 0])
    assert floor.variance == pytest.approx(variance, rel=0.02)
    inverse = np.where(np.arange(4) == 0, 0, 1 / variance)
    assert floor.weights == pytest.approx(inverse / inverse.sum(axis=1, keepdims=True), rel=0.03)
    assert floor.rms == pytest.approx(np.sqrt(variance[:, 0] + 1 / inverse.sum(axis=1)), rel=0.05)
    assert floor.best == 0 and floor.rms_floor == floor.rms[0]


def test_spoiled_stars_lose_their_weight():
    rng = np.random.default_rng(4)
    nt = 300
    flux, relative = np.tile([1e6, 1e6, 1e6, 1e6, 1e6], (nt, 1)), np.ones((nt, 5))
    measured = flux[:, None, :] * (1 + 1e-3 * rng.standard_normal((nt, 1, 5)))
    measured[7, 0, 1] = np.nan
    measured[9, 0, 2] *= 1.5
    measured[20, 0, :] = np.nan
    measured[140:, 0, 4] = np.nan
    floor = ensemble_floor(measured, dataset(flux, relative), [30.0], use=np.ones((nt, 5), bool))
    weights = floor.weights[0]
    assert weights[0] == weights[4] == 0  # the target; a star that is hardly there
    assert weights[2] < 0.01 * weights[3] and weights[1] == pytest.approx(weights[3], rel=0.3)
    assert np.isfinite(floor.diff_flux[7, 0])
    assert np.isnan(floor.diff_flux[20, 0]) and floor.rms_floor == pytest.approx(1e-3 * np.sqrt(1.5), rel=0.1)
    with pytest.raises(InputError, match="no comparison star"):
        ensemble_floor(measured, dataset(flux, relative), [30.0], use=[True, False, False, False, True])
    with pytest.raises(InputError, match="expected \\(time, aperture, star\\)"):
        ensemble_floor(measured[:, 0], dataset(flux, relative), [30.0])


def test_a_star_that_is_missing_at_times_is_compared_with_while_it_is_there():
    """The brightest comparison leaves for a third of a night whose air darkens: no step, and less noise."""
    rng = np.random.default_rng(5)
    nt = 3000
    common = np.linspace(1, 0.5, nt)
    flux = np.array([1e6, 1e6, 1e5]) * common[:, None]
    measured = (flux * (1 + rng.standard_normal((nt, 3)) / np.sqrt(flux)))[:, None]
    measured[2000:, 0, 1] = np.nan
    floor = ensemble_floor(measured, dataset(flux, np.ones((nt, 3)), sky=0.0), [1e-9])
    curve = floor.diff_flux[:, 0]
    assert curve[:2000].mean() == pytest.approx(curve[2000:].mean(), abs=4 * 4e-3 / np.sqrt(1000))
    for part, others in ((slice(0, 2000), 1.1e6), (slice(2000, nt), 1e5)):
        expected = np.sqrt(np.mean((1 / 1e6 + 1 / others) / common[part]))
        assert curve[part].std() == pytest.approx(expected, rel=0.06)


def test_floor_of_rendered_frames_is_near_the_noise_they_were_given():
    spec = simulation("tutorial", frames=40, size=240, stars=12, magnitude_range=4.0, signal=None)
    night = prepare(spec)
    true = truth(night)
    radii = np.array([4.0, 6.0, 9.0])
    measured = np.full((40, 3, true.sizes["star"]), np.nan)
    bias, response = night.camera.bias, night.camera.response[0]
    for k in range(40):
        image = (night.frame("light", k) - bias - night.camera.dark * spec.exposure / spec.gain) / response
        image = np.ascontiguousarray(image * spec.gain - float(true.sky[k]), dtype=float)
        x, y = true.x.values[k], true.y.values[k]
        inside = (np.minimum(x, y) > 10) & (np.maximum(x, y) < 229)
        for a, radius in enumerate(radii):
            measured[k, a, inside] = sep.sum_circle(image, x[inside], y[inside], radius, subpix=0)[0]
    floor = ensemble_floor(measured, true, np.pi * radii**2)
    target = np.sqrt(1 / true.flux.values[:, 0].mean() + float(true.scintillation.mean()) ** 2)
    assert target < floor.rms_floor < 2.0 * target
    used = floor.weights[floor.best] > 0
    noise = floor.variance[floor.best, 0] - np.var(true.relative.values[:, 0])
    noise += np.sum(floor.weights[floor.best, used] ** 2 * floor.variance[floor.best, used])
    assert floor.rms_floor == pytest.approx(np.sqrt(noise), rel=0.4)
