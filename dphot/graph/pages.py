"""The allocator of a worker keeps the memory of one frame for the next."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

#: Bytes that a process may keep.
KEPT = 2**28
#: The largest array that an older glibc agrees not to map anew each time.
_LARGEST = 2**25
#: Names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_VARIABLE = "MALLOC_TRIM_THRESHOLD_"


@cache
def keep_pages() -> None:
    """Undo what Dask sets where it starts a worker, once in a process; nothing where it set nothing.

    Dask has glibc return memory as soon as 64 kB are free (``MALLOC_TRIM_THRESHOLD_=65536``). The kernel then clears
    every page of every image anew: three tenths of the CPU that a frame of 2048 x 2048 took. A cluster that dphot
    starts has a setting of its own (`dphot.cluster.WORKER_ENVIRONMENT`); this is for those that were there before.
    """
    told = os.environ.get(_VARIABLE, "")
    if sys.platform != "linux" or not told.isdecimal() or int(told) >= KEPT:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT)
        if not mallopt(_M_MMAP_THRESHOLD, KEPT):  # older ones refuse so much
            mallopt(_M_MMAP_THRESHOLD, _LARGEST)
