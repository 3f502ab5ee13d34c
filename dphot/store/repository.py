"""The Icechunk repository under a store: where it is, how it is made, opened and looked at."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import icechunk
import zarr
from icechunk import ManifestSplitCondition, ManifestSplitDimCondition, ManifestSplittingConfig

from ..errors import StoreError
from ..io.bucket import endpoint, region
from . import layout

# A process that ends within a millisecond of a read would abort now and then: a thread of Icechunk that has just
# brought a chunk hands it over while the interpreter takes itself apart. It is given the time.
atexit.register(time.sleep, 0.02)

BRANCH = "main"
#: Chunk references of a photometry array are kept in files of this many time chunks, or every commit would
#: rewrite the references of all nights.
MANIFEST_TIME = 16

# Icechunk warns on each local repository that concurrent commits are unsafe there; dphot holds a lock.
# It also preloads manifests in the background, and logs an error where the store is replaced meanwhile.
# Whoever sets ICECHUNK_LOG gets what they asked for.
if "ICECHUNK_LOG" not in os.environ:
    icechunk.set_logs_filter(
        "warn,icechunk::storage::object_store=error,icechunk_arrow_object_store=error,icechunk_storage::readback=error,"
        "icechunk::repository=off"
    )


def is_remote(path: str) -> bool:
    """Whether a path names a bucket and not a folder."""
    return path.startswith("s3://")


def is_local(path: str) -> bool:
    """Whether a folder holds a repository, of version 1 or 2."""
    return (Path(path) / "refs").is_dir() or (Path(path) / "repo").exists()


def names_place(path: str) -> bool:
    """Whether a path could be that of a store: in a bucket it has a prefix."""
    return not is_remote(path) or all(_place(path))


def _place(path: str) -> tuple[str, str]:
    """Bucket and prefix of a store in a bucket; empty where the path does not name them."""
    bucket, _, prefix = path.removeprefix("s3://").strip("/").partition("/")
    return bucket, prefix


def storage(path: str) -> icechunk.Storage:
    """The place of a store.

    Parameters
    ----------
    path : str
        A folder, or ``s3://bucket/prefix``; endpoint, region and credentials of a bucket come from the usual
        environment variables (``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, ``AWS_REGION``,
        ``AWS_DEFAULT_REGION``, ``AWS_ACCESS_KEY_ID`` ...).

    Raises
    ------
    StoreError
        If bucket or prefix are missing.
    """
    if not is_remote(path):
        return icechunk.local_filesystem_storage(str(Path(path).absolute()))
    bucket, prefix = _place(path)
    if not bucket or not prefix:
        raise StoreError(f"{path}: name a bucket and a prefix, s3://bucket/prefix")
    url = endpoint()
    return icechunk.s3_storage(
        bucket=bucket,
        prefix=prefix,
        region=region() or ("us-east-1" if url else None),
        endpoint_url=url,
        allow_http=bool(url and url.startswith("http://")),
        force_path_style=url is not None,
        from_env=True,
    )


def create(path: str) -> icechunk.Repository:
    """Make an empty repository."""
    config = icechunk.RepositoryConfig.default()
    photometry = ManifestSplitCondition.path_matches(f"^/{layout.PHOTOMETRY}/")
    split = ManifestSplittingConfig.from_dict(
        {photometry: {ManifestSplitDimCondition.DimensionName("time"): MANIFEST_TIME}}
    )
    config.manifest = icechunk.ManifestConfig(splitting=split)
    # Icechunk 2 reads and writes version 1; Icechunk 1, on another machine of the same group, only that
    version: dict[str, Any] = {} if icechunk.__version__.startswith("1.") else {"spec_version": 1}
    with errors(path):
        repo = icechunk.Repository.create(storage(path), config=config, **version)
        repo.save_config()
    return repo


def open_existing(path: str) -> icechunk.Repository:
    """Open a repository that is there.

    Raises
    ------
    StoreError
        If there is none, or it cannot be read.
    """
    if not is_remote(path):
        folder = Path(path)
        if not folder.exists():
            raise StoreError(f"{path}: no such store; check the name, or make one with `dphot reduce`")
        if not is_local(path):
            raise StoreError(f"{path}: not a dphot store, but {_kind(folder)}")
    with errors(path):
        if is_remote(path) and not icechunk.Repository.exists(storage(path)):
            raise StoreError(f"{path}: no such store; check the name, or make one with `dphot reduce`")
        return icechunk.Repository.open(storage(path))


def _kind(folder: Path) -> str:
    """What a path holds that is no Icechunk repository."""
    if not folder.is_dir():
        return "a file"
    for mark, kind in (("zarr.json", "plain Zarr (format 3)"), (".zgroup", "plain Zarr (format 2)"),
                       (".zarray", "plain Zarr (format 2)"), (".zmetadata", "plain Zarr (format 2)")):  # fmt: skip
        if (folder / mark).is_file():
            return f"{kind}; open it with xarray.open_zarr"
    return "another folder; name the store itself, or make one with `dphot reduce`"


@contextmanager
def errors(path: str, doing: str = "") -> Iterator[None]:
    """Turn what Icechunk, Zarr and the file system raise into a `StoreError` that names the store."""
    try:
        yield
    except (icechunk.IcechunkError, OSError) as error:
        raise StoreError(f"{path}: {doing + ': ' if doing else ''}{reason(error)}") from error


def reason(error: BaseException) -> str:
    """The first line of an error: Icechunk's tell on many where they come from."""
    lines = [line.strip(" x|`->×│╰─▶") for line in str(error).splitlines()]
    return next(filter(None, lines), repr(error))


def root_group(session: Any, mode: str = "r") -> zarr.Group:
    """The root group of a session (read-only, writable or forked)."""
    return zarr.open_group(session.store, mode=mode)  # type: ignore[arg-type]


def folder(path: str) -> Path:
    """The folder of a local store."""
    return Path(path).absolute()
