"""A night measured again, from the raw frames and masters that the store keeps: no file is needed.

Only where other calibration frames are given, masters are made again.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from . import cluster
from .config import FREE_IN_REDO, Config, coerce
from .errors import InputError
from .flags import FrameFlag, decode
from .graph.assemble import photometry_dataset, stack_dataset
from .graph.chunks import Task, measure_night
from .graph.context import Handle, digest, masters_from_dataset, reference_from_dataset
from .graph.steps import Step, load_steps
from .io.frames import FrameTable, scan
from .io.site import site_of
from .lineage import commit_facts
from .night_record import LOST, calibration_facts, software, step_names
from .other_calibration import other_masters
from .progress import Progress
from .store import Store, Transaction, readable, repairs
from .store.layout import REFERENCE

if TYPE_CHECKING:
    from distributed import Client

Record = dict[str, Any]


def redo(
    store: Store | str | Path,
    night: str,
    /,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    client: Client | None = None,
    steps: Sequence[Step | str] = (),
    calibration: FrameTable | str | Path | Sequence[str | Path] | None = None,
    wait: float = 60.0,
    progress: Progress | None = None,
    **settings: Any,
) -> list[Record]:
    """Measure a night of a store again, in one commit: with other settings, or other calibration frames.

    The old numbers stay readable until gc. Raw frames are those that the store keeps, and the masters, too, unless
    calibration frames are given; reference and star list stay.

    Parameters
    ----------
    store : Store or path
        The store; a `Store` given shows the new state afterwards.
    night : str
        The night, as ``"2026-11-22"``; ``"unknown"``: that of frames which tell no time.
    workers, scheduler, client
        Where to run, as for `dphot.reduce`.
    steps : sequence of callable or str
        Steps of your own. Names, ``"module:function"``, become the setting `steps` and take the place of those that
        the night's settings name (``""``: none); functions come before them, and must be given again for late frames.
    calibration : FrameTable, path, or sequence of paths, optional
        Bias, dark or flat frames for the night, as those that came late; of the kinds that are not among them, those
        that served before are read again.
    wait : float
        How long to wait for another writer, s.
    progress : Progress, optional
        For bars.
    **settings
        Those of `dphot.config.FREE_IN_REDO`; what is not given stays as the night was measured. The number of
        apertures cannot change.

    Returns
    -------
    list of dict
        The night's new records, one for each filter.

    Raises
    ------
    InputError
        If the store has no such night, or keeps no frames of it; if a setting would not fit its other nights; or if
        calibration frames given do not serve the night.
    StoreError
        If the store cannot be read or written, or another writer does not finish in time.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    opened.refresh()
    given = [steps] if isinstance(steps, str) else list(steps)
    own = load_steps([step for step in given if not isinstance(step, str)])
    if len(own) < len(given):
        settings["steps"] = tuple(step for step in given if isinstance(step, str) and step)
    if calibration is None or isinstance(calibration, FrameTable):
        table = calibration
    else:
        table = scan(calibration, telescope=opened.attrs["config"]["telescope"] or None)
    night = "" if night == "unknown" else night
    rest = own, table, wait, progress or Progress(), settings
    with readable(opened.path, opened.session):
        if client is None:
            with cluster.connect(workers, scheduler) as found:
                return _redo(opened, night, found, *rest)
        return _redo(opened, night, client, *rest)


def _redo(
    store: Store,
    night: str,
    client: Client | None,
    own: Sequence[Step],
    calibration: FrameTable | None,
    wait: float,
    progress: Progress,
    settings: dict[str, Any],
) -> list[Record]:
    what = "measured again" if calibration is None else "calibrated and measured again"
    named = night or "unknown"  # of frames that tell no time
    with store.transaction(f"night {named}, {what}", {"night": night}, wait) as tx:
        before = tx.read_night(night)
        if before is None:
            nights = ", ".join(record["night"] or "unknown" for record in store.nights) or "none"
            raise InputError(f"{store.path}: there is no night {night!r}; the nights are {nights}")
        frames = {kept.filter: kept for kept in repairs.stored_frames(tx.fork) if kept.night == night}
        series, renewed = [], list[bool]()
        for record in before["series"]:
            config = _settled(record["config"], settings)
            chain = (*own, *load_steps(config.steps))
            of_night = frames.get(record["filter"])
            kept = of_night.readable(store.path, tx.base) if of_night is not None else []
            if not any(not one["error"] for one in kept):
                raise InputError(
                    f"{store.path}: it keeps no raw frames of night {named}, filter {record['filter']!r}: reduce its "
                    "files into another store"
                )
            other = None if calibration is None else other_masters(record, kept, calibration, config, client)
            renewed.append(other is not None)
            with progress.bar(f"{named} {record['filter']} photometry", len(kept)) as bar:
                series.append(_measure(tx, record, kept, config, chain, client, bar, other))
        if calibration is not None and not any(renewed):
            filters = ", ".join(repr(record["filter"]) for record in series)
            raise InputError(
                f"calibration: no bias, no dark, and no flat in {filters} among {len(calibration)} files"
            )
        tx.write_night(night, {**before, "series": series})
        whole = before.get("complete", True)  # of a night that a crash cut short, no more was measured again
        tx.metadata = {**commit_facts(night, series), "complete": whole, "redone": True}
    return series


def _settled(own: dict[str, Any], changes: dict[str, Any]) -> Config:
    """The night's settings with those given."""
    config = Config().patch(**own)
    given = coerce(changes)
    fixed = sorted(
        name for name in given if name not in FREE_IN_REDO and given[name] != getattr(config, name)
    )
    if fixed:
        raise InputError(
            f"{', '.join(fixed)}: the star list or the masters of all nights rest on it; reduce the files into "
            f"another store. A night alone can change {', '.join(FREE_IN_REDO)}"
        )
    changed = config.patch(**given)
    if len(changed.apertures) != len(config.apertures):
        raise InputError(
            f"apertures: {len(changed.apertures)} given, the store's nights have {len(config.apertures)}; give as many"
        )
    return changed


def _measure(
    tx: Transaction,
    record: Record,
    lights: list[Record],
    config: Config,
    steps: tuple[Step, ...],
    client: Client | None,
    bar: Any,
    other: tuple[xr.Dataset, set[tuple[str, int]]] | None,
) -> Record:
    """One filter of the night, into the open transaction; its new record."""
    started = clock.perf_counter()
    night, name = record["night"], record["filter"]
    place = f"{night}/{name}"
    if other is None:
        lacking = _lacking(tx, name, night)
    else:
        masters, lacking = other
        tx.write_masters(place, masters)
    masters_ds, reference_ds = tx.read_masters(place), tx.read(REFERENCE)
    reference = reference_from_dataset(reference_ds)
    handle = Handle(digest(masters_from_dataset(masters_ds), reference), tx.fork, place)
    rows, _, stack = measure_night(
        lights,
        Task(handle, config, None, steps),
        reference,
        client,
        lambda chunk: bar.update(len(chunk.records)),
    )
    for row, light in zip(rows, lights, strict=True):
        if (light["path"], light["mtime_ns"]) in lacking and not row["frame_flags"] & FrameFlag.UNREADABLE:
            row["frame_flags"] |= int(FrameFlag.CALIBRATION_MISSING)
    light = next(one for one in lights if not one["error"])
    site = site_of(light, config.telescope, config.coordinates, reference_ds.attrs.get("site"))
    ds = photometry_dataset(rows, lights, reference_ds, site, {"filter": name})
    tx.overwrite_photometry(name, ds)
    if stack is not None:
        tx.write_stack(name, night, stack_dataset(stack, ds.sky_frame.values, reference))
    seconds = clock.perf_counter() - started
    return {**record, **_facts(ds, record), "calibration": calibration_facts(masters_ds),
            "config": asdict(config), "config_digest": config.digest(), "software": software(),
            "elapsed_s": round(seconds, 3), "frames_per_second": round(len(rows) / seconds, 2),
            "steps": step_names(steps), "redone": True}  # fmt: skip


def _lacking(tx: Transaction, filter: str, night: str) -> set[tuple[str, int]]:
    """Path and time of change of the frames of a night that some calibration was missing for."""
    old = tx.read_photometry(filter, night, ("path", "file_time", "frame_flags"))
    old = old.isel(time=(old.frame_flags.values & int(FrameFlag.CALIBRATION_MISSING)) != 0)
    return set(zip(old.path.values.tolist(), old.file_time.values.tolist(), strict=True))


def _facts(ds: xr.Dataset, record: Record) -> Record:
    """What a record says of the frames."""
    told = list(zip(ds.path.values, ds.frame_flags.values, ds.note.values, strict=True))
    dropped = [
        {"path": str(p), "flags": decode(f, FrameFlag), "reason": str(n)} for p, f, n in told if f & LOST
    ]
    copies = [one for one in record["frames_dropped"] if one["flags"] == ["DUPLICATE"]]
    return {
        "frames_used": len(told) - len(dropped),
        "frames_dropped": dropped + copies,
        "frames_noted": [{"path": str(p), "note": str(n)} for p, f, n in told if n and not f & LOST],
    }
