"""A night: run, commit. The whole job is nights, one after the other, each one commit."""

from __future__ import annotations

import json
import platform
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from . import schema
from .calibration import masters as make_masters
from .config import Config
from .errors import CalibrationError, InputError
from .flags import FrameFlag, decode
from .graph import reference as references
from .graph.assemble import instants, photometry_dataset
from .graph.chunks import Slots, Task, measure_night
from .graph.context import KEPT, Handle, digest, masters_from_dataset, reference_from_dataset
from .graph.frame import trimmed_shape, unit
from .graph.reference import NoReference
from .graph.steps import Step
from .io.choice import dark_misfit
from .io.site import site_of
from .lineage import commit_facts
from .planning import NightSeries
from .progress import Progress
from .store import Store, Transaction
from .store.encodings import plain
from .store.layout import REFERENCE

if TYPE_CHECKING:
    from distributed import Client

Record = dict[str, Any]

#: Packages whose versions can change a number.
SOFTWARE = (
    "dphot",
    "numpy",
    "scipy",
    "numba",
    "astropy",
    "photutils",
    "sep",
    "dask",
    "xarray",
    "zarr",
    "icechunk",
)

#: Bytes for each pixel of a frame that is calibrated and measured, and of one that is added to a stack (measured).
IN_WORK, STACKED = 24, 36


def projected_memory(light: Record, config: Config) -> int:
    """Bytes that one worker needs at most: masters, a frame in work, and the stack's sums."""
    ny, nx = trimmed_shape(light)
    raw = int(light["width"]) * int(light["height"]) * np.dtype(light["dtype"]).itemsize
    per_pixel = 13 * KEPT + IN_WORK + (STACKED if config.stack else 0)
    return ny * nx * per_pixel + 3 * raw + 300 * 2**20


def run(
    nights: Sequence[NightSeries],
    store: Store,
    config: Config,
    *,
    client: Client | None = None,
    progress: Progress | None = None,
    steps: Sequence[Step] = (),
) -> list[dict[str, Any]]:
    """Reduce one night, in all its filters, and commit it: all of it exists afterwards, or nothing.

    Parameters
    ----------
    nights : sequence of NightSeries
        From `plan`, of one night.
    store : Store
        The field's store; the first night brings its reference.
    config : Config
        Settings.
    client : distributed.Client, optional
        Where to run; without one, in this process.
    progress : Progress, optional
        For bars.
    steps : sequence of callable
        Steps of the user's own, with those that the settings name.

    Returns
    -------
    list of dict
        The records, one for each filter, as the store keeps them.

    Raises
    ------
    NoReference
        If the store has no reference, and no frame of the night can be it; nothing is written.
    """
    progress = progress or Progress(False)
    for series in nights:
        _check_memory(series.light, config, client)
    night = nights[0].night
    filters = [series.filter for series in nights]
    with store.transaction(f"night {night or 'unknown'}", {"night": night, "filters": filters}) as tx:
        reference = tx.read(REFERENCE) if REFERENCE in tx.root else None
        records: dict[str, dict[str, Any]] = {}
        # The filter with the most frames (of a colour camera green) brings the reference; else the next one does.
        waiting = sorted(nights, key=lambda series: (-series.usable, series.light["channel"] in ("TR", "TB")))
        failed = 0
        while waiting:
            series = waiting.pop(0)
            try:
                records[series.filter], reference = _run_series(
                    series, tx, reference, config, client, progress, steps
                )
            except NoReference:
                failed += 1
                if failed == len(nights):
                    raise
                waiting.append(series)
        tx.write_night(night, {"series": [records[name] for name in filters]})
        tx.metadata = commit_facts(night, [records[name] for name in filters])
    return [records[name] for name in filters]


def _run_series(
    series: NightSeries,
    tx: Transaction,
    reference_ds: xr.Dataset | None,
    config: Config,
    client: Client | None,
    progress: Progress,
    steps: Sequence[Step],
) -> tuple[dict[str, Any], xr.Dataset]:
    """One filter of a night, into an open transaction; also the reference, made here if there was none."""
    started = clock.perf_counter()
    label = f"{series.night or 'unknown night'} {series.filter}".strip()
    with progress.bar(f"{label} masters", 1, "set") as bar:
        masters_ds = make_masters(series.choice, series.light, client, series.lights, config)
        bar.update()
    masters = masters_from_dataset(masters_ds)
    masters_name = f"{series.night}/{series.filter}"
    tx.write_masters(masters_name, masters_ds)
    if masters_ds.attrs["missing"] and config.strict:
        raise CalibrationError(
            f"{label}: missing {'; missing '.join(masters_ds.attrs['missing'])}; or drop --strict"
        )
    if reference_ds is None:
        with progress.bar(f"{label} reference", 1, "frame") as bar:
            handle = Handle(digest(masters), tx.fork, masters_name)
            reference_ds = references.build(series.lights, masters, config, client, steps, handle)
            tx.write_reference(reference_ds)
            bar.update()
    reference = reference_from_dataset(reference_ds)

    slots = None
    if config.frames == "copy":
        shape, dtype = (int(series.light["height"]), int(series.light["width"])), series.light["dtype"]
        columns = _columns(series.lights)
        place = tx.reserve_frames(series.filter, series.night, len(series.lights), shape, dtype, columns)
        slots = Slots(series.filter, series.night, place.offset, shape, dtype)
    handle = Handle(digest(masters, reference), tx.fork, masters_name)
    task = Task(handle, config, slots, tuple(steps))
    with progress.bar(f"{label} photometry", len(series.lights)) as bar:
        rows, forks, stack = measure_night(
            series.lights, task, reference, client, on_done=lambda chunk: bar.update(len(chunk.records))
        )
    tx.merge(*forks)
    ds = _dataset(rows, series, reference_ds, config, masters_ds)
    tx.append_photometry(series.filter, ds)
    if stack is not None:
        # Frames were summed without their skies, so that the edge of a drifting field shows no steps.
        sky = ds.sky_frame.values[np.isfinite(ds.sky_frame.values)] / unit(reference)
        level = np.float32(np.median(sky)) if sky.size else np.float32(0)
        images = {"stack": (("y", "x"), stack.mean() + level), "count": (("y", "x"), stack.count)}
        tx.write_stack(series.filter, series.night, xr.Dataset(images))
    elapsed = clock.perf_counter() - started
    record = _record(series, ds, config, masters_ds, reference_ds, elapsed)
    # Functions given in a script are named here only: the settings hold those with a name to import.
    return {**record, "steps": [getattr(step, "__name__", repr(step)) for step in steps]}, reference_ds


def _columns(lights: Sequence[Record]) -> dict[str, Any]:
    """What the store keeps beside each raw frame: enough to measure it again."""
    text = np.array(
        [json.dumps(plain({**r, "time": str(r["time"])}), sort_keys=True) for r in lights], object
    )
    return {
        "time": instants(lights),
        "path": np.array([r["path"] for r in lights], object),
        "record": text,
    }


def _check_memory(light: Record, config: Config, client: Client | None) -> None:
    if client is None:
        return
    need = projected_memory(light, config)
    limits = [w["memory_limit"] for w in client.scheduler_info()["workers"].values() if w.get("memory_limit")]
    if limits and need > min(limits):
        raise InputError(
            f"a worker needs about {need / 2**30:.1f} GiB for frames of {light['width']}x{light['height']}, "
            f"and the smallest has {min(limits) / 2**30:.1f} GiB; use fewer, larger workers, or stack = false"
        )


def _dataset(
    rows: list[dict[str, Any]],
    series: NightSeries,
    reference: xr.Dataset,
    config: Config,
    masters: xr.Dataset,
) -> xr.Dataset:
    for row, record in zip(rows, series.lights, strict=True):
        unread = row["frame_flags"] & FrameFlag.UNREADABLE
        if not unread and (masters.attrs["missing"] or dark_misfit(series.choice, record)):
            row["frame_flags"] |= int(FrameFlag.CALIBRATION_MISSING)
    attrs = {
        "telescope": series.light["telescope"], "object": series.light["object"], "filter": series.filter,
        "target": config.target, "reference": reference.attrs["path"], "calibration_missing": masters.attrs["missing"],
    }  # fmt: skip
    site = site_of(series.light, config.telescope, config.coordinates)
    return photometry_dataset(rows, series.lights, reference, site, attrs)


def _record(
    series: NightSeries,
    ds: xr.Dataset,
    config: Config,
    masters: xr.Dataset,
    reference: xr.Dataset,
    elapsed: float,
) -> dict[str, Any]:
    """How the night was made: everything a reader needs to trust it, or not."""
    lost = int(FrameFlag.UNREADABLE | FrameFlag.ALIGN_FAILED | FrameFlag.FEW_STARS)
    flags = ds.frame_flags.values
    dropped = [
        {"path": str(p), "flags": decode(f, FrameFlag), "reason": str(note)}
        for p, f, note in zip(ds.path.values, flags, ds.note.values, strict=True)
        if f & lost
    ]
    copies = [
        {"path": path, "flags": ["DUPLICATE"], "reason": f"a copy of {kept}"} for path, kept in series.copies
    ]
    site = site_of(series.light, config.telescope, config.coordinates)
    return {
        "night": series.night,
        "filter": series.filter,
        "object": series.light["object"],
        "telescope": {"name": series.light["telescope"], **{k: v for k, v in site.items() if not _unknown(v)}},
        "missing": site_missing(site, series.light),
        "frames": int(ds.sizes["time"]) + len(copies),
        "frames_used": int(ds.sizes["time"] - len(dropped)),
        "frames_dropped": dropped + copies,
        "frames_noted": [
            {"path": str(p), "note": str(n)} for p, n, f in zip(ds.path.values, ds.note.values, flags, strict=True)
            if n and not f & lost
        ],
        "calibration": {
            "inputs": masters.attrs["inputs"], "missing": masters.attrs["missing"], "notes": masters.attrs["notes"],
            "bad_pixels": int(masters["bad"].sum()),
        },
        "reference": {k: reference.attrs[k] for k in ("path", "night", "filter", "fwhm")}
        | {"stars": int(reference.sizes["star"]), "saturation": reference.attrs.get("saturation"),
           "gain": reference.attrs.get("gain")},
        "config": asdict(config),
        "config_digest": config.digest(),
        "format": schema.FORMAT_VERSION,
        "software": software(),
        "elapsed_s": round(elapsed, 3),
        "frames_per_second": round(ds.sizes["time"] / elapsed, 2),
    }  # fmt: skip


def _unknown(value: Any) -> bool:
    return isinstance(value, float) and not np.isfinite(value)


def site_missing(site: Mapping[str, Any], light: Record) -> list[dict[str, str]]:
    """What is not known of the telescope, and what that costs."""
    costs = {
        "latitude": "airmass is taken from the headers; barycentric times are up to 21 ms off",
        "longitude": "nights are split at noon UTC; airmass is taken from the headers",
        "ra": "no barycentric time and no airmass",
        "diameter": "no scintillation estimate",
    }
    out = [{"name": k, "cost": cost} for k, cost in costs.items() if _unknown(site[k])]
    if _unknown(light["gain"]):
        cost = (
            "fluxes are in ADU; the errors of light curves rest on a gain that the stars' own scatter tells"
        )
        out.append({"name": "gain", "cost": cost})
    if _unknown(light["exposure"]):
        out.append({"name": "exposure", "cost": "times are not mid-exposure; darks cannot be scaled"})
    return out


def software() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    return {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}}


def root_attributes(nights: Sequence[NightSeries], config: Config) -> dict[str, Any]:
    """Attributes of a new store: field, telescope, how it was made."""
    light = nights[0].light
    return {
        "object": light["object"],
        "telescope": light["telescope"],
        "created_by": f"dphot {version('dphot')}",
        "config": asdict(config),
        "config_digest": config.digest(),
    }
