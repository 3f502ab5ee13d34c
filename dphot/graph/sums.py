"""Sums of large parts of results: they stay on the workers that made them, and travel as sums of many.

Of a worker that dies the parts since its last sum are lost, and Dask runs their tasks again. Where it gives up, for it
blames a death on all tasks that wait there, the items are kept, to be run again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client, Future

#: A sum of so many parts travels; a worker that dies loses less.
GATHERED = 16


class Sums:
    """The sums of a run, one growing on each worker.

    Parameters
    ----------
    client : distributed.Client
        Where they grow.
    take : callable
        Called with each sum that has come.
    """

    def __init__(self, client: Client, take: Callable[[Any], None]):
        self._client, self._take = client, take
        self._parts: dict[Future, Future] = {}
        self._growing: dict[str, tuple[Future, list[Any]]] = {}
        self._coming: dict[Future, list[Any]] = {}
        self.lost: list[Any] = []
        """Items whose parts are in no sum."""

    def __contains__(self, future: Future) -> bool:
        """Whether it is of a sum that is to come."""
        return future in self._coming

    def parted(self, pair: Future) -> Future:
        """Of a pair of a result and a part, the one that is to come."""
        told = self._submit(_told, pair)
        self._parts[told] = self._submit(operator.itemgetter(1), pair)
        return told

    def add(self, item: Any, told: Future) -> tuple[Any, list[Future]]:
        """The result of an item, whose part is added; and what is to be waited for now."""
        result, has_part, worker = told.result()
        part = self._parts.pop(told)
        if not has_part:
            return result, []
        before, items = self._growing.pop(worker, (None, []))
        total = part if before is None else self._submit(operator.add, before, part)
        self._growing[worker] = total, [*items, item]
        return result, self._send(worker) if len(items) + 1 >= GATHERED else []

    def rest(self) -> list[Future]:
        """What is to be waited for when no part will be added any more."""
        return [future for worker in list(self._growing) for future in self._send(worker)]

    def receive(self, future: Future) -> None:
        """Take a sum that has come, or that cannot come."""
        from distributed import KilledWorker

        items = self._coming.pop(future)
        if future.status == "error" and isinstance(future.exception(), KilledWorker):
            self.lost += items
        else:
            self._take(future.result())
        future.release()

    def cancel(self) -> None:
        """Leave nothing on the cluster."""
        for future in (*self._parts.values(), *self._coming, *(total for total, _ in self._growing.values())):
            future.cancel()

    def _send(self, worker: str) -> list[Future]:
        total, items = self._growing.pop(worker)
        self._coming[total] = items
        return [total]

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        # before the tasks that wait: what is added up frees memory
        return self._client.submit(function, *arguments, pure=False, priority=1)


def _told(pair: tuple[Any, Any]) -> tuple[Any, bool, str]:
    from distributed import get_worker

    return pair[0], pair[1] is not None, get_worker().address
