"""Opening a store: at its last commit or an earlier one, and nothing that is no store."""

from __future__ import annotations

from datetime import UTC, datetime

import icechunk

from ..errors import StoreError
from ..schema import FORMAT_VERSION
from . import layout, repository, versions


def connect(
    path: str,
    tag: str | None = None,
    snapshot: str | None = None,
    as_of: datetime | str | None = None,
) -> tuple[icechunk.Repository, icechunk.Session]:
    """A store's repository, and a read-only session (see `Store.open`)."""
    if sum(v is not None for v in (tag, snapshot, as_of)) > 1:
        raise StoreError(f"{path}: give one of tag, snapshot and as_of")
    repo = repository.open_existing(path)
    version = tag or snapshot or as_of
    doing = f"version {str(version)!r} not found" if version else "it cannot be read"
    try:
        session = _readable_session(repo, path, doing, tag, snapshot, as_of)
    except StoreError as error:
        if version is None and (cure := _way_back(repo, path)):
            raise StoreError(f"{error}; {cure}") from error
        raise
    _check_format(path, session)
    return repo, session


def _readable_session(
    repo: icechunk.Repository,
    path: str,
    doing: str,
    tag: str | None,
    snapshot: str | None,
    as_of: datetime | str | None,
) -> icechunk.Session:
    with repository.errors(path, doing):
        if tag is not None:
            session = repo.readonly_session(tag=tag)
        elif snapshot is not None:
            session = repo.readonly_session(snapshot_id=snapshot)
        elif as_of is not None:
            session = _as_of(repo, path, _instant(as_of))
        else:
            session = repo.readonly_session(repository.BRANCH)
        # read here, because Zarr takes a snapshot that is damaged or missing for an empty one
        first = next(iter(repo.ancestry(snapshot_id=session.snapshot_id)))
    if as_of is not None and first.parent_id is None:
        raise _too_early(path, as_of)
    return session


def recover(path: str, to: str, wait: float) -> tuple[str, str]:
    """Go back to a version where the present state cannot be read (see `Store.rollback`, which reads it).

    Parameters
    ----------
    path : str
        The store.
    to : str
        A tag, or a commit's whole identity: the history, which could tell the rest of one, begins at the present state.
    wait : float
        How long to wait for another writer, s.

    Returns
    -------
    state, left : str
        Identities of the new commit, and of the one that cannot be read.

    Raises
    ------
    StoreError
        If there is no such version, or another writer does not finish in time.
    """
    repo = repository.open_existing(path)
    with repository.errors(path):
        left, tags = repo.lookup_branch(repository.BRANCH), repo.list_tags()
    _, session = connect(path, **{"tag" if to in tags else "snapshot": to})
    return versions.rollback(repo, path, session.snapshot_id, wait, keep=False), left


def _way_back(repo: icechunk.Repository, path: str) -> str:
    """What to do where the last commit of a local store cannot be read; nothing where no other can be."""
    try:
        tip = repo.lookup_branch(repository.BRANCH)
        files = sorted(
            (repository.folder(path) / "snapshots").glob("*"), key=lambda file: -file.stat().st_mtime
        )
    except (icechunk.IcechunkError, OSError):
        return ""
    for file in files:
        try:
            info = next(iter(repo.ancestry(snapshot_id=file.name)))
        except icechunk.IcechunkError:
            continue
        if info.parent_id is not None and info.id != tip:
            return (
                f"put its last commit, snapshots/{tip}, back from a copy, or go back to the one of "
                f"{info.written_at:%Y-%m-%d %H:%M:%S} ({info.message}): dphot rollback {path} {info.id}"
            )
    return ""


def _as_of(repo: icechunk.Repository, path: str, when: datetime) -> icechunk.Session:
    try:
        return repo.readonly_session(repository.BRANCH, as_of=when)
    except icechunk.IcechunkError as error:
        if when < min(info.written_at for info in repo.ancestry(branch=repository.BRANCH)):
            raise _too_early(path, when) from error
        raise


def _too_early(path: str, when: datetime | str) -> StoreError:
    return StoreError(f"{path}: no version of {when} is kept; `dphot history` lists those that are")


def _check_format(path: str, session: icechunk.Session) -> None:
    with repository.errors(path, "it cannot be read"):
        try:
            attrs = dict(repository.root_group(session).attrs)
        except FileNotFoundError:
            attrs = {}
    if attrs.get("format") != layout.FORMAT:
        raise StoreError(f"{path}: an Icechunk repository, but not a dphot store")
    version = attrs.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            f"{path}: its format is version {version}, this dphot reads up to {FORMAT_VERSION}; update dphot "
            "(pip install -U dphot), or read it where it was written and export it"
        )


def _instant(when: datetime | str) -> datetime:
    """An instant in UTC, the only zone that Icechunk takes; one that tells no zone is in UTC."""
    try:
        parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:  # overflow: of the year 1, east of Greenwich
        raise StoreError(f"as_of {when!r} is not a date; write 2026-11-22 or 2026-11-22T03:00") from error
