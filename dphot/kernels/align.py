"""Asterism matching: the transform between two star lists, or a refusal with its numbers.

Proposals come from `search`. Statistics alone accept: the number of transforms, of all that could be tried between
unrelated lists, that would match as many stars by chance. A prior only proposes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from dphot.errors import AlignmentError, InputError
from dphot.kernels.pairing import Floats, Indices, StarList, make_list, pair_up
from dphot.kernels.rest import (
    IDENTITY,
    REST_RADIUS,
    REST_SHARE,
    REST_SHIFT,
    at_rest,
    drifts,
    is_pattern,
    is_telling,
    motion,
    paired,
)
from dphot.kernels.search import (
    BRIGHT,
    CLEAR_SHARE,
    LOG_CHANCE,
    NOTHING,
    STAGES,
    Found,
    Limits,
    Triangles,
    best_of,
    by_prior,
    by_shift,
    by_triangles,
    is_clear,
    repeats,
    triangles_of,
)
from dphot.kernels.trails import on_trails
from dphot.kernels.transform import Parts, apply, compose, decompose, fit_transform, invert, position_weights

__all__ = [
    "Match", "Parts", "Pattern", "apply", "compose", "decompose", "fit_transform", "invert", "match"
]  # fmt: skip


@dataclass(frozen=True)
class Match:
    """A trustworthy transform and the stars it rests on."""

    matrix: Floats
    """(2, 3), reference pixels to frame pixels."""
    ref_index: Indices
    """(n,) indices into the reference list."""
    index: Indices
    """(n,) indices into the frame's list, one-to-one with `ref_index`."""
    rms: float
    """Root mean square distance of the matched stars, px; weighted if their errors are given."""
    n: int
    """Number of matched stars."""
    log_chance: float
    """log10 of the number of transforms as good as the proposed one that chance would give."""
    at_rest: bool
    """The identity to a tenth of a pixel: stars alone cannot tell it from the detector's own pattern."""


class Pattern:
    """A reference star list, prepared once for the many frames that are matched with it.

    Parameters
    ----------
    x, y : (n,) array-like
        Reference positions, px, brightest first.
    tolerance, max_scale, allow_mirror, exclude
        See `match`.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        tolerance: float = 2.0,
        max_scale: float = 0.02,
        allow_mirror: bool = True,
        exclude: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        if not tolerance > 0:
            raise InputError(f"tolerance={tolerance}: must be a positive number of pixels")
        self._limits = Limits(float(tolerance), float(max_scale), bool(allow_mirror))
        self._exclude = exclude
        self._x, self._y = np.array(x, np.float64), np.array(y, np.float64)
        x, y, self._index = _clean(x, y, exclude, "reference")
        self._stars = make_list(x, y, self._limits.tolerance) if len(x) else None
        if self._stars is not None and repeats(self._stars, self._limits):
            self._limits = replace(self._limits, clear_share=CLEAR_SHARE)
        self._triangles: dict[int, Triangles] = {}

    def _stage(self, number: int) -> Triangles:
        """The list's own triangles, which are the same for every frame."""
        if number not in self._triangles:
            assert self._stars is not None
            self._triangles[number] = triangles_of(self._stars, STAGES[number], self._limits.tolerance)
        return self._triangles[number]

    def match(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        error: ArrayLike | None = None,
        prior: ArrayLike | None = None,
        kind: str = "auto",
    ) -> Match:
        """The transform to a frame's star list, found from the pattern of the stars alone (see `match`).

        `error` (m,), px, is the error of each position along one axis; it weights the last fit.
        """
        try:
            return self._match(x, y, error, prior, kind)
        except AlignmentError:
            x, y = np.array(x, np.float64), np.array(y, np.float64)
            trail = self._trail(x, y)
            if not trail.any() and self._without_trails is self:
                raise
            x[trail] = np.nan
            return self._without_trails._match(x, y, error, prior, kind)

    def _trail(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """The detections that lie on trails."""
        good = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        trail = np.zeros(len(x), np.bool_)
        trail[good] = on_trails(x[good], y[good], self._limits.tolerance)
        return trail

    @cached_property
    def _without_trails(self) -> Pattern:
        """The same list without the detections on trails; itself where there are none."""
        x, y = self._x.copy(), self._y
        trail = self._trail(x, y)
        if not trail.any():
            return self
        x[trail] = np.nan
        limits = self._limits
        return Pattern(
            x,
            y,
            tolerance=limits.tolerance,
            max_scale=limits.scale,
            allow_mirror=limits.mirror,
            exclude=self._exclude,
        )

    def _match(
        self, x: ArrayLike, y: ArrayLike, error: ArrayLike | None, prior: ArrayLike | None, kind: str
    ) -> Match:
        fx, fy, index = _clean(x, y, self._exclude, "frame")
        n = len(self._index)
        if min(n, len(fx)) < 3:
            raise AlignmentError(f"{n} reference and {len(fx)} frame stars: at least 3 of each are needed")
        ref, limits = self._stars, self._limits
        assert ref is not None
        frame = make_list(fx, fy, limits.tolerance)
        seed = None if prior is None else np.array(prior, np.float64)
        rest = pair_up(IDENTITY, ref.x, ref.y, REST_RADIUS, frame)
        barred = None
        if is_telling(rest, ref, frame, limits.tolerance):
            best, barred, from_rest = self._with_rest(rest, ref, frame, seed)
        else:
            best, from_rest = self._search(ref, frame, seed), False
        if not best.log_chance < LOG_CHANCE:
            raise AlignmentError(
                f"no trustworthy transform between {n} reference and {len(fx)} frame stars: the best "
                f"matches {best.count} stars within {limits.tolerance:g} px, and 10^{best.log_chance:.1f} as "
                f"good are expected by chance (10^{LOG_CHANCE:.0f} allowed)"
            )
        errors = None if error is None else np.asarray(error, np.float64)[index]
        result = _finish(best, ref, frame, (self._index, index), barred, limits.tolerance, kind, errors)
        if from_rest and result.at_rest and self._exclude is None:
            _check_rest(result, ref, frame, seed, limits.tolerance)
        return result

    def _search(self, ref: StarList, frame: StarList, seed: Floats | None) -> Found:
        """The first proposal that is clear, else the best."""
        best = NOTHING
        if seed is not None:
            best = by_prior(seed, ref, frame, self._limits)
        if not is_clear(best, ref, frame, self._limits):
            best = best_of(best, by_shift(ref, frame, self._limits))
        if not is_clear(best, ref, frame, self._limits):
            stage = self._stage if ref is self._stars else None
            best = best_of(best, by_triangles(ref, frame, self._limits, stage))
        return best

    def _with_rest(
        self, rest: Indices, ref: StarList, frame: StarList, seed: Floats | None
    ) -> tuple[Found, Indices | None, bool]:
        """The best transform where `rest` pairs lie at the same pixels, which may be the detector's own pattern.

        With it, the pairs that are no stars, and whether it rests on the pairs at rest.
        """
        tolerance = self._limits.tolerance
        left = rest < 0
        stay = np.ones(len(frame.x), np.bool_)
        stay[rest[~left]] = False
        best = NOTHING
        if not drifts(rest, ref, frame) and min(left.sum(), stay.sum()) >= 3:
            others = (
                make_list(ref.x[left], ref.y[left], tolerance),
                make_list(frame.x[stay], frame.y[stay], tolerance),
            )
            best = self._search(*others, seed)
        if best.log_chance >= LOG_CHANCE:
            return at_rest(ref, frame, self._limits), None, True
        if is_pattern(best.matrix, ref, frame, rest, tolerance):
            return best, rest, False
        # The field hardly moved: what was left out are its stars, what was matched may be their outliers.
        whole = at_rest(ref, frame, self._limits)
        better = whole.log_chance < LOG_CHANCE and whole.count > best.count
        return whole if better else best, None, False


def match(
    ref_x: ArrayLike,
    ref_y: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    tolerance: float = 2.0,
    max_scale: float = 0.02,
    allow_mirror: bool = True,
    prior: ArrayLike | None = None,
    exclude: tuple[ArrayLike, ArrayLike] | None = None,
    kind: str = "auto",
) -> Match:
    """The transform from a reference star list to a frame's, found from the pattern of the stars alone.

    Bears shifts of most of the field, any rotation, mirrored frames, missing and false stars, and brightness
    orders that agree only roughly. Stars at the same detector position in both lists (hot pixels, or a field
    that did not move) are first left out; their transform is believed only where the others give none.

    Parameters
    ----------
    ref_x, ref_y : (n,) array-like
        Reference positions, px, brightest first.
    x, y : (m,) array-like
        Positions in the frame, px, brightest first.
    tolerance : float
        Largest distance of a matched star, px: 3 to 4 times the error of a position in both lists together.
    max_scale : float
        Largest change of scale, as a fraction.
    allow_mirror : bool
        Whether a mirrored frame is possible.
    prior : (2, 3) array-like, optional
        A transform likely to be near, such as the neighbouring frame's: a proposal, judged as any other.
    exclude : (x, y) of array-likes, optional
        Detector positions known not to be stars: what lies within 1 px of them is left out of both lists.
    kind : {'auto', 'similarity', 'affine'}
        The transform of the last fit (see `fit_transform`).

    Returns
    -------
    Match

    Raises
    ------
    AlignmentError
        No transform that chance would not give as well; the message has the numbers.
    """
    pattern = Pattern(
        ref_x, ref_y, tolerance=tolerance, max_scale=max_scale, allow_mirror=allow_mirror, exclude=exclude
    )
    return pattern.match(x, y, prior=prior, kind=kind)


def _clean(
    x: ArrayLike, y: ArrayLike, exclude: tuple[ArrayLike, ArrayLike] | None, name: str
) -> tuple[Floats, Floats, Indices]:
    """Positions and list indices of the stars that can be used."""
    x, y = np.array(x, np.float64), np.array(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"{name}: x has shape {x.shape}, y {y.shape}: both must be the same (n,)")
    good = np.isfinite(x) & np.isfinite(y)
    index = np.flatnonzero(good)
    if exclude is not None:
        bad = cKDTree(np.column_stack([np.ravel(a).astype(np.float64) for a in exclude]))
        distance, _ = bad.query(np.column_stack([x[index], y[index]]), distance_upper_bound=1.0)
        index = index[~np.isfinite(distance)]
    return x[index], y[index], index


def _check_rest(result: Match, ref: StarList, frame: StarList, seed: Floats | None, tolerance: float) -> None:
    """Refuse a field at rest where it may be the detector's pattern under a cloud: neither most stars nor the
    prior say that it is at rest."""
    moved = math.inf if seed is None else motion(seed, ref.x, ref.y)
    away = seed is not None and moved > 5 * tolerance
    most = result.n >= REST_SHARE * max(len(ref.x), len(frame.x))
    if away or not (most or moved < REST_RADIUS):
        raise AlignmentError(
            f"of {len(ref.x)} reference and {len(frame.x)} frame stars only {result.n} agree, by lying exactly "
            f"where the reference's do{', while the prior has moved' if away else ''}: hot pixels "
            "would do the same (give their positions as exclude=)"
        )


def _finish(
    best: Found,
    ref: StarList,
    frame: StarList,
    indices: tuple[Indices, Indices],
    barred: Indices | None,
    tolerance: float,
    kind: str,
    error: Floats | None,
) -> Match:
    """The last fits, on all stars but the `barred` pairs (a frame index or -1 for each reference star)."""
    m, radius = best.matrix, tolerance
    for most in (BRIGHT, len(ref.x)):
        found = pair_up(m, ref.x[:most], ref.y[:most], radius, frame)
        if barred is not None:
            found[found == barred[:most]] = -1
        x, y, u, v = paired(found, ref, frame)
        m, used, rms = fit_transform(x, y, u, v, kind)
        radius = min(tolerance, max(5 * rms, tolerance / 16))
    if error is not None:
        px, py = apply(m, x, y)
        weights = position_weights((px - u) ** 2 + (py - v) ** 2, error[found[found >= 0]])
        m, used, rms = fit_transform(x, y, u, v, kind, weights=weights)
    pairs = np.flatnonzero(found >= 0)[used]
    at = found[pairs]
    rests = motion(m, ref.x, ref.y) < REST_SHIFT
    return Match(m, indices[0][pairs], indices[1][at], rms, len(pairs), best.log_chance, rests)
