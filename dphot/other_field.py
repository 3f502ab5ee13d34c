"""Frames that do not belong to a store: of another camera, or of another field. Refused with the numbers.

A night whose every frame is bad, by clouds or trailed stars, is none of these: it is kept, as flagged rows. So are late
frames of a night.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import basename
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .config import Config
from .errors import InputError
from .flags import FrameFlag
from .graph.context import Handle
from .graph.frame import trimmed_shape
from .graph.reference import glance
from .graph.run import Failed, run
from .graph.steps import Step
from .io.site import site_of
from .planning import NightSeries

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]

#: Frames looked at, spread over those that could not be aligned.
LOOKED_AT = 5
#: A frame with so many stars, or half of the reference's where it has few (but not fewer than this), is aligned where
#: only a third of them are the field's; clouds that leave so many leave the field's.
PLENTY, FEW = 20, 8
#: Stars of up to this many times the reference's FWHM, either way, and of this axis ratio, are not blurred or trailed.
WIDTH, AXES = 2.0, 1.6
#: Without a scale of the pixels a frame whose header points further away than this (deg) looks elsewhere.
FAR = 1.0


class OtherField(InputError):
    """Frames of a night show another field than the store's, or on other pixels: of another size, binning or gain.

    Parameters
    ----------
    message : str
        What tells, with the numbers.
    refused : mapping
        The files that are refused, each with why.
    """

    def __init__(self, message: str, refused: Mapping[str, str]):
        super().__init__(message)
        self.refused = refused


def refusal(why: str, nights: Sequence[NightSeries]) -> OtherField:
    """The error for all new frames of some series."""
    return OtherField(why, {r["path"]: why for series in nights for r in series.fresh})


def together(errors: Sequence[OtherField]) -> OtherField:
    """One error that says what each says."""
    refused = {path: why for error in errors for path, why in error.refused.items()}
    return OtherField("\n".join(map(str, errors)), refused)


@dataclass(frozen=True)
class Suspect:
    """A frame that could not be aligned."""

    record: Record
    row: Mapping[str, Any]
    handle: Handle
    """Where its masters are."""


def suspects(records: Sequence[Record], rows: Sequence[Mapping[str, Any]], handle: Handle) -> list[Suspect]:
    """The frames among some that were measured but could not be aligned."""
    failed = int(FrameFlag.ALIGN_FAILED)
    return [
        Suspect(r, row, handle) for r, row in zip(records, rows, strict=True) if row["frame_flags"] & failed
    ]


def check_camera(series: NightSeries, reference: xr.Dataset, config: Config, label: str) -> None:
    """Refuse frames of another size, binning or gain than the reference's.

    Raises
    ------
    OtherField
        With both values.
    """
    if misfit := other_camera(series.light, reference, config):
        raise refusal(f"{label}: {misfit} into a store of its own", [series])


def other_camera(light: Record, reference: xr.Dataset, config: Config) -> str:
    """What tells that a frame is of another size, binning or gain than the reference; empty where it is not."""
    shape, own = trimmed_shape(light), tuple(reference.attrs["shape"])
    if shape != own:
        return (
            f"frames of {shape[1]}x{shape[0]} px (binned {light['xbinning']}x{light['ybinning']}), "
            f"the store's reference has {own[1]}x{own[0]}: reduce another size or binning"
        )
    # of another binning, cut to as many pixels, each shows another piece of the sky; older references tell none
    binning = [int(light["xbinning"]), int(light["ybinning"])]
    known_binning = list(reference.attrs.get("binning", binning))
    if binning != known_binning:
        return (
            f"{light['path']} is binned {_by(binning)}, the store's reference {_by(known_binning)}: "
            "reduce another binning"
        )
    gain, known = float(light["gain"]), float(reference.attrs.get("gain", np.nan))
    if not config.gain and np.isfinite([gain, known]).all() and not np.isclose(gain, known, rtol=0.01):
        return f"a gain of {gain:g} e-/ADU, the store's is {known:g}: reduce another setting of the camera"
    return ""


def _by(binning: Sequence[int]) -> str:
    return "x".join(map(str, binning))


def shown_by(
    unaligned: Sequence[Suspect],
    reference: xr.Dataset,
    config: Config,
    client: Client | None,
    steps: Sequence[Step],
) -> str:
    """What tells that frames, of which none matches the reference, show another field; nothing where they do not.

    They do where the headers point elsewhere, or where most of them show plenty of stars, neither blurred nor trailed.
    Where there are few, clouds may have left them.

    Returns
    -------
    str
        The numbers.
    """
    if not unaligned:
        return ""
    places = np.unique(np.linspace(0, len(unaligned) - 1, min(LOOKED_AT, len(unaligned))).round().astype(int))
    looked_at = [unaligned[i] for i in places]
    stars = _stars(looked_at, config, client, steps)
    fwhm = float(reference.attrs["fwhm"])
    plenty = min(PLENTY, max(FEW, reference.sizes["match"] // 2))
    rich = [n >= plenty and _is_sharp(s.row, fwhm) for s, n in zip(looked_at, stars, strict=True)]
    apart = [_distance(s.record, reference, config) for s in looked_at]
    away = float(np.nanmedian(apart)) if np.isfinite(apart).any() else np.nan
    if not (away > _radius(reference) or sum(rich) > len(rich) / 2):
        return ""
    shown = int(np.argmax(stars))
    first = looked_at[shown]
    where = f"; its header points {away:.2f} deg away from the store's" if np.isfinite(away) else ""
    return (
        f"night {first.record['night'] or 'unknown'}: none of {len(unaligned)} frames with stars shows the store's "
        f"field. {basename(first.record['path'])} has {stars[shown]} stars, the reference {reference.sizes['match']}; "
        f"{first.row['note']}{where}. None of them was stored: reduce another field into a store of its own"
    )


def _stars(
    looked_at: Sequence[Suspect], config: Config, client: Client | None, steps: Sequence[Step]
) -> list[int]:
    """Stars found in each frame."""
    found = []
    for suspect in looked_at:
        for _, seen in run(glance, [dict(suspect.record)], suspect.handle, config, steps, client=client):
            found.append(0 if isinstance(seen, Failed) else int(seen.x.size))
    return found


def _is_sharp(row: Mapping[str, Any], fwhm: float) -> bool:
    axes = sorted((float(row["fwhm_x"]), float(row["fwhm_y"])))
    return bool(fwhm / WIDTH < float(row["fwhm"]) < fwhm * WIDTH and axes[1] < AXES * axes[0])


def _distance(record: Record, reference: xr.Dataset, config: Config) -> float:
    """Degrees from where the reference looks to where a frame's header points; NaN where either is unknown."""
    field = site_of(record, config.telescope, config.coordinates, reference.attrs.get("site"))
    points = np.radians([[field["ra"], field["dec"]], [float(record["ra"]), float(record["dec"])]])
    (a, b), (c, d) = points
    cosine = np.sin(b) * np.sin(d) + np.cos(b) * np.cos(d) * np.cos(a - c)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _radius(reference: xr.Dataset) -> float:
    """Degrees from the reference's middle beyond which a frame shows none of its stars."""
    ra, dec = reference.star_ra.values, reference.star_dec.values
    if not np.isfinite(ra).any():
        return FAR
    across = np.hypot(
        np.ptp(np.unwrap(np.radians(ra))) * np.cos(np.radians(np.median(dec))), np.ptp(np.radians(dec))
    )
    return max(FAR, float(np.degrees(across)))
