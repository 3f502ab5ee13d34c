"""Where the work runs: an existing Dask client, a scheduler's address, or a local cluster of processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from distributed import Client

#: Worker processes run one thread each: the kernels are as fast as the core, and sep holds the interpreter's
#: lock. The allocator keeps its pages (the default trims after every task, which slows writing by half).
WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

#: How long a scheduler may take to answer, and to have its first worker (s).
TIMEOUT = 30


def cores() -> int:
    """Cores this process may use (a container's or a batch job's share, not the machine's)."""
    from dask.system import cpu_count

    return int(cpu_count())


@contextmanager
def _scripts_need_no_guard() -> Iterator[None]:
    """Keep new processes from running the user's script again.

    A spawned process imports the parent's main script unless the main module is called ``__main__`` by its
    own specification, so a script without ``if __name__ == "__main__"`` would start clusters for ever.
    Workers need nothing from it: functions defined in a script travel by value.
    """
    main = sys.modules["__main__"]
    before = main.__spec__
    main.__spec__ = ModuleSpec("__main__", None)
    try:
        yield
    finally:
        main.__spec__ = before


@contextmanager
def connect(workers: int | None = None, scheduler: str | None = None) -> Iterator[Client | None]:
    """A Dask client for the work that follows.

    Parameters
    ----------
    workers : int, optional
        Processes of a local cluster; 0 runs everything in this process, without Dask's scheduler. By default
        one for each core.
    scheduler : str, optional
        Address of a scheduler that is already running, as ``tcp://10.0.0.1:8786``.

    Yields
    ------
    distributed.Client or None
        The client that exists already in this process, if there is one and neither argument is given; it is
        left open. Otherwise one that is closed at the end. None with ``workers=0``.

    Raises
    ------
    InputError
        If the number of workers is negative, or nothing answers at the scheduler's address.
    """
    import dask
    from distributed import Client, LocalCluster, get_client

    if workers is not None and workers < 0:
        raise InputError(f"workers = {workers}: give 0 (everything in this process), 1 or more")
    if scheduler:
        with _client_of(scheduler) as client:
            yield client
        return
    if workers == 0:
        yield None
        return
    if workers is None:
        try:
            existing = get_client()
        except ValueError:
            pass
        else:
            yield existing
            return
    settings = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.scheduler.allowed-failures": 2,
        "distributed.admin.log-length": 0,
        # it looks at every thread a hundred times a second, for a dashboard that is not there
        "distributed.worker.profile.enabled": False,
    }
    wanted = workers or cores()
    with (
        _scripts_need_no_guard(),
        dask.config.set(settings),
        LocalCluster(
            n_workers=wanted,
            threads_per_worker=1,
            processes=True,
            # no dashboard, and a port that no other run on this machine has: with None it is always 8787
            dashboard_address=":0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=40,
        ) as cluster,
        Client(cluster) as client,
    ):
        # Where a process dies while it starts, Dask gives its place up for good; this fills it again.
        cluster.adapt(minimum=wanted, maximum=wanted, interval="2s")
        yield client


def _client_of(address: str) -> Client:
    """A client of a scheduler that is running and has a worker."""
    from distributed import Client

    try:
        client = Client(address, timeout=TIMEOUT)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"scheduler {address}: no Dask scheduler answers there: {error}") from error
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
    except TimeoutError as error:
        client.close()
        raise InputError(
            f"scheduler {address}: it has no workers; start some with `dask worker {address}`"
        ) from error
    return client
