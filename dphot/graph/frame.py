"""What is done to one frame: calibrate, find, align, measure. Arrays and plain records only.

Every path to a light curve, the fused chain of a night as well as the lazy verbs of a notebook, goes through
these functions, so both give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..config import Config
from ..errors import AlignmentError, FrameError
from ..flags import FrameFlag, StarFlag
from ..io import bayer
from ..kernels import aperture, cosmic, detect, noise, psf, sky, transform
from ..kernels.align import Pattern
from ..kernels.calibrate import calibrate, overscan_correct, pixel_mask
from ..kernels.order import median
from ..kernels.psf import PsfModel
from ..kernels.psf_centroid import fitted
from .steps import Step, stepped

Record = Mapping[str, Any]

#: Stars looked for in every frame: enough for any asterism, few enough to stay cheap.
FIND_STARS = 300
#: Flags are raised by what lies within this many FWHM of a star.
FLAG_RADIUS = 2.0
#: What `transform.decompose` returns.
_GEOMETRY = ("dx", "dy", "rotation", "scale", "flip", "mirror")


@dataclass(frozen=True)
class Masters:
    """Master frames of one camera setup, trimmed; float32 in ADU, NaN-free."""

    bias: np.ndarray
    dark_rate: np.ndarray
    flat: np.ndarray
    bad: np.ndarray
    flat_variance: float = 0.0
    """Relative variance of a flat pixel where the flat is 1; elsewhere it goes as 1 / flat."""
    gain: float = np.nan
    """e-/ADU from pairs of flats; NaN where it is known otherwise, or not at all."""

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Masters:
        """Masters that change nothing."""
        zero = np.zeros(shape, np.float32)
        return cls(zero, zero, np.ones(shape, np.float32), np.zeros(shape, bool))


@dataclass(frozen=True)
class Reference:
    """The star list and the pixel system that all frames are measured in."""

    shape: tuple[int, int]
    star_x: np.ndarray
    star_y: np.ndarray
    star_flags: np.ndarray
    """Flags a star has in every frame (NEIGHBOUR)."""
    match_x: np.ndarray
    match_y: np.ndarray
    match_flux: np.ndarray
    """Positions and fluxes of the stars that frames are aligned on, as `detect.find_stars` sees them."""
    near_x: np.ndarray
    near_y: np.ndarray
    near_radius: np.ndarray
    """All detected stars, and the radius within which each would spoil another star's sky (px)."""
    fwhm: float
    gain: float
    """e-/ADU; NaN where unknown: fluxes are then in ADU."""
    saturation: float
    """Saturation level in ADU; infinite where unknown."""
    beta: float = np.inf
    """Moffat exponent of the PSF; infinite for a Gaussian."""

    @cached_property
    def pattern(self) -> Pattern:
        """The stars that frames are aligned on, prepared once for all of them."""
        return Pattern(self.match_x, self.match_y)


def parse_section(text: str) -> tuple[slice, slice] | None:
    """``"x0:x1,y0:y1"`` (0-based, half-open) as array slices (rows, columns); None for an empty text."""
    if not text:
        return None
    (x0, x1), (y0, y1) = (tuple(int(v) for v in part.split(":")) for part in text.split(","))
    return slice(y0, y1), slice(x0, x1)


def trimmed_shape(record: Record) -> tuple[int, int]:
    """Shape (rows, columns) of a frame once it is trimmed."""
    section = parse_section(record["trim"])
    rows, columns = section or (slice(0, int(record["height"])), slice(0, int(record["width"])))
    per_pixel = 2 if record.get("channel", "") == "TG" else 1
    return (rows.stop - rows.start) // per_pixel, columns.stop - columns.start


def frame_shape(record: Record) -> tuple[int, int]:
    """Shape (rows, columns) of a raw frame, as its header says."""
    return int(record["height"]), int(record["width"])


def linearity_of(record: Record) -> tuple[float, ...]:
    """Coefficients of the camera's linearity correction (see `dphot.kernels.calibrate`)."""
    return tuple(float(v) for v in str(record.get("linearity", "")).split(",") if v)


def trim_raw(raw: np.ndarray, record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Raw pixels, trimmed: once with the overscan level taken off, once as the camera gave them.

    Of the two greens of a colour camera's cell the first is the sum, the second the larger.

    Raises
    ------
    FrameError
        If the frame has another size than its header said.
    """
    if raw.shape != frame_shape(record):
        raise FrameError(
            record["path"],
            f"the image is {raw.shape[1]}x{raw.shape[0]}, its header said {record['width']}x{record['height']}",
        )
    section = parse_section(record["trim"]) or (slice(None), slice(None))
    overscan = parse_section(record["overscan"])
    level = overscan_correct(raw, overscan) if overscan else raw
    level, raw = bayer.merge(level[section], record, _sum), bayer.merge(raw[section], record, np.maximum)
    return np.ascontiguousarray(level), np.ascontiguousarray(raw)


def _sum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first.astype(np.float32) + second


def calibrate_frame(
    raw: np.ndarray, record: Record, masters: Masters, saturation: float, steps: Sequence[Step] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated image, pixel mask and trimmed raw counts of one frame.

    Parameters
    ----------
    raw : ndarray (height, width)
        Pixels as read.
    record : mapping
        Row of the frame table.
    masters : Masters
        Trimmed masters of the same camera setup.
    saturation : float
        Raw level in ADU at and above which a pixel is saturated; infinite where unknown.
    steps : sequence of callable
        Steps of the user's own, ``f(image, record) -> image``, applied in order to the calibrated image.

    Returns
    -------
    image : ndarray float32 (ny, nx)
        In ADU.
    mask : ndarray uint8 (ny, nx)
        Pixel bits of `dphot.flags`.
    counts : ndarray (ny, nx)
        Trimmed raw pixels.

    Raises
    ------
    FrameError
        If the frame has another size than the masters, or a step returns another shape.
    """
    corrected, counts = trim_raw(raw, record)
    if counts.shape != masters.bias.shape:
        raise FrameError(
            record["path"], f"trimmed shape {counts.shape} differs from the masters' {masters.bias.shape}"
        )
    nonlinear = float(record.get("nonlinear", np.nan))
    mask = pixel_mask(counts, masters.bad, saturation, nonlinear if nonlinear > 0 else np.inf)
    exposure = float(record["exposure"])
    t = exposure if np.isfinite(exposure) else 0.0
    image = calibrate(corrected, masters.bias, masters.dark_rate, masters.flat, t, linearity_of(record))
    for step in steps:
        image = stepped(step, image, record)
    return image, mask, counts


class Found(NamedTuple):
    """Stars of a frame, the brightest first: positions (px), box fluxes (ADU), signal-to-noise."""

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    snr: np.ndarray


def find(image: np.ndarray, mask: np.ndarray) -> Found:
    """The stars of one frame that alignment rests on."""
    return Found(*detect.find_stars(image, mask, n_max=FIND_STARS))


def blank(reference: Reference, config: Config) -> dict[str, Any]:
    """The row of a frame that could not be measured: NaN everywhere."""
    n_star, n_aperture = reference.star_x.size, len(config.apertures)
    row: dict[str, Any] = {name: np.full(n_star, np.nan) for name in ("x", "y", "sky", "sky_rms", "peak")}
    row["sky_pixels"] = np.zeros(n_star, np.int32)
    row["flags"] = np.zeros(n_star, np.uint16)
    row["flux"] = np.full((n_aperture, n_star), np.nan)
    row["flux_err"] = np.full((n_aperture, n_star), np.nan)
    row["aperture_radius"] = np.full(n_aperture, np.nan)
    row["aperture_area"] = np.full(n_aperture, np.nan)
    row["transform"] = np.full(6, np.nan)
    scalars = ("annulus_inner", "annulus_outer", "annulus_area", "fwhm", "fwhm_x", "fwhm_y", "theta",
               "dx", "dy", "rotation", "scale", "match_rms", "sky_frame", "share")  # fmt: skip
    row.update(dict.fromkeys(scalars, np.nan))
    row.update(flip=0, mirror=0, n_matched=0, frame_flags=0, note="", digest="", pixels="")
    return row


def lost(reference: Reference, config: Config, reason: str) -> dict[str, Any]:
    """The row of a frame whose pixels cannot be had, and why."""
    return blank(reference, config) | {"frame_flags": int(FrameFlag.UNREADABLE), "note": reason}


def _sky_frame(image: np.ndarray, reference: Reference) -> float:
    """Median of some 10,000 pixels, in the unit of the fluxes; NaN where none is finite."""
    step = max(math.isqrt(image.size // 10_000), 1)
    return float(sky.thinned_median(image, step)) * unit(reference)


def measure(
    image: np.ndarray,
    mask: np.ndarray,
    counts: np.ndarray,
    reference: Reference,
    masters: Masters,
    config: Config,
    prior: np.ndarray | None = None,
) -> dict[str, Any]:
    """One row of the photometry dataset.

    Parameters
    ----------
    image : ndarray float32 (ny, nx)
        Calibrated frame, ADU.
    mask : ndarray uint8 (ny, nx)
        Pixel bits.
    counts : ndarray (ny, nx)
        Trimmed raw pixels, for the peaks.
    reference : Reference
        What to measure.
    masters : Masters
        For their share of the noise.
    config : Config
        Apertures, annulus, centroids.
    prior : ndarray (2, 3), optional
        Where the frame's neighbours say that the field is (see `kernels.align`).

    Returns
    -------
    dict
        The variables of `dphot.schema.PHOTOMETRY` that a frame's pixels decide; a frame that cannot be aligned has
        NaN and a flag.
    """
    row = blank(reference, config)
    found = find(image, mask)
    row["sky_frame"] = _sky_frame(image, reference)
    if found.x.size < config.min_stars:
        row["frame_flags"] |= int(FrameFlag.FEW_STARS)
        row["note"] = f"{found.x.size} stars found, {config.min_stars} needed"
        return row
    model = psf.frame_psf(image, mask, found.x, found.y, flux=found.flux)
    if model is not None:
        row.update(fwhm=model.fwhm, fwhm_x=model.fwhm_x, fwhm_y=model.fwhm_y, theta=model.theta)
    fwhm, beta = (model.fwhm, model.beta) if model is not None else (reference.fwhm, reference.beta)
    try:
        matrix = _transform(found, reference, fwhm, config, row, prior)
    except AlignmentError as error:
        row["frame_flags"] |= int(FrameFlag.ALIGN_FAILED)
        row["note"] = f"cannot be aligned: {error}"
        return row
    x, y = transform.apply(matrix, reference.star_x, reference.star_y)
    if config.centroid == "free":
        x, y = _free_positions(image, mask, x, y, matrix, reference, model)
    photometry_at(image, mask, counts, x, y, matrix, reference, masters, config, fwhm, beta, row)
    return row


def measure_at(
    image: np.ndarray, mask: np.ndarray, counts: np.ndarray, x: np.ndarray, y: np.ndarray, reference: Reference,
    masters: Masters, config: Config,
) -> dict[str, Any]:  # fmt: skip
    """Like `measure`, at positions (star,) known otherwise: nothing is matched or centred."""
    row = blank(reference, config)
    matrix, _, rms = transform.fit_transform(reference.star_x, reference.star_y, x, y, kind="affine")
    row.update(zip(_GEOMETRY, transform.decompose(matrix, reference.shape), strict=True))
    row.update(transform=matrix.ravel(), match_rms=float(rms), fwhm=reference.fwhm,
               sky_frame=_sky_frame(image, reference))  # fmt: skip
    fwhm, beta = reference.fwhm, reference.beta
    photometry_at(image, mask, counts, x, y, matrix, reference, masters, config, fwhm, beta, row)
    return row


def unit(reference: Reference) -> float:
    """Factor from ADU to the unit of the fluxes."""
    return reference.gain if np.isfinite(reference.gain) else 1.0


def _transform(
    found: Found,
    reference: Reference,
    fwhm: float,
    config: Config,
    row: dict[str, Any],
    prior: np.ndarray | None,
) -> np.ndarray:
    """Match the stars found, and write what was found to the row."""
    # Centroid errors fall as 1/SNR down to what the pixel grid allows.
    error = np.hypot(fwhm / 2.3548 / np.maximum(found.snr, 1.0), 0.01)
    match = reference.pattern.match(found.x, found.y, error=error, prior=prior, kind=config.transform)
    row["share"] = median(found.flux[match.index] / reference.match_flux[match.ref_index])
    row.update(zip(_GEOMETRY, transform.decompose(match.matrix, reference.shape), strict=True))
    row.update(transform=match.matrix.ravel(), n_matched=match.n, match_rms=match.rms)
    return match.matrix


def _free_positions(
    image: np.ndarray, mask: np.ndarray, x: np.ndarray, y: np.ndarray, matrix: np.ndarray, reference: Reference,
    model: PsfModel | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Each star's own position; where it has none, the one that the transform gives."""
    if model is None:
        return x, y
    near_x, near_y = transform.apply(matrix, reference.near_x, reference.near_y)
    # the detected stars that are not measured themselves still stand in the light of those that are
    others = np.hypot(x - near_x[:, None], y - near_y[:, None]).min(axis=1, initial=np.inf) > sky.SAME_STAR
    all_x, all_y = np.append(x, near_x[others]), np.append(y, near_y[others])
    level, rms, _ = sky.annulus_sky(
        image, mask, all_x, all_y, 5 * model.fwhm, 8 * model.fwhm, 3.0, near_x, near_y, reference.near_radius
    )
    clean = np.where(mask == 0, image, np.float32(np.nan))
    own_x, own_y = fitted(clean, all_x, all_y, model, level, rms, reference.gain)[:2]
    own_x, own_y = own_x[: x.size], own_y[: x.size]
    seen = np.isfinite(own_x)
    return np.where(seen, own_x, x), np.where(seen, own_y, y)


def photometry_at(
    image: np.ndarray,
    mask: np.ndarray,
    counts: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    matrix: np.ndarray,
    reference: Reference,
    masters: Masters,
    config: Config,
    fwhm: float,
    beta: float,
    row: dict[str, Any],
) -> None:
    """Measure the stars at given positions of a frame, into `row` (see `measure` for the arguments)."""
    to_electrons = unit(reference)
    length = {"fwhm": reference.fwhm, "frame": fwhm, "pixel": 1.0}[config.aperture_unit]
    radii = np.asarray(config.apertures, float) * length
    inner, outer = (r * length for r in config.annulus)
    area = np.pi * radii**2

    near_x, near_y = transform.apply(matrix, reference.near_x, reference.near_y)
    level, sky_rms, sky_n = sky.annulus_sky(
        image, mask, x, y, inner, outer, config.sky_sigma, near_x, near_y, reference.near_radius
    )
    level = level + sky.clipped_photons(level, sky_rms, reference.gain, config.sky_sigma)
    flagged = FLAG_RADIUS * fwhm
    narrow = min(v for v in (row["fwhm_x"], row["fwhm_y"], fwhm) if np.isfinite(v))
    mask = cosmic.mark_cosmics(image, mask, x, y, flagged, level, sky_rms, reference.gain, narrow, beta)
    if config.repair:
        image = cosmic.repaired(image, mask, x, y, radii.max(), level, fwhm, beta)
    sums = aperture.aperture_sums(image, x, y, radii)
    flux = (sums - area[:, None] * level) * to_electrons
    flux[~np.isfinite(flux)] = np.nan
    shot, star_area = noise.star_noise(radii, fwhm, beta)
    response = noise.response_at(masters.flat, x, y)
    variance = noise.flux_variance(
        flux, area[:, None], sky_rms * to_electrons, sky_n, noise_area=noise.noise_area(radii)[:, None],
        shot=shot[:, None] / response, masters=flux**2 * masters.flat_variance / response / star_area[:, None],
    )  # fmt: skip
    flags, peak = sky.star_flags(mask, counts, x, y, flagged)
    ny, nx = image.shape
    reach = max(radii.max(), outer)
    inside = (x - reach >= -0.5) & (x + reach <= nx - 0.5) & (y - reach >= -0.5) & (y + reach <= ny - 0.5)
    flags = flags | np.where(inside, 0, int(StarFlag.EDGE)).astype(np.uint16) | reference.star_flags
    on_frame = (x >= -0.5) & (x <= nx - 0.5) & (y >= -0.5) & (y <= ny - 0.5)
    row.update(
        x=np.where(on_frame, x, np.nan), y=np.where(on_frame, y, np.nan), flux=flux, flux_err=np.sqrt(variance),
        sky=level * to_electrons, sky_rms=sky_rms * to_electrons, sky_pixels=sky_n.astype(np.int32), peak=peak,
        flags=flags.astype(np.uint16), aperture_radius=radii, aperture_area=area,
        annulus_inner=inner, annulus_outer=outer, annulus_area=np.pi * (outer**2 - inner**2),
    )  # fmt: skip
