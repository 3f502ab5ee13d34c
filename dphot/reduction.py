"""The whole job: a folder of frames becomes a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cluster, kept, planning
from .append import commit_nights
from .config import Config
from .errors import DphotError
from .graph.steps import Step, load_steps
from .io.frames import FrameTable, scan
from .night_record import root_attributes
from .progress import Progress
from .store import Store, making

if TYPE_CHECKING:
    from distributed import Client


def reduce(
    frames: FrameTable | Store | str | Path | Sequence[str | Path],
    /,
    store: str | Path,
    config: Config | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    client: Client | None = None,
    overwrite: bool = False,
    steps: Sequence[Step | str] = (),
    progress: Progress | None = None,
    **settings: Any,
) -> Store:
    """Reduce frames into a new store: calibrate, align, measure, stack; one commit for each night.

    Parameters
    ----------
    frames : FrameTable, path, or sequence of paths, or Store
        A scanned table, or folders or ``s3://`` addresses to scan. Or a store, or its path: its raw frames are measured
        again with the masters that it has, without any file; settings that are not given are its own, its reference
        among them.
    store : path
        The new store, a folder or an ``s3://`` address.
    config : Config, optional
        Settings; `settings` replace single ones (``reduce(..., reference=3)``), of a store's own too.
    workers, scheduler
        Where to run (see `dphot.cluster.connect`): by default an existing client of this process, or else a local
        cluster of one process for each core.
    client : distributed.Client, optional
        A client to use instead.
    overwrite : bool
        Replace a store that exists.
    steps : sequence of callable or str
        Steps of your own, ``f(image, record) -> image`` or ``"module:f"``, applied in order to each calibrated frame.
    progress : Progress, optional
        For bars.

    Returns
    -------
    Store
        Open at the last commit.

    Raises
    ------
    InputError
        If there is nothing to reduce; nothing is written then.
    BucketError
        If the bucket of the frames cannot be reached or read.
    StoreError
        If the store exists already.
    """
    source = kept.source_of(frames)
    base = kept.settings(source) if source is not None else Config()
    settled = (config or base).patch(**settings)
    own = load_steps([steps] if isinstance(steps, str) else steps)
    progress = progress or Progress()
    replacing = Store.refuse_existing(store, overwrite)
    nights = kept.plan(source, settled) if source else _planned(frames, settled, progress)
    chain = (*own, *planning.check(nights, settled))
    # A store that is replaced stays as it was until the new one is whole.
    real = Path(store).resolve()  # a link may lead to another disk
    place = real.with_name(f".{real.name}.reducing") if replacing else store
    created = Store.create(place, root_attributes(nights, settled), overwrite=replacing)
    try:
        if client is not None:
            commit_nights(nights, created, settled, client, chain, progress)
        else:
            with cluster.connect(workers, scheduler) as found:
                commit_nights(nights, created, settled, found, chain, progress)
    except BaseException as error:
        _remove(created, not replacing, progress)
        if replacing and isinstance(error, DphotError):
            error.committed, error.frames = (), 0  # they went with the store that was not to be
        raise
    if replacing:
        Store.replace(store, by=place)
    return Store.open(store)


def _planned(frames: Any, config: Config, progress: Progress) -> list[planning.NightSeries]:
    """What will be done with the frames of a table, or of folders."""
    table = frames if isinstance(frames, FrameTable) else scan(frames, telescope=config.telescope or None)
    nights = planning.plan(table, config)
    if progress.lines:
        progress.say(repr(table))
    return nights


def _remove(store: Store, unless_filled: bool, progress: Progress) -> None:
    """Remove a store just made, which would only be in the way of the next try; nights that got into it may keep it."""
    try:
        store.refresh()
        if not (unless_filled and store.nights):
            making.discard(store.path)
    except (DphotError, OSError) as error:  # the run's own error is the one to tell
        progress.say(f"{store.path}: is left without a night, and could not be removed: {error}")
