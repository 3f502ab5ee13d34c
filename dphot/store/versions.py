"""Versions of a store: its history, names for versions, going back, and letting go of what is old."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr

from ..errors import StoreError
from . import encodings, layout, lock, reading, repository

#: Branches that keep what a rollback left behind are named by this and the instant.
UNDONE = "undone-"
_STAMP = "%Y%m%dT%H%M%S%fZ"
#: What a tag may hold: its file in a local store has its name, of which Icechunk 1 writes other signs in a code of its
#: own, and does not list the tag then. What no list tells of, `collect` deletes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:+@=,()'-]*")
#: Objects in a bucket that no commit refers to may belong to an append on another machine until they are so old.
REMOTE_AGE = timedelta(days=7)


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
    state: str = ""
    """``undone``: left behind by a rollback. ``collected``: listed, but no longer readable. Else empty."""


@dataclass(frozen=True)
class Collected:
    """What `collect` let go."""

    commits: list[Commit]
    """Versions that can no longer be read."""
    bytes: int | None
    """Bytes of all that was deleted; on a dry run only of what no version holds, as a killed run leaves it: None where
    damage hides that."""


@dataclass(frozen=True)
class Break:
    """Where a history ends before its beginning: a commit that cannot be read, and with it what came before."""

    lost: str
    """Identity of the commit; empty where it is the list of those that `collect` let go."""
    after: Commit | None
    """The one that came next, which can be read."""
    why: str
    """Why it cannot be read."""

    def __str__(self) -> str:
        if not self.lost:
            return f"does not tell which versions gc let go: their list cannot be read ({self.why})"
        where = (
            f"breaks before commit {self.after.id} of {self.after.time:%Y-%m-%d %H:%M:%S}: "
            if self.after
            else ""
        )
        return f"{where}commit {self.lost} cannot be read ({self.why}), nor what it alone leads to"


#: Told of each break.
Broken = Callable[[Break], Any]


def history(
    repo: icechunk.Repository,
    session: icechunk.Session,
    everything: bool = False,
    broken: Broken | None = None,
) -> list[Commit]:
    """The commits up to a session's state, the newest first (see `Store.history`).

    Where the history breaks, `broken` is told and what can be read is given; without it the error is raised.
    """
    kept = list(ancestry(repo, session.snapshot_id, broken))
    if not everything:
        return kept
    seen = {commit.id for commit in kept}
    for state, tip in sides(repo):
        own = [commit for commit in ancestry(repo, tip, broken) if commit.id not in seen]
        kept += [replace(commit, state=state) for commit in own]
        seen |= {commit.id for commit in own}
    try:
        gone = _log(session)
    except Exception as error:  # Zarr, its codecs and Icechunk each have their own
        if broken is None:
            raise
        broken(Break("", None, repository.reason(error)))
        gone = []
    kept += [replace(commit, state="collected") for commit in gone if commit.id not in seen]
    return sorted(kept, key=lambda commit: commit.time, reverse=True)


def told_history(
    repo: icechunk.Repository,
    session: icechunk.Session,
    path: str,
    everything: bool,
    broken: Callable[[str], None] | None,
) -> list[Commit]:
    """The history, with a word on each break of it (see `Store.history`)."""
    breaks: dict[str, Break] = {}
    with repository.errors(path, "its history cannot be read"):
        commits = history(repo, session, everything, lambda lost: breaks.setdefault(lost.lost, lost))
    for lost in breaks.values():
        if broken is None:
            raise StoreError(f"{path}: its history {lost}")
        broken(str(lost))
    return commits


def sides(repo: icechunk.Repository) -> Iterator[tuple[str, str]]:
    """State and last commit of what the present state does not rest on: what rollbacks left behind, and tags."""
    for branch in sorted(repo.list_branches()):
        if branch.startswith(UNDONE):
            yield "undone", repo.lookup_branch(branch)
    for tag in sorted(repo.list_tags()):  # what a tag alone keeps, once a collection has cut it off
        yield "", repo.lookup_tag(tag)


def ancestry(repo: icechunk.Repository, snapshot: str, broken: Broken | None = None) -> Iterator[Commit]:
    """A commit and those before it, the newest first (see `history`)."""
    before, commit = snapshot, None
    try:
        for info in repo.ancestry(snapshot_id=snapshot):
            if info.parent_id is not None:  # the first of all is Icechunk's own, of an empty repository
                metadata = encodings.restore(dict(info.metadata))
                before, commit = info.parent_id, Commit(info.id, info.written_at, info.message, metadata)
                yield commit
    except icechunk.IcechunkError as error:
        if broken is None:
            raise
        broken(Break(before, commit, repository.reason(error)))


def _log(session: Any) -> list[Commit]:
    """Commits that a garbage collection let go, as it wrote them down."""
    if layout.HISTORY not in repository.root_group(session):
        return []
    rows = [json.loads(str(text)) for text in reading.read_dataset(session, layout.HISTORY)["commit"].values]
    return [Commit(**{**encodings.restore(r), "time": datetime.fromisoformat(r["time"])}) for r in rows]


def resolve(repo: icechunk.Repository, session: icechunk.Session, path: str, version: str) -> dict[str, str]:
    """What a version's name means, as an argument of `Store.open`.

    Parameters
    ----------
    version : str
        A tag, a commit's identity or its beginning (4 letters or more), or an instant.

    Raises
    ------
    StoreError
        If there is no such version, or the beginning fits several commits.
    """
    if version in repo.list_tags():
        return {"tag": version}
    # what can be read can be named
    commits = history(repo, session, everything=True, broken=lambda lost: None)
    known = [c for c in commits if c.id.startswith(version.upper())]
    if len(version) >= 4 and len(known) == 1:
        return {"snapshot": known[0].id}
    try:
        datetime.fromisoformat(version)
    except ValueError:
        what = f"fits {len(known)} commits" if known else "is no version"
        if len(version) < 4:
            what = "is too short for a version"
        raise StoreError(
            f"{path}: {version!r} {what}; give a tag, a commit as `dphot history` lists them, or a date"
        ) from None
    return {"as_of": version}


def exclusive(path: str, wait: float) -> AbstractContextManager[None]:
    """The lock of a local store; a bucket's conditional writes need none."""
    return nullcontext() if repository.is_remote(path) else lock.exclusive(repository.folder(path), wait)


def tag(repo: icechunk.Repository, path: str, name: str, snapshot: str) -> None:
    """Give a commit a name (see `Store.tag`); a tag is no commit, and waits for no writer."""
    if not repository.is_remote(path):
        lock.check_writable(repository.folder(path))
    if not _NAME.fullmatch(name):
        wrong = "".join(dict.fromkeys(sign for sign in name if not _NAME.fullmatch(f"a{sign}")))
        what = f"has {wrong!r}" if wrong else f"begins with {name[:1]!r}" if name else "is empty"
        raise StoreError(
            f"{path}: tag {name!r} is no name: it {what}; letters a to z, digits and blank . _ : + @ = , ( ) ' - may "
            "be used, a letter or digit first, as paper-1"
        )
    with repository.errors(path, f"tag {name!r}"):
        if name in repo.list_tags():
            raise StoreError(f"{path}: tag {name!r} is taken, and stays with its commit; give another name")
        repo.create_tag(name, snapshot_id=snapshot)
        if name not in repo.list_tags():
            raise StoreError(
                f"{path}: tag {name!r} cannot be found again, and would keep nothing; give another name"
            )


def rollback(repo: icechunk.Repository, path: str, to: str, wait: float, keep: bool = True) -> str:
    """Make a new state with the contents of an earlier commit (see `Store.rollback`); returns its identity.

    `keep`: whether the state left behind stays in the history, which must be readable for that.
    """
    with exclusive(path, wait), repository.errors(path, "rollback"):
        tip = repo.lookup_branch(repository.BRANCH)
        if tip == to:
            raise StoreError(f"{path}: {to} is the state already")
        now = datetime.now(UTC)
        # the new state is made aside and the branch moves once: nothing in between is ever found
        aside, undone = f"rollback-{now:{_STAMP}}", f"{UNDONE}{now:{_STAMP}}"
        if keep:
            repo.create_branch(undone, tip)
        repo.create_branch(aside, to)
        try:
            session = repo.writable_session(aside)
            repository.root_group(session, "r+").attrs["rollback"] = {"to": to, "from": tip}
            state = session.commit(f"Roll back to {to}", metadata={"to": to, "from": tip})
            repo.reset_branch(repository.BRANCH, state, from_snapshot_id=tip)
        except BaseException:
            if keep:
                repo.delete_branch(undone)
            raise
        finally:
            repo.delete_branch(aside)
    return state


def collect(
    repo: icechunk.Repository, path: str, older_than: timedelta, wait: float, dry_run: bool
) -> Collected:
    """Delete versions older than an age (see `Store.collect`)."""
    if older_than < timedelta(0):
        raise StoreError(f"{path}: an age of {older_than} lies in the future; give 0d or more")
    if repository.is_remote(path) and older_than < REMOTE_AGE:
        raise StoreError(
            f"{path}: an append on another machine may be under way, and its frames younger than the age given "
            f"would be deleted; give {REMOTE_AGE.days}d or more"
        )
    alone = nullcontext() if dry_run else exclusive(path, wait)
    with alone, repository.errors(path, "garbage collection"):
        before = datetime.now(UTC) - older_than
        branches = sorted(b for b in repo.list_branches() if b.startswith(UNDONE))
        left = [b for b in branches if _made(b) < before]
        tip = repo.lookup_branch(repository.BRANCH)
        keep = {repo.lookup_tag(tag) for tag in repo.list_tags()}
        keep |= {repo.lookup_branch(branch) for branch in branches if branch not in left}
        session = repo.readonly_session(repository.BRANCH)
        commits = [c for c in history(repo, session, everything=True) if c.state != "collected"]
        old = [c for c in commits if c.time < before and c.id not in keep]
        if [c.id for c in old] == [tip]:
            old = []  # the state that is open stays; where others go, the commit that lists them takes its place
        if dry_run:
            try:
                return Collected(old, repo.garbage_collect(before, dry_run=True).bytes_deleted)
            except icechunk.IcechunkError:
                return Collected(old, None)
        freed = 0
        if old:
            # On a full disk this makes the room that the log needs; damage of a version that goes is no hindrance yet.
            with suppress(icechunk.IcechunkError):
                freed = repo.garbage_collect(before).bytes_deleted
            # First of all that lets versions go: without it the history would not tell of them.
            _write_log(repo, [replace(c, state="") for c in old])
        for branch in left:
            repo.delete_branch(branch)
        if old:
            repo.expire_snapshots(older_than=before)
        try:
            return Collected(old, freed + repo.garbage_collect(before).bytes_deleted)
        except icechunk.IcechunkError as error:
            raise StoreError(
                f"{path}: {len(old)} versions went, but nothing is deleted: a list of chunks of a version that is kept "
                f"cannot be read ({repository.reason(error)}). `dphot check {path} --versions` names the version: put "
                "the store's files back from a copy, or give an age that lets it go"
            ) from error


def _made(branch: str) -> datetime:
    return datetime.strptime(branch.removeprefix(UNDONE), _STAMP).replace(tzinfo=UTC)


def _write_log(repo: icechunk.Repository, commits: list[Commit]) -> None:
    """Write down commits that are about to go, so that the history still tells of them."""
    session = repo.writable_session(repository.BRANCH)
    entries = {c.id: c for c in [*_log(session), *commits]}
    rows = sorted(entries.values(), key=lambda commit: commit.time)
    texts = [json.dumps(encodings.plain({**asdict(c), "time": c.time.isoformat()})) for c in rows]
    ds = xr.Dataset({"commit": ("commit_number", np.array(texts, np.dtypes.StringDType()))})
    root: zarr.Group = repository.root_group(session, "r+")
    encodings.write_dataset(root, layout.HISTORY, ds)
    session.commit(f"Let go of {len(commits)} old versions", metadata={"collected": len(commits)})
