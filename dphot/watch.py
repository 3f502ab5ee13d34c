"""A night as it happens: frames are measured as they arrive, and committed at intervals."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from .append import append
from .config import Config
from .errors import BucketError, DphotError, InputError, in_words
from .io.files import absolute, is_folder, is_remote
from .io.frames import FrameTable, scan
from .other_field import OtherField
from .progress import Progress
from .reduction import reduce
from .store import Store
from .summaries import Result, series_records, shortcoming_lines

if TYPE_CHECKING:
    from distributed import Client

#: A store that is not there yet is made of so many lights: of fewer, the reference would be chosen among too few.
FIRST_LIGHTS = 5


@dataclass
class Arrivals:
    """Which files of a folder are whole: nobody writes to them any more.

    A file is whole once it has not changed from one look to the next; one that cannot be read, as a file that is half
    written, only when nothing has been added to it for `patience` seconds.
    """

    patience: float
    last_change: float = -float("inf")
    """When a file last appeared or changed."""
    _seen: dict[str, tuple[tuple[int, int], float]] = field(default_factory=dict)

    def look(self, records: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
        """The records of whole files, of those that were found at a time (s, of any steady clock)."""
        whole, seen = [], {}
        for record in records:
            path, state = record["path"], (record["size"], record["mtime_ns"])
            before, since = self._seen.get(path, (None, now))
            if before != state:
                since = self.last_change = now
            elif not record["error"] or now - since >= self.patience:
                whole.append(record)
            seen[path] = state, since
        self._seen = seen
        return whole


def watch(
    store: str | Path,
    folder: str | Path,
    /,
    *,
    every: float = 600.0,
    quiet: float = 900.0,
    poll: float = 5.0,
    patience: float = 300.0,
    stop: Event | None = None,
    on_commit: Callable[[Store], None] | None = None,
    on_refused: Callable[[dict[str, str]], None] | None = None,
    on_end: Callable[[dict[str, str]], None] | None = None,
    workers: int | None = 0,
    scheduler: str | None = None,
    client: Client | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> int:
    """Measure frames as they arrive in a folder, until told to stop.

    Frames go into the store by `append`, so that a watch that was stopped, or killed, is simply started again; a
    store that is not there is made of the first lights.

    Parameters
    ----------
    store, folder : path
        The store, and where frames arrive, in folders within it, too: a folder, or an address in a bucket
        (``s3://bucket/night/``), under which nothing need lie yet.
    every : float
        Frames that have come are committed at most this often [s].
    quiet : float
        When nothing has come for so long, as at the night's end, all that is left is committed [s].
    poll : float
        How often the folder is looked at [s].
    patience : float
        A file that cannot be read is waited for as long as it grows, and so much longer [s]; then it becomes a flagged
        row.
    stop : threading.Event, optional
        When it is set, what has come is committed, and the watch ends.
    on_commit : callable, optional
        Called with the store after each commit, to bring a report up to date, for example.
    on_refused : callable, optional
        Called with the files that were refused, as those of another field, whenever some are: path to why. The other
        nights are committed. Refused files are tried again with each that comes, as a header may be mended meanwhile.
    on_end : callable, optional
        Called at the end with the files that were not added: path to why. Those that were refused; and those that were
        not waited for any longer, as they may be half written: what is wrong with them, empty where one only changed a
        moment ago.
    workers, scheduler, client
        Where to run, as for `dphot.reduce`; by default in this process, which keeps up with any camera.
    progress : Progress, optional
        For lines and bars.
    **settings
        As for `append`; where the store is not there yet, all that `dphot.reduce` knows.

    Returns
    -------
    int
        Frames that were added.

    Raises
    ------
    InputError
        If the folder does not exist, or a setting is wrong or differs from the store's.
    BucketError
        If the bucket cannot be reached or listed at the beginning; later it is tried again.
    StoreError
        If what has come in the end cannot be stored; before, it is tried again.
    """
    settled = Config().patch(**settings)
    place = absolute(str(folder))
    if not is_folder(place) and not is_remote(place):
        raise InputError(f"{folder}: no such folder; give the one that the camera writes to")
    stop, progress = stop or Event(), progress or Progress()
    where: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "client": client}
    arrivals, given, told, added = Arrivals(patience), set[tuple[Any, ...]](), set[str](), 0
    refused: dict[str, str] = {}
    frames: int | None
    failure: Exception | None = None
    last_commit = clock.monotonic()
    progress.say(f"watching {folder}")
    while True:
        ending = stop.is_set()
        now = clock.monotonic()
        records = _records(folder, settled, progress)
        whole = arrivals.look(records, now) if records is not None else []
        new = [r for r in whole if _identity(r) not in given]
        still = (
            now - arrivals.last_change >= quiet > last_commit - arrivals.last_change
        )  # and not tried since
        due = ending or now - last_commit >= every or still
        if due and any(r["type"] == "light" or r["error"] for r in new):
            failure = None
            try:
                table = FrameTable.from_records(whole)
                frames, nights = _add(store, table, where, settings, ending, progress)
                committed, refused = frames or 0, {}
                lines = [line for line in shortcoming_lines(nights) if line not in told]
                told.update(lines)
                if lines:
                    progress.say("\n".join(lines))
            except InputError as error:
                # These frames do not fit; the next may. Other nights may be committed.
                frames = committed = error.frames
                refused = _refused(error, new, refused)
                if (line := f"not added: {in_words(error)}") not in told:
                    told.add(line)
                    progress.say(line)
                if on_refused is not None:
                    on_refused(refused)
            except (DphotError, OSError) as error:
                # The disk may have room again, the other writer be done: a night must not end here.
                frames, failure, committed = None, error, getattr(error, "frames", 0)
                if not ending:
                    progress.say(f"not added, to be tried again: {in_words(error)}")
            if frames is not None:
                given.update(_identity(r) for r in new)
            added += committed
            if committed and on_commit is not None:
                _report(on_commit, store, progress)
            last_commit = clock.monotonic()
        if ending:
            if on_end is not None:
                taken = {r["path"] for r in whole}
                waited = {r["path"]: r["error"] for r in records or () if r["path"] not in taken}
                on_end({**refused, **waited})
            if failure is not None:
                raise failure
            return added
        stop.wait(poll)


def _records(folder: str | Path, config: Config, progress: Progress) -> list[dict[str, Any]] | None:
    """What is in the folder; None where that cannot be told now."""
    try:
        table = scan(folder, telescope=config.telescope or None)
    except InputError:  # nothing has come yet
        return []
    except BucketError as error:  # the network may be back at the next look
        progress.say(str(error))
        return None
    return table.to_pandas().to_dict("records")  # type: ignore[return-value]


def _identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return record["path"], record["size"], record["mtime_ns"]


def _add(
    store: str | Path,
    table: FrameTable,
    where: dict[str, Any],
    settings: dict[str, Any],
    ending: bool,
    progress: Progress,
) -> tuple[int | None, Sequence[Result]]:
    """Add frames, to a new store where there is none; how many, and the records of their nights and filters.

    None where there are too few to begin with.
    """
    if Store.exists(store):
        done = append(store, table, **where, progress=progress, **settings)
        return done.frames, done.records
    if len(table.good.lights) < FIRST_LIGHTS and not ending:
        return None, []
    records = series_records(reduce(table, store, **where, progress=progress, **settings))
    return sum(record["frames"] for record in records), records


def _refused(error: InputError, new: Sequence[Mapping[str, Any]], before: dict[str, str]) -> dict[str, str]:
    """The files that are refused, each with why."""
    if isinstance(error, OtherField):  # which was told of all files at the end of them
        return dict(error.refused)
    lights = (r["path"] for r in new if r["type"] == "light" and r["night"] not in error.committed)
    return {**before, **dict.fromkeys(lights, str(error))}


def _report(on_commit: Callable[[Store], None], store: str | Path, progress: Progress) -> None:
    try:
        on_commit(Store.open(store))
    except (DphotError, OSError) as error:
        # Of a few frames there may be no light curve yet; the disk may have room again, the folder come back.
        progress.say(f"no report yet: {error}")
