"""The store: everything dphot keeps of one field, in one Icechunk repository."""

from __future__ import annotations

import html
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import icechunk
import numpy as np
import xarray as xr
import zarr

from ..errors import StoreError
from ..schema import FORMAT_VERSION
from . import encodings, layout, lock, reading, repository
from .reading import Lazy
from .transactions import Transaction

T = TypeVar("T")

#: Frames to a Dask chunk of raw frames, and rows to one of photometry.
_FRAMES_CHUNK = 16
_ROWS_CHUNK = 4096


@dataclass(frozen=True)
class Commit:
    """One commit of a store's history."""

    id: str
    """Identity; `Store.open(path, snapshot=id)` reads the store as it was."""
    time: datetime
    """When, UTC."""
    message: str
    """What it did."""
    metadata: dict[str, Any]
    """What its writer kept with it."""


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
        name = os.fspath(path)
        attributes = encodings.plain({**attrs, "format": layout.FORMAT, "format_version": FORMAT_VERSION})
        cls.refuse_existing(name, overwrite)
        if repository.is_remote(name):
            _initialise(name, attributes)
            return cls.open(name)
        folder = repository.folder(name)
        # made aside and renamed, so that a crash leaves no half-made store under its name
        aside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
        with repository.errors(name):
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                _initialise(str(aside), attributes)
                if overwrite and folder.exists():
                    with lock.exclusive(folder, wait=0):
                        _delete(folder)
                aside.rename(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return cls.open(name)

    @classmethod
    def refuse_existing(cls, path: str | os.PathLike[str], overwrite: bool = False) -> bool:
        """Whether a store is there that may be overwritten; anything else that is there is an error.

        Raises
        ------
        StoreError
            If something is there and `overwrite` is not given, or it is no dphot store, or lies in a bucket.
        """
        name = os.fspath(path)
        if repository.is_remote(name):
            with repository.errors(name):
                if icechunk.Repository.exists(repository.storage(name)):
                    raise StoreError(f"{name}: exists; choose another name, or delete the prefix")
            return False
        if not os.path.lexists(repository.folder(name)):
            return False
        if not overwrite:
            raise StoreError(f"{name}: exists; choose another name, or pass --overwrite")
        cls.open(name)  # only a dphot store may be deleted
        return True

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
        cls.refuse_existing(path, overwrite=True)
        folder = repository.folder(os.fspath(path))
        with repository.errors(os.fspath(path)):
            with lock.exclusive(folder, wait=0):
                _delete(folder)
            repository.folder(os.fspath(by)).rename(folder)

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
        if sum(v is not None for v in (tag, snapshot, as_of)) > 1:
            raise StoreError(f"{name}: give one of tag, snapshot and as_of")
        repo = repository.open_existing(name)
        version = tag or snapshot or as_of
        doing = f"version {str(version)!r} not found" if version else "it cannot be read"
        with repository.errors(name, doing):
            if tag is not None:
                session = repo.readonly_session(tag=tag)
            elif snapshot is not None:
                session = repo.readonly_session(snapshot_id=snapshot)
            elif as_of is not None:
                session = repo.readonly_session(repository.BRANCH, as_of=_instant(as_of))
            else:
                session = repo.readonly_session(repository.BRANCH)
            # read here, because Zarr takes a snapshot that is damaged or missing for an empty one
            next(iter(repo.ancestry(snapshot_id=session.snapshot_id)))
        store = cls(name, repo, session, pinned=bool(version))
        store._check_format()
        return store

    def _check_format(self) -> None:
        with repository.errors(self.path, "it cannot be read"):
            try:
                attrs = dict(self._root.attrs)
            except FileNotFoundError:
                attrs = {}
        if attrs.get("format") != layout.FORMAT:
            raise StoreError(f"{self.path}: an Icechunk repository, but not a dphot store")
        version = attrs.get("format_version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise StoreError(
                f"{self.path}: its format is version {version}, this dphot reads up to {FORMAT_VERSION}; "
                "update dphot"
            )

    @property
    def _root(self) -> zarr.Group:
        return repository.root_group(self.session)

    def _children(self, group: str) -> list[str]:
        with repository.errors(self.path, group):
            found = self._root.get(group)
            keys = found.group_keys() if isinstance(found, zarr.Group) else []
            return sorted(layout.decode_name(key) for key in keys)

    def _open(self, group: str, rows: int | None = None) -> xr.Dataset:
        with repository.errors(self.path, f"{group} cannot be read"):
            return reading.open_lazy(self.session, group, rows)

    @property
    def photometry(self) -> Lazy[xr.Dataset]:
        """Filter to its photometry, (time, aperture, star), lazy, in order of time; attribute ``store``: the path."""

        def load(filter: str) -> xr.Dataset:
            return self._open(layout.photometry_group(filter), _ROWS_CHUNK).assign_attrs(store=self.path)

        return Lazy(self._children(layout.PHOTOMETRY), load, "photometry")

    @property
    def frames(self) -> Lazy[Lazy[xr.Dataset]]:
        """Filter to night to its raw frames, ``raw`` (time, y, x), lazy, in order of time."""
        return self._nested(layout.FRAMES, lambda f, n: self._open(layout.frames_group(f, n), _FRAMES_CHUNK))

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
        if layout.NIGHTS not in self._root:
            return []
        ds = reading.read_dataset(self.session, layout.NIGHTS)
        rows = zip(ds["night"].values, ds["record"].values, strict=True)
        records = [{**encodings.restore(json.loads(str(text))), "night": str(night)} for night, text in rows]
        return sorted(records, key=lambda record: record["night"])

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the root: format version, field, telescope, how it was made."""
        return encodings.restore(dict(self._root.attrs))

    def digests(self, filter: str) -> set[str]:
        """Digests of the frames measured in a filter; empty where the store does not know the filter."""
        group = layout.photometry_group(filter)
        array = self._root.get(f"{group}/digest")
        return {str(d) for d in np.asarray(array[:]) if d} if isinstance(array, zarr.Array) else set()

    def history(self) -> list[Commit]:
        """The commits up to the state that is open, the newest first."""
        with repository.errors(self.path):
            ancestry = self._repo.ancestry(snapshot_id=self.session.snapshot_id)
            commits = [
                Commit(info.id, info.written_at, info.message, encodings.restore(dict(info.metadata)))
                for info in ancestry
            ]
        return commits[:-1]  # the first of all is Icechunk's own, of an empty repository

    @property
    def tags(self) -> dict[str, str]:
        """Tag to the identity of its commit."""
        return {t: self._repo.lookup_tag(t) for t in sorted(self._repo.list_tags())}

    def tag(self, name: str) -> None:
        """Give the state that is open a name, for ever.

        Raises
        ------
        StoreError
            If the name is taken.
        """
        with repository.errors(self.path, f"tag {name!r}"):
            self._repo.create_tag(name, snapshot_id=self.session.snapshot_id)

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
        if self._pinned:
            raise StoreError(f"{self.path}: opened at a fixed version; to write, open it without one")
        return Transaction(self.path, self._repo, message, metadata, wait, done=self.refresh)

    def refresh(self) -> None:
        """Show what was committed since the store was opened."""
        if not self._pinned:
            with repository.errors(self.path):
                self.session = self._repo.readonly_session(repository.BRANCH)
            self.__dict__.pop("nights", None)

    def __repr__(self) -> str:
        return f"<dphot.Store {self.path}: " + ", ".join(f"{k} {v}" for k, v in self._summary().items()) + ">"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self._summary().items()
        )
        return f"<table><caption>dphot store {html.escape(self.path)}</caption>{cells}</table>"

    def _summary(self) -> dict[str, str]:
        out = {"nights": "0", "commits": str(len(self.history()))}
        for name in self._children(layout.PHOTOMETRY):
            flux = self._root[f"{layout.photometry_group(name)}/flux"]
            frames, apertures, stars = flux.shape  # type: ignore[union-attr]
            out[f"filter {name!r}"] = f"{frames} frames x {apertures} apertures x {stars} stars"
        if nights := [record["night"] for record in self.nights]:
            out["nights"] = f"{len(nights)} ({nights[0]} to {nights[-1]})"
        return out


def _initialise(path: str, attributes: dict[str, Any]) -> None:
    repo = repository.create(path)
    session = repo.writable_session(repository.BRANCH)
    zarr.create_group(session.store, attributes=attributes)
    session.commit("Create the store")


def _delete(folder: Path) -> None:
    """Delete a store, first out of the way under another name, so that no half of it is ever found."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.rename(gone)
    shutil.rmtree(gone)


def _instant(when: datetime | str) -> datetime:
    """An aware instant; UTC unless it says otherwise."""
    try:
        parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError as error:
        raise StoreError(f"as_of {when!r} is not a date; write 2026-11-22 or 2026-11-22T03:00") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
