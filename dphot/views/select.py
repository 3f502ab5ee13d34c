"""From the labelled dataset to the arrays a plot needs: one star, one aperture, flagged points known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from ..errors import InputError
from ..flags import LOST, UNFIT, FrameFlag, StarFlag, decode
from ..fluxes import nights_of
from ..kernels import scatter as kernel
from . import prepare

#: Frames whose points are drawn apart: lost ones, and those behind a cloud.
FRAME_BITS = int(LOST | FrameFlag.CLOUD)
#: More meridian flips than this are not marked: over many nights they would be a fence before the curve.
FLIPS_SHOWN = 6


def telling_bits(flags: np.ndarray) -> int:
    """The star flags that speak against single points of a light curve.

    Parameters
    ----------
    flags : integer array, shape (time,)
        One star's flags, where it was measured.

    Returns
    -------
    int
        Those that make a point unfit for a comparison (`dphot.flags.UNFIT`), and of the others those
        set in less than half of the frames: what is always there belongs to the star, not to a point.
    """
    bits = int(UNFIT)
    for bit in StarFlag:
        if not bits & int(bit) and 2 * np.count_nonzero(flags & int(bit)) < flags.size:
            bits |= int(bit)
    return bits


@dataclass(frozen=True)
class Curve:
    """A light curve ready to be drawn: rows in time order, without those that have no time or no flux."""

    time: np.ndarray
    """Days since `offset`."""
    flux: np.ndarray
    """Differential flux, about 1."""
    error: np.ndarray
    """Its standard deviation."""
    flagged: np.ndarray
    """True where a star or frame flag speaks against the point."""
    reason: list[str]
    """Names of the flags of each point."""
    frame: list[str]
    """File name of each point."""
    flip: np.ndarray
    """Meridian flip state, -1 where not known."""
    night: np.ndarray
    """Local night of each point."""
    rows: np.ndarray
    """Index of each point along `time` of the dataset."""
    offset: int
    """Whole days taken off the times."""
    scale: str
    """``BJD (TDB)``, or ``JD (UTC)`` where the barycentric times are not known."""
    star: int = 0
    aperture: int = 0
    radius: float = float("nan")
    """Median aperture radius, px."""
    labels: dict[str, Any] = field(default_factory=dict)
    """Attributes of the dataset."""

    @property
    def time_label(self) -> str:
        """Label of the time axis."""
        return f"{self.scale} − {self.offset} (days)"

    @property
    def time_limits(self) -> tuple[float, float]:
        """Range of the time axis."""
        return prepare.limits(self.time, pad=0.02, percent=0)

    @property
    def good(self) -> np.ndarray:
        """True where nothing speaks against the point."""
        return ~self.flagged

    def has_bins(self, width: float) -> bool:
        """Whether bins of this width tell more than the points: one at least holds two of them."""
        return width > 0 and bool(self.good.any()) and bool((self.bins(width)[3] > 1).any())

    @property
    def expected(self) -> float:
        """Median error of all points, flagged ones too: those whose scatter is told beside it. NaN where not known."""
        finite = self.error[np.isfinite(self.error)]
        return float(np.median(finite)) if finite.size else float("nan")

    @property
    def flips(self) -> np.ndarray:
        """Times of the meridian flips; none where so many would hide the curve."""
        found = prepare.flip_times(self.time, self.flip)
        return found if found.size <= FLIPS_SHOWN else found[:0]

    def bins(self, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Weighted means of the good points (see `prepare.bin_series`)."""
        return prepare.bin_series(self.time[self.good], self.flux[self.good], self.error[self.good], width)

    def precision(self, width: float = prepare.BIN_WIDTH) -> dict[str, float]:
        """Precision of the good points (see `prepare.precision`)."""
        return prepare.precision(self.time[self.good], self.flux[self.good], self.error[self.good], width)


def require(lc: xr.Dataset, *names: str) -> None:
    """Refuse a dataset without the variables a plot needs.

    Raises
    ------
    InputError
        Naming the variables, and the call that makes them.
    """
    missing = [name for name in names if name not in lc.variables]
    if missing:
        raise InputError(
            f"the dataset has no {', '.join(missing)}: it holds no differential photometry; "
            "make one with dphot.differential(obs, target=...)"
        )


def resolve(lc: xr.Dataset, target: int | None = None, aperture: int | None = None) -> tuple[int, int]:
    """Indices of star and aperture: those given, or the dataset's target and best aperture.

    Raises
    ------
    InputError
        If neither says, or an index is outside the dataset.
    """
    found = []
    for name, given, dim in (("target", target, "star"), ("aperture", aperture, "aperture")):
        value = lc.attrs.get(name) if given is None else given
        if value is None:
            raise InputError(
                f"no {name} is known: give {name}=, or use the dataset of dphot.differential(obs, target=...)"
            )
        if not 0 <= int(value) < lc.sizes[dim]:
            raise InputError(f"{name} = {value}: the dataset has {dim}s 0 to {lc.sizes[dim] - 1}")
        found.append(int(value))
    return found[0], found[1]


def times(lc: xr.Dataset) -> tuple[np.ndarray, str]:
    """Times in days and their scale: barycentric where known for any frame, otherwise UTC."""
    bjd = (
        np.asarray(lc["bjd_tdb"].values, float)
        if "bjd_tdb" in lc.variables
        else np.full(lc.sizes["time"], np.nan)
    )
    if np.isfinite(bjd).any():
        return bjd, "BJD (TDB)"
    return np.asarray(lc["jd_utc"].values, float), "JD (UTC)"


def curve(
    lc: xr.Dataset, target: int | None = None, aperture: int | None = None, night: str | None = None
) -> Curve:
    """The differential light curve of one star in one aperture.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`; only the star and aperture asked for are computed.
    target, aperture : int, optional
        Default: the dataset's target and best aperture.
    night : str, optional
        Only this local night.

    Raises
    ------
    InputError
        If the dataset holds no differential photometry, no such star, aperture or night, or no point of it.
    """
    require(lc, "diff_flux", "diff_err")
    star, ap = resolve(lc, target, aperture)
    time, scale = times(lc)
    one = lc[["diff_flux", "diff_err"]].isel(star=star, aperture=ap).compute()
    flux, error = one["diff_flux"].values.astype(float), one["diff_err"].values.astype(float)
    count = lc.sizes["time"]
    star_bits = _frames(lc, "flags", count, star)
    star_bits &= telling_bits(star_bits[np.isfinite(flux)])
    frame_bits = _frames(lc, "frame_flags", count) & FRAME_BITS
    nights = nights_of(lc)
    timed = np.isfinite(time)
    if night is not None:
        if night not in nights:
            raise InputError(f"night = {night!r}: the dataset has {', '.join(sorted(set(nights)))}")
        timed &= nights == night
    rows = np.flatnonzero(timed & np.isfinite(flux))
    if rows.size == 0:
        where = f"star {star} in aperture {ap}" + (f" on {night}" if night else "")
        raise InputError(f"{where} has no measured point; choose another target or aperture")
    offset = int(np.floor(time[timed].min()))  # of the frames, not the star's points: all stars share it
    rows = rows[np.argsort(time[rows], kind="stable")]
    paths = lc["path"].values[rows] if "path" in lc.variables else [""] * rows.size
    radius = (
        float(np.nanmedian(lc["aperture_radius"].isel(aperture=ap).values))
        if _known(lc, "aperture_radius")
        else np.nan
    )
    return Curve(
        time=time[rows] - offset,
        flux=flux[rows],
        error=error[rows],
        flagged=((star_bits | frame_bits)[rows] != 0),
        reason=_reasons(star_bits[rows], frame_bits[rows]),
        frame=[str(path).replace("\\", "/").rpartition("/")[2] for path in paths],
        flip=lc["flip"].values[rows] if "flip" in lc.variables else np.full(rows.size, -1),
        night=nights[rows],
        rows=rows,
        offset=offset,
        scale=scale,
        star=star,
        aperture=ap,
        radius=radius,
        labels=dict(lc.attrs),
    )


def _reasons(star_bits: np.ndarray, frame_bits: np.ndarray) -> list[str]:
    """The flags of each point in words; a series of any length has few that differ."""
    pairs, which = np.unique(np.stack([star_bits, frame_bits]), axis=1, return_inverse=True)
    words = [", ".join(decode(s) + decode(f, FrameFlag)) or "none" for s, f in pairs.T]
    return [words[i] for i in which.ravel()]


def _known(lc: xr.Dataset, name: str) -> bool:
    return name in lc.variables and bool(np.isfinite(lc[name].values).any())


def _frames(lc: xr.Dataset, name: str, count: int, star: int | None = None) -> np.ndarray:
    if name not in lc.variables:
        return np.zeros(count, np.int64)
    values = lc[name] if star is None else lc[name].isel(star=star)
    return values.values.astype(np.int64)


def weights(lc: xr.Dataset, aperture: int) -> np.ndarray:
    """Weight of every star in the target's artificial star, shape (star,); 0 for stars without."""
    require(lc, "weight")
    return np.nan_to_num(lc["weight"].isel(aperture=aperture).values.astype(float))


def comparisons(lc: xr.Dataset, aperture: int, target: int, count: int | None = None) -> list[int]:
    """Comparison stars, the heaviest first; at most `count`."""
    weight = weights(lc, aperture)
    listed = lc.attrs.get("comparisons")
    stars = np.atleast_1d(np.asarray(listed, int)) if listed is not None else np.flatnonzero(weight > 0)
    stars = np.array([s for s in stars if s != target], int)
    return [int(s) for s in stars[np.argsort(-weight[stars], kind="stable")][:count]]


def point_scatter(lc: xr.Dataset, aperture: int, stars: Sequence[int]) -> np.ndarray:
    """Point-to-point scatter of stars, relative to their median flux, shape (len(stars),).

    Of the target it is the dataset's own figure, by which the aperture was chosen, so that plots, tables and commands
    tell one number; of the others what theirs would be if they were the target: flagged points count, the robust
    variance limits what they do.
    """
    require(lc, "diff_flux")
    diff = lc["diff_flux"].isel(aperture=aperture, star=stars).transpose("time", "star").values
    order = np.argsort(times(lc)[0], kind="stable")
    scatter = kernel.point_scatter(diff[order], nights_of(lc)[order])
    if "scatter" in lc.variables:
        scatter[np.equal(stars, lc.attrs.get("target", -1))] = float(lc["scatter"][aperture])
    return scatter


def star_scatter(lc: xr.Dataset, aperture: int) -> tuple[np.ndarray, np.ndarray]:
    """Median flux of every star, flagged points left out, and its point-to-point scatter.

    Returns
    -------
    flux, scatter : arrays, shape (star,)
        Flux in the dataset's unit, NaN where a star has no good point; scatter of `point_scatter`.
    """
    require(lc, "diff_flux", "flux")
    bad = (_frames(lc, "frame_flags", lc.sizes["time"]) & FRAME_BITS)[:, None] != 0
    if "flags" in lc.variables:
        bad = bad | ((lc["flags"].values.astype(np.int64) & int(UNFIT)) != 0)
    flux = lc["flux"].isel(aperture=aperture).transpose("time", "star").values.astype(float)
    flux = np.where(bad, np.nan, flux)
    median = np.full(flux.shape[1], np.nan)
    some = np.isfinite(flux).any(axis=0)
    median[some] = np.nanmedian(flux[:, some], axis=0)
    return median, point_scatter(lc, aperture, range(lc.sizes["star"]))


def heading(lc: xr.Dataset, *parts: str) -> str:
    """Title of a plot: object, filter and what it shows, joined by dots."""
    named = [str(lc.attrs.get("object") or ""), str(lc.attrs.get("filter") or "")]
    return "  ·  ".join([part for part in [*named, *parts] if part])
