"""Lazy arrays over frames, for exploration: the same functions as the fused chain, one Dask block for each chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np

from ..config import Config
from ..errors import FrameError
from ..io.readers import read_record
from ..kernels.resample import to_reference
from . import frame as chain

Record = Mapping[str, Any]


def records_array(records: Sequence[Record] | np.ndarray, chunk: int | tuple[int, ...]) -> da.Array:
    """Records as a Dask array (time,), inlined into the tasks that use them."""
    values = np.empty(len(records), object)
    values[:] = [dict(r) for r in records]
    return da.from_array(values, chunks=(chunk,), inline_array=True, name=False)


def raw_cube(records: da.Array, shape: tuple[int, int], dtype: str) -> da.Array:
    """Raw frames (time, height, width) in the camera's own type."""

    def block(items: np.ndarray) -> np.ndarray:
        out = np.empty((items.size, *shape), dtype)
        for i, record in enumerate(items.ravel()):
            raw, _ = read_record(record)
            if raw.shape != shape:
                raise FrameError(
                    record["path"], f"is {raw.shape[1]}x{raw.shape[0]}, the cube {shape[1]}x{shape[0]}"
                )
            out[i] = raw
        return out

    return records[:, None, None].map_blocks(block, chunks=(records.chunks[0], *shape), dtype=dtype)


def calibrated_cube(
    raw: da.Array, records: da.Array, masters: chain.Masters, saturation: float, steps: Sequence[chain.Step]
) -> tuple[da.Array, da.Array]:
    """Calibrated frames (float32, ADU) and pixel masks (uint8), dims (time, y, x)."""

    def block(frames: np.ndarray, items: np.ndarray) -> np.ndarray:
        out = np.empty((len(frames), 2, *masters.bias.shape), np.float32)
        for i, record in enumerate(items.ravel()):
            image, mask, _ = chain.calibrate_frame(frames[i], record, masters, saturation, steps)
            out[i, 0], out[i, 1] = image, mask
        return out

    ny, nx = masters.bias.shape
    both = da.map_blocks(
        block, raw, records[:, None, None], dtype=np.float32, new_axis=1, chunks=(raw.chunks[0], 2, ny, nx)
    )
    return both[:, 0], both[:, 1].astype(np.uint8)


def measured_rows(
    image: da.Array,
    mask: da.Array,
    counts: da.Array,
    reference: chain.Reference,
    masters: chain.Masters,
    config: Config,
    positions: np.ndarray | None = None,
    priors: np.ndarray | None = None,
) -> da.Array:
    """One row of measurements for each frame (time,), as objects (see `frame.measure`).

    `positions` (time, 2, star), where given, are measured instead of those the transform gives; `priors`
    (time, 2, 3) tell where the field likely is.
    """
    known = priors if positions is None else positions
    if known is None:
        at = da.zeros((image.shape[0], 1, 1), chunks=(image.chunks[0], 1, 1))
    else:
        at = da.from_array(known, chunks=(image.chunks[0], -1, -1))

    def block(images: np.ndarray, masks: np.ndarray, raws: np.ndarray, at: np.ndarray) -> np.ndarray:
        rows = np.empty(len(images), object)
        for i in range(len(images)):
            frame = (
                np.ascontiguousarray(images[i]),
                np.ascontiguousarray(masks[i]),
                np.ascontiguousarray(raws[i]),
            )
            if positions is None:
                rows[i] = chain.measure(*frame, reference, masters, config, None if priors is None else at[i])
            else:
                rows[i] = chain.measure_at(*frame, at[i, 0], at[i, 1], reference, masters, config)
        return rows

    return da.map_blocks(
        block, image, mask, counts, at, dtype=object, drop_axis=[1, 2], chunks=(image.chunks[0],)
    )


def aligned_cube(image: da.Array, mask: da.Array, transforms: np.ndarray, shape: tuple[int, int]) -> da.Array:
    """Frames resampled onto the reference (time, y, x), float32; NaN where they do not reach."""
    matrices = da.from_array(transforms[:, None, :], chunks=(image.chunks[0], 1, 6))

    def block(images: np.ndarray, masks: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        out = np.full((len(images), *shape), np.nan, np.float32)
        for i in range(len(images)):
            if np.isfinite(matrix[i]).all():
                value, valid = to_reference(images[i], masks[i], matrix[i, 0].reshape(2, 3), shape)
                out[i] = np.where(valid, value, np.nan)
        return out

    return da.map_blocks(block, image, mask, matrices, dtype=np.float32, chunks=(image.chunks[0], *shape))
