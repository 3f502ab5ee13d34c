"""Simulated frames without files: a path that holds the simulation's record, rendered when it is read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError, InputError
from .header import frame_header, frame_record
from .render import KINDS, Night, prepare
from .spec import Simulation

#: How every simulated path begins.
PREFIX = "sim:"


def simulated_path(spec: Simulation | str, kind: str, index: int) -> str:
    """The path of one frame: ``sim:<json>#light/12``, or ``sim:<file.json>#light/12``.

    Parameters
    ----------
    spec : Simulation or str
        The record, or the name of a file that holds its JSON (short paths even where a light curve is long).
    kind : str
        ``light``, ``bias``, ``dark`` or ``flat``.
    index : int
        Which one, from 0.
    """
    return f"{PREFIX}{spec if isinstance(spec, str) else spec.to_json()}#{kind}/{index}"


def read_simulated(path: str) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """Raw pixels and header of a simulated path.

    Parameters
    ----------
    path : str
        As `simulated_path` makes it. The record is parsed and the field drawn once per process and night.

    Returns
    -------
    raw : ndarray (height, width) uint16
        ADU; the same bits as in the file that `write_nights` makes.
    header : dict
        Keyword to value.

    Raises
    ------
    FrameError
        If the path is not one, or the night has no such frame.
    """
    record, _, frame = path.removeprefix(PREFIX).rpartition("#")
    kind, _, index = frame.partition("/")
    if not (path.startswith(PREFIX) and record and kind in KINDS and index.isdigit()):
        raise FrameError(path, "not a simulated frame; expected sim:<json>#light/12 (or bias, dark, flat)")
    try:
        night = _night(record)
        data = night.frame(kind, int(index))
    except (InputError, ValueError, OSError) as error:
        raise FrameError(path, str(error)) from error
    return data, {key: value for key, (value, _) in frame_header(night, kind, int(index)).items()}


def simulated_records(
    spec: Simulation, nights: int = 1, kinds: Iterable[str] = ("bias", "dark", "flat", "light")
) -> list[dict[str, Any]]:
    """Rows of a frame table whose frames are rendered when they are read.

    Parameters
    ----------
    spec : Simulation
        The first night.
    nights : int
        How many, one after the other.
    kinds : iterable of str
        Which frames, in this order.

    Returns
    -------
    list of dict
        The keys of the frame table.
    """
    rows = []
    for k in range(nights):
        one = spec.patch(night=spec.night + k)
        night, stem = prepare(one), simulated_path(one, "", 0).removesuffix("/0")
        rows += [
            frame_record(night, kind, index, f"{stem}{kind}/{index}")
            for kind in kinds
            for index in range(night.count(kind))
        ]
    return rows


@lru_cache(maxsize=16)
def _night(record: str) -> Night:
    return prepare(record if record.startswith("{") else Path(record).read_text())
