"""Frames that masters are made of: read, and sorted into those that can be used and those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FrameError, InputError
from ..io.readers import read_record
from .frame import trim_raw
from .run import Failed, run

if TYPE_CHECKING:
    from distributed import Client

Record = Mapping[str, Any]
#: Bytes of float32 pixels that one task holds.
BAND_BYTES = 256 * 2**20


def read(record: Record) -> np.ndarray:
    """Pixels of a frame, float32 (ny, nx), trimmed and without overscan."""
    return _read(record)[0]


def _read(record: Record) -> tuple[np.ndarray, str]:
    raw, digest = read_record(record)
    return trim_raw(raw, record)[0].astype(np.float32), digest


def bands(shape: tuple[int, int], n: int) -> list[tuple[int, int]]:
    """First and last row (half-open) of bands that hold `BAND_BYTES` of `n` frames."""
    ny, nx = shape
    height = max(1, min(ny, BAND_BYTES // (4 * nx * n)))
    return [(i, min(i + height, ny)) for i in range(0, ny, height)]


def tried(record: Record) -> tuple[np.ndarray | None, str, str]:
    """Pixels of a frame (None where it cannot be used), its digest, and why it cannot be used."""
    try:
        pixels, digest = _read(record)
    except FrameError as error:
        return None, "", str(error)
    if not np.isfinite(pixels).any():
        return None, digest, f"{record['path']}: no pixel holds a number"
    return pixels, digest, ""


def _look(record: Record) -> tuple[str, str]:
    return tried(record)[1:]


def usable_of(records: Sequence[Record], client: Client | None) -> tuple[list[Record], list[str]]:
    """The frames that can be read, each with its `digest`, and what is wrong with the others."""
    found = {
        r["path"]: ("", f"{r['path']}: {look.reason}") if isinstance(look, Failed) else look
        for r, look in run(_look, records, client=client)
    }
    return sorted_out(records, found)


def sorted_out(
    records: Sequence[Record], found: Mapping[str, tuple[str, str]]
) -> tuple[list[Record], list[str]]:
    """What `usable_of` returns, from the digest of each path and why its frame cannot be used."""
    usable: list[Record] = [{**r, "digest": found[r["path"]][0]} for r in records if not found[r["path"]][1]]
    return usable, sorted(why for _, why in found.values() if why)


def refuse(result: Any) -> Any:
    """A result; an `InputError` where there is none."""
    if isinstance(result, Failed):
        raise InputError(f"the masters cannot be made: {result.reason}; use fewer workers with more memory")
    return result


def each(
    function: Callable[..., Any], items: Sequence[Any], *shared: Any, client: Client | None
) -> Iterator[tuple[Any, Any]]:
    """Like `run`, where no item may fail."""
    for item, result in run(function, items, *shared, client=client):
        yield item, refuse(result)
