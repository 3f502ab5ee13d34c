"""Frames into a store that exists: those that it does not hold yet, night by night, each night one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cluster, night, planning
from .config import FREE_IN_APPEND, Config, coerce
from .errors import DphotError, InputError
from .graph.reference import NoReference
from .graph.steps import Step, load_steps
from .graph.warm import warm
from .identity import written_since
from .io.frames import FrameTable, scan
from .io.listing import still_there
from .night_record import step_names, telescope_digest
from .other_field import OtherField, other_camera, together
from .progress import Progress
from .store import ConflictError, Holdings, Store, readable

if TYPE_CHECKING:
    from distributed import Client

Record = dict[str, Any]

#: How often a night is redone where other writers commit first (in a bucket, which has no lock).
TRIES = 20


@dataclass(frozen=True)
class Appended:
    """What an append came to."""

    store: str
    """Path of the store."""
    records: tuple[Record, ...] = ()
    """Record of each night and filter that has new frames, as the store keeps it: of all its frames."""
    frames: int = 0
    """New frames."""
    frames_used: int = 0
    """Those of them that could be measured."""

    @property
    def nights(self) -> tuple[str, ...]:
        """The nights that have new frames."""
        return tuple(dict.fromkeys(record["night"] for record in self.records))

    def __repr__(self) -> str:
        if not self.frames:
            return f"<nothing new for {self.store}>"
        nights = ", ".join(night or "unknown" for night in self.nights)
        return f"<{self.frames} new frames in {self.store}, {self.frames_used} measured: {nights}>"


def append(
    store: Store | str | Path,
    frames: FrameTable | str | Path | Sequence[str | Path],
    /,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    client: Client | None = None,
    steps: Sequence[Step | str] = (),
    wait: float = 60.0,
    progress: Progress | None = None,
    **settings: Any,
) -> Appended:
    """Append frames to a store: those that it does not hold are measured on its own reference and star list.

    A frame is known by its content, so that one renamed or copied is the same. Frames that come late extend their
    night: its photometry, stack and record. Nights may come in any order. A second call does nothing.

    Parameters
    ----------
    store : Store or path
        The store; a `Store` given shows the new state afterwards.
    frames : FrameTable, path, or sequence of paths
        A scanned table, or folders or ``s3://`` addresses to scan. Where calibration frames are missing, those that
        the store's records name serve, while they are there.
    workers, scheduler, client
        Where to run, as for `dphot.reduce`.
    steps : sequence of callable or str
        The steps that the store was reduced with, where those were functions of a script.
    wait : float
        How long to wait for another writer, s.
    progress : Progress, optional
        For bars.
    **settings
        Those of `dphot.config.FREE_IN_APPEND`; all others are the store's.

    Returns
    -------
    Appended
        The nights that have new frames, and how many.

    Raises
    ------
    InputError
        If there are no lights; if a setting differs from the store's; or (`OtherField`) if a night, or what
        comes late of one, shows another field, or one of its filters is of another size, binning or gain, with the
        numbers: none of those frames is stored, all others are.
    BucketError
        If the bucket of the frames cannot be reached or read.
    StoreError
        If the store cannot be opened or written, or another writer does not finish in time.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    opened.refresh()
    with readable(opened.path, opened.session):
        config = _settings(opened, settings)
        own = load_steps([steps] if isinstance(steps, str) else steps)
        progress = progress or Progress()
        table = frames if isinstance(frames, FrameTable) else scan(frames, telescope=config.telescope or None)
        config = _of_the_stores_object(table, opened, config, progress)
        misfit = None
        if opened.nights:
            misfit = partial(other_camera, reference=opened.reference, config=config)
            table = _of_the_stores_camera(table, opened, config, progress)
        held = opened.holdings()
        nights = planning.plan(table, config, held, misfit)
        if any(series.choice.missing for series in nights):
            more = _with_known_calibration(table, nights, opened, config)
            nights = planning.plan(more, config, held, misfit)
        _tell_changed(table, nights, held, progress)
        if not nights:
            progress.say(f"{opened.path}: holds all these frames already; nothing to do")
            return Appended(opened.path)
        named = replace(config, reference="auto") if held.files else config  # the store has its reference
        chain = (*own, *planning.check(nights, named))
        _tell_telescope(opened, config, progress)
        _check_steps(opened, nights, own)
        if progress.lines:
            progress.say(repr(table))
        if client is not None:
            return commit_nights(nights, opened, config, client, chain, progress, held.snapshot, wait)
        with cluster.connect(workers, scheduler) as found:
            return commit_nights(nights, opened, config, found, chain, progress, held.snapshot, wait)


def commit_nights(
    nights: Sequence[planning.NightSeries],
    store: Store,
    config: Config,
    client: Client | None,
    steps: Sequence[Step],
    progress: Progress,
    base: str = "",
    wait: float = 60.0,
) -> Appended:
    """Measure nights into a store, one commit each; shared by `append` and `dphot.reduce`.

    Raises
    ------
    NoReference
        If the store has no reference, and no frame of any night can be it.
    OtherField
        If nights show another field, or they or some of their filters are of another size, binning or gain than the
        reference; all others are committed.

    Whatever error it is, its `committed` names the nights that were committed, `frames` counts their new frames.
    """
    if client is not None:
        warm(client)
    inputs = {
        (one["night"], r["filter"]): r["calibration"]["inputs"] for one in store.nights for r in one["series"]
    }
    waiting = [list(group) for _, group in groupby(nights, key=lambda series: series.night)]
    done: list[night.Committed] = []
    failed: list[NoReference] = []
    refused: list[OtherField] = []
    tries = 0
    try:
        while waiting:
            tonight = waiting.pop(0)
            for series in tonight:
                progress.say(
                    "\n".join(
                        planning.describe(series, store.path, inputs.get((series.night, series.filter)))
                    )
                )
            try:
                committed = night.run(
                    tonight,
                    store,
                    config,
                    base=base,
                    client=client,
                    progress=progress,
                    steps=steps,
                    wait=wait,
                )
                done.append(committed)
                refused += committed.refused
                base = committed.base
            except NoReference as error:
                # A clouded first night must not cost the others: one of them brings the reference, and it comes last.
                failed.append(error)
                waiting.append(tonight)
                if len(failed) == len(waiting):
                    raise failed[0] from error
            except OtherField as error:
                refused.append(error)
            except ConflictError:
                tries += 1
                if tries == TRIES:
                    raise
                progress.say("another writer committed first; the night is done again on what it left")
                waiting.insert(0, tonight)
        if refused:
            raise together(refused)
    except DphotError as error:
        kept = _appended(store, done)
        error.committed, error.frames = kept.nights, kept.frames
        raise
    store.refresh()
    return _appended(store, done)


def _appended(store: Store, done: Sequence[night.Committed]) -> Appended:
    """What the nights that were committed come to."""
    records = tuple(record for one in done for record in one.records)
    return Appended(store.path, records, sum(one.frames for one in done), sum(one.used for one in done))


def _settings(store: Store, changes: dict[str, Any]) -> Config:
    """The store's settings with those given.

    Raises
    ------
    InputError
        Naming every setting that would make numbers that do not fit the store's.
    """
    own = Config().patch(**store.attrs["config"])
    given = asdict(own) | coerce(changes)
    differ = [k for k, v in asdict(own).items() if v != given[k] and k not in FREE_IN_APPEND]
    if differ:
        what = "; ".join(f"{k} = {given[k]!r}, the store has {getattr(own, k)!r}" for k in differ)
        raise InputError(
            f"{store.path}: {what}. All nights of a store are measured alike: leave the setting out, or reduce all "
            "frames into a new store"
        )
    return Config(**given)


def _check_steps(store: Store, nights: Sequence[planning.NightSeries], own: Sequence[Step]) -> None:
    """Refuse other steps than those of the night that goes on, or of the store's nights as they were first measured."""
    records = {(night["night"], r["filter"]): r for night in store.nights for r in night["series"]}
    usual = [record for record in records.values() if not record.get("redone")]
    for series in nights:
        record = records.get((series.night, series.filter)) or (usual[-1] if usual else None)
        if record is None:
            continue
        steps = [*own, *load_steps(record["config"]["steps"])]
        if record["steps"] != step_names(steps):
            raise InputError(
                f"{store.path}: its frames went through the steps {', '.join(record['steps']) or 'none'}; "
                "give the same with steps="
            )


def _tell_telescope(store: Store, config: Config, progress: Progress) -> None:
    """A telescope's file may get better with the years: who changes it must know which nights it says something of."""
    before = [r.get("telescope_digest", "") for night in store.nights for r in night["series"]]
    if before and before[-1] and before[-1] != telescope_digest(config):
        progress.say(
            f"{config.telescope}: the telescope's file was another when the last night was measured; new frames follow "
            "it as it is now, earlier ones do not"
        )


def _tell_changed(
    table: FrameTable, nights: Sequence[planning.NightSeries], held: Holdings, progress: Progress
) -> None:
    fresh = {record["path"] for series in nights for record in series.fresh}
    changed = written_since(table.to_pandas()[["path", "size", "mtime_ns"]].to_dict("records"), fresh, held)  # type: ignore[arg-type]
    if changed:
        progress.say(
            f"{len(changed)} measured files have been written to since ({changed[0]} ...): each stays as it was "
            "measured; `dphot check` tells whether it is another now"
        )


def _of_the_stores_object(table: FrameTable, store: Store, config: Config, progress: Progress) -> Config:
    """Where a folder shows several targets, those frames are meant that have the store's."""
    name = store.attrs.get("object", "")
    # those that are cut, too: their headers tell
    objects = {r["object"] for r in table.to_pandas().to_dict("records") if r["type"] == "light"} - {""}
    if config.object or len(objects) < 2 or name not in objects:
        return config
    others = ", ".join(sorted(objects - {name}))
    progress.say(f"the lights of {name!r} are taken; those of {others} are left out")
    return config.patch(object=name)


def _of_the_stores_camera(table: FrameTable, store: Store, config: Config, progress: Progress) -> FrameTable:
    """Without the lights of another camera in nights that have some of the store's, as a guider's among them.

    A night that has none may be of the same camera under another name: its size and its stars tell.
    """
    records = table.to_pandas().to_dict("records")
    # older references name no camera
    own = {"telescope": store.attrs.get("telescope", ""), "camera": store.reference.attrs.get("camera", "")}
    for key, name in own.items():
        lights = [r for r in records if r["type"] == "light" and config.object in ("", r["object"])]
        nights = {r["night"] for r in lights if name and r[key] == name}
        others = [r for r in lights if r[key] not in ("", name) and r["night"] in nights]
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            progress.say(
                f"left out, of another {key} than the store's {name!r}: {others[0]['path']} ({others[0][key]!r}){more}"
                "; where it is the same, give both one name in a telescope file"
            )
            left_out = {r["path"] for r in others}
            records = [r for r in records if r["path"] not in left_out]
    return table if len(records) == len(table) else FrameTable.from_records(records)


def _with_known_calibration(
    table: FrameTable, nights: Sequence[planning.NightSeries], store: Store, config: Config
) -> FrameTable:
    """The table, and the calibration frames that records of near nights name, where their files are still there."""
    records = table.to_pandas().to_dict("records")
    known = {r["path"] for r in records}
    paths = {
        path
        for record in store.nights
        if any(_is_near(record["night"], series.night, config) for series in nights)
        for series in record["series"]
        for inputs in series["calibration"]["inputs"].values()
        for path in inputs
    }
    there = sorted({*still_there(paths - known).values()} - known)
    if not there:
        return table
    more = scan(there, telescope=config.telescope or None, store=False).records()
    # a camera that counts from one again may have given such a name to a light, which nobody asked for
    return FrameTable.from_records([*records, *(r for r in more if r["type"] in ("bias", "dark", "flat"))])


def _is_near(a: str, b: str, config: Config) -> bool:
    if not (a and b):
        return False
    return abs((date.fromisoformat(a) - date.fromisoformat(b)).days) <= config.calibration_days
