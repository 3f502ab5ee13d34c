"""A pseudo-dark: the detector's fixed pattern from the drifting lights themselves, where there is no dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Config
from ..errors import AlignmentError
from ..kernels import transform
from ..kernels.align import match
from ..kernels.medians import median
from ..kernels.pattern import fixed_pattern, night_medians, resting_share
from .frame import trimmed_shape
from .inputs import bands, each, read, usable_of
from .reference import Glance, glance
from .run import run

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]

#: Lights, spread over the night, that the pattern is made of, and the fewest that make one on their own account.
FRAMES, FEWEST = 60, 20
#: Of them, those whose stars tell how the field moved.
LOOKED_AT = 20
#: A star reaches so many FWHM far, and may rest on one spot for this share of the frames: their median there is
#: then at most 0.3 standard deviations too high.
REACH, RESTING = 1.5, 0.2
#: Parts of width and height where motion is looked at: a field that turns about one place moves at the others.
PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))


def from_lights(
    lights: Sequence[Record], bias: np.ndarray, flat: np.ndarray, config: Config, client: Client | None
) -> tuple[np.ndarray | None, str]:
    """The fixed pattern of the detector, where the lights can tell it (see `dphot.kernels.pattern`).

    Parameters
    ----------
    lights : sequence of mapping
        Records of the night's lights in time order.
    bias, flat : ndarray (ny, nx)
        Masters; 0 and 1 where there is none.
    config : Config
        `pattern`: `auto` asks for lights enough, a drift that leaves no star on its own pixels, and a pattern that
        stands out of its own noise; `on` for lights alone.

    Returns
    -------
    pattern : ndarray float32 (ny, nx) or None
        In ADU, on top of `bias`; None where there is none to be had.
    note : str
        What was done, and why.
    """
    asked = config.pattern == "on"
    whole = [r for r in lights if not r["error"]]
    if len(whole) < (4 if asked else FEWEST):
        return None, _none(f"there are {len(whole)}, and {4 if asked else FEWEST} are needed")
    drift = ""
    if not asked:
        share, drift = _drift(_spread(whole, LOOKED_AT), config, client)
        if share > RESTING:
            return None, _none(drift)
    frames, _ = usable_of(_spread(whole, FRAMES), client)
    if len(frames) < 4:
        return None, _none(f"{len(frames)} can be read")
    pattern, signal, noise = fixed_pattern(_medians(frames, bias, flat, client))
    size = f"a pattern of {np.sqrt(max(signal, 0)):.2g} ADU rms, known to {np.sqrt(noise):.2g} ADU"
    if not asked and not signal > noise:
        return None, _none(f"they show {size}")
    why = ", ".join(
        ["the settings ask for it" if asked else "there is no dark", *[drift] * bool(drift), size]
    )
    return pattern, f"the fixed pattern is taken from the lights themselves ({len(frames)} frames): {why}"


def _none(why: str) -> str:
    return f"no fixed pattern is taken from the lights: {why}"


def _spread(lights: Sequence[Record], most: int) -> list[Record]:
    """Up to `most` lights, spread over the night."""
    places = np.unique(np.linspace(0, len(lights) - 1, min(most, len(lights))).round().astype(int))
    return [lights[i] for i in places]


def _drift(lights: Sequence[Record], config: Config, client: Client | None) -> tuple[float, str]:
    """The largest share of the night that a star rests on one spot, and the field's motion in words."""
    seen = {r["path"]: g for r, g in run(glance, lights, None, config, (), client=client)}
    found = [seen[r["path"]] for r in lights]
    good = [g for g in found if isinstance(g, Glance) and not g.problem]
    matrices = _motion(good)
    if 2 * len(matrices) < len(lights):
        return 1.0, f"{len(matrices)} of {len(lights)} looked at show how the field moved"
    fwhm = float(np.nanmedian([g.fwhm for g in good]))
    height, width = trimmed_shape(lights[0])
    x, y = (np.array(v) for v in zip(*((width * a, height * b) for a, b in PLACES), strict=True))
    xs, ys = (np.stack(v) for v in zip(*(transform.apply(m, x, y) for m in matrices), strict=True))
    drift = f"the field moves by {np.hypot(np.ptp(xs, axis=0), np.ptp(ys, axis=0)).min():.0f} px"
    share = resting_share(xs, ys, REACH * fwhm) if np.isfinite(fwhm) else 1.0
    return share, f"{drift} (FWHM {fwhm:.1f} px), a star rests for {100 * share:.0f} % of the frames at most"


def _motion(glances: Sequence[Glance]) -> list[np.ndarray]:
    """Transforms from the middle one of some glances to each that matches it."""
    matrices = []
    for other in glances:
        middle = glances[len(glances) // 2]
        try:
            matrices.append(match(middle.x, middle.y, other.x, other.y).matrix)
        except AlignmentError:
            continue
    return matrices


def _level(record: Record) -> float:
    """Median of a frame."""
    return median(read(record))


def _medians(
    frames: Sequence[Record], bias: np.ndarray, flat: np.ndarray, client: Client | None
) -> np.ndarray:
    found = {r["path"]: level for r, level in each(_level, frames, client=client)}
    base = float(np.median(bias))
    levels = [found[r["path"]] - base for r in frames]
    medians = np.empty((3, *bias.shape), np.float32)
    parts = bands(bias.shape, len(frames))
    for (first, last), rows in each(_band_medians, parts, frames, levels, bias, flat, client=client):
        medians[:, first:last] = rows
    return medians


def _band_medians(
    band: tuple[int, int],
    records: Sequence[Record],
    levels: Sequence[float],
    bias: np.ndarray,
    flat: np.ndarray,
) -> np.ndarray:
    """Medians over a band of rows of frames less bias and their own, flat-shaped levels."""
    rows = slice(*band)
    cube = np.empty((len(records), *bias[rows].shape), np.float32)
    for i, (record, level) in enumerate(zip(records, levels, strict=True)):
        cube[i] = read(record)[rows] - bias[rows] - np.float32(level) * flat[rows]
    return night_medians(cube)
