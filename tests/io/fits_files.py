"""FITS files made card by card, so that the reader under test is not compared with itself."""

import gzip

import numpy as np

BLOCK = 2880


def card(key, value, comment=""):
    """One 80-character card."""
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        text = "'" + value.replace("'", "''").ljust(8) + "'"
    else:
        text = f"{value!r:>20}"
    return f"{key:8}= {text}{' / ' + comment if comment else ''}".ljust(80)[:80]


def header(first, **values):
    """Header blocks; `first` is the SIMPLE or XTENSION card."""
    text = first + "".join(card(k.replace("_", "-"), v) for k, v in values.items()) + "END".ljust(80)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode()


def image(pixels, simple=True, extra=None, **values):
    """The bytes of an HDU with an image of stored big-endian values."""
    pixels = np.asarray(pixels)
    bits = 8 * pixels.dtype.itemsize * (-1 if pixels.dtype.kind == "f" else 1)
    structure = {"BITPIX": bits, "NAXIS": pixels.ndim}
    structure.update({f"NAXIS{i}": n for i, n in enumerate(pixels.shape[::-1], 1)})
    first = card("SIMPLE", True) if simple else card("XTENSION", "IMAGE")
    if not simple:
        structure.update(PCOUNT=0, GCOUNT=1)
    data = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    return header(first, **structure, **(extra or {}), **values) + data.ljust(
        -(-len(data) // BLOCK) * BLOCK, b"\0"
    )


def write(path, data):
    """Write bytes, gzipped where the name says so; returns the path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return str(path)


LIGHT = {
    "IMAGETYP": "Light Frame", "DATE_OBS": "2026-11-22T03:00:00.5", "EXPTIME": 30.0, "FILTER": "r",
    "OBJECT": "WASP-12", "TELESCOP": "test", "INSTRUME": "cam", "RA": "06:30:32.8", "DEC": "+29:40:20.3",
    "EGAIN": 1.25, "CCD_TEMP": -60.0,
}  # fmt: skip
