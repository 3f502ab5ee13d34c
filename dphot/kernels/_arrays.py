"""Arrays in the one form the compiled kernels see, so that each of them compiles once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def frozen(array: ArrayLike, dtype: DTypeLike | None = None) -> NDArray:
    """A C-contiguous, native-endian, read-only view (a copy only where the input is not yet so).

    Numba compiles a function anew for every array type, and writable and read-only arrays are two types.
    Dask and memory maps hand out both, therefore all inputs are shown to the kernels as read-only.

    Parameters
    ----------
    array : array_like
        Any array; never modified.
    dtype : dtype, optional
        Type to convert to; by default the array's own, in native byte order.

    Returns
    -------
    ndarray
        Read-only, same shape.
    """
    found = np.asarray(array)
    wanted = found.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
    view = np.ascontiguousarray(found, wanted).view()
    view.flags.writeable = False
    return view


def each(value: ArrayLike, like: NDArray) -> NDArray[np.float64]:
    """A float64 array of the shape of `like`, filled with a value or with one for each element."""
    out = np.empty(like.shape)
    out[...] = value
    return out
