"""What can be wrong with a file of a night, done to it."""

import numpy as np
from astropy.io import fits


def light(folder, i):
    return folder / f"light-r-{i:04d}.fits"


def edit(path, pixels=None, **cards):
    """Change header cards (``_`` for ``-``, None removes), and pixels."""
    with fits.open(path) as hdus:
        data, header = hdus[0].data, hdus[0].header
    data = data if pixels is None else pixels(data)
    if data.dtype.kind == "f":  # the scale of unsigned integers is not theirs
        cards |= {"BZERO": None, "BSCALE": None}
    for key, value in cards.items():
        if value is None:
            header.remove(key.replace("_", "-"), ignore_missing=True)
        else:
            header[key.replace("_", "-")] = value
    fits.writeto(path, data, header, overwrite=True)


def truncate(path, size=40000):
    path.write_bytes(path.read_bytes()[:size])


def empty_sky(pixels):
    return np.random.default_rng(1).poisson(900, pixels.shape).astype(np.uint16)
