"""A night: plan, check, run, commit. The whole job is nights, one after the other, each one commit."""

from __future__ import annotations

import json
import platform
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from . import schema
from .calibration import masters as make_masters
from .config import Config
from .errors import CalibrationError, FrameError, InputError
from .flags import FrameFlag, decode
from .graph import reference as references
from .graph.assemble import photometry_dataset
from .graph.chunks import Slots, Task, measure_night
from .graph.context import Handle, digest, masters_from_dataset, reference_from_dataset
from .graph.frame import Step, load_steps, trimmed_shape, unit
from .io.choice import Choice, choose
from .io.frames import FrameTable
from .io.readers import read_frame
from .io.site import site_of
from .progress import Progress
from .store import Store, Transaction
from .store.layout import REFERENCE

if TYPE_CHECKING:
    from distributed import Client

Record = dict[str, Any]

#: Packages whose versions can change a number.
SOFTWARE = ("dphot", "numpy", "scipy", "numba", "astropy", "photutils", "sep", "dask", "xarray", "zarr", "icechunk")


@dataclass(frozen=True)
class NightSeries:
    """The lights of one night in one filter, and the calibration frames that serve them."""

    night: str
    filter: str
    lights: tuple[Record, ...]
    """In time order, as the frame table has them; those with `error` become flagged rows."""
    light: Record
    """A light that stands for all: size, binning, exposure."""
    choice: Choice


def plan(table: FrameTable, config: Config) -> list[NightSeries]:
    """What will be reduced, night by night.

    Parameters
    ----------
    table : FrameTable
        Frames of one field.
    config : Config
        `object` and `filter` select lights.

    Returns
    -------
    list of NightSeries
        In order of date, then filter.

    Raises
    ------
    InputError
        If there are no lights, or they show several targets or cameras and none is selected.
    CalibrationError
        Under `Config.strict`, if a bias, dark or flat is missing.
    """
    records = table.to_pandas().to_dict("records")
    lights = [r for r in records if r["type"] == "light"]
    lights = [r for r in lights if config.object in ("", r["object"]) and config.filter in ("", r["filter"])]
    if not any(not r["error"] for r in lights):
        raise InputError(_no_lights(records, config))
    _check_one_field(lights)
    calibrations = [r for r in records if r["type"] in ("bias", "dark", "flat")]
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in lights:
        groups.setdefault((record["night"], record["filter"]), []).append(record)
    nights = []
    for (night, name), group in sorted(groups.items()):
        light = _standard(group)
        if light is None:
            continue
        members = tuple(_misfit(r, light) for r in _unique(group))
        choice = choose(light, calibrations, config)
        if choice.missing and config.strict:
            raise CalibrationError(
                f"night {night}, filter {name!r}: missing {'; '.join(choice.missing)}; add the frames, or drop --strict"
            )
        nights.append(NightSeries(night, name, members, light, choice))
    return nights


def _no_lights(records: Sequence[Record], config: Config) -> str:
    kinds: dict[str, int] = {}
    for r in records:
        kind = f"unusable ({r['error']})" if r["error"] else (r["type"] or "of unknown type")
        kinds[kind] = kinds.get(kind, 0) + 1
    found = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    chosen = "".join(f", {k} {getattr(config, k)!r}" for k in ("object", "filter") if getattr(config, k))
    return (
        f"no light frames{chosen} among {len(records)} files ({found}); "
        "name the image types in a telescope file, or select another object or filter"
    )


def _check_one_field(lights: Sequence[Record]) -> None:
    for key, option in (("object", "--object"), ("telescope", "a folder for each telescope")):
        values = sorted({r[key] for r in lights if not r["error"]})
        if len(values) > 1:
            raise InputError(f"the lights show several {key}s, {values}: a store holds one field; select with {option}")


def _standard(group: Sequence[Record]) -> Record | None:
    """The light that stands for a group: of its most frequent size, type and binning, the middle one."""
    usable = [r for r in group if not r["error"]]
    if not usable:
        return None
    kinds = [_kind(r) for r in usable]
    common = max(sorted(set(kinds), key=str), key=kinds.count)
    same = [r for r in usable if _kind(r) == common]
    return same[len(same) // 2]


def _kind(r: Record) -> tuple[Any, ...]:
    return tuple(r[k] for k in ("width", "height", "dtype", "xbinning", "ybinning", "trim"))


def _misfit(record: Record, light: Record) -> Record:
    """The record, with an error where its image does not fit the night's others."""
    if record["error"] or _kind(record) == _kind(light):
        return record
    was, expected = (f"{r['width']}x{r['height']} {r['dtype']}, binning {r['xbinning']}x{r['ybinning']}, "
                     f"trim {r['trim'] or 'none'}" for r in (record, light))  # fmt: skip
    return {**record, "error": f"is {was}; the night's frames are {expected}"}


def _unique(group: Sequence[Record]) -> list[Record]:
    """The group without copies: files of the same size, instant and content are one frame."""
    out: list[Record] = []
    seen: dict[tuple[Any, ...], list[Record]] = {}
    for record in group:
        key = record["size"], str(record["time"]), record["exposure"]
        twins = seen.setdefault(key, [])
        if twins and not record["error"] and _content(record) in [_content(t) for t in twins]:
            continue
        twins.append(record)
        out.append(record)
    return out


def _content(record: Record) -> str:
    try:
        return read_frame(record["path"], record["hdu"])[1]
    except FrameError:
        return record["path"]


def projected_memory(light: Record, config: Config) -> int:
    """Bytes that one worker needs at most: masters, a frame in work, and the stack's sums."""
    ny, nx = trimmed_shape(light)
    per_pixel = 13 + 3 * 8 + (2 * 12 if config.stack else 0)
    return ny * nx * per_pixel + 300 * 2**20


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
        Steps of the user's own, before those that `config` names.

    Returns
    -------
    list of dict
        The records, one for each filter, as the store keeps them.
    """
    progress = progress or Progress(False)
    steps = (*steps, *load_steps(config.steps))
    for series in nights:
        _check_memory(series.light, config, client)
    night = nights[0].night
    filters = [series.filter for series in nights]
    with store.transaction(f"night {night or 'unknown'}", {"night": night, "filters": filters}) as tx:
        reference = tx.read(REFERENCE) if REFERENCE in tx.root else None
        records = []
        for series in nights:
            record, reference = _run_series(series, tx, reference, config, client, progress, steps)
            records.append(record)
        tx.write_night(night, {"series": records})
    return records


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
        masters_ds = make_masters(series.choice, series.light, client, series.lights if config.pattern else ())
        bar.update()
    masters = masters_from_dataset(masters_ds)
    masters_name = f"{series.night}/{series.filter}"
    tx.write_masters(masters_name, masters_ds)
    if reference_ds is None:
        with progress.bar(f"{label} reference", 1, "frame") as bar:
            chosen = references.choose([r for r in series.lights if not r["error"]], masters, config, client, steps)
            reference_ds = references.make(chosen, masters, config, steps)
            tx.write_reference(reference_ds)
            bar.update()
    reference = reference_from_dataset(reference_ds)

    slots = None
    if config.frames == "copy":
        shape, dtype = (int(series.light["height"]), int(series.light["width"])), series.light["dtype"]
        place = tx.reserve_frames(series.filter, series.night, len(series.lights), shape, dtype, _columns(series.lights))
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
    return _record(series, ds, config, masters_ds, reference_ds, elapsed), reference_ds


def _columns(lights: Sequence[Record]) -> dict[str, Any]:
    """What the store keeps beside each raw frame: enough to measure it again."""
    text = np.array([json.dumps(r, default=str, sort_keys=True) for r in lights], object)
    return {
        "time": np.array([r["time"] for r in lights], "datetime64[ns]"),
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
    rows: list[dict[str, Any]], series: NightSeries, reference: xr.Dataset, config: Config, masters: xr.Dataset
) -> xr.Dataset:
    if series.choice.missing:
        for row in rows:
            row["frame_flags"] |= int(FrameFlag.CALIBRATION_MISSING)
    attrs = {
        "telescope": series.light["telescope"], "object": series.light["object"], "filter": series.filter,
        "target": config.target, "reference": reference.attrs["path"], "calibration_missing": masters.attrs["missing"],
    }  # fmt: skip
    return photometry_dataset(rows, series.lights, reference, site_of(series.light, config.telescope, config.coordinates), attrs)


def _record(
    series: NightSeries, ds: xr.Dataset, config: Config, masters: xr.Dataset, reference: xr.Dataset, elapsed: float
) -> dict[str, Any]:
    """How the night was made: everything a reader needs to trust it, or not."""
    lost = int(FrameFlag.UNREADABLE | FrameFlag.ALIGN_FAILED | FrameFlag.FEW_STARS)
    flags = ds.frame_flags.values
    dropped = [
        {"path": str(p), "flags": decode(f, FrameFlag), "reason": str(note)}
        for p, f, note in zip(ds.path.values, flags, ds.note.values, strict=True)
        if f & lost
    ]
    site = site_of(series.light, config.telescope, config.coordinates)
    return {
        "night": series.night,
        "filter": series.filter,
        "object": series.light["object"],
        "telescope": {"name": series.light["telescope"], **{k: v for k, v in site.items() if not _unknown(v)}},
        "missing": site_missing(site, series.light),
        "frames": int(ds.sizes["time"]),
        "frames_used": int(ds.sizes["time"] - len(dropped)),
        "frames_dropped": dropped,
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
        out.append({"name": "gain", "cost": "fluxes are in ADU, and the photon noise is taken for 1 e-/ADU"})
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


def describe(series: NightSeries) -> list[str]:
    """What will be done with a night, in a few lines."""
    n = {kind: len(getattr(series.choice, kind)) for kind in ("bias", "dark", "flat")}
    lines = [
        f"{series.night or 'unknown night'}, filter {series.filter or 'unknown'}: {len(series.lights)} lights; "
        f"calibrated with {n['bias']} bias, {n['dark']} dark, {n['flat']} flat"
    ]
    for kind in ("bias", "dark", "flat"):
        frames = getattr(series.choice, kind)
        if frames:
            lines.append(f"  {kind}: {frames[0]['path']} ... ({len(frames)}, night {frames[0]['night'] or 'unknown'})")
    lines += [f"  missing {text}" for text in series.choice.missing]
    lines += [f"  {text}" for text in series.choice.notes]
    lines += [f"  {r['path']}: {r['error']}" for r in series.lights if r["error"]]
    return lines
