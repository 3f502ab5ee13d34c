"""What changed between two versions of a store: nights, frames, settings, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from .store import Store, repairs

Result = dict[str, Any]

#: Rows compared at once.
_ROWS = 2048


def diff(old: Store, new: Store) -> Result:
    """What changed from one version of a store to another.

    Parameters
    ----------
    old, new : Store
        The same store, opened at two versions.

    Returns
    -------
    dict
        `nights` (`added`, `removed`, `changed`: those measured anew or extended; that files moved is no change),
        `settings`, `software` and
        `calibration` (night and filter to the names that changed, each with its two values; of calibration frames the
        paths), and `filters`: for each `frames_added`,
        `frames_removed`, `frames_changed` (same frame, another number), `max_relative_change` of a flux with
        the frame, aperture and star that show it, and `note` where the fluxes cannot be compared.
    """
    before, after = ({record["night"]: record for record in store.nights} for store in (old, new))
    common = [night for night in after if night in before]
    series = {
        f"{night} {name}".strip(): pair
        for night in common
        for name, pair in _paired(before[night], after[night]).items()
    }
    names = sorted({*old.photometry, *new.photometry})
    contents = _contents(old), _contents(new)
    records = [
        {night: _by_content(c, night, told[night]) for night in common}
        for c, told in zip(contents, (before, after), strict=True)
    ]
    return {
        "old": old.session.snapshot_id,
        "new": new.session.snapshot_id,
        "nights": {
            "added": [night for night in after if night not in before],
            "removed": [night for night in before if night not in after],
            "changed": [night for night in common if records[0][night] != records[1][night]],
        },
        "settings": _all_different(series, "config"),
        "software": _all_different(series, "software"),
        "calibration": _calibration(series, contents),
        "filters": {name: _numbers(old.photometry.get(name), new.photometry.get(name)) for name in names},
    }


def _paired(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Result, Result]]:
    """The records of each filter that both records of a night tell of."""
    first = {r["filter"]: r for r in a.get("series", ())}
    return {r["filter"]: (first[r["filter"]], r) for r in b.get("series", ()) if r["filter"] in first}


def _all_different(series: Mapping[str, tuple[Result, Result]], key: str) -> Result:
    found = {name: _different(a.get(key, {}), b.get(key, {})) for name, (a, b) in series.items()}
    return {name: values for name, values in found.items() if values}


def _different(a: Mapping[str, Any], b: Mapping[str, Any]) -> Result:
    return {k: [a.get(k), b.get(k)] for k in sorted({*a, *b}) if a.get(k) != b.get(k)}


#: Night to path to digest of the files that a version names.
Contents = Mapping[str, Mapping[str, str]]


def _contents(store: Store) -> Contents:
    found: dict[str, dict[str, str]] = {}
    for name, masters in store.masters.items():
        found.setdefault(name.partition("/")[0], {}).update(masters.attrs.get("digests", {}))
    for name in store.photometry:
        columns = store.rows(name, ("night", "path", "digest"))
        for night, path, digest in zip(
            *(columns[k].values for k in ("night", "path", "digest")), strict=True
        ):
            if digest:
                found.setdefault(str(night), {})[str(path)] = str(digest)
    return found


def _by_content(contents: Contents, night: str, value: Any) -> Any:
    """A record, or a part of one, that names files by their digests: a file that only moved is the same."""
    return repairs.followed(value, contents.get(night, {}))


def _calibration(series: Mapping[str, tuple[Result, Result]], contents: tuple[Contents, Contents]) -> Result:
    """Kinds of calibration frames that are others, with both lists of paths."""
    parts = {name: tuple(r.get("calibration", {}) for r in pair) for name, pair in series.items()}
    found: Result = {}
    for name, kinds in _all_different(parts, "inputs").items():
        night = name.partition(" ")[0]
        for kind, pair in kinds.items():
            a, b = (sorted(_by_content(c, night, p or [])) for c, p in zip(contents, pair, strict=True))
            if a != b:
                found.setdefault(name, {})[kind] = pair
    return found


def _numbers(old: xr.Dataset | None, new: xr.Dataset | None) -> Result:
    places = [{} if ds is None else {key: i for i, key in enumerate(_keys(ds))} for ds in (old, new)]
    both = [key for key in places[1] if key in places[0]]
    out: Result = {
        "frames_added": len(places[1]) - len(both),
        "frames_removed": len(places[0]) - len(both),
        "frames_changed": 0,
        "max_relative_change": 0.0,
    }
    if old is None or new is None or not both:
        return out
    if (old.sizes["star"], old.sizes["aperture"]) != (new.sizes["star"], new.sizes["aperture"]) or not (
        np.array_equal(old.star_x.values, new.star_x.values)
        and np.array_equal(old.star_y.values, new.star_y.values)
    ):
        counts = [f"{ds.sizes['star']} stars x {ds.sizes['aperture']} apertures" for ds in (old, new)]
        note = f"another star list or other apertures ({' and '.join(counts)}); fluxes not compared"
        return {**out, "frames_changed": len(both), "max_relative_change": None, "note": note}
    rows = np.array([[place[key] for key in both] for place in places])
    for first in range(0, len(both), _ROWS):
        i, j = rows[:, first : first + _ROWS]
        a, b = old.flux.isel(time=i).values, new.flux.isel(time=j).values
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        out["frames_changed"] += int(np.count_nonzero(~same.all(axis=(1, 2))))
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.where(same, 0.0, np.abs(b - a) / np.abs(a))
        if np.isfinite(change).any() and np.nanmax(change) > out["max_relative_change"]:
            t, aperture, star = np.unravel_index(np.nanargmax(change), change.shape)
            out["max_relative_change"] = float(change[t, aperture, star])
            out["where"] = {"path": str(new.path.values[j[t]]), "aperture": int(aperture), "star": int(star)}
    return out


def _keys(ds: xr.Dataset) -> list[str]:
    """What tells a frame from others: its digest, or its path where it could not be read."""
    return [str(d) or str(p) for d, p in zip(ds.digest.values, ds.path.values, strict=True)]


def change_lines(result: Mapping[str, Any]) -> list[str]:
    """The changes in words."""
    lines = [f"from {result['old']} to {result['new']}"]
    lines += [
        f"  nights {what}: {', '.join(map(str, nights))}"
        for what, nights in result["nights"].items()
        if nights
    ]
    for what in ("settings", "software"):
        lines += [f"  {series}: {name} {a!r} -> {b!r}" for series, found in result[what].items()
                  for name, (a, b) in found.items()]  # fmt: skip
    lines += [f"  {series}: {len(a or ())} {kind} frames -> {len(b or ())}{', others' if a and b else ''}"
              for series, found in result["calibration"].items() for kind, (a, b) in found.items()]  # fmt: skip
    for name, numbers in result["filters"].items():
        text = ", ".join(f"{numbers[f'frames_{k}']} {k}" for k in ("added", "removed", "changed"))
        lines.append(f"  filter {name or 'unknown'}: frames {text}")
        if "note" in numbers:
            lines.append(f"    {numbers['note']}")
        if numbers["max_relative_change"]:
            where = numbers["where"]
            lines.append(f"    fluxes differ by up to {numbers['max_relative_change']:.3g} (aperture "
                         f"{where['aperture']}, star {where['star']}, {where['path']})")  # fmt: skip
    return lines if len(lines) > 1 else [*lines, "  nothing changed"]
