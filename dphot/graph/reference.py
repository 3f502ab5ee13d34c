"""The reference: which frame it is, its star list, its PSF."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..config import Config
from ..errors import AlignmentError, FrameError, InputError
from ..flags import PIXEL_SATURATED, StarFlag
from ..io.bayer import ChannelWCS
from ..io.headers import wcs_of
from ..io.readers import read_header, read_record
from ..io.site import SITE
from ..kernels import detect, moffat, psf
from ..kernels.align import match
from ..kernels.calibrate import estimate_saturation
from ..kernels.medians import median
from . import frame as chain
from .context import Handle, load_masters, reference_to_dataset
from .gain import PAIRS
from .run import Failed, run
from .stars import add_target, read_star_list

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]

#: Frames looked at when the reference is chosen automatically.
CANDIDATES = 12
#: A star with a neighbour of more than this share of its flux is flagged NEIGHBOUR.
NEIGHBOUR_SHARE = 0.01
#: No camera reads a pixel, nor a mean of hundreds, with less noise [e-].
QUIETEST = 0.02
#: Stars that make the PSF.
BRIGHT = 40


class NoReference(InputError):
    """No frame of a series can define the star list; those of another may."""


@dataclass(frozen=True)
class Glance:
    """What a first look at a frame shows; all of a frame that cannot serve is its problem."""

    x: np.ndarray
    y: np.ndarray
    fwhm: float = np.nan
    problem: str = ""

    @classmethod
    def nothing(cls, problem: str) -> Glance:
        return cls(np.empty(0), np.empty(0), problem=problem)


def saturation_level(raw: np.ndarray, record: Record, config: Config) -> float:
    """Saturation in ADU: the settings', the telescope's or header's, or where counts pile up; infinite if none."""
    known = config.saturation or record["saturation"]
    piled = estimate_saturation(raw)
    levels = [v for v in (known, piled) if np.isfinite(v) and v > 0]
    return float(min(levels, default=np.inf))


def glance(
    record: Record, masters: chain.Masters | Handle | None, config: Config, steps: Sequence[chain.Step]
) -> Glance:
    """Stars and FWHM of one frame, as it is where there are no masters; a frame that cannot serve tells why."""
    if masters is None:
        masters = chain.Masters.none(chain.trimmed_shape(record))
    arrays = load_masters(masters) if isinstance(masters, Handle) else masters
    try:
        raw, _ = read_record(record)
        image, mask, _ = chain.calibrate_frame(
            raw, record, arrays, saturation_level(raw, record, config), steps
        )
    except FrameError as error:
        return Glance.nothing(error.problem)
    found = chain.find(image, mask)
    if found.x.size < config.min_stars:
        return Glance.nothing(f"{found.x.size} stars, {config.min_stars} needed")
    model = psf.frame_psf(image, mask, found.x, found.y)
    return Glance(found.x, found.y, model.fwhm if model else np.nan)


def rank(
    records: Sequence[Record],
    masters: chain.Masters | Handle,
    config: Config,
    client: Client | None = None,
    steps: Sequence[chain.Step] = (),
) -> list[Record]:
    """The frames that can define the star list, the best first; or the one that the settings name.

    Automatically: of `CANDIDATES` frames spread evenly over the series, the one whose stars are found again in most
    of the others, stars counted by their share of the best FWHM. A sharp, deep frame in the middle of the drift wins.

    Parameters
    ----------
    records : sequence of mapping
        Lights in time order.
    masters : Masters or Handle
        To calibrate them with, or where they are.
    config : Config
        `reference` names an index or a path instead.
    client : distributed.Client, optional
        Where to run.
    steps : sequence of callable
        The user's own steps.

    Raises
    ------
    NoReference
        If the frame named is not there, or no candidate has enough stars.
    """
    if config.reference != "auto":
        return [named(records, config.reference)]
    usable = [r for r in records if not r["error"]]
    places = np.unique(np.linspace(0, len(usable) - 1, min(CANDIDATES, len(usable))).round().astype(int))
    candidates = [usable[i] for i in places]
    seen = {r["path"]: Glance.nothing(g.reason) if isinstance(g, Failed) else g
            for r, g in run(glance, candidates, masters, config, steps, client=client)}  # fmt: skip
    glances = [seen[r["path"]] for r in candidates]
    good = [i for i, g in enumerate(glances) if not g.problem]
    if not good:
        first = (
            f"{candidates[0]['path']}: {glances[0].problem}"
            if candidates
            else "there is none that can be read"
        )
        raise NoReference(
            f"none of {len(candidates)} frames looked at can serve as reference (the first: {first}); "
            "check the frames, name one with reference, or lower min_stars"
        )
    widths = np.array([glances[i].fwhm for i in good])
    sharpest = np.nanmin(widths) if np.isfinite(widths).any() else 1.0
    scores = _found_again([glances[i] for i in good]) * sharpest
    scores /= np.where(np.isfinite(widths), widths, 10 * sharpest)
    return [candidates[good[i]] for i in np.argsort(-scores, kind="stable")]


def build(
    records: Sequence[Record],
    masters: chain.Masters,
    config: Config,
    client: Client | None = None,
    steps: Sequence[chain.Step] = (),
    handle: Handle | None = None,
) -> xr.Dataset:
    """The reference dataset (see `make`) of the best frame that makes one; arguments as for `rank`.

    `handle` leads workers to the same masters.

    Raises
    ------
    NoReference
        If no frame can serve; it tells why of the best.
    """
    first: InputError | FrameError | None = None
    for record in rank(records, masters if handle is None else handle, config, client, steps):
        try:
            return make(record, masters, config, steps)
        except (InputError, FrameError) as error:
            first = first or error
    assert first is not None
    raise NoReference(str(first)) from first


def _found_again(glances: Sequence[Glance]) -> np.ndarray:
    """Stars of each frame, on average over all frames, that the others show too."""
    common = np.diag([float(glance.x.size) for glance in glances])
    for i, j in combinations(range(len(glances)), 2):
        try:
            common[i, j] = match(glances[i].x, glances[i].y, glances[j].x, glances[j].y).n
        except AlignmentError:
            continue
    return (common + np.triu(common, 1).T).mean(axis=1)


def named(records: Sequence[Record], name: str) -> Record:
    """The light that the setting `reference` names.

    Raises
    ------
    NoReference
        If it is not there, or cannot be used.
    """
    record = _find_named(records, name)
    if record["error"]:
        raise NoReference(f"reference: {record['path']}: {record['error']}; name another")
    return record


def _find_named(records: Sequence[Record], name: str) -> Record:
    if name.lstrip("-").isdigit():
        index = int(name)
        if not -len(records) <= index < len(records):
            raise NoReference(
                f"reference: there is no frame {index}; the lights are numbered 0 to {len(records) - 1}"
            )
        return records[index]
    matches = [r for r in records if r["path"] == name or r["path"].endswith("/" + name.lstrip("./"))]
    if len(matches) != 1:
        raise NoReference(
            f"reference: {name!r} names {len(matches)} of {len(records)} lights; give a path or an index"
        )
    return matches[0]


def make(
    record: Record, masters: chain.Masters, config: Config, steps: Sequence[chain.Step] = ()
) -> xr.Dataset:
    """The reference dataset of a frame.

    Parameters
    ----------
    record : mapping
        The frame.
    masters : Masters
        To calibrate it with.
    config : Config
        Detection threshold, star list, gain, saturation.
    steps : sequence of callable
        The user's own steps.

    Returns
    -------
    xarray.Dataset
        `image` (y, x); per `star` `star_x`, `star_y`, `star_flux`, `star_flags`, `star_ra`, `star_dec`; the stars used
        for alignment (`match`) and for masking skies (`near`); `psf` with the Moffat model as its attributes.

    Raises
    ------
    InputError
        With fewer than `Config.min_stars` stars, or a star list that does not fit the frame.
    """
    raw, digest = read_record(record)
    saturation = saturation_level(raw, record, config)
    image, mask, _ = chain.calibrate_frame(raw, record, masters, saturation, steps)
    found = chain.find(image, mask)
    sources = detect.detect(image, mask, sigma=config.detection_sigma)
    sources = sources[~sources["sharp"]]
    if min(found.x.size, sources.size) < config.min_stars:
        raise InputError(
            f"{record['path']}: {sources.size} stars at {config.detection_sigma:g} sigma, {config.min_stars} needed; "
            "name another reference, or lower detection_sigma"
        )
    clean = ~(sources["saturated"] | sources["edge"] | sources["extended"])
    bright = sources[clean] if np.count_nonzero(clean) >= 3 else sources
    model = psf.frame_psf(image, mask, found.x, found.y, flux=found.flux)
    size = 2 * int(np.ceil(3.0 * (model.fwhm if model else 4.0))) + 1
    stamp = psf.median_psf(image, bright["x"][:BRIGHT], bright["y"][:BRIGHT], size=size)
    shown = moffat.fit_moffat(stamp)
    model = model or shown
    if model is None or shown is None:
        raise InputError(f"{record['path']}: no PSF can be fitted to its stars; name another reference")

    smallest = min(config.apertures) * (1.0 if config.aperture_unit == "pixel" else model.fwhm)
    if 2 * smallest > min(image.shape):
        raise InputError(
            f"apertures: the smallest, of {smallest:.1f} px, does not fit a frame of {image.shape[1]}x{image.shape[0]}"
        )
    rms = 1.4826 * median(np.abs(image - np.float32(median(image))))
    gain, source = _gain(record, masters, config, rms)
    unit = gain if source else 1.0
    wcs = _wcs(record)
    if config.stars:
        star_x, star_y = read_star_list(config.stars, wcs, image.shape)
        star_flux = np.full(star_x.size, np.nan)
    else:
        keep = slice(0, config.max_stars)
        star_x, star_y, star_flux = (sources[k][keep].astype(float) for k in ("x", "y", "flux"))
    if config.target:
        star_x, star_y, star_flux = add_target(
            config.target, star_x, star_y, star_flux, sources, wcs, model.fwhm, image.shape
        )

    reference = chain.Reference(
        shape=(int(image.shape[0]), int(image.shape[1])), star_x=star_x, star_y=star_y,
        star_flags=_neighbour_flags(star_x, star_y, sources, model.fwhm),
        match_x=found.x, match_y=found.y, match_flux=found.flux,
        near_x=sources["x"].astype(float), near_y=sources["y"].astype(float),
        near_radius=_spoiling_radius(sources["flux"], model, rms), fwhm=float(model.fwhm), gain=gain,
        saturation=saturation, beta=float(model.beta),
    )  # fmt: skip
    ds = reference_to_dataset(reference)
    ds["image"] = ("y", "x"), image
    ds["star_flux"] = "star", star_flux * unit
    ds.attrs["gain_source"] = source
    if not source and np.isfinite(record["gain"]):
        ds.attrs["gain_refused"] = float(record["gain"])
    ra, dec = _sky_positions(wcs, star_x, star_y)
    ds["star_ra"], ds["star_dec"] = ("star", ra), ("star", dec)
    ds["psf"] = ("psf_y", "psf_x"), stamp
    ds["psf"].attrs.update({k: float(getattr(shown, k)) for k in (
        "amplitude", "x0", "y0", "s1", "s2", "theta", "beta", "background", "fwhm_x", "fwhm_y", "fwhm")})  # fmt: skip
    ds.attrs["site"] = {k: float(record.get(k, np.nan)) for k in SITE}
    ds.attrs.update(path=record["path"], digest=digest, night=record["night"], filter=record["filter"],
                    binning=[int(record["xbinning"]), int(record["ybinning"])], camera=record["camera"],
                    saturated=int(np.count_nonzero(mask & PIXEL_SATURATED)))  # fmt: skip
    if record["exposure"] > 0:
        ds.attrs["exposure"] = float(record["exposure"])
    return ds


def _gain(record: Record, masters: chain.Masters, config: Config, rms: float) -> tuple[float, str]:
    """Gain (e-/ADU) that all fluxes of the store are measured with, and whence; NaN and nothing if unknown.

    A header's is that of the camera's own counts: with pixels that were scaled since, as to run from 0 to 1, a sky
    noise (`rms`, ADU) below `QUIETEST` shows it.
    """
    told = (
        np.nan if 0 < record["gain"] * rms < QUIETEST else record["gain"]
    )  # 0: counts coarser than the noise
    known = {"settings": config.gain or np.nan, "header or telescope": told, PAIRS: masters.gain}
    return next(((float(v), source) for source, v in known.items() if np.isfinite(v)), (np.nan, ""))


def _neighbour_flags(x: np.ndarray, y: np.ndarray, sources: np.ndarray, fwhm: float) -> np.ndarray:
    """NEIGHBOUR for stars with enough foreign light within the flagging radius."""
    distance = np.hypot(x[:, None] - sources["x"], y[:, None] - sources["y"])
    own = distance < 0.5 * fwhm
    flux = np.where(own, sources["flux"], 0.0).max(axis=1, initial=0.0)
    foreign = ~own & (distance < (chain.FLAG_RADIUS + 1.0) * fwhm)
    brightest = np.where(foreign, sources["flux"], 0.0).max(axis=1, initial=0.0)
    return np.where(brightest > NEIGHBOUR_SHARE * flux, int(StarFlag.NEIGHBOUR), 0).astype(np.uint16)


def _spoiling_radius(flux: np.ndarray, model: moffat.PsfModel, rms: float) -> np.ndarray:
    """Radius at which a star's profile falls to a fifth of the sky noise, from 1.5 to 8 FWHM (px)."""
    s = np.sqrt(model.s1 * model.s2)
    beta = max(float(model.beta), 1.1)
    peak = np.maximum(flux, 0.0) * (beta - 1.0) / (np.pi * s**2)
    ratio = np.maximum(peak / (0.2 * max(rms, 1e-6)), 1.0)
    return np.clip(s * np.sqrt(ratio ** (1.0 / beta) - 1.0), 1.5 * model.fwhm, 8.0 * model.fwhm)


def _wcs(record: Record) -> Any:
    """The frame's WCS in trimmed pixels, or None."""
    try:
        wcs = wcs_of(read_header(record["path"], record["hdu"]))
    except FrameError:
        return None
    if wcs is not None and record["channel"]:
        return ChannelWCS(wcs, record)
    section = chain.parse_section(record["trim"])
    if wcs is None or section is None:
        return wcs
    return wcs[section]


def _sky_positions(wcs: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if wcs is None:
        return np.full(x.size, np.nan), np.full(x.size, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sky = wcs.pixel_to_world(x, y).icrs
    return np.asarray(sky.ra.deg, float), np.asarray(sky.dec.deg, float)
