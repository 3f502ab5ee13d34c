"""Run one function over many items, on a Dask cluster or in this process, with the same results.

A lost worker costs the items it was busy with, again. Dask blames a worker's death on all tasks that wait there, so
an item that was there each time is split, and its parts are tried one by one with the cluster to themselves; one that
kills its worker even so is reported as failed rather than ending the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .sent import sent

if TYPE_CHECKING:
    from distributed import Client

#: A transient error of the file system or the network heals by trying again.
RETRIES = 2


class Failed:
    """What stands in for the result of an item that could not be computed."""

    def __init__(self, reason: str):
        self.reason = reason


def run(
    function: Callable[..., Any],
    items: Sequence[Any],
    *shared: Any,
    client: Client | None = None,
    split: Callable[[Any], list[Any]] | None = None,
    on_done: Callable[[Any], None] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Yield ``(item, function(item, *shared))`` as the results come in, in any order.

    Parameters
    ----------
    function : callable
        Importable on the workers. What it raises ends the run, after `RETRIES` more tries for an `OSError`.
    items : sequence
        One task each.
    *shared
        Further arguments, the same for every task. Large arrays are sent to the cluster once; all else travels with
        each task: keep it small.
    client : distributed.Client, optional
        Where to run; without one, in this process.
    split : callable, optional
        Splits an item whose task keeps killing its worker into single ones; such a one that kills its worker alone
        is yielded with a `Failed` result.
    on_done : callable, optional
        Called with every finished item, for a progress bar.

    Yields
    ------
    item, result
        The order is that of completion: consumers must not depend on it.
    """
    done = on_done or (lambda item: None)
    if client is None:
        for item in items:
            result = function(item, *shared)
            done(item)
            yield item, result
        return

    from distributed import Future, KilledWorker, as_completed

    arguments: list[Any] = []

    def submit(batch: Sequence[Any]) -> dict[Any, Any]:
        # The death of a worker may have been blamed on an array that it was about to make.
        lost = [a for a in arguments if isinstance(a, Future) and a.status not in ("pending", "finished")]
        if lost or not arguments:
            arguments[:] = [sent(argument, client) for argument in shared]
        futures = [client.submit(function, item, *arguments, pure=False, retries=RETRIES) for item in batch]
        return dict(zip(futures, batch, strict=True))

    waiting = submit(items)
    suspects: list[Any] = []
    try:
        for future in as_completed(list(waiting)):
            item = waiting.pop(future)
            error = future.exception() if future.status == "error" else None
            if isinstance(error, KilledWorker):
                suspects += split(item) if split else [item]
                continue
            result = future.result()
            future.release()
            done(item)
            yield item, result
        for item in suspects:
            waiting = submit([item])
            (future,) = waiting
            try:
                result = future.result()
            except KilledWorker:
                result = Failed(
                    "its worker was killed each time it was read or measured (out of memory, or a crash)"
                )
            waiting = {}
            done(item)
            yield item, result
    finally:
        # Whatever ends the run early, a failure or the consumer, nothing is left behind on the cluster.
        for future in waiting:
            future.cancel()
