"""The fused chain: one task reads, calibrates, aligns and measures a run of frames, and keeps their raw pixels.

Every frame is measured on its own against the same reference, and the stack is summed in fixed point, so the
numbers depend neither on how frames are cut into chunks nor on the order in which chunks come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Config
from ..errors import FrameError
from ..io.files import changed_since
from ..io.readers import file_digest, pixel_mark, read_record
from ..kernels.resample import add_to_reference
from ..store import FrameWriter
from . import frame as chain
from .context import Handle, load_masters, load_reference
from .pages import keep_pages
from .priors import is_aligned, priors
from .run import Failed, run

if TYPE_CHECKING:
    from distributed import Client

#: Stack values are summed as integers of this fraction of an ADU: exact, so in any order. 2^-20 of an ADU leaves
#: room for 2^27 frames of 16-bit counts.
STACK_UNIT = 2.0**-20


@dataclass(frozen=True)
class Chunk:
    """A run of frames: their place in the night, and their records."""

    start: int
    records: tuple[dict[str, Any], ...]
    prior: np.ndarray | None = field(default=None, compare=False)
    """Where the field likely is (2, 3), at the second try of frames that could not be aligned."""

    def split(self) -> list[Chunk]:
        """One chunk for each frame."""
        return [Chunk(self.start + i, (record,), self.prior) for i, record in enumerate(self.records)]


@dataclass(frozen=True)
class Slots:
    """Where the raw frames of a night go in the store."""

    filter: str
    night: str
    offset: int


@dataclass(frozen=True)
class Task:
    """What all chunks of a night share."""

    handle: Handle
    config: Config
    slots: Slots | None = None
    """Where raw frames go in the store; None keeps none."""
    steps: tuple[chain.Step, ...] = ()


@dataclass
class Stack:
    """Sum of aligned frames in units of `STACK_UNIT` ADU, their skies subtracted, and how many there are in a pixel."""

    total: np.ndarray
    count: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Stack:
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int32))

    def add(self, image: np.ndarray, mask: np.ndarray, matrix: np.ndarray, sky: float) -> None:
        """Add a frame (ADU) at the reference's pixels, without its sky."""
        add_to_reference(image, mask, matrix, sky, STACK_UNIT, self.total, self.count)

    def __add__(self, other: Stack) -> Stack:
        return Stack(self.total + other.total, self.count + other.count)

    def merge(self, other: Stack) -> None:
        """Add another sum to this one."""
        self.total += other.total
        self.count += other.count

    def mean(self) -> np.ndarray:
        """Mean of the frames in ADU, float32; NaN where no frame reaches."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.total * STACK_UNIT / self.count).astype(np.float32)


def measure_chunk(chunk: Chunk, task: Task) -> tuple[tuple[list[dict[str, Any]], Any], Stack | None]:
    """Measure the frames of a chunk.

    Returns
    -------
    rows, fork : list of dict, and the store's fork with the raw frames written, or None
        A row for each frame, in order (see `frame.measure`), with its digest and whether its raw pixels can be kept.
    stack : Stack or None
        Sum of the aligned frames, if there are any.
    """
    keep_pages()
    reference, config = load_reference(task.handle), task.config
    stack = Stack.empty(reference.shape) if config.stack else None
    slots, writer = task.slots, None
    if slots is not None:
        writer = FrameWriter(task.handle.fork, slots.filter, slots.night)
    rows = []
    for i, record in enumerate(chunk.records):
        digest, mark, kept = "", "", False
        try:
            if record["error"]:
                raise FrameError(record["path"], record["error"])
            raw, digest = read_record(record)
            mark = pixel_mark(raw)
            # the place of a frame that is not as its header said stays empty
            kept = raw.shape == chain.frame_shape(record) and raw.dtype == np.dtype(record["dtype"])
            if slots is not None and writer is not None and kept:
                writer.add(slots.offset + chunk.start + i, raw)
            row = _measure_frame(raw, record, task, reference, stack, chunk.prior)
        except FrameError as error:
            row = chain.lost(reference, config, error.problem)
            digest = digest or _lost_digest(record)
        rows.append({**row, "digest": digest, "pixels": mark, "kept": kept})
    fork = writer.flush() if writer is not None else None
    return (rows, fork), stack if any(is_aligned(row) for row in rows) else None


def _lost_digest(record: dict[str, Any]) -> str:
    """The digest of a file that could not be read; none where it may have become whole since: that is another file."""
    path = record["path"]
    digest = file_digest(path)
    return "" if changed_since(path, (record["size"], record["mtime_ns"])) else digest


def _measure_frame(
    raw: np.ndarray, record: dict[str, Any], task: Task, reference: chain.Reference, stack: Stack | None,
    prior: np.ndarray | None,
) -> dict[str, Any]:  # fmt: skip
    """The row of one frame; also adds the frame to the stack."""
    masters = load_masters(task.handle)
    image, mask, counts = chain.calibrate_frame(raw, record, masters, reference.saturation, task.steps)
    try:
        row = chain.measure(image, mask, counts, reference, masters, task.config, prior)
    except Exception as error:  # one odd frame must not stop a night of thousands
        raise FrameError(record["path"], f"cannot be measured: {type(error).__name__}: {error}") from error
    if stack is not None and is_aligned(row):
        stack.add(image, mask, row["transform"].reshape(2, 3), row["sky_frame"] / chain.unit(reference))
    return row


def measure_night(
    records: Sequence[dict[str, Any]],
    task: Task,
    reference: chain.Reference,
    client: Client | None = None,
    on_done: Callable[[Chunk], None] | None = None,
) -> tuple[list[dict[str, Any]], list[Any], Stack | None]:
    """Measure all frames of a night on a cluster.

    Parameters
    ----------
    records : sequence of dict
        Frame records in the order of the night.
    task : Task
        What the chunks share.
    reference : Reference
        The one that `task` leads to.
    client : distributed.Client, optional
        Where to run; without one, in this process.
    on_done : callable, optional
        Called with each finished chunk.

    Returns
    -------
    rows : list of dict
        One for each record, in the same order. A frame whose task kills its worker is flagged UNREADABLE.
    forks : list
        To be merged by the store's transaction.
    stack : Stack or None
    """
    size = task.config.chunk
    chunks = [Chunk(i, tuple(records[i : i + size])) for i in range(0, len(records), size)]
    rows: list[dict[str, Any]] = [{} for _ in records]
    forks = []
    total = Stack.empty(reference.shape)
    for chunk, result in run(
        measure_chunk, chunks, task, client=client, split=Chunk.split, on_done=on_done, on_sum=total.merge
    ):
        if isinstance(result, Failed):
            rows[chunk.start] = chain.lost(reference, task.config, result.reason)
            continue
        measured, fork = result
        rows[chunk.start : chunk.start + len(measured)] = measured
        if fork is not None:
            forks.append(fork)
    # What the whole night knows helps the frames that failed; their raw pixels are in the store already.
    again = [Chunk(i, (records[i],), prior) for i, prior in priors(records, rows).items()]
    for chunk, result in run(
        measure_chunk, again, replace(task, slots=None), client=client, split=Chunk.split, on_sum=total.merge
    ):
        if not isinstance(result, Failed) and is_aligned(result[0][0]):
            rows[chunk.start] = {**result[0][0], "kept": rows[chunk.start]["kept"]}
    return rows, forks, total if task.config.stack else None
