"""The clipped mean, bit for bit as a plain loop over the pixels makes it."""

import itertools
import math

import numpy as np
import pytest

from dphot.kernels import clip
from dphot.kernels.combine import clipped_mean


def plain(cube, sigma=3.0, iterations=5):
    """The definition, one pixel after the other."""
    _, ny, nx = cube.shape
    mean, variance = np.full((2, ny, nx), np.nan, np.float32)
    used = np.zeros((ny, nx), np.int16)
    for y in range(ny):
        pixels = [np.sort(column[np.isfinite(column)]) for column in cube[:, y].T.astype(float)]
        widths = {}
        for x, values in enumerate(pixels):
            n = values.size
            if n > 2:
                away = np.median(np.abs(values - np.median(values)))
                widths[x] = 1.4826 * away / (1.0 - 1.0 / n - 1.1 / (n * n))
        quarter = len(widths) // 4
        inner = sorted(widths.values())[quarter : len(widths) - quarter]
        floor = sum(inner) / max(len(inner), 1)
        for x, values in enumerate(pixels):
            if x in widths:
                kept = clip_one(values, max(widths[x], floor), floor, sigma, iterations)
            else:
                kept = values
            n = used[y, x] = kept.size
            average = sum(kept.tolist()) / n if n else np.nan
            squares = sum((v - average) ** 2 for v in kept.tolist())
            mean[y, x] = average
            variance[y, x] = squares / ((n - 1) * n) if n > 1 else np.nan
    return mean, variance, used


def clip_one(values, width, floor, sigma, iterations):
    """What is left of sorted values."""
    kept, centre = values, np.median(values)
    for _ in range(iterations + 1):
        inside = (values >= centre - sigma * width) & (values <= centre + sigma * width)
        first = min(np.argmax(inside) if inside.any() else np.sum(values < centre), values.size - 1)
        last = max(values.size - np.argmax(inside[::-1]), first + 1)
        before, kept = kept, values[first:last]
        if kept.size == before.size and kept[0] == before[0]:
            break
        centre = np.median(kept)
        average = sum(kept.tolist()) / kept.size
        squares = sum((v - average) ** 2 for v in kept.tolist())
        width = max(math.sqrt(squares / max(kept.size - 1, 1)), floor)
    return kept


def same(one, two):
    for a, b in zip(one, two, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


KINDS = {
    "noise": lambda rng, cube: cube,
    "whole numbers": lambda rng, cube: cube.round(),
    "few numbers": lambda rng, cube: np.round(cube / 10),
    "around zero": lambda rng, cube: np.round(cube - 1000),
    "struck": lambda rng, cube: np.where(rng.random(cube.shape) < 0.05, 50 * cube, cube),
    "wild": lambda rng, cube: rng.standard_cauchy(cube.shape) * 1e12,
    "missing": lambda rng, cube: np.where(
        rng.random(cube.shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf, 1e5], cube.shape), cube
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 13, 30, 41])
def test_as_a_plain_loop_makes_it(kind, n):
    rng = np.random.default_rng(n)
    cube = KINDS[kind](rng, rng.normal(1000, 5, (n, 2, 70))).astype("f4")
    same(clipped_mean(cube), plain(cube))
    same(clipped_mean(cube, 1.5, 2), plain(cube, 1.5, 2))
    same(clipped_mean(cube[::-1]), plain(cube))


def test_pixels_and_rows_are_many_more_than_are_looked_at_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    cube = KINDS["missing"](rng, rng.normal(1000, 5, (7, 3, 1500))).astype("f4")
    assert cube.shape[2] > 2 * clip._step.py_func(7)
    truth = plain(cube)
    same(clipped_mean(cube), truth)
    monkeypatch.setattr(clip, "BLOCK_BYTES", 2 * cube[:, 0].nbytes)  # two rows, then one
    same(clipped_mean(cube), truth)


@pytest.mark.parametrize("n", range(1, 13))
def test_the_network_sorts_all_there_is(n):
    # what sorts every row of zeros and ones sorts everything
    rows = np.array(list(itertools.product((0, 1), repeat=n)))
    for first, second in clip.network(n):
        assert first < second
        pair = rows[:, [first, second]]
        rows[:, first], rows[:, second] = pair.min(axis=1), pair.max(axis=1)
    assert (np.diff(rows, axis=1) >= 0).all()
