"""Run one function over many items, on a Dask cluster or in this process, with the same results.

A lost worker costs the items it was busy with, again. Dask blames a worker's death on all tasks that wait there, so
an item that was there each time is split, and its parts are tried one by one with the cluster to themselves; one that
kills its worker even so is reported as failed rather than ending the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .sent import sent
from .sums import Sums

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
    on_sum: Callable[[Any], None] | None = None,
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
    on_sum : callable, optional
        `function` then gives a pair of the result and a part, or None; parts, which may be large, are added (``+``) on
        the workers. Called with their sums, however many: all have come when the run ends.

    Yields
    ------
    item, result
        The order is that of completion: consumers must not depend on it.
    """
    done = on_done or (lambda item: None)

    def alone(pair: Any) -> Any:
        """The result of what came whole."""
        if on_sum is None:
            return pair
        result, part = pair
        if part is not None:
            on_sum(part)
        return result

    if client is None:
        for item in items:
            result = alone(function(item, *shared))
            done(item)
            yield item, result
        return

    from distributed import Future, KilledWorker, as_completed

    arguments: list[Any] = []

    def submit(item: Any) -> Future:
        # The death of a worker may have been blamed on an array that it was about to make.
        lost = [a for a in arguments if isinstance(a, Future) and a.status not in ("pending", "finished")]
        if lost or not arguments:
            arguments[:] = [sent(argument, client) for argument in shared]
        return client.submit(function, item, *arguments, pure=False, retries=RETRIES)

    sums = Sums(client, on_sum) if on_sum else None
    waiting: dict[Future, Any] = {}
    suspects: list[Any] = []
    try:
        for item in items:
            future = submit(item)
            waiting[sums.parted(future) if sums else future] = item
        finished = as_completed(list(waiting))
        for future in finished:
            if sums and future in sums:
                sums.receive(future)
                continue
            item = waiting.pop(future)
            if future.status == "error" and isinstance(future.exception(), KilledWorker):
                suspects += split(item) if split else [item]
                future.release()
            else:
                result, coming = sums.add(item, future) if sums else (future.result(), [])
                finished.update(coming)
                future.release()
                done(item)
                yield item, result
            if sums and not waiting:
                finished.update(sums.rest())
        # What Dask has given up is tried with the cluster to itself.
        for item in suspects:
            future = submit(item)
            waiting = {future: item}
            try:
                result = alone(future.result())
            except KilledWorker:
                result = Failed(
                    "its worker was killed each time it was read or measured (out of memory, or a crash)"
                )
            future.release()
            waiting = {}
            done(item)
            yield item, result
        for item in sums.lost if sums else []:
            future = submit(item)
            alone(future.result())
            future.release()
    finally:
        # Whatever ends the run early, a failure or the consumer, nothing is left behind on the cluster.
        for future in waiting:
            future.cancel()
        if sums:
            sums.cancel()
