"""Integers from FITS: against NumPy's own conversion."""

import numpy as np
import pytest

from dphot.kernels.byteorder import to_native


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_every_kind_of_integer(size, writeable):
    limits = np.iinfo(f"i{size}")
    values = np.array([[limits.min, -1, 0], [1, 258, limits.max]], f">i{size}")
    for unsigned in (False, True):
        stored = values.copy()
        stored.flags.writeable = writeable
        native = to_native(stored, unsigned)
        assert native.dtype == np.dtype(f"{'u' if unsigned else 'i'}{size}") and native.dtype.isnative
        expected = [[int(v) - (limits.min if unsigned else 0) for v in row] for row in values.tolist()]
        assert native.tolist() == expected
        assert writeable or (stored == values).all()
