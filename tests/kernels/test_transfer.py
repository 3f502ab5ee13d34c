"""Photon transfer against simulated pairs of frames."""

import math

import numpy as np
import pytest

from dphot.kernels.transfer import bias_variance, gain_of, inverse_gains

SHAPE = (480, 512)


def flat(rng, gain, read_noise, level, lines=0.0):
    """A flat in ADU: vignetting, pixel response, and rows of which each second one has a level of its own."""
    v, u = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    response = (1 - 0.2 * (u**2 + v**2)) * np.random.default_rng(0).normal(1, 0.01, SHAPE)
    electrons = rng.poisson(gain * level * response) + rng.normal(0, read_noise, SHAPE)
    return (electrons / gain * (1 + lines * (np.arange(SHAPE[0])[:, None] % 2))).round()


def bias(rng, gain, read_noise):
    pattern = np.random.default_rng(1).normal(0, 3, SHAPE)
    return (pattern + rng.normal(0, read_noise / gain, SHAPE)).round()


@pytest.mark.parametrize(
    ("gain", "read_noise", "level"), [(0.4, 3.0, 40000), (1.5, 8.0, 2000), (12.0, 15.0, 300)]
)
def test_gain_and_read_noise_come_back_within_their_errors(gain, read_noise, level):
    rng = np.random.default_rng(2)
    variance = bias_variance(bias(rng, gain, read_noise), bias(rng, gain, read_noise))
    digitised = read_noise**2 / gain**2 + 1 / 12
    n = SHAPE[0] * SHAPE[1]
    assert variance == pytest.approx(digitised, rel=5 * math.sqrt(math.pi / n))  # a median over tiles
    one, two = flat(rng, gain, read_noise, level), flat(rng, gain, read_noise, 0.7 * level)
    found, error = gain_of(inverse_gains(one, two, variance))
    assert abs(found - gain) < 4 * error
    # the variance of n values has sqrt(2 / n), a median over tiles sqrt(pi / 2) times that
    assert error == pytest.approx(
        gain * math.sqrt(math.pi / n) * (1 + gain * digitised / (0.85 * level)), rel=0.3
    )


def test_stars_cosmic_rays_and_lines_do_no_harm():
    rng = np.random.default_rng(3)
    one, two = flat(rng, 2.0, 5.0, 20000), flat(rng, 2.0, 5.0, 15000, lines=0.01)
    clean = gain_of(inverse_gains(one, two, 6.25))[0]
    y, x = rng.integers(0, 480, 60), rng.integers(0, 512, 60)
    one[y, x] += rng.exponential(5000, 60)
    one[40:70, 200:230] *= 1.05  # a speck of dust that moved
    found, error = gain_of(inverse_gains(one, two, 6.25))
    assert abs(found - 2.0) < 4 * error and abs(found - clean) < error


def test_what_holds_no_photons_gives_no_gain():
    still = np.full((100, 100), 1000.0)
    assert all(math.isnan(v) for v in gain_of(inverse_gains(still, still, 0.0)))
    assert all(math.isnan(v) for v in gain_of(inverse_gains(-still, still, 0.0)))
    assert all(math.isnan(v) for v in gain_of([]))
    assert bias_variance(still, still) == 0.0
    assert math.isnan(bias_variance(still * np.nan, still))
