"""Making a store, and putting one in the place of another: no half of either is ever found."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import icechunk
import zarr

from ..errors import StoreError
from ..io import bucket
from ..schema import FORMAT_VERSION
from . import encodings, layout, lock, opening, repository

#: Names of what Icechunk 1 and 2 keep under a prefix; the first part leads to all else.
_REFERENCES = re.compile(r"repo|refs/branch\.[^/]+/ref\.json")
_OBJECTS = re.compile(
    r"config\.yaml|overwritten/(repo|config\.yaml)\.[^/]+|(snapshots|transactions|manifests|chunks)/[0-9A-Z]{20}"
)


def create(path: str, attrs: Mapping[str, Any], overwrite: bool) -> None:
    """Make an empty store (see `Store.create`)."""
    attributes = encodings.plain({**attrs, "format": layout.FORMAT, "format_version": FORMAT_VERSION})
    refuse_existing(path, overwrite)
    if repository.is_remote(path):
        _initialise(path, attributes)
        return
    folder = repository.folder(path).resolve()  # of a link what it leads to: the link stays
    # made aside and renamed, so that a crash leaves no half-made store under its name
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    with repository.errors(path):
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            _initialise(str(aside), attributes)
            if overwrite and folder.exists():
                _swap(folder, aside)
            else:
                aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def exists(path: str) -> bool:
    """Whether something is there (see `Store.exists`)."""
    if not repository.is_remote(path):
        return os.path.lexists(repository.folder(path))
    with repository.errors(path):
        return icechunk.Repository.exists(repository.storage(path))


def is_repository(path: str) -> bool:
    """Whether an Icechunk repository is there (see `Store.is_one`)."""
    # a bucket as a whole holds frames, and stores under prefixes
    named = repository.names_place(path) and exists(path)
    return named and (repository.is_remote(path) or repository.is_local(path))


def refuse_existing(path: str, overwrite: bool) -> bool:
    """Whether a store is there that may be overwritten (see `Store.refuse_existing`)."""
    if not exists(path):
        return False
    if repository.is_remote(path):
        raise StoreError(f"{path}: exists; choose another name, or delete the prefix")
    if not overwrite:
        raise StoreError(f"{path}: exists; choose another name, or pass --overwrite")
    opening.connect(path)  # only a dphot store may be deleted
    return True


def replace(path: str, by: str) -> None:
    """Put one local store in the place of another (see `Store.replace`)."""
    refuse_existing(path, overwrite=True)
    folder = repository.folder(path).resolve()  # of a link what it leads to: the link stays
    with repository.errors(path):
        _swap(folder, repository.folder(by))


def discard(path: str) -> None:
    """Delete a store that was just made, and nothing else that has come under its prefix of a bucket since.

    Raises
    ------
    StoreError, BucketError
        If it cannot be deleted.
    """
    if not repository.is_remote(path):
        with repository.errors(path):
            shutil.rmtree(repository.folder(path))
        return
    root = path.rstrip("/") + "/"  # Icechunk makes a repository in an empty prefix only
    names = [name for name, _, _ in bucket.objects(root)]
    for kind in (_REFERENCES, _OBJECTS):  # without its references no half of it is ever found
        bucket.delete([name for name in names if kind.fullmatch(name.removeprefix(root))])


def _initialise(path: str, attributes: dict[str, Any]) -> None:
    repo = repository.create(path)
    session = repo.writable_session(repository.BRANCH)
    zarr.create_group(session.store, attributes=attributes)
    session.commit("Create the store")


def _swap(folder: Path, by: Path) -> None:
    """Put a store in the place of one that nobody writes, and delete this: no half of it is ever found."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    with lock.exclusive(folder, wait=0):
        folder.rename(gone)
        by.rename(folder)
        shutil.rmtree(gone)
