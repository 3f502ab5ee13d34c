"""Writing a store: everything inside one transaction is committed at once, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr

from ..errors import StoreError
from . import encodings, layout, lock, reading, repository, series
from .holdings import Holdings, holdings
from .verdict import Verdict, facts


class ConflictError(StoreError):
    """Another writer committed first; nothing of this transaction was stored. Open again and redo it."""


@dataclass(frozen=True)
class FrameSlots:
    """Places for raw frames, to be filled with `write_frames`."""

    filter: str
    """The filter, as given."""
    night: str
    """The night."""
    offset: int
    """Index of the first place in the night's array."""
    n: int
    """Number of places."""


class Transaction:
    """One commit in the making; made by `Store.transaction`, used in a ``with`` block.

    Workers take part with pickled copies of `fork`: they read through it what this transaction has written,
    write frames through it (`write_frames`), and send it back for `merge`. An array that this transaction
    changed before the copies were sent out must not be changed again until they are merged; others may.

    Parameters
    ----------
    path : str
        The store.
    repo : icechunk.Repository
        Its repository.
    message : str
        What the commit does, one line.
    metadata : mapping, optional
        Kept with the commit.
    wait : float
        How long to wait for another writer, s.
    done : callable
        Called after each commit.
    """

    def __init__(
        self,
        path: str,
        repo: icechunk.Repository,
        message: str,
        metadata: Mapping[str, Any] | None,
        wait: float,
        done: Callable[[], None],
    ):
        self.path = path
        self.message = message
        self.metadata = dict(metadata or {})
        """Kept with the commit at the end; may be added to until then."""
        self._verdicts: dict[str, Verdict] = {}
        self.snapshot: str | None = None
        """Identity of the last commit; None where there was nothing to commit."""
        self._repo = repo
        self._done = done
        self._lock = None if repository.is_remote(path) else lock.exclusive(repository.folder(path), wait)
        self._session: icechunk.Session
        self._fork: icechunk.session.ForkSession | None = None

    def __enter__(self) -> Transaction:
        if self._lock is not None:
            self._lock.__enter__()
        try:
            self._begin()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit(self.message, self.metadata)
            elif isinstance(error, icechunk.IcechunkError):  # a full disk met by a worker, for example
                with repository.errors(self.path, "it cannot be written, and is at its last commit"):
                    raise error
        finally:
            self._fork = None
            self._release()

    @property
    def fork(self) -> icechunk.session.ForkSession:
        """The uncommitted state; pickle it to workers to read and to write frames."""
        if self._fork is None:
            raise StoreError(f"{self.path}: the transaction {self.message!r} is over; begin another one")
        return self._fork

    @property
    def root(self) -> zarr.Group:
        """The root group, writable."""
        return repository.root_group(self.fork, mode="r+")

    def merge(self, *forks: icechunk.session.ForkSession) -> None:
        """Take in what workers wrote.

        Parameters
        ----------
        *forks : icechunk.ForkSession
            Copies of `fork` that came back; `fork` itself, used in this process, is skipped.

        Raises
        ------
        StoreError
            If an array was changed here while the copies were out.
        """
        with repository.errors(self.path, "the workers' frames cannot be merged"):
            self.fork.merge(*(f for f in forks if f is not self._fork))

    def step(self, message: str, metadata: Mapping[str, Any] | None = None) -> str | None:
        """Commit what there is and go on under the same lock: a crash later costs only what follows.

        All copies of `fork` must have been merged; take new ones afterwards.

        Returns
        -------
        str or None
            Identity of the commit; None where there was nothing to commit.
        """
        snapshot = self._commit(message, dict(metadata or {}))
        self._begin()
        return snapshot

    @property
    def base(self) -> str:
        """Identity of the commit that this transaction goes on from."""
        return str(self._session.snapshot_id)

    def holdings(self) -> Holdings:
        """The frames that the store held when this transaction began, or made its last step."""
        with repository.errors(self.path):
            return holdings(self._session)

    def read(self, group: str) -> xr.Dataset:
        """A group as this transaction sees it, in memory."""
        return reading.read_dataset(self.fork, group)

    def read_masters(self, name: str) -> xr.Dataset:
        """The masters of one night."""
        return self.read(layout.masters_group(name))

    def read_photometry(self, filter: str, night: str, names: Sequence[str]) -> xr.Dataset:
        """Some variables of the rows of one night in one filter, in memory, in order of time."""
        group = reading.connect(self.fork, layout.photometry_group(filter))
        rows = reading.read_rows(group, ("time", "night", *names))
        return rows.isel(time=rows.night.values == night)

    def read_night(self, night: str) -> dict[str, Any] | None:
        """The record of a night; None where the store has none."""
        text = series.read_record(self.root, night)
        return None if text is None else encodings.restore(json.loads(text))

    def write_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Add to the attributes of the store."""
        self.root.attrs.update(encodings.plain(dict(attrs)))

    def write_reference(self, ds: xr.Dataset) -> None:
        """Write the reference: image, stars, PSF. An earlier one is replaced."""
        self._write(layout.REFERENCE, ds)

    def write_masters(self, name: str, ds: xr.Dataset) -> None:
        """Write the masters of one night. Earlier ones of that night are replaced."""
        self._write(layout.masters_group(name), ds)

    def write_stack(self, filter: str, night: str, ds: xr.Dataset | xr.DataArray) -> None:
        """Write the mean of the aligned frames of one filter and night, in the variable ``stack``."""
        whole = ds.to_dataset(name="stack") if isinstance(ds, xr.DataArray) else ds
        self._write(layout.stack_group(filter, night), whole)

    def write_night(self, night: str, record: Mapping[str, Any]) -> None:
        """Write the record of how a night was reduced: settings, versions, frames used and dropped ...

        Parameters
        ----------
        night : str
            The night; an earlier record of the same night is replaced.
        record : mapping
            Text, numbers, lists and mappings.
        """
        text = json.dumps(encodings.plain(dict(record), "record"), sort_keys=True)
        with repository.errors(self.path, f"record of {night}"):
            series.write_record(self.root, night, text)

    def reserve_frames(
        self,
        filter: str,
        night: str,
        n: int,
        shape: tuple[int, int],
        dtype: Any,
        columns: Mapping[str, Any] | None = None,
    ) -> FrameSlots:
        """Make room for raw frames; workers fill it with `write_frames`.

        Frames that come late for a night extend it. One frame is one chunk.

        Parameters
        ----------
        filter, night : str
            The series and the night.
        n : int
            Number of frames.
        shape : (int, int)
            Size of a frame, (ny, nx), as read from its file.
        dtype : numpy dtype
            The camera's own type.
        columns : mapping of str to array, optional
            What belongs to each frame, (n,): ``time`` (datetime64, mid-exposure UTC), ``digest`` ...

        Returns
        -------
        FrameSlots
            Where the frames go.

        Raises
        ------
        StoreError
            If the night holds frames of another size or type, or one of these frames already.
        """
        with repository.errors(self.path, f"frames of {night}"):
            offset = series.reserve(self.root, filter, night, n, shape, np.dtype(dtype), dict(columns or {}))
        return FrameSlots(filter, night, offset, n)

    def link_frames(
        self, filter: str, night: str, shape: tuple[int, int], dtype: Any, columns: Mapping[str, Any]
    ) -> None:
        """Name the files of raw frames, in the place of their pixels.

        Parameters
        ----------
        filter, night : str
            The series and the night; frames that come late extend it.
        shape : (int, int)
            Size of a frame, (ny, nx), as read from its file.
        dtype : numpy dtype
            The camera's own type.
        columns : mapping of str to array
            What belongs to each frame, (n,): ``time`` (datetime64, mid-exposure UTC) and ``record``, a frame record
            with its `digest` ...

        Raises
        ------
        StoreError
            If the night holds frames of another size or type.
        """
        with repository.errors(self.path, f"frames of {night}"):
            n = len(columns["time"])
            series.link(self.root, filter, night, n, shape, np.dtype(dtype), dict(columns))

    def update_frames(self, slots: FrameSlots, columns: Mapping[str, Any]) -> None:
        """Replace what stands beside raw frames, once it is known how they fared.

        Parameters
        ----------
        slots : FrameSlots
            Their places, from `reserve_frames`.
        columns : mapping of str to array
            Columns as given there, (n,).
        """
        with repository.errors(self.path, f"frames of {slots.night}"):
            series.update(self.root, slots.filter, slots.night, slots.offset, columns)

    def append_photometry(self, filter: str, ds: xr.Dataset) -> None:
        """Append measured frames to the photometry in one filter; the first call creates it.

        Parameters
        ----------
        filter : str
            The filter, any string.
        ds : xarray.Dataset
            Variables of `dphot.schema.PHOTOMETRY` with a ``time`` coordinate; stars, apertures and units as
            in the store. Rows may come in any order: they are read back in order of time.

        Raises
        ------
        StoreError
            If stars, apertures, units or types differ from the store's, or a frame (by its digest) is there
            already; nothing is written then.
        ValidationError
            If a variable does not fit the registry.
        """
        with repository.errors(self.path, f"photometry in {filter!r}"):
            series.append(self.root, filter, ds)
        self._judge(filter, ds)

    def overwrite_photometry(self, filter: str, ds: xr.Dataset) -> None:
        """Replace the measurements of frames that the store holds, known by their files; the rest stays as it is.

        A file is known by its path, size and time of change.

        Parameters
        ----------
        filter, ds
            As for `append_photometry`.

        Raises
        ------
        StoreError
            If a frame is not there, or stars, apertures, units or types differ; nothing is written then.
        """
        with repository.errors(self.path, f"photometry in {filter!r}"):
            series.overwrite(self.root, filter, ds)
        self._judge(filter, ds)

    def amend_photometry(self, filter: str, ds: xr.Dataset) -> None:
        """Replace what a longer night tells anew of frames that the store holds, known by `path` and `digest`.

        The comparison stars are not judged again: only variables that they do not rest on may come.
        """
        with repository.errors(self.path, f"photometry in {filter!r}"):
            series.amend(self.root, filter, ds)

    def supersede(self, filter: str, night: str, ds: xr.Dataset) -> list[str]:
        """Take out frames of a night that could not be read, whose files have come anew; returns those files.

        `ds` are the rows of the new files: what has the digest of one is the same file, in another channel of a colour
        camera, say, and stays.
        """
        with repository.errors(self.path, f"frames of {night}"):
            return series.supersede(self.root, filter, night, ds)

    def _judge(self, filter: str, ds: xr.Dataset) -> None:
        """Judge the comparison stars anew, with some rows that are new."""
        from . import ensemble  # compiled code takes half a second to load, and reading a store needs none

        with repository.errors(self.path, f"ensemble of {filter!r}"):
            verdict = ensemble.update(self.root, filter, ds)
        self._verdicts[filter] = verdict.after(self._verdicts.get(filter))

    def _write(self, group: str, ds: xr.Dataset) -> None:
        with repository.errors(self.path, group):
            encodings.write_dataset(self.root, group, ds)

    def _begin(self) -> None:
        with repository.errors(self.path):
            self._session = self._repo.writable_session(repository.BRANCH)
            # all edits go into one fork: Icechunk 1 does not fork a session that has changes of its own
            self._fork = self._session.fork()

    def _commit(self, message: str, metadata: dict[str, Any]) -> str | None:
        if not self.fork.has_uncommitted_changes:
            return None
        with repository.errors(self.path, "the commit failed, the store is as it was"):
            try:
                self._session.merge(self.fork)
                kept = encodings.plain({**metadata, **facts(self._verdicts)}, "metadata")
                self.snapshot = self._session.commit(message, metadata=kept)
            except icechunk.ConflictError as error:
                raise ConflictError(
                    f"{self.path}: another writer committed first; nothing was stored, run it again"
                ) from error
        # the next commit tells what changes from here on; how precise the night is holds for it, too
        self._verdicts = {name: Verdict(precision=v.precision) for name, v in self._verdicts.items()}
        self._done()
        return self.snapshot

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
