"""Pixels and headers of frames: FITS files plain or packed, and simulated frames by name."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import BucketError, FrameError
from . import files
from .bayer import own_pixels
from .cards import Header, find_image, number
from .containers import decompress, open_stream

SIMULATED = "sim:"


class FrameReader(Protocol):
    """Reads frames of one kind; stateless, so that it may be used by many threads and sent to workers."""

    def header(self, path: str, hdu: int | None = None) -> Header:
        """The header of the frame, without reading its pixels."""

    def pixels(self, path: str, hdu: int | None = None) -> NDArray[Any]:
        """The pixels (ny, nx) in native byte order."""

    def frame(self, path: str, hdu: int | None = None) -> tuple[NDArray[Any], str]:
        """The pixels, and the SHA-256 of what they were read from."""


class FitsReader:
    """FITS files: plain, gzip, bzip2, compress, tile-compressed."""

    def header(self, path: str, hdu: int | None = None) -> Header:
        stream, size = open_stream(path)
        with stream:
            return _guarded(path, lambda: find_image(stream, path, hdu, size))

    def pixels(self, path: str, hdu: int | None = None) -> NDArray[Any]:
        if files.is_remote(path):
            return self.frame(path, hdu)[0]
        stream, size = open_stream(path)
        with stream:
            header = _guarded(path, lambda: find_image(stream, path, hdu, size, pixels_only=True))
            if header.compressed:
                stream.seek(0)
                return _unpack(stream.read(), header, path)
            stream.seek(header.offset)
            if isinstance(stream, io.BufferedReader):
                stored = np.fromfile(stream, dtype=_stored_type(header), count=int(np.prod(header.shape)))
            else:
                data = _guarded(path, lambda: stream.read(header.nbytes))
                stored = np.frombuffer(bytearray(data), dtype=_stored_type(header))
        return _native(stored, header, path)

    def frame(self, path: str, hdu: int | None = None) -> tuple[NDArray[Any], str]:
        try:
            # writable, so that the pixels need no copy of their own
            buffer = files.read_whole(path)
        except FileNotFoundError as error:
            raise FrameError(path, "no such file") from error
        except OSError as error:
            raise FrameError(path, f"cannot be read: {error.strerror or error}") from error
        digest = hashlib.sha256(buffer).hexdigest()
        data = decompress(buffer, path)
        memory = cast(BinaryIO, _Memory(data))
        header = _guarded(path, lambda: find_image(memory, path, hdu, len(data), pixels_only=True))
        if header.compressed:
            return _unpack(data, header, path), digest
        count = int(np.prod(header.shape))
        return _native(np.frombuffer(data, _stored_type(header), count, header.offset), header, path), digest


class _Memory:
    """As much of a binary file over bytes as `find_image` needs, without the copy that BytesIO makes."""

    def __init__(self, data: bytes | bytearray):
        self._data, self._position = data, 0

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def read(self, size: int) -> bytes:
        start = self._position
        self._position += size
        return bytes(self._data[start : self._position])


class SimulatedReader:
    """Simulated frames: the path holds everything needed to make them."""

    def header(self, path: str, hdu: int | None = None) -> Header:
        return self._read(path)[1]

    def pixels(self, path: str, hdu: int | None = None) -> NDArray[Any]:
        return self._read(path)[0]

    def frame(self, path: str, hdu: int | None = None) -> tuple[NDArray[Any], str]:
        pixels, _ = self._read(path)
        return pixels, hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()

    def _read(self, path: str) -> tuple[NDArray[Any], Header]:
        from ..simulate import read_simulated

        pixels, values = read_simulated(path)
        header = Header(values)
        zero = (
            2 ** (8 * pixels.dtype.itemsize - 1)
            if pixels.dtype.kind == "u" and pixels.dtype.itemsize > 1
            else 0
        )
        bits = 8 * pixels.dtype.itemsize * (-1 if pixels.dtype.kind == "f" else 1)
        header.update(
            BITPIX=bits, BZERO=zero, BSCALE=1, NAXIS=2, NAXIS1=pixels.shape[1], NAXIS2=pixels.shape[0]
        )
        return pixels, header


_FITS: FrameReader = FitsReader()
_SIMULATED: FrameReader = SimulatedReader()


def reader_for(path: str) -> FrameReader:
    """The reader for a path: `SimulatedReader` for ``sim:...``, else `FitsReader`."""
    return _SIMULATED if str(path).startswith(SIMULATED) else _FITS


def read_header(path: str, hdu: int | None = None) -> Header:
    """The header of a frame's image; of a plain file only the header blocks are read.

    Parameters
    ----------
    path : str
        FITS file (also ``.gz``, ``.bz2``, ``.Z``, ``.fz``) or ``sim:`` name.
    hdu : int, optional
        HDU of the image; default: the first that holds one.

    Raises
    ------
    FrameError
        If the file is missing, empty, cut off, not FITS or holds no 2-D image; it says which.
    """
    return reader_for(path).header(str(path), _hdu(hdu))


def read_pixels(path: str, hdu: int | None = None) -> NDArray[Any]:
    """The pixels of a frame.

    Parameters
    ----------
    path, hdu
        As for `read_header`.

    Returns
    -------
    ndarray, shape (ny, nx)
        In native byte order: the camera's own integers (uint16 where BZERO is 32768) where nothing is scaled
        or blank, else float32 with NaN for blank pixels.

    Raises
    ------
    FrameError
        As `read_header`, and if the pixels cannot be decoded.
    """
    return reader_for(path).pixels(str(path), _hdu(hdu))


def read_frame(path: str, hdu: int | None = None) -> tuple[NDArray[Any], str]:
    """The pixels of a frame, and the SHA-256 of its file; the file is read once.

    Parameters
    ----------
    path, hdu
        As for `read_header`.

    Returns
    -------
    pixels : ndarray, shape (ny, nx)
        As `read_pixels`.
    digest : str
        SHA-256 of the file's bytes (of the pixels for a simulated frame), hexadecimal.

    Raises
    ------
    FrameError
        As `read_pixels`.
    """
    return reader_for(path).frame(str(path), _hdu(hdu))


def file_digest(path: str) -> str:
    """The digest that `read_frame` gives, without decoding the pixels; empty for an empty or unreadable file."""
    if str(path).startswith(SIMULATED):
        return read_frame(path)[1]
    try:
        return files.sha256(path)
    except OSError:
        return ""


def read_record(record: Mapping[str, Any]) -> tuple[NDArray[Any], str]:
    """The raw pixels that a frame record stands for, and the SHA-256 of its file.

    Parameters
    ----------
    record : mapping
        Row of the frame table. With `kept` (path of a store, its commit, filter, night, row) the store's own copy of
        the pixels is meant. With `digest`, that file and no other.

    Returns
    -------
    pixels : ndarray, shape (height, width)
        As `read_pixels`; of a colour channel its own pixels (see `dphot.io.bayer`).
    digest : str
        As `read_frame`.

    Raises
    ------
    FrameError
        As `read_pixels`, and if the file is not the one of the digest.
    """
    wanted = str(record.get("digest", ""))
    if "kept" in record:  # a store's own copy of the frame
        from ..store import repairs

        return repairs.kept_frame(*record["kept"]), wanted
    pixels, digest = read_frame(record["path"], record["hdu"])
    if wanted not in ("", digest):
        raise FrameError(
            record["path"],
            f"is another file than before (SHA-256 {digest[:12]}, not {wanted[:12]}); put that one back",
        )
    return own_pixels(pixels, record), digest


def pixel_mark(pixels: NDArray[Any]) -> str:
    """What tells the pixels of an exposure from all others, in whatever file and type they are.

    Every 64th row is enough: no two exposures have the same noise.

    Parameters
    ----------
    pixels : array, shape (height, width)
        Raw pixels.

    Returns
    -------
    str
        BLAKE2b (8 bytes) of shape and sample, hexadecimal.
    """
    sample = np.ascontiguousarray(pixels[::64], "<f8")
    return hashlib.blake2b(sample.tobytes(), digest_size=8, key=str(pixels.shape).encode()).hexdigest()


def _hdu(hdu: int | None) -> int | None:
    return None if hdu is None or hdu < 0 else int(hdu)


def _guarded(path: str, action: Any) -> Any:
    """Run `action`; whatever a damaged file provokes becomes a FrameError."""
    try:
        return action()
    except (FrameError, BucketError):
        raise
    except MemoryError as error:
        raise FrameError(path, "does not fit in memory: its header may be damaged") from error
    except (OSError, EOFError, ValueError, TypeError, OverflowError, KeyError, IndexError) as error:
        raise FrameError(path, f"damaged: {type(error).__name__}: {error}") from error
    except Exception as error:  # zlib.error, astropy's own: a bad file must never stop a run
        raise FrameError(path, f"cannot be decoded: {type(error).__name__}: {error}") from error


def _stored_type(header: Header) -> np.dtype:
    bits = header["BITPIX"]
    return np.dtype(f">{'f' if bits < 0 else 'u' if bits == 8 else 'i'}{abs(bits) // 8}")


def _native(stored: NDArray[Any], header: Header, path: str) -> NDArray[Any]:
    """Stored big-endian values as the pixels of `Header.dtype`; `stored` is changed in place if it may be."""
    shape, wanted = header.shape, header.dtype
    if stored.size < shape[0] * shape[1]:
        raise FrameError(
            path, f"truncated: {stored.size} of {shape[0] * shape[1]} pixels; copy the file again"
        )
    stored = stored[: shape[0] * shape[1]].reshape(shape)
    if wanted.kind == "f":
        return _scaled(stored, header)
    if stored.dtype.itemsize == 1:
        return np.bitwise_xor(stored, 0x80).view("i1") if wanted.kind == "i" else stored.copy()
    from ..kernels.byteorder import to_native  # compiled code takes a second to load, and headers need none

    return to_native(stored, wanted.kind == "u")


def _scaled(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    zero, scale = number(header.get("BZERO", 0)), number(header.get("BSCALE", 1))
    if stored.dtype.kind == "f" and zero == 0 and scale == 1:
        with np.errstate(over="ignore"):
            return stored.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        values = (stored.astype(np.float64) * scale + zero).astype(np.float32)
    if header.blank is not None:
        values[stored == header.blank] = np.nan
    return values


def _unpack(data: bytes | bytearray, header: Header, path: str) -> NDArray[Any]:
    """A tile-compressed image, decoded by astropy."""
    from astropy.io import fits

    def decode() -> NDArray[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd cards are not the pixels' business
            with fits.open(io.BytesIO(data), do_not_scale_image_data=True, memmap=False) as hdus:
                return np.asarray(hdus[header.hdu].data)

    stored = _guarded(path, decode).reshape(header.shape)
    if header.dtype.kind == "f":
        return _scaled(stored, header)
    integers = np.dtype(f"{'u' if header['BITPIX'] == 8 else 'i'}{header['BITPIX'] // 8}")
    if stored.dtype == header.dtype and stored.dtype != integers:
        return np.ascontiguousarray(stored)  # astropy has applied BZERO itself
    return _native(stored.astype(integers.newbyteorder(">")), header, path)
