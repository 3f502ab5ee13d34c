"""Where numbers come from: what a commit did, and what made a point of a light curve."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from .config import Config
from .errors import BucketError, InputError
from .flags import FrameFlag, StarFlag, decode
from .io.readers import file_digest
from .store import Commit, Store

Result = dict[str, Any]

#: A time given within this (s), or within the exposure, is that of the frame.
SLACK = 1.0


def commit_facts(night: str, records: Sequence[Mapping[str, Any]]) -> Result:
    """What a commit's metadata tells of a night: enough for the history, without opening the commit.

    Parameters
    ----------
    night : str
        The night.
    records : sequence of mapping
        The records of its filters, as `Transaction.write_night` gets them.

    Returns
    -------
    dict
        `night`, `filters`, `frames` (found), `frames_used`, `config_digest`, `software`. The transaction adds what
        became of the ensemble: `precision` (filter to the scatter of its brightest stars from point to point, relative)
        and the stars `demoted` and `restored`.
    """
    return {
        "night": night,
        "filters": [r["filter"] for r in records],
        "frames": sum(r["frames"] for r in records),
        "frames_used": sum(r["frames_used"] for r in records),
        "config_digest": records[0]["config_digest"],
        "software": records[0]["software"],
    }


def commit_line(commit: Commit, tags: Sequence[str] = ()) -> str:
    """One commit in one line."""
    facts = commit.metadata
    parts = [f"{commit.id}  {commit.time:%Y-%m-%d %H:%M:%S}  {commit.message}"]
    if "frames_used" in facts:
        parts.append(f"{facts['frames_used']} of {facts['frames']} frames")
    if precision := facts.get("precision"):
        parts.append(", ".join(f"{1e3 * v:.2f} ppt{_within(k)}" for k, v in precision.items()))
    if "config_digest" in facts:
        parts.append(f"settings {facts['config_digest'][:8]}, dphot {facts['software']['dphot']}")
    for word, key in (("demoted", "demoted"), ("restored", "restored")):
        for name, stars in facts.get(key, {}).items():
            plural = "s" * (len(stars) > 1)
            parts.append(f"{word} star{plural} {', '.join(map(str, stars))}{_within(name)}")
    if came := facts.get("superseded"):
        parts.append(f"{len(came)} file{'s' * (len(came) > 1)} in the place of what could not be read")
    if tags:
        parts.append(f"tag {', '.join(tags)}")
    if commit.state:
        parts.append(commit.state)
    return "; ".join(parts)


def _within(filter: str) -> str:
    return f" in {filter}" if filter else ""


def explain(
    store: Store, time: str | float | np.datetime64, star: int | None = None, filter: str | None = None
) -> Result:
    """What made a point of a light curve, from the raw file to the commit.

    Parameters
    ----------
    store : Store
        The store.
    time : str, float or numpy.datetime64
        Mid-exposure: an instant (UTC) as ``2026-11-22T03:04:05``, or a Julian date, UTC or barycentric.
    star : int, optional
        Also what was measured of this star.
    filter : str, optional
        Only frames through this filter.

    Returns
    -------
    dict
        `frame` (path, digest, whether the file is still the `same`, `changed`, `gone`, or `unreachable` in its
        bucket, and what is said of the frame), `star`, `masters` (kind to path and digest of each input), `reference`,
        `config`, `config_digest`, `software`, `steps` and `commit`. Where several frames of the filter were exposed at
        that very time, as clocks that do not tell fractions of a second have it, `also`: the same of each other one.

    Raises
    ------
    InputError
        If no frame was exposed then; the nearest is named. If there is no such star.
    """
    name, obs, rows = _nearest(store, str(time), filter)
    first, *others = (_explained(store, name, obs.isel(time=row), star) for row in rows)
    return {**first, "also": others} if others else first


def _explained(store: Store, name: str, frame: xr.Dataset, star: int | None) -> Result:
    """What made one frame, and the measurements of a star in it."""
    night, path, digest = (str(frame[k].values) for k in ("night", "path", "digest"))
    record: Mapping[str, Any] = next((r for n in store.nights if n["night"] == night for r in n.get("series", ())
                   if r["filter"] == name), {})  # fmt: skip
    masters = store.masters.get(f"{night}/{name}")
    digests = masters.attrs.get("digests", {}) if masters is not None else {}
    reference = store.reference.attrs
    out: Result = {
        "frame": {
            "path": path, "digest": digest, "file": _state(path, digest), "night": night, "filter": name,
            "time": str(frame.time.values), "jd_utc": float(frame.jd_utc), "bjd_tdb": float(frame.bjd_tdb),
            "flags": decode(int(frame.frame_flags), FrameFlag), "note": str(frame.note.values),
        },
        "masters": {kind: [{"path": p, "digest": digests.get(p, "")} for p in paths]
                    for kind, paths in record.get("calibration", {}).get("inputs", {}).items()},
        "masters_missing": record.get("calibration", {}).get("missing", []),
        "reference": {k: reference.get(k, "") for k in ("path", "digest", "night", "filter")},
        **{k: record.get(k) for k in ("config", "config_digest", "software", "steps")},
        "commit": _commit(store, night, name, digest, path),
    }  # fmt: skip
    if star is not None:
        out["star"] = _star(frame, star)
    return out


def _nearest(store: Store, time: str, filter: str | None) -> tuple[str, xr.Dataset, list[int]]:
    """Filter, photometry and rows of the frames exposed at an instant: more than one where they share a time."""
    if filter is not None and filter not in store.photometry:
        raise InputError(f"--filter {filter!r}: {store.path} holds {', '.join(map(repr, store.photometry))}")
    best: tuple[float, str, xr.Dataset, int] | None = None
    for name in store.photometry if filter is None else [filter]:
        obs = store.photometry[name]
        away = _seconds(obs, time)
        if np.isfinite(away).any():
            row = int(np.nanargmin(away))
            if best is None or away[row] < best[0]:
                best = float(away[row]), name, obs, row
    if best is None:
        raise InputError(f"{store.path}: no frame with a known time")
    away_s, name, obs, row = best
    exposure = float(obs.exposure[row])
    if away_s > max(exposure if np.isfinite(exposure) else 0.0, SLACK):
        raise InputError(
            f"time: no frame was exposed at {time}; the nearest, {away_s:.0f} s away, is "
            f"{obs.path.values[row]} at {obs.time.values[row]}"
        )
    return name, obs, np.flatnonzero(obs.time.values == obs.time.values[row]).tolist() or [row]


def _seconds(obs: xr.Dataset, time: str) -> np.ndarray:
    """How far each frame is from an instant, s; NaN where its time is not known."""
    try:
        day = float(time)
    except ValueError:
        try:
            instant = datetime.fromisoformat(time)
        except ValueError as error:
            raise InputError(
                f"time: {time!r} is neither an instant, as 2026-11-22T03:04:05, nor a Julian date"
            ) from error
        if instant.tzinfo is not None:
            instant = instant.astimezone(UTC).replace(tzinfo=None)
        away = obs.time.values - np.datetime64(instant, "ns")
        return np.abs(np.where(np.isnat(away), np.nan, away / np.timedelta64(1, "s")))
    return 86400.0 * np.fmin(np.abs(obs.jd_utc.values - day), np.abs(obs.bjd_tdb.values - day))


def _state(path: str, digest: str) -> str:
    """Whether a raw file is still what was measured."""
    if not digest:
        return "unreadable"
    try:
        now = file_digest(path)
    except BucketError:
        return "unreachable"
    return "same" if now == digest else "changed" if now else "gone"


def _star(frame: xr.Dataset, star: int) -> Result:
    if not 0 <= star < frame.sizes["star"]:
        raise InputError(f"star: there is no star {star}; the stars are 0 to {frame.sizes['star'] - 1}")
    one = frame.isel(star=star)
    values = {k: float(one[k]) for k in ("star_x", "star_y", "x", "y", "sky", "peak")}
    lists = {k: [float(v) for v in one[k].values] for k in ("aperture_radius", "flux", "flux_err")}
    return {"star": star, **values, "flags": decode(int(one["flags"]), StarFlag), **lists,
            "unit": str(frame.attrs.get("flux_unit", "e-"))}  # fmt: skip


def _commit(store: Store, night: str, filter: str, digest: str, path: str) -> Result | None:
    """The commit that brought a frame's row as it is; None where it is not known."""
    commits = store.history()
    mine = _row(store, filter, digest, path)
    found = None
    for commit, before in pairwise(commits):
        if commit.metadata.get("night") == night:
            found = commit
            earlier = _row(Store.open(store.path, snapshot=before.id), filter, digest, path)
            if earlier is None or mine is None or not earlier.identical(mine):
                break
    else:  # its commit was let go, or nearly: the last that measured the night
        told = (c for c in _line(store) if "frames" in c.metadata and c.metadata["night"] == night)
        found = found or next(told, None)
    if found is None:
        return None
    return {"id": found.id, "time": found.time.isoformat(), "message": found.message}


def _line(store: Store) -> Iterator[Commit]:
    """The commits that the open state came from, the newest first, also those let go: none that a rollback undid."""
    goal = store.session.snapshot_id
    for commit in store.history(everything=True):
        if goal in ("", commit.id):
            goal = commit.metadata.get("to", "")  # the commits between a rollback and its goal are undone
            yield commit


def _row(store: Store, filter: str, digest: str, path: str) -> xr.DataArray | None:
    """Fluxes of a frame at one version of a store; None where it does not hold the frame."""
    if filter not in store.photometry:
        return None
    obs = store.photometry[filter]
    key, value = ("digest", digest) if digest else ("path", path)
    rows = np.flatnonzero(obs[key].values == value)
    return obs.flux[int(rows[0])].load() if rows.size else None


def lineage_lines(result: Mapping[str, Any]) -> list[str]:
    """The lineage in words."""
    f, r = result["frame"], result["reference"]
    file = {"same": "the file is the one that was measured", "changed": "the file is ANOTHER one now",
            "gone": "the file is gone", "unreadable": "it could not be read",
            "unreachable": "its bucket is out of reach"}[f["file"]]  # fmt: skip
    lines = [
        f"{f['time']} (JD {f['jd_utc']:.6f}, BJD_TDB {f['bjd_tdb']:.6f}), night {f['night'] or 'unknown'}, "
        f"filter {f['filter'] or 'unknown'}",
        f"  frame {f['path']}",
        f"    sha256 {f['digest'] or 'none'}; {file}",
    ]
    lines += [f"    {what}" for what in (", ".join(f["flags"]), f["note"]) if what]
    if star := result.get("star"):
        best = (
            int(np.nanargmax(np.divide(star["flux"], star["flux_err"])))
            if np.isfinite(star["flux"]).any()
            else 0
        )
        lines.append(
            f"  star {star['star']} at ({star['x']:.2f}, {star['y']:.2f}): {star['flux'][best]:.6g} +- "
            f"{star['flux_err'][best]:.3g} {star['unit']} in aperture {best} ({star['aperture_radius'][best]:.2f} px), "
            f"sky {star['sky']:.4g}; {', '.join(star['flags']) or 'no flags'}"
        )
    for kind, inputs in result["masters"].items():
        lines += [f"  {kind} {i['path']}  sha256 {i['digest'][:16]}" for i in inputs]
    lines += [f"  missing {text}" for text in result["masters_missing"]]
    lines.append(
        f"  reference {r['path']}  sha256 {r['digest'][:16]} (night {r['night']}, filter {r['filter']})"
    )
    changed = _changed_settings(result["config"] or {})
    lines.append(f"  settings {(result['config_digest'] or 'unknown')[:16]}: {changed or 'the defaults'}")
    if result["steps"]:
        lines.append(f"  steps {', '.join(result['steps'])}")
    lines.append("  " + ", ".join(f"{k} {v}" for k, v in (result["software"] or {}).items()))
    if commit := result["commit"]:
        lines.append(f"  commit {commit['id']} of {commit['time'][:19]}: {commit['message']}")
    return lines + [line for other in result.get("also", ()) for line in lineage_lines(other)]


def _changed_settings(config: Mapping[str, Any]) -> str:
    """Settings that are not the defaults, in words."""
    usual = json.loads(json.dumps(asdict(Config())))
    return ", ".join(f"{k} = {v!r}" for k, v in config.items() if usual.get(k) != v)
