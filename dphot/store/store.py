"""The store: everything dphot keeps of one field, in one Icechunk repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pkgutil import resolve_name
from typing import Any, TypeVar

import icechunk
import xarray as xr
import zarr

from ..errors import StoreError
from . import encodings, health, layout, links, making, opening, reading, repository, summary, versions
from .health import Problem
from .holdings import Holdings, digests, holdings
from .reading import Lazy
from .transactions import Transaction
from .versions import Collected, Commit

T = TypeVar("T")

#: Frames to a Dask chunk of raw frames, and rows to one of photometry.
_FRAMES_CHUNK = 16
_ROWS_CHUNK = 4096


class Store:
    """A store opened for reading, at its last commit unless another one is asked for.

    Use `Store.create` and `Store.open`. Writing goes through `transaction`; afterwards the same object shows
    the new state.
    """

    def __init__(self, path: str, repo: icechunk.Repository, session: icechunk.Session, pinned: bool):
        self.path = path
        self._repo = repo
        self._pinned = pinned
        self.session = session
        """The read-only session: pickle it to workers and read with `read_dataset`."""
        self._groups = reading.Groups(session)

    @classmethod
    def create(cls, path: str | os.PathLike[str], attrs: Mapping[str, Any], overwrite: bool = False) -> Store:
        """Make an empty store.

        Parameters
        ----------
        path : str or path
            A folder that does not exist, or ``s3://bucket/prefix`` (credentials and endpoint from the usual
            AWS environment variables).
        attrs : mapping
            Attributes of the root: field, telescope, how it was made.
        overwrite : bool
            Delete a dphot store that is there; nothing else is ever deleted.

        Raises
        ------
        StoreError
            If something is there, or the place cannot be written.
        """
        making.create(os.fspath(path), attrs, overwrite)
        return cls.open(path)

    @classmethod
    def exists(cls, path: str | os.PathLike[str]) -> bool:
        """Whether something is there: a store, or what is in the way of one."""
        return making.exists(os.fspath(path))

    @classmethod
    def is_one(cls, path: str | os.PathLike[str]) -> bool:
        """Whether a dphot store is there, or what is left of one."""
        return making.is_repository(os.fspath(path))

    @classmethod
    def refuse_existing(cls, path: str | os.PathLike[str], overwrite: bool = False) -> bool:
        """Whether a store is there that may be overwritten; anything else that is there is an error.

        Raises
        ------
        StoreError
            If something is there and `overwrite` is not given, or it is no dphot store, or lies in a bucket.
        """
        return making.refuse_existing(os.fspath(path), overwrite)

    @classmethod
    def replace(cls, path: str | os.PathLike[str], by: str | os.PathLike[str]) -> None:
        """Put one local store in the place of another, which is deleted; nothing in between is ever found.

        Parameters
        ----------
        path : path
            The store to replace.
        by : path
            The store that takes its name, in the same folder.

        Raises
        ------
        StoreError
            If the old one is no dphot store, or is being written.
        """
        making.replace(os.fspath(path), os.fspath(by))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        tag: str | None = None,
        snapshot: str | None = None,
        as_of: datetime | str | None = None,
    ) -> Store:
        """Open a store for reading.

        Parameters
        ----------
        path : str or path
            A folder, or ``s3://bucket/prefix``.
        tag : str, optional
            Open the version with this tag.
        snapshot : str, optional
            Open the commit with this identity, as `history` lists them.
        as_of : datetime or str, optional
            Open the last commit not after this instant; UTC unless it says otherwise.

        Raises
        ------
        StoreError
            If there is no dphot store, no such version, a newer format, or it cannot be read.
        """
        name = os.fspath(path)
        repo, session = opening.connect(name, tag, snapshot, as_of)
        return cls(name, repo, session, pinned=bool(tag or snapshot or as_of))

    @property
    def _root(self) -> zarr.Group:
        return repository.root_group(self.session)

    def _children(self, group: str) -> list[str]:
        with repository.errors(self.path, group):
            return reading.children(self._root, group)

    def _open(self, group: str, rows: int | None = None) -> xr.Dataset:
        with repository.errors(self.path, f"{group} cannot be read"):
            return reading.open_lazy(self._groups[group], f"{self.session.snapshot_id}/{group}", rows)

    @property
    def photometry(self) -> Lazy[xr.Dataset]:
        """Filter to its photometry, (time, aperture, star), lazy, in order of time; attribute ``store``: the path."""

        def load(filter: str) -> xr.Dataset:
            return self._open(layout.photometry_group(filter), _ROWS_CHUNK).assign_attrs(store=self.path)

        return Lazy(self._children(layout.PHOTOMETRY), load, "photometry")

    def rows(self, filter: str, names: Sequence[str], **parts: Any) -> xr.Dataset:
        """Some variables of the photometry in memory, in order of time; where one reads little, cheaper than with Dask.

        Parameters
        ----------
        filter : str
            The filter.
        names : sequence of str
            The variables; those that this store does not have are left out.
        **parts : int, slice or sequence of int
            What is read of the other dimensions, as in `xarray.Dataset.isel`; a slice is read faster than a list.

        Raises
        ------
        StoreError
            If the store does not know the filter, or cannot be read.
        """
        group = layout.photometry_group(filter)
        with repository.errors(self.path, f"{group} cannot be read"):
            return reading.read_rows(self._groups[group], names, **parts)

    @property
    def ensemble(self) -> Lazy[xr.Dataset]:
        """Filter to what each night tells of each star (night, aperture, star), in memory, in order of the nights.

        `level` and `level_err` (flux without the night's common variation), `rms`, `scatter` (from point to point) and
        `noise` (expected), relative; `points`. Attribute ``variable``: the stars that are no comparisons.
        """

        def load(filter: str) -> xr.Dataset:
            with repository.errors(self.path, f"ensemble of {filter!r}"):
                return reading.read_dataset(self.session, layout.ensemble_group(filter)).sortby("night")

        return Lazy(self._children(layout.ENSEMBLE), load, "ensemble")

    @property
    def frames(self) -> Lazy[Lazy[xr.Dataset]]:
        """Filter to night to its raw frames, ``raw`` (time, y, x), lazy, in order of time.

        Linked frames are read from their files: one that moved, or is another file now, raises FrameError.
        """

        def load(filter: str, night: str) -> xr.Dataset:
            group = layout.frames_group(filter, night)
            ds = self._open(group, _FRAMES_CHUNK)
            if links.LINKED not in ds.attrs:
                return ds
            return links.with_raw(ds, _FRAMES_CHUNK, f"{self.session.snapshot_id}/{group}/raw")

        return self._nested(layout.FRAMES, load)

    @property
    def stack(self) -> Lazy[Lazy[xr.DataArray]]:
        """Filter to night to the mean of its aligned frames, lazy."""
        return self._nested(layout.STACK, lambda f, n: self._open(layout.stack_group(f, n))["stack"])

    def _nested(self, group: str, load: Callable[[str, str], T]) -> Lazy[Lazy[T]]:
        def nights(filter: str) -> Lazy[T]:
            keys = self._children(f"{group}/{layout.encode_name(filter)}")
            return Lazy(keys, lambda night: load(filter, night), f"{group} in {filter!r}")

        return Lazy(self._children(group), nights, group)

    @property
    def masters(self) -> Lazy[xr.Dataset]:
        """Night to its masters, lazy."""
        nights = self._children(layout.MASTERS)
        return Lazy(nights, lambda night: self._open(layout.masters_group(night)), "masters")

    @property
    def reference(self) -> xr.Dataset:
        """The reference: image, stars, PSF; lazy."""
        return self._open(layout.REFERENCE)

    @cached_property
    def nights(self) -> list[dict[str, Any]]:
        """The records of the nights, in order; each has its night under ``night``."""
        return reading.read_nights(self.session)

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the root: format version, field, telescope, how it was made."""
        return encodings.restore(dict(self._root.attrs))

    def digests(self, filter: str) -> set[str]:
        """Digests of the frames measured in a filter; empty where the store does not know the filter."""
        return digests(self._root, filter)

    def holdings(self) -> Holdings:
        """The frames that the store holds, in all filters: what tells a new one from one measured already."""
        with repository.errors(self.path):
            return holdings(self.session)

    def history(self, everything: bool = False, broken: Callable[[str], None] | None = None) -> list[Commit]:
        """The commits up to the state that is open, the newest first.

        Parameters
        ----------
        everything : bool
            Also what a rollback left behind, and what `collect` let go; `Commit.state` tells.
        broken : callable, optional
            Told, in words, of a commit that cannot be read; the others are given. Else that raises StoreError.
        """
        return versions.told_history(self._repo, self.session, self.path, everything, broken)

    def at(self, version: str) -> Store:
        """The store at another version: a tag, a commit's identity or the beginning of one, or a date.

        Raises
        ------
        StoreError
            If there is no such version, or it cannot be read any more.
        """
        with repository.errors(self.path):
            chosen = versions.resolve(self._repo, self.session, self.path, version)
        return Store.open(self.path, **chosen)  # type: ignore[arg-type]

    @property
    def tags(self) -> dict[str, str]:
        """Tag to the identity of its commit."""
        return {t: self._repo.lookup_tag(t) for t in sorted(self._repo.list_tags())}

    def tag(self, name: str) -> None:
        """Give the state that is open a name, for ever: `collect` keeps it.

        Raises
        ------
        StoreError
            If the name is taken, or the store cannot be written.
        """
        versions.tag(self._repo, self.path, name, self.session.snapshot_id)

    def rollback(self, to: str, wait: float = 60.0) -> str:
        """Go back to an earlier version: a new commit with its contents, whose history is that version's.

        What came after it is kept until `collect`: `history` lists it as undone, and each of its commits opens by
        its identity (``Store.open(path, snapshot=...)``).

        Parameters
        ----------
        to : str
            The version (see `at`).
        wait : float
            How long to wait for another writer, s.

        Returns
        -------
        str
            Identity of the new commit.

        Raises
        ------
        StoreError
            If there is no such version, it is the present one, or another writer does not finish in time.
        """
        self._writable()
        goal = self.at(to).session.snapshot_id
        state = versions.rollback(self._repo, self.path, goal, wait)
        self.refresh()
        return state

    def collect(self, older_than: timedelta, dry_run: bool = False, wait: float = 60.0) -> Collected:
        """Delete what only versions older than an age hold; the present state and tagged ones stay whole.

        The history goes on listing the versions that went. A process that has such a version open cannot read on.
        In a bucket, where no lock tells of an append under way, the age must be a week or more.

        Parameters
        ----------
        older_than : timedelta
            The age.
        dry_run : bool
            Delete nothing; only say which commits would go.
        wait : float
            How long to wait for a writer, s; a dry run waits for none.

        Raises
        ------
        StoreError
            If a writer does not finish in time, or the age does not serve.
        """
        self._writable()
        gone = versions.collect(self._repo, self.path, older_than, wait, dry_run)
        self.refresh()
        return gone

    @property
    def arrays(self) -> int:
        """Number of arrays."""
        return health.count(self.session)

    def problems(self, done: Callable[[str], None] = lambda place: None) -> Iterator[Problem]:
        """What is wrong with what the store holds; `done` is told the path of each array when it is read."""
        return health.problems(self._repo, self.session, done)

    def _writable(self) -> None:
        if self._pinned:
            raise StoreError(f"{self.path}: opened at a fixed version; to write, open it without one")

    def transaction(
        self, message: str, metadata: Mapping[str, Any] | None = None, wait: float = 60.0
    ) -> Transaction:
        """Begin to write: everything inside the ``with`` block is committed at its end, or nothing.

        Parameters
        ----------
        message : str
            What the commit does, one line.
        metadata : mapping, optional
            Kept with the commit.
        wait : float
            How long to wait for another writer, s.

        Returns
        -------
        Transaction
            For a ``with`` statement, which raises StoreError if another writer does not finish in time.
        """
        self._writable()
        return Transaction(self.path, self._repo, message, metadata, wait, done=self.refresh)

    def append(self, frames: Any, /, **options: Any) -> Any:
        """Append frames: `dphot.append`, which lies above the store, and loads when it is called."""
        return resolve_name("dphot:append")(self, frames, **options)

    def refresh(self) -> None:
        """Show what was committed since the store was opened."""
        if not self._pinned:
            with repository.errors(self.path):
                self.session = self._repo.readonly_session(repository.BRANCH)
            self._groups = reading.Groups(self.session)
            self.__dict__.pop("nights", None)

    def __repr__(self) -> str:
        return summary.as_text(self.path, self._summary())

    def _repr_html_(self) -> str:
        return summary.as_html(self.path, self._summary())

    def _summary(self) -> dict[str, str]:
        return summary.facts(self._root, len(self.history()), [record["night"] for record in self.nights])
