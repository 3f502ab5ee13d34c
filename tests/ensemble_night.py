"""Fluxes of a night for tests of the ensemble, and the best light curve there is."""

import numpy as np


def night(seed, stars=15, frames=100, variables=3, clouds=True):
    """Fluxes with known noise, a common transparency and slow variables; returns also the best weights."""
    rng = np.random.default_rng(seed)
    level = 1e6 * 10 ** (-0.4 * np.sort(rng.uniform(0, 6, stars)))
    t = np.arange(frames) / frames
    common = (1 - 0.1 * t) * (1 + 0.003 * np.cumsum(rng.normal(size=frames))) if clouds else np.ones(frames)
    own = np.ones((frames, stars))
    for k in rng.choice(np.arange(1, stars), variables, replace=False):
        amplitude = 10 ** rng.uniform(-2.5, -1.3)
        own[:, k] += amplitude * np.sin(2 * np.pi * (t * rng.uniform(0.5, 3) + rng.random()))
    mean = level * common[:, None] * own
    sigma = np.sqrt(mean + 1e5)
    flux = mean + sigma * rng.normal(size=mean.shape)
    best = 1 / (np.mean((sigma / mean) ** 2, axis=0) + own.var(axis=0))
    return flux[:, None], np.sqrt(np.maximum(flux, 0) + 1e5)[:, None], level, own, best


def against(flux, level, weights, star):
    w = weights.copy()
    w[star] = 0
    f = flux[:, 0] / level
    return f[:, star] / (f @ w / w.sum())


def rms(curve):
    return np.std(curve) / np.mean(curve)
