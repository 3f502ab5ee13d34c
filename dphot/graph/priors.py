"""A second chance for frames that could not be aligned: where the night's other frames say that the field was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..flags import FrameFlag

#: Neighbours whose linear parts differ by less than this are on the same side of a flip.
SAME_SIDE = 0.02


def is_aligned(row: Mapping[str, Any]) -> bool:
    """Whether a frame has a transform."""
    return bool(np.isfinite(row["transform"]).all())


def priors(records: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> dict[int, np.ndarray]:
    """Likely transforms of the frames that could not be aligned, by their place.

    Between the nearest aligned frames of the same night, before and after, the transform goes linearly with time; next
    to a flip, and at either end of what is aligned, it is that of the nearest. What a frame gets depends on the
    frames given alone, not on how they were cut into chunks; where a night comes in parts (steps, late frames), each
    part has neighbours of its own only, and a frame at its edge may fail that the whole night would have aligned.

    Parameters
    ----------
    records : sequence of mapping
        `night` and `jd_utc` of each frame; frames without a time get no prior and give none.
    rows : sequence of mapping
        What was measured of each (see `frame.measure`).

    Returns
    -------
    dict
        (2, 3) transforms; empty where all frames are aligned, or none.
    """
    time = np.array([r["jd_utc"] for r in records], float)
    night = np.array([r["night"] for r in records], str)
    given = np.array([is_aligned(row) for row in rows]) & np.isfinite(time)
    found = {}
    transforms = np.array([row["transform"] for row in rows])
    for i, row in enumerate(rows):
        near = given & (night == night[i])
        if row["frame_flags"] & int(FrameFlag.ALIGN_FAILED) and np.isfinite(time[i]) and near.any():
            found[i] = _between(time[i], time[near], transforms[near])
    return found


def _between(at: float, time: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Transform (2, 3) at a time, from those (n, 6) at other times (n,)."""
    order = np.argsort(time, kind="stable")
    after = int(np.searchsorted(time[order], at))
    if 0 < after < time.size:
        a, b = order[after - 1], order[after]
        share = (at - time[a]) / (time[b] - time[a])
        if np.abs((transform[a] - transform[b])[[0, 1, 3, 4]]).max() < SAME_SIDE:
            return ((1 - share) * transform[a] + share * transform[b]).reshape(2, 3)
        return transform[a if share <= 0.5 else b].reshape(2, 3)
    return transform[order[min(after, time.size - 1)]].reshape(2, 3)
