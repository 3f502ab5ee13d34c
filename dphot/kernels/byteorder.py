"""Camera integers as FITS stores them, to the machine's own, in one pass."""

from __future__ import annotations

import sys

import numpy as np
from numba import njit
from numpy.typing import NDArray


def to_native(stored: NDArray, unsigned: bool) -> NDArray:
    """Big-endian integers of 16 or more bits in the machine's byte order.

    Parameters
    ----------
    stored : ndarray of int, big-endian, contiguous
        As in the file; changed in place if it may be.
    unsigned : bool
        The numbers stand for ones that are half their range larger (BZERO).

    Returns
    -------
    ndarray of int or unsigned int, the shape of `stored`
    """
    native = stored.dtype.newbyteorder("=")
    wanted = np.dtype(f"u{native.itemsize}") if unsigned else native
    if native.itemsize == 2 and stored.flags.writeable and sys.byteorder == "little":
        words = stored.view(np.dtype("u2"))
        # adding half the range is flipping the highest bit
        _swap(words.reshape(-1), np.uint16(0x8000 if unsigned else 0))
        return words.view(wanted)
    swapped = stored.byteswap(inplace=stored.flags.writeable).view(native)
    if unsigned:
        swapped = swapped.view(wanted)
        swapped ^= wanted.type(1 << (8 * wanted.itemsize - 1))
    return swapped


@njit(cache=True, nogil=True)
def _swap(words, flip):  # type: ignore[no-untyped-def]
    for i in range(words.size):
        word = words[i]
        words[i] = ((word << np.uint16(8)) | (word >> np.uint16(8))) ^ flip
