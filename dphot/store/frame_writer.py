"""Writing raw frames one after the other, many at a time."""

from __future__ import annotations

import icechunk
import numpy as np

from .transactions import write_frames

#: Bytes of raw frames that are collected at most, unless one frame alone has more.
COLLECTED = 2**23


class FrameWriter:
    """Raw frames go in one by one, and are written in blocks of consecutive ones.

    A call of Zarr costs as much as it takes to compress a small frame: one for each frame would double the cost.

    Parameters
    ----------
    fork : icechunk.ForkSession
        A copy of `Transaction.fork`, taken after `Transaction.reserve_frames`.
    filter, night : str
        As reserved.
    collected : int
        Bytes of frames held before they are written.
    """

    def __init__(
        self, fork: icechunk.session.ForkSession, filter: str, night: str, collected: int = COLLECTED
    ):
        self._fork, self._filter, self._night, self._collected = fork, filter, night, collected
        self._first = 0
        self._frames: list[np.ndarray] = []

    def add(self, place: int, frame: np.ndarray) -> None:
        """Take a frame (ny, nx) for a place in the night's array; it must not be changed until `flush`.

        Raises
        ------
        StoreError
            As `write_frames`, here or in `flush`: if a frame's size or type differ from what was reserved.
        """
        consecutive = not self._frames or (
            place == self._first + len(self._frames)
            and frame.shape == self._frames[0].shape
            and frame.dtype == self._frames[0].dtype
        )
        if not consecutive or sum(f.nbytes for f in (*self._frames, frame)) > self._collected:
            self.flush()
        if not self._frames:
            self._first = place
        self._frames.append(frame)

    def flush(self) -> icechunk.session.ForkSession:
        """Write what is collected; the fork, to be sent back and merged."""
        if self._frames:
            frames, self._frames = self._frames, []
            block = np.stack(frames) if len(frames) > 1 else frames[0][None]
            write_frames(self._fork, self._filter, self._night, self._first, block)
        return self._fork
