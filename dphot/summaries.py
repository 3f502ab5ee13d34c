"""What a store and a light curve come to: numbers for programs, and a few lines for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from .flags import StarFlag

if TYPE_CHECKING:
    import xarray as xr

    from .append import Appended
    from .store import Store

Result = dict[str, Any]
#: Attributes of a light curve whose errors rest on a gain that the stars tell.
GAIN = ("gain_from_scatter", "gain_from_scatter_err")
NO_GAIN = (
    "the gain is not known, nor do the stars tell it: the errors rest on 1 e-/ADU, and are not to be trusted"
)

#: The detector did not count all of the star's light.
OVEREXPOSED = StarFlag.SATURATED | StarFlag.NONLINEAR
#: Light of other stars in the target's aperture, as a share of its own, from which on it is told.
WORTH_TELLING = 0.02
#: Dropped frames, notes and comparison stars named one by one; the rest is counted.
LISTED = 10
#: Notes on calibration: twenty flats of a night have twenty of the same kind.
LISTED_NOTES = 5


def store_summary(store: Store) -> Result:
    """What a store holds, in numbers.

    Returns
    -------
    dict
        `store`, `nights`, `filters`, `frames`, `frames_used`, `frames_dropped` (path, flags, reason),
        `stars`, `apertures`, `frames_per_second`, `reference`, `calibration` (number of frames by kind),
        `calibration_missing`, `calibration_notes`, `missing` (what is not known of the telescope).
    """
    records = series_records(store)
    seconds = sum(r["elapsed_s"] for r in records)
    frames = sum(r["frames"] for r in records)
    first = next(iter(store.photometry.values()))
    counts = {
        kind: sum(len(r["calibration"]["inputs"][kind]) for r in records) for kind in ("bias", "dark", "flat")
    }
    return {
        "store": store.path,
        "nights": len(store.nights),
        "filters": list(store.photometry),
        "frames": frames,
        "frames_used": sum(r["frames_used"] for r in records),
        "stars": first.sizes["star"],
        "apertures": first.sizes["aperture"],
        "frames_per_second": round(frames / seconds, 2) if seconds else None,
        "reference": records[0]["reference"],
        "calibration": counts,
        **_shortcomings(records),
        "missing": list({m["name"]: m for r in records for m in r["missing"]}.values()),
    }


def _shortcomings(records: Sequence[Result]) -> Result:
    """What went wrong in some nights and filters, in numbers."""
    return {
        "frames_dropped": [item for r in records for item in r["frames_dropped"]],
        "calibration_missing": sorted({text for r in records for text in r["calibration"]["missing"]}),
        "calibration_notes": sorted({text for r in records for text in r["calibration"]["notes"]}),
    }


def series_records(store: Store) -> list[Result]:
    """The records of all nights and filters, in order."""
    return [record for night in store.nights for record in night["series"]]


def store_lines(store: Store) -> list[str]:
    """What was made of the frames: the reference, frames dropped and why, what is not known."""
    total = store_summary(store)
    r = total["reference"]
    lines = [
        f"{store.path}: {total['frames_used']} of {total['frames']} frames measured, {total['stars']} stars, "
        f"{total['apertures']} apertures",
        f"  reference {PurePath(r['path']).name}: FWHM {r['fwhm']:.2f} px"
        + (f", saturated above {r['saturation']:g} ADU" if r["saturation"] else "")
        + (f", gain {r['gain']:.4g} e-/ADU" if r["gain"] else ""),
    ]
    records = series_records(store)
    if len(records) > 1:
        lines += [f"  {_place(x)}: {x['frames_used']} of {x['frames']}" for x in records]
    lines += shortcoming_lines(records)
    lines += [f"  {m['name']} is not known: {m['cost']}" for m in total["missing"]]
    return lines + _target_lines(next(iter(store.photometry.values())))


def _target_lines(obs: xr.Dataset) -> list[str]:
    """That there is no star at the target: a place is measured all the same, as a star may brighten there."""
    from .differential import find_star  # with compiled code, which the other words do without

    told, seen = str(obs.attrs.get("target", "")), np.isfinite(obs.star_flux.values)
    if not told or not seen.any() or seen[star := find_star(obs, told)]:
        return []
    return [f"  target {told}: no star is seen there on the reference; the place is measured as star {star}"]


def _place(record: Mapping[str, Any]) -> str:
    return f"{record['night'] or 'unknown night'}, filter {record['filter'] or 'unknown'}"


def shortcoming_lines(records: Sequence[Result]) -> list[str]:
    """What went wrong in some nights and filters: frames dropped and why, notes on frames, and on calibration.

    Masters are made after the frames for them are chosen: what is unfit among those is known at the end alone.
    """
    dropped = [
        f"  dropped {PurePath(d['path']).name}: {', '.join(d['flags'])}: {d['reason']}".rstrip(": ")
        for r in records
        for d in r["frames_dropped"]
    ]
    noted = ((item["note"], PurePath(item["path"]).name) for r in records for item in r["frames_noted"])
    missing = ((text, _place(r)) for r in records for text in r["calibration"]["missing"])
    notes = ((text, _place(r)) for r in records for text in r["calibration"]["notes"])
    return [
        *shortened(dropped, "  and {} more dropped"),
        *shortened(_once(noted, "note:"), "  and {} more notes"),
        *shortened(_once(missing, "calibration missing:"), "  and {} more missing"),
        *shortened(_once(notes, "calibration:"), "  and {} more notes on calibration", LISTED_NOTES),
    ]


def _once(told: Iterable[tuple[str, str]], head: str) -> list[str]:
    """A line for each text, with the first that it is told of, and how many more there are."""
    of: dict[str, list[str]] = {}
    for text, name in told:
        of.setdefault(text, []).append(name)
    return [
        f"  {head} {text} ({names[0]}" + (f" and {len(names) - 1} more)" if len(names) > 1 else ")")
        for text, names in of.items()
    ]


def append_summary(done: Appended) -> Result:
    """What an append came to, in numbers.

    Returns
    -------
    dict
        `store`, `frames` (new ones), `frames_used`, `nights`, and of these nights in all `frames_dropped` (path, flags,
        reason), `calibration_missing` and `calibration_notes`.
    """
    return {
        "store": done.store,
        "frames": done.frames,
        "frames_used": done.frames_used,
        "nights": list(done.nights),
        **_shortcomings(done.records),
    }


def append_lines(done: Appended) -> list[str]:
    """What an append came to, in words."""
    if not done.frames:
        return [f"{done.store}: nothing new"]
    lines = [f"{done.store}: {done.frames} new frames, {done.frames_used} measured"]
    lines += [f"  {_place(r)}: {r['frames_used']} of {r['frames']} in all" for r in done.records]
    return lines + shortcoming_lines(done.records)


def shortened(lines: Sequence[str], rest: str, listed: int = LISTED) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - listed
    return [*lines[:listed], rest.format(more)] if more > 0 else list(lines)


def curve_summary(lc: xr.Dataset) -> Result:
    """What a light curve comes to, in numbers.

    Returns
    -------
    dict
        `target`, `x`, `y` (px on the reference), `filter`, `aperture`, `aperture_radius` (px), `comparisons`
        with their `weights`, the heaviest first, `frames` (points of the curve), `frames_total`, and relative
        to the flux: `scatter` (point to point), `expected` (median error), `rms` about the mean; NaN where
        there is no point. `foreign_light`: that of other stars in the aperture, relative to the target's;
        `saturated`: points at which the target is, or above the detector's linear range. Where the camera's gain is not
        known, `gain_from_scatter` and `gain_from_scatter_err` (e-/ADU), which the errors rest on; NaN where the stars
        do not tell it, and 1 e-/ADU is taken.
    """
    star, aperture = lc.attrs["target"], lc.attrs["aperture"]
    curve, error = (lc[name].values[:, aperture, star] for name in ("diff_flux", "diff_err"))
    good = np.isfinite(curve)
    radius = lc.aperture_radius.values[:, aperture]
    return {
        "target": star,
        "x": float(lc.star_x.values[star]),
        "y": float(lc.star_y.values[star]),
        "filter": lc.attrs["filter"],
        "aperture": aperture,
        "aperture_radius": round(_median(radius), 4),
        "comparisons": lc.attrs["comparisons"],
        "weights": [round(float(lc.weight.values[aperture, i]), 6) for i in lc.attrs["comparisons"]],
        "frames": int(good.sum()),
        "frames_total": int(good.size),
        "scatter": float(lc.scatter.values[aperture]),
        "expected": _median(error[good]),
        "rms": float(np.std(curve[good])) if good.any() else float("nan"),
        "foreign_light": round(lc.attrs.get("foreign_light", 0.0), 6),
        "saturated": int(np.count_nonzero(lc["flags"].values[good, star] & int(OVEREXPOSED))),
        **{k: lc.attrs[k] for k in GAIN if k in lc.attrs},
    }


def curve_lines(result: Mapping[str, Any]) -> list[str]:
    """The summary of a light curve in words."""
    weights = [
        f"{i} ({100 * w:.0f} %)" for i, w in zip(result["comparisons"], result["weights"], strict=True)
    ]
    return [
        f"star {result['target']} at ({result['x']:.1f}, {result['y']:.1f}), "
        f"filter {result['filter'] or 'unknown'}: {result['frames']} of {result['frames_total']} frames",
        f"  aperture {result['aperture']}, {result['aperture_radius']:.2f} px; "
        f"{len(weights)} comparison stars: {', '.join(shortened(weights, 'and {} more'))}",
        f"  point-to-point scatter {1e3 * result['scatter']:.2f} ppt; "
        f"{1e3 * result['expected']:.2f} ppt expected",
        *_gain_lines(*(result.get(k) for k in GAIN)),
        *_target_warnings(result),
    ]


def _target_warnings(result: Mapping[str, Any]) -> list[str]:
    """What makes a light curve wrong, whatever its scatter says."""
    lines = []
    if result["saturated"]:
        lines.append(
            f"  the target is saturated in {result['saturated']} of {result['frames']} frames: its variation is lost"
        )
    if result["foreign_light"] > WORTH_TELLING:
        lines.append(
            f"  other stars add {100 * result['foreign_light']:.0f} % to the target's light in this aperture: "
            "its variation is seen so much too small"
        )
    return lines


def _gain_lines(gain: float | None = None, error: float | None = None) -> list[str]:
    """What the errors rest on, where the camera's gain is not known."""
    if gain is None:
        return []
    if not np.isfinite(gain):
        return [f"  {NO_GAIN}"]
    return [
        f"  the gain is not known; by the scatter of the stars it is {gain:.3g} +- {error or np.nan:.2g} e-/ADU"
    ]


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
