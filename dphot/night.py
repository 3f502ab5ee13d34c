"""A night: measured, and committed. The whole job is nights, one after the other, each one commit.

A night that takes long is committed in steps: what is measured and kept is not measured again after a crash. Its record
says ``complete`` only with the last step.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from . import other_field, planning
from .calibration import masters as make_masters
from .config import Config
from .errors import CalibrationError
from .flags import FrameFlag
from .frame_columns import frame_columns, linked_record
from .graph import reference as references
from .graph.assemble import judge_clouds, photometry_dataset, stack_dataset
from .graph.chunks import Slots, Stack, Task, measure_night
from .graph.context import Handle, digest, masters_from_dataset, reference_from_dataset
from .graph.frame import frame_shape
from .graph.reference import NoReference
from .graph.steps import Step, load_steps
from .io.choice import dark_misfit
from .io.site import site_of
from .kept import choice_of
from .lineage import commit_facts
from .memory import check_memory
from .night_record import LOST, ROWS, series_record, settings_of, step_names
from .other_field import OtherField
from .planning import NightSeries
from .progress import Bar, Progress
from .store import Store, Transaction
from .store.layout import REFERENCE, masters_group, stack_group

if TYPE_CHECKING:
    from distributed import Client

Record = dict[str, Any]
Rows = list[dict[str, Any]]

#: Work between two commits of a long night aims at this (s); a crash costs at most twice as much.
STEP_SECONDS = 300.0
#: Pixels that a process measures in a second, at the very least: what a night's first step is sized by.
SLOWEST = 1e6


@dataclass(frozen=True)
class Committed:
    """What was made of a night."""

    records: list[Record]
    """One for each filter, as the store keeps them."""
    frames: int
    """Frames that are new in the store."""
    used: int
    """Those of them that could be measured."""
    base: str
    """Identity of the commit that the other nights are planned for: of an earlier one, where others wrote meanwhile."""
    refused: list[OtherField]
    """Of the filters that do not belong to the store: why."""


def run(
    nights: Sequence[NightSeries],
    store: Store,
    config: Config,
    *,
    base: str = "",
    client: Client | None = None,
    progress: Progress | None = None,
    steps: Sequence[Step] = (),
    wait: float = 60.0,
) -> Committed:
    """Measure one night, in all its filters, and commit it: all of it exists afterwards, or nothing (of a step).

    Parameters
    ----------
    nights : sequence of NightSeries
        From `plan`, of one night; their `fresh` frames are measured.
    store : Store
        The field's store; its first night brings its reference.
    config : Config
        Settings.
    base : str
        Identity of the commit that was planned for; where another writer has committed since, frames that it brought
        are left out.
    client : distributed.Client, optional
        Where to run; without one, in this process.
    progress : Progress, optional
        For bars.
    steps : sequence of callable
        Steps of the user's own, with those that the settings name.
    wait : float
        How long to wait for another writer, s.

    Returns
    -------
    Committed
        Without records where another writer has brought all frames.

    Raises
    ------
    NoReference
        If the store has no reference, and no frame of the night can be it; nothing is written.
    OtherField
        If the frames show another field than the store's, or those of all filters are of another camera; nothing is
        written.
    """
    for series in nights:
        check_memory(series.light, config, client)
    night = nights[0].night
    metadata = {"night": night, "filters": [series.filter for series in nights]}
    with store.transaction(f"night {night or 'unknown'}", metadata, wait) as tx:
        if others := tx.base != base:
            nights = planning.still_fresh(nights, tx.holdings())
        work = _Night(night, tx, config, client, progress or Progress(False), tuple(steps))
        if nights:
            work.run(nights)
    records = [work.records[name] for name in sorted(work.records)]
    base = base if others else tx.snapshot or tx.base
    return Committed(records, work.measured, work.aligned, base, work.refused)


class _Night:
    """One night in work, in an open transaction."""

    def __init__(
        self, night: str, tx: Transaction, config: Config, client: Client | None, progress: Progress,
        steps: tuple[Step, ...],
    ):  # fmt: skip
        self.night, self.tx, self.given = night, tx, (config, steps)
        self.config, self.steps = self.given
        """Those of the filter in work."""
        self.client, self.progress = client, progress
        self.reference: xr.Dataset | None = tx.read(REFERENCE) if REFERENCE in tx.root else None
        self.had_reference = self.reference is not None
        before = tx.read_night(night) or {"series": []}
        self.before: dict[str, Record] = {r["filter"]: r for r in before["series"]}
        self.goes_on = not before.get("complete", True) and any(r["frames_used"] for r in before["series"])
        """Whether a crash cut the night short: what is left belongs to what is there, the field is the store's."""
        self.records: dict[str, Record] = {}
        self.unaligned: list[other_field.Suspect] = []
        self.superseded: set[str] = set()
        self.refused: list[OtherField] = []
        self.measured = self.aligned = 0
        self.committed = clock.monotonic()

    def run(self, nights: Sequence[NightSeries]) -> None:
        """Measure all filters, and leave the transaction ready for its commit."""
        # The filter with the most frames (of a colour camera green) brings the reference; else the next one does.
        waiting = sorted(nights, key=lambda series: (-series.usable, series.light["channel"] in ("TR", "TB")))
        failed = 0
        while waiting:
            series = waiting.pop(0)
            try:
                self._run_series(series)
            except OtherField as error:
                self.refused.append(error)
                if len(self.refused) == len(nights):
                    raise other_field.together(self.refused) from error
            except NoReference:
                failed += 1
                if failed == len(nights):
                    raise
                waiting.append(series)
            if waiting and self._is_due():
                self._step()
        if reason := self._another_field():
            raise other_field.refusal(reason, nights)
        self._write_record(complete=True)

    def _run_series(self, series: NightSeries) -> None:
        self._settle(series.filter)
        started = clock.perf_counter()
        label = f"{series.night or 'unknown night'} {series.filter}".strip()
        if self.reference is not None:
            other_field.check_camera(series, self.reference, self.config, label)
        name = f"{series.night}/{series.filter}"
        masters_ds = self._masters(series, name, label)
        masters = masters_from_dataset(masters_ds)
        if self.reference is None:
            with self.progress.bar(f"{label} reference", 1, "frame") as bar:
                handle = Handle(digest(masters), self.tx.fork, name)
                self.reference = references.build(
                    series.lights, masters, self.config, self.client, self.steps, handle
                )
                self.tx.write_reference(self.reference)
                bar.update()
        reference = reference_from_dataset(self.reference)
        key = digest(masters, reference)

        lights, rows, stacks = series.fresh, Rows(), list[Stack]()
        done = written = 0
        speed = self._speed_at_least(series.light)
        with self.progress.bar(f"{label} photometry", len(lights)) as bar:
            while done < len(lights):
                size = max(1, int(speed * STEP_SECONDS))
                # no small rest is left over
                batch = lights[done : done + size] if len(lights) - done > 1.5 * size else lights[done:]
                since = clock.perf_counter()
                handle = Handle(key, self.tx.fork, name)
                found, stack = self._measure(batch, series, handle, reference, bar)
                speed = len(batch) / max(clock.perf_counter() - since, 1e-3)
                rows += found
                stacks += [stack] if stack is not None else []
                done += len(batch)
                self.measured += len(batch)
                self.aligned += sum(not row["frame_flags"] & LOST for row in found)
                self.unaligned += other_field.suspects(batch, found, handle)
                is_due = self._is_due()
                if done == len(lights) or is_due:
                    ds = _dataset(rows, lights[written:done], series, self.reference, self.config, masters_ds)
                    self._write(series, ds, stacks, masters_ds, clock.perf_counter() - started)
                    rows, stacks, written = Rows(), [], done
                if done < len(lights) and is_due:
                    self._step()

    def _settle(self, filter: str) -> None:
        """Late frames are measured as those of their night were, which may have been measured again otherwise."""
        self.config, self.steps = self.given
        if (record := self.before.get(filter)) is not None:
            own = self.steps[: len(self.steps) - len(self.config.steps)]
            self.config = settings_of(record, self.config)
            self.steps = (*own, *load_steps(self.config.steps))

    def _masters(self, series: NightSeries, name: str, label: str) -> xr.Dataset:
        """The masters of a night: those that it has, or new ones. Late frames are calibrated as the others were."""
        # Where no light could be read so far, they and their calibration frames may both have come only now.
        anew = self._is_unread(series.filter) and not series.choice.missing
        if masters_group(name) in self.tx.root and not anew:
            ds = self.tx.read(masters_group(name))
        elif series.masters is not None:
            ds = series.masters.load()
            self.tx.write_masters(name, ds)
        else:
            with self.progress.bar(f"{label} masters", 1, "set") as bar:
                ds = make_masters(series.choice, series.light, self.client, series.lights, self.config)
                bar.update()
            self.tx.write_masters(name, ds)
        if ds.attrs["missing"] and self.config.strict:
            raise CalibrationError(
                f"{label}: missing {'; missing '.join(ds.attrs['missing'])}; or drop --strict"
            )
        return ds

    def _is_unread(self, filter: str) -> bool:
        """Whether the night has frames in a filter already, of which none could be read."""
        record = self.before.get(filter)
        if record is None or record["frames_used"]:
            return False
        return all("UNREADABLE" in d["flags"] for d in record["frames_dropped"])

    def _speed_at_least(self, light: Record) -> float:
        """Frames a second that even a slow machine measures; steps of the user's own may take any time."""
        processes = 1 if self.client is None else max(1, len(self.client.nthreads()))
        speed = SLOWEST * processes / (int(light["width"]) * int(light["height"]))
        return min(speed, 2 * self.config.chunk * processes / STEP_SECONDS) if self.steps else speed

    def _measure(
        self, batch: Sequence[Record], series: NightSeries, handle: Handle, reference: Any, bar: Bar
    ) -> tuple[Rows, Stack | None]:
        """The rows of some frames; their raw pixels go to the store."""
        slots = place = None
        shape, dtype = frame_shape(series.light), series.light["dtype"]
        if self.config.frames == "copy":
            kept = [not record["error"] for record in batch]
            columns = frame_columns(batch, kept)
            place = self.tx.reserve_frames(series.filter, series.night, len(batch), shape, dtype, columns)
            slots = Slots(series.filter, series.night, place.offset)
        rows, forks, stack = measure_night(
            batch, Task(handle, self.config, slots, self.steps), reference, self.client,
            on_done=lambda chunk: bar.update(len(chunk.records)),
        )  # fmt: skip
        self.tx.merge(*forks)
        if place is not None and kept != (found := [bool(row.get("kept")) for row in rows]):
            # The place of a frame whose pixels could not be had after all is empty, and says so.
            records = [
                record if row.get("kept") or record["error"] else {**record, "error": row["note"]}
                for record, row in zip(batch, rows, strict=True)
            ]
            self.tx.update_frames(place, frame_columns(records, found))
        if self.config.frames == "link":
            records = [linked_record(record, row) for record, row in zip(batch, rows, strict=True)]
            kept = [not record["error"] for record in records]
            self.tx.link_frames(
                series.filter, series.night, shape, dtype, frame_columns(records, kept, linked=True)
            )
        return rows, stack

    def _write(
        self, series: NightSeries, ds: xr.Dataset, stacks: Sequence[Stack], masters: xr.Dataset, elapsed: float
    ) -> None:  # fmt: skip
        """Photometry, stack and record of some frames, together with those that the night has already."""
        assert self.reference is not None
        goes_on = series.filter in self.before or series.filter in self.records
        self._supersede(ds)
        self.tx.append_photometry(series.filter, ds)
        rows = self._judged_again(series) if goes_on else ds
        if stacks:
            self._write_stack(series, stacks, rows.sky_frame.values)
        # Functions given in a script are named here only: the settings hold those with a name to import.
        self.records[series.filter] = series_record(
            series, rows, self.config, masters, self.reference, elapsed,
            step_names(self.steps), self.before.get(series.filter),
        )  # fmt: skip

    def _supersede(self, ds: xr.Dataset) -> None:
        """Take out what earlier commits hold of files that could not be read then: now they have come anew."""
        for records in (self.before, self.records):
            for name, record in records.items():
                for path in (gone := self.tx.supersede(name, self.night, ds)):
                    self.progress.say(f"{path}: takes the place of what could not be read")
                if gone:
                    dropped = record["frames_dropped"]
                    left = [d for d in dropped if d["path"] not in gone or "UNREADABLE" not in d["flags"]]
                    frames = record["frames"] - len(dropped) + len(left)
                    records[name] = {**record, "frames": frames, "frames_dropped": left}
                self.superseded.update(gone)

    def _judged_again(self, series: NightSeries) -> xr.Dataset:
        """All rows of the night, as if they had come at once: what is a cloud shows in the whole night only."""
        assert self.reference is not None
        names = (*ROWS, "digest", "exposure", "share", "sky_frame")
        before = self.tx.read_photometry(series.filter, series.night, names)
        rows = judge_clouds(before, series.filter, self.reference.attrs)
        changed = (rows.frame_flags.values != before.frame_flags.values) | (
            rows.note.values.astype(str) != before.note.values.astype(str)
        )
        if changed.any():
            told = rows[["path", "digest", "frame_flags", "note"]]
            self.tx.amend_photometry(series.filter, told.isel(time=changed))
        return rows

    def _write_stack(self, series: NightSeries, stacks: Sequence[Stack], skies: np.ndarray) -> None:
        assert self.reference is not None
        total = Stack.empty(stacks[0].total.shape)
        for stack in stacks:
            total.merge(stack)
        group = stack_group(series.filter, series.night)
        if group in self.tx.root:
            before = self.tx.read(group)
            total.merge(Stack(before["total"].values, before["count"].values))
        ds = stack_dataset(total, skies, reference_from_dataset(self.reference))
        self.tx.write_stack(series.filter, series.night, ds)

    def _another_field(self) -> str:
        """What tells that the frames since the last step show another field; nothing once one of the night matched."""
        if self.reference is None or not self.had_reference or self.goes_on or self.aligned:
            return ""
        return other_field.shown_by(self.unaligned, self.reference, self.config, self.client, self.steps)

    def _is_due(self) -> bool:
        # What may be another field is not committed before the night's end; clouds are.
        return clock.monotonic() - self.committed >= STEP_SECONDS / 2 and not self._another_field()

    def _step(self) -> None:
        self._write_record(complete=False)
        self.tx.step(f"{self.tx.message}, a part", self.tx.metadata)
        self.unaligned = []
        self.committed = clock.monotonic()

    def _write_record(self, complete: bool) -> None:
        records = {**self.before, **self.records}
        series = [records[name] for name in sorted(records)]
        self.tx.write_night(self.night, {"series": series, "complete": complete})
        facts = {"complete": complete, **({"superseded": sorted(self.superseded)} if self.superseded else {})}
        self.tx.metadata = {**commit_facts(self.night, series), **facts}


def _dataset(
    rows: Rows,
    lights: Sequence[Record],
    series: NightSeries,
    reference: xr.Dataset,
    config: Config,
    masters: xr.Dataset,
) -> xr.Dataset:
    held = choice_of(masters, series.night)
    for row, record in zip(rows, lights, strict=True):
        if row["frame_flags"] & FrameFlag.UNREADABLE:
            continue
        misfit = dark_misfit(series.choice, record, config)
        if not misfit and (misfit := dark_misfit(held, record, config)):
            # a late frame gets the dark that its night has, which may be another than it would choose
            row["note"] = "; ".join(part for part in (row["note"], misfit) if part)
        if masters.attrs["missing"] or misfit:
            row["frame_flags"] |= int(FrameFlag.CALIBRATION_MISSING)
    attrs = {
        "telescope": series.light["telescope"], "object": series.light["object"], "filter": series.filter,
        "target": config.target, "reference": reference.attrs["path"],
    }  # fmt: skip
    site = site_of(series.light, config.telescope, config.coordinates, reference.attrs.get("site"))
    return photometry_dataset(rows, lights, reference, site, attrs)
