"""What a store and a light curve come to: numbers for programs, and a few lines for a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from .append import Appended
    from .store import Store

Result = dict[str, Any]

#: Dropped frames and comparison stars named one by one; the rest is counted.
LISTED = 10


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
        "frames_dropped": [item for r in records for item in r["frames_dropped"]],
        "stars": first.sizes["star"],
        "apertures": first.sizes["aperture"],
        "frames_per_second": round(frames / seconds, 2) if seconds else None,
        "reference": records[0]["reference"],
        "calibration": counts,
        "calibration_missing": sorted({text for r in records for text in r["calibration"]["missing"]}),
        "calibration_notes": sorted({text for r in records for text in r["calibration"]["notes"]}),
        "missing": list({m["name"]: m for r in records for m in r["missing"]}.values()),
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
        lines += [f"  {x['night'] or 'unknown night'}, filter {x['filter'] or 'unknown'}: "
                  f"{x['frames_used']} of {x['frames']}" for x in records]  # fmt: skip
    dropped = [
        f"  dropped {PurePath(d['path']).name}: {', '.join(d['flags'])}: {d['reason']}".rstrip(": ")
        for d in total["frames_dropped"]
    ]
    lines += shortened(dropped, "  and {} more dropped")
    notes: dict[str, list[str]] = {}
    for item in (item for x in records for item in x["frames_noted"]):
        notes.setdefault(item["note"], []).append(PurePath(item["path"]).name)
    noted = [f"  note: {note} ({names[0]}" + (f" and {len(names) - 1} more)" if len(names) > 1 else ")")
             for note, names in notes.items()]  # fmt: skip
    lines += shortened(noted, "  and {} more notes")
    lines += [f"  {m['name']} is not known: {m['cost']}" for m in total["missing"]]
    return lines


def append_summary(done: Appended) -> Result:
    """What an append came to, in numbers.

    Returns
    -------
    dict
        `store`, `frames` (new ones), `frames_used`, `nights`, and of these nights in all `frames_dropped` (path, flags,
        reason) and `calibration_missing`.
    """
    return {
        "store": done.store,
        "frames": done.frames,
        "frames_used": done.frames_used,
        "nights": list(done.nights),
        "frames_dropped": [item for r in done.records for item in r["frames_dropped"]],
        "calibration_missing": sorted({text for r in done.records for text in r["calibration"]["missing"]}),
    }


def append_lines(done: Appended) -> list[str]:
    """What an append came to, in words."""
    if not done.frames:
        return [f"{done.store}: nothing new; it holds all these frames already"]
    lines = [f"{done.store}: {done.frames} new frames, {done.frames_used} measured"]
    return lines + [f"  {r['night'] or 'unknown night'}, filter {r['filter'] or 'unknown'}: "
                    f"{r['frames_used']} of {r['frames']} in all" for r in done.records]  # fmt: skip


def shortened(lines: Sequence[str], rest: str) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - LISTED
    return [*lines[:LISTED], rest.format(more)] if more > 0 else list(lines)


def curve_summary(lc: xr.Dataset) -> Result:
    """What a light curve comes to, in numbers.

    Returns
    -------
    dict
        `target`, `x`, `y` (px on the reference), `filter`, `aperture`, `aperture_radius` (px), `comparisons`
        with their `weights`, the heaviest first, `frames` (points of the curve), `frames_total`, and relative
        to the flux: `scatter` (point to point), `expected` (median error), `rms` about the mean; NaN where
        there is no point.
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
    ]


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
