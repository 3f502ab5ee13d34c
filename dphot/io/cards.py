"""FITS headers from their bytes: cards, the walk through the HDUs, and which of them holds the image.

A scan reads thousands of headers; parsing the cards here costs 0.1 ms a header where a full FITS library
takes several milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ..errors import FrameError

BLOCK = 2880
_MAX_HEADER = 4000 * BLOCK
_FIRST_READ = 4 * BLOCK
#: Keywords that describe one HDU's bytes: never inherited from the primary header.
_STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|BZERO|BSCALE|BLANK|EXTEND|PCOUNT|GCOUNT|GROUPS|CHECKSUM|DATASUM"
    r"|EXTNAME|EXTVER|EXTLEVEL|TFIELDS|T(FORM|TYPE|UNIT|DIM|NULL|SCAL|ZERO)\d+"
    r"|Z(IMAGE|SIMPLE|TENSION|BITPIX|NAXIS\d*|TILE\d+"
    r"|CMPTYPE|NAME\d+|VAL\d+|EXTEND|PCOUNT|GCOUNT|BLOCKED|HECKSUM|DATASUM|QUANTIZ|DITHER0|MASKCMP))$"
)


class Header(dict[str, Any]):
    """Keywords and values of the HDU that holds an image, with those of the primary header beneath.

    Values are `str`, `int`, `float` or `bool`; of a repeated keyword the first counts. COMMENT and HISTORY
    are left out.
    """

    notes: list[str]
    """What is odd about it."""
    hdu: int = 0
    """Index of the HDU."""
    offset: int = 0
    """Byte where its data begin."""
    nbytes: int = 0
    """Length of its data in bytes, without padding."""
    compressed: bool = False
    """Whether it is a tile-compressed image (`.fz`)."""
    text: str = ""
    """The cards as they stand in the file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes = []

    def comment(self, key: str) -> str:
        """The comment behind a value, or ``''``."""
        for i in range(0, len(self.text), 80):
            if self.text[i : i + 8].rstrip() == key:
                rest = re.sub(r"^\s*'(?:[^']|'')*'", "", self.text[i + 10 : i + 80])
                return rest.partition("/")[2].strip()
        return ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in NumPy's order, axes of length 1 in front left out."""
        n = int(self.get("NAXIS", 0))
        axes = [int(self.get(f"NAXIS{i}", 0)) for i in range(n, 0, -1)]
        while len(axes) > 2 and axes[0] == 1:
            axes.pop(0)
        return tuple(axes)

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels read: the camera's own integers, or float32 where scaled, blank or real."""
        stored = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f4"}.get(
            self.get("BITPIX", 0), "f4"
        )
        kind = np.dtype(stored)
        if kind.kind == "f":
            return np.dtype("float32")
        zero, scale = number(self.get("BZERO", 0)), number(self.get("BSCALE", 1))
        if scale != 1 or self.blank is not None:
            return np.dtype("float32")
        if zero == 0:
            return kind
        if kind.kind == "i" and zero == 2.0 ** (8 * kind.itemsize - 1):
            return np.dtype(f"u{kind.itemsize}")
        return np.dtype("int8") if kind.kind == "u" and zero == -128 else np.dtype("float32")

    @property
    def blank(self) -> int | None:
        """The stored integer that means no value, where it can occur at all."""
        value = self.get("BLANK")
        bits = self.get("BITPIX", 0)
        if not isinstance(value, int) or bits not in (8, 16, 32, 64):
            return None
        low, high = (0, 255) if bits == 8 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return value if low <= value <= high else None


def number(value: Any) -> float:
    """A header value as float, NaN where it is none; numbers written as text count."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.strip().replace("D", "E").replace("d", "e"))
        except ValueError:
            pass
    return float("nan")


def parse(text: str, pixels_only: bool = False) -> Header:
    """Keywords and values of header cards.

    Parameters
    ----------
    text : str
        Cards of 80 characters each, END included or not.
    pixels_only : bool
        Only those that tell how pixels are stored.
    """
    header = Header()
    header.text = text
    last = ""
    for i in range(0, len(text), 80):
        card = text[i : i + 80]
        key = card[:8].rstrip()
        if pixels_only and not (_STRUCTURE.match(key) or key in ("ZBLANK", "END")):
            continue
        if card[8:10] == "= ":
            value = _value(card[10:])
        elif key == "HIERARCH" and "=" in card:
            name, _, rest = card[9:].partition("=")
            key, value = name.strip(), _value(rest)
        elif key == "CONTINUE" and last and isinstance(header.get(last), str) and header[last].endswith("&"):
            header[last] = header[last][:-1] + str(_value(card[8:]) or "")
            continue
        elif key == "END":
            break
        else:
            continue
        last = key
        if value is None or key in ("COMMENT", "HISTORY", ""):
            continue
        if key in header:
            if header[key] != value and not _STRUCTURE.match(key):
                header.notes.append(
                    f"{key} stands twice in the header; the first value, {header[key]!r}, is used"
                )
            continue
        header[key] = value
    return header


def _value(field: str) -> Any:
    text = field.lstrip()
    if text.startswith("'"):
        end = 1
        while True:
            end = text.find("'", end)
            if end < 0:  # the closing quote is missing
                return text[1:].rstrip()
            if text[end + 1 : end + 2] != "'":
                return text[1:end].replace("''", "'").rstrip()
            end += 2
    text = text.partition("/")[0].strip()
    if not text:
        return None
    if text in ("T", "F"):
        return text == "T"
    try:
        return int(text)
    except ValueError:
        pass
    value = number(text)
    return value if value == value else text


def walk(stream: BinaryIO, path: str, pixels_only: bool = False) -> Iterator[Header]:
    """The headers of a FITS stream one after the other, read only as far as they are asked for.

    Parameters
    ----------
    stream : binary file
        Seekable, at its beginning.
    path : str
        Named in errors.
    pixels_only : bool
        As for `parse`.

    Raises
    ------
    FrameError
        If the stream is empty or not FITS, or a header has no end.
    """
    offset, index = 0, 0
    while True:
        raw = _header_bytes(stream, offset, index, path)
        if raw is None:
            return
        header = parse(raw.decode("latin-1"), pixels_only)
        header.hdu, header.offset = index, offset + -(-len(raw) // BLOCK) * BLOCK
        naxis = int(number(header.get("NAXIS", 0)) or 0)
        axes = [int(header.get(f"NAXIS{i}", 0)) for i in range(1, naxis + 1)]
        if axes and axes[0] == 0 and header.get("GROUPS") is True:
            axes[0] = 1
        count = int(np.prod(axes, dtype=object)) if axes else 0
        size = abs(int(number(header.get("BITPIX", 8)))) // 8
        header.nbytes = size * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + count)
        if header.get("ZIMAGE") is True and header.get("XTENSION") == "BINTABLE":
            _uncover(header)
        offset = header.offset + -(-header.nbytes // BLOCK) * BLOCK
        yield header
        index += 1


def _header_bytes(stream: BinaryIO, offset: int, index: int, path: str) -> bytes | None:
    stream.seek(offset)
    raw = stream.read(_FIRST_READ)
    if index == 0 and not raw:
        raise FrameError(path, "the file is empty; copy it again")
    if index == 0 and not raw.startswith(b"SIMPLE"):
        raise FrameError(path, f"not a FITS file: it begins with {raw[:12]!r}, not with SIMPLE")
    if index > 0 and not raw.startswith(b"XTENSION"):
        return None
    while True:
        end = _find_end(raw)
        if end >= 0:
            return raw[: end + 80]
        more = stream.read(_FIRST_READ) if len(raw) < _MAX_HEADER else b""
        if not more:
            raise FrameError(
                path, f"truncated: the header of HDU {index} has no END card; copy the file again"
            )
        raw += more


def _find_end(raw: bytes) -> int:
    end = raw.find(b"END     ")
    while end >= 0 and end % 80:
        end = raw.find(b"END     ", end + 1)
    return end


def _uncover(header: Header) -> None:
    """Turn the header of a compressed image's table into that of the image."""
    image = {k[1:]: v for k, v in header.items() if re.fullmatch(r"Z(BITPIX|NAXIS\d*)", k)}
    blank = header.get("ZBLANK", header.get("BLANK"))
    inherited = {k: header[k] for k in ("BZERO", "BSCALE", "EXTNAME") if k in header}
    for key in [k for k in header if _STRUCTURE.match(k) or k == "ZBLANK"]:
        del header[key]
    header.update(image, **inherited)
    if blank is not None and header.get("BITPIX", 0) > 0:
        header["BLANK"] = blank
    header["XTENSION"] = "IMAGE"
    header.compressed = True


def is_image(header: Header) -> bool:
    """Whether an HDU holds one 2-D image (a cube of a single plane is one)."""
    if "SIMPLE" not in header and header.get("XTENSION", "").strip() != "IMAGE":
        return False
    return len(header.shape) == 2 and min(header.shape) > 0


def find_image(
    stream: BinaryIO, path: str, hdu: int | None = None, size: int | None = None, pixels_only: bool = False
) -> Header:
    """The header of the image in a FITS stream.

    Parameters
    ----------
    stream : binary file
        Seekable, at its beginning.
    path : str
        Named in errors.
    hdu : int, optional
        HDU to use; default: the first that holds a 2-D image.
    size : int, optional
        Length of the stream in bytes where that is known: its data must fit in.
    pixels_only : bool
        As for `parse`.

    Returns
    -------
    Header
        With the keywords of the primary header where the image's own lacks them.

    Raises
    ------
    FrameError
        If there is no image, or the file is shorter than the header promises (with the header).
    """
    primary: Header | None = None
    seen: list[str] = []
    for header in walk(stream, path, pixels_only):
        primary = header if primary is None else primary
        if hdu is not None and header.hdu < hdu:
            continue
        if is_image(header):
            if header.hdu > 0:
                _inherit(header, primary)
            if size is not None and header.offset + header.nbytes > size:
                promised = header.offset + header.nbytes
                problem = f"truncated: {size} bytes, the header promises {promised}; copy the file again"
                raise FrameError(path, problem, header)
            _check(header, path)
            return header
        seen.append(_describe(header))
        if hdu is not None:
            break
        if size is not None and header.offset + header.nbytes > size:
            raise FrameError(
                path, f"truncated within HDU {header.hdu}, before any image; copy the file again"
            )
    if hdu is not None:
        found = f"HDU {hdu} holds {seen[0]}" if seen else f"there is no HDU {hdu}"
        raise FrameError(path, f"{found}, not a 2-D image; give another hdu, or none to take the first image")
    raise FrameError(path, f"no 2-D image: {', '.join(f'HDU {i} {text}' for i, text in enumerate(seen))}")


def _describe(header: Header) -> str:
    if header.get("XTENSION", "IMAGE").strip() in ("BINTABLE", "TABLE"):
        return "a table"
    shape = header.shape
    if not shape or 0 in shape:
        return "no data"
    kind = "a spectrum or list" if len(shape) == 1 else "a cube"
    return f"{kind} of {' x '.join(map(str, shape))}"


def _inherit(header: Header, primary: Header) -> None:
    for key, value in primary.items():
        if not _STRUCTURE.match(key):
            header.setdefault(key, value)
    header.text += primary.text


def _check(header: Header, path: str) -> None:
    if header.get("BITPIX") not in (8, 16, 32, 64, -32, -64):
        raise FrameError(path, f"BITPIX = {header.get('BITPIX')!r}: FITS knows 8, 16, 32, 64, -32 and -64")
    if "BLANK" in header and header.blank is None:
        if header["BITPIX"] > 0:
            header.notes.append(
                f"BLANK = {header['BLANK']} cannot occur in {header['BITPIX']}-bit pixels; ignored"
            )
