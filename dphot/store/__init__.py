"""The only place that imports zarr or icechunk."""

from .frame_writer import FrameWriter, write_frames
from .health import Problem, readable
from .holdings import Holdings
from .opening import recover
from .plain import write_plain_zarr
from .reading import read_dataset
from .store import Store
from .transactions import ConflictError, FrameSlots, Transaction
from .versions import Collected, Commit

__all__ = [
    "Collected",
    "Commit",
    "ConflictError",
    "FrameSlots",
    "FrameWriter",
    "Holdings",
    "Problem",
    "Store",
    "Transaction",
    "read_dataset",
    "readable",
    "recover",
    "write_frames",
    "write_plain_zarr",
]
