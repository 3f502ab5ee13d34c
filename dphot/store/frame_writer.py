"""Writing raw frames into the places that a transaction keeps for them, many at a time."""

from __future__ import annotations

import icechunk
import numpy as np
import zarr

from ..errors import StoreError
from . import layout

#: Bytes of raw frames that are collected at most, unless one frame alone has more.
COLLECTED = 2**23


class FrameWriter:
    """Raw frames go in one by one, and are written in blocks of consecutive ones.

    A call of Zarr costs as much as it takes to compress a small frame: one for each frame would double the cost.

    Parameters
    ----------
    fork, filter, night
        As for `write_frames`.
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


def write_frames(
    fork: icechunk.session.ForkSession, filter: str, night: str, offset: int, block: np.ndarray
) -> icechunk.session.ForkSession:
    """Write raw frames into reserved places; for workers.

    Parameters
    ----------
    fork : icechunk.ForkSession
        A copy of `Transaction.fork`, taken after `Transaction.reserve_frames`.
    filter, night : str
        As reserved.
    offset : int
        Index of the first frame in the night's array.
    block : numpy.ndarray, (k, ny, nx)
        The frames, in the reserved type.

    Returns
    -------
    icechunk.ForkSession
        The fork, to be sent back and merged.

    Raises
    ------
    StoreError
        If size or type differ from what was reserved: pixels are never cast.
    """
    group = layout.frames_group(filter, night)
    # a frame that equals the fill value everywhere is written all the same: -0.0 is not 0.0
    array = zarr.open_array(fork.store, path=f"{group}/raw", mode="r+", config={"write_empty_chunks": True})
    places, *size = array.shape
    end = offset + len(block)
    if block.dtype != array.dtype or list(block.shape[1:]) != size or not 0 <= offset <= end <= places:
        raise StoreError(
            f"{group}: {len(block)} frames of {block.shape[1:]} {block.dtype} at {offset} do not fit "
            f"{places} places of {tuple(size)} {array.dtype}"
        )
    array[offset:end] = block
    return fork
