"""Which flats of those chosen are fit to be combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FrameError
from ..io.readers import read_record
from ..kernels.calibrate import calibrate, estimate_saturation
from ..kernels.medians import median, tile_medians
from .frame import linearity_of, trim_raw
from .inputs import refuse, sorted_out, usable_of
from .run import Failed, run

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]

#: A flat with a larger share of saturated pixels is left out.
SATURATED = 0.01
#: So many electrons a pixel (counts where the gain is not known) are 10 % of noise: less makes no flat.
FAINTEST = 100.0
#: A flat is unlike the others where a tenth of the frame differs by more than this from their median.
UNLIKE = 0.02
#: Tiles along each axis that flats are compared in.
TILES = 8


@dataclass(frozen=True)
class Look:
    """What one flat shows."""

    level: float
    """Median above bias and dark, ADU."""
    counts: float
    """Median of the raw frame, ADU."""
    saturated: float
    """Share of the pixels that are saturated."""
    tiles: np.ndarray
    """Medians of `TILES` x `TILES` parts over the level."""


def look(
    record: Record, bias: np.ndarray, rate: np.ndarray, known: float, linearity: Sequence[float]
) -> tuple[Look | None, str, str]:
    """A first look at a flat (None where it cannot be read), its digest, and why it cannot be read.

    `known` is the saturation level in ADU, or NaN.
    """
    try:
        raw, digest = read_record(record)
        corrected, counts = trim_raw(raw, record)
    except FrameError as error:
        return None, "", str(error)
    if not np.isfinite(corrected).any():
        return None, digest, f"{record['path']}: no pixel holds a number"
    limits = [v for v in (known, estimate_saturation(counts)) if np.isfinite(v)]
    t = record["exposure"] if np.isfinite(record["exposure"]) else 0.0
    signal = calibrate(corrected, bias, rate, np.ones_like(bias), t, linearity)
    level = median(signal)
    rows, columns = (
        np.cumsum([0, *(len(part) for part in np.array_split(np.arange(n), TILES))]) for n in signal.shape
    )
    tiles = tile_medians(signal, rows, columns).ravel()
    cut = float(np.mean(counts >= min(limits))) if limits else 0.0
    seen = Look(level, median(counts), cut, tiles / level if level > 0 else np.full_like(tiles, np.nan))
    return seen, digest, ""


def looks(
    records: Sequence[Record], bias: np.ndarray, rate: np.ndarray, light: Record, client: Client | None
) -> tuple[list[Record], dict[str, Look], list[str]]:
    """The flats that can be read, each with its `digest`; what each shows; what is wrong with the others."""
    shared = bias, rate, float(light["saturation"]), linearity_of(light)
    seen: dict[str, Look] = {}
    found: dict[str, tuple[str, str]] = {}
    for record, result in run(look, records, *shared, client=client):
        path = record["path"]
        if isinstance(result, Failed):
            usable, why = usable_of([record], client)
            found[path] = "", why[0] if why else ""
            if usable:  # it is the looking that takes too much memory
                refuse(result)
            continue
        shown, digest, why = result
        found[path] = digest, why
        if shown is not None:
            seen[path] = shown
    usable, problems = sorted_out(records, found)
    return usable, seen, problems


def good_flats(
    records: Sequence[Record], found: Mapping[str, Look], light: Record
) -> tuple[list[Record], list[float], list[str]]:
    """The flats that make the master, their levels (ADU), and what is wrong with the others.

    Left out are flats that are saturated or above the linear range, too faint, so faint that the mean is better without
    them, and, of three or more, those unlike the others.
    """
    reasons = {r["path"]: _unfit(found[r["path"]], light) for r in records}
    for judge in (_unlike, _too_faint):
        reasons |= judge({path: found[path] for path, why in reasons.items() if not why})
    kept: list[Record] = [
        {**r, "exposure": r["exposure"] if np.isfinite(r["exposure"]) else 0.0}
        for r in records
        if not reasons[r["path"]]
    ]
    notes = [f"flat left out: {r['path']} {reasons[r['path']]}" for r in records if reasons[r["path"]]]
    return kept, [found[r["path"]].level for r in kept], notes


def _unfit(seen: Look, light: Record) -> str:
    """What is wrong with a flat by itself; empty where nothing is."""
    gain, unit = (light["gain"], "e-") if np.isfinite(light["gain"]) else (1.0, "ADU")
    if seen.saturated > SATURATED:
        return (
            f"is saturated: {100 * seen.saturated:.0f} % of its pixels, with a level of {seen.counts:.0f} ADU"
        )
    if seen.counts > light["nonlinear"]:
        return f"has a level of {seen.counts:.0f} ADU, above the linear range"
    if not seen.level * gain >= FAINTEST:
        return (
            f"is too faint: {seen.level * gain:.0f} {unit} above bias and dark, and {FAINTEST:.0f} are needed"
        )
    return ""


def _unlike(looks: Mapping[str, Look]) -> dict[str, str]:
    """What is wrong with flats beside the others."""
    if len(looks) < 3:
        return {}
    tiles = np.stack([seen.tiles for seen in looks.values()])
    known = np.isfinite(tiles).all(axis=0)
    away = np.quantile(np.abs(tiles / np.median(tiles, axis=0) - 1)[:, known], 0.9, axis=1)
    return {path: f"is unlike the others: a tenth of it differs by {100 * a:.1f} % and more"
            for path, a in zip(looks, away, strict=True) if a > UNLIKE}  # fmt: skip


def _too_faint(looks: Mapping[str, Look]) -> dict[str, str]:
    """Flats whose noise would be more than they add: a mean of n gains by one more if its variance is less than
    2 + 1/n times theirs, and the variance goes as 1 / level."""
    faint: dict[str, str] = {}
    kept: list[float] = []
    for path, seen in sorted(looks.items(), key=lambda item: (-item[1].level, item[0])):
        n = len(kept)
        if n and 1 / seen.level > (2 + 1 / n) * np.mean(1 / np.array(kept)):
            brighter = float(np.median(kept))
            faint[path] = f"is too faint: {seen.level:.0f} ADU beside {brighter:.0f} ADU make the mean worse"
        else:
            kept.append(seen.level)
    return faint
