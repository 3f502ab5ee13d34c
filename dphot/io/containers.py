"""Files that wrap a FITS file: gzip, bzip2 and Unix compress, told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import zlib
from typing import BinaryIO, cast

from ..errors import FrameError
from .files import open_file

_GZIP, _BZIP2, _COMPRESS = b"\x1f\x8b", b"BZh", b"\x1f\x9d"


def decompress(data: bytes | bytearray, path: str) -> bytes | bytearray:
    """The bytes of the FITS file inside `data`, or `data` itself where it is not wrapped.

    Raises
    ------
    FrameError
        If the container is cut off or damaged.
    """
    try:
        if data.startswith(_GZIP):
            return gzip.decompress(data)
        if data.startswith(_BZIP2):
            return bz2.decompress(data)
        if data.startswith(_COMPRESS):
            return _lzw(data)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise FrameError(
            path, f"truncated or damaged: cannot be decompressed ({error}); copy it again"
        ) from error
    return data


def open_stream(path: str) -> tuple[BinaryIO, int | None]:
    """A seekable stream of the FITS file in `path`, and its length where that costs nothing.

    Of a gzip file only what is read is decompressed: its length is the trailer's, if that fits FITS.

    Raises
    ------
    FrameError
        If the file cannot be opened.
    """
    try:
        file = open_file(path)
    except FileNotFoundError as error:
        raise FrameError(path, "no such file") from error
    except OSError as error:
        raise FrameError(path, f"cannot be opened: {error.strerror or error}") from error
    try:
        start = file.read(4)
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        if start.startswith(_GZIP):
            file.seek(max(length - 4, 0))
            inner = int.from_bytes(file.read(4), "little")
            file.seek(0)
            if inner % 2880 == 0 and length < inner < 100 * length:
                return cast(BinaryIO, _Gzip(file)), inner
        if start.startswith((_GZIP, _BZIP2, _COMPRESS)):
            data = decompress(file.read(), path)
            file.close()
            return io.BytesIO(data), len(data)
    except BaseException:
        file.close()
        raise
    return file, length


class _SmallPieces:
    """As much of a file as gzip needs, a few kilobytes at a time: newer Pythons would ask for 128 of a header's 3."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, io.DEFAULT_BUFFER_SIZE))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


class _Gzip(gzip.GzipFile):
    """A gzip stream that closes the file beneath it."""

    def __init__(self, file: BinaryIO):
        super().__init__(fileobj=cast(BinaryIO, _SmallPieces(file)), mode="rb")
        self._beneath = file

    def close(self) -> None:
        super().close()
        self._beneath.close()


def _lzw(data: bytes | bytearray) -> bytes:
    """Undo Unix ``compress`` (adaptive Lempel-Ziv-Welch codes of 9 to 16 bits)."""
    max_bits, block_mode = data[2] & 0x1F, bool(data[2] & 0x80)
    table = [bytes([i]) for i in range(256)] + ([b""] if block_mode else [])
    first = len(table)
    out: list[bytes] = []
    previous = b""
    bits, position, start, end = 9, 24, 24, 8 * len(data)

    def align() -> int:  # codes come in groups of eight; a change of width skips the rest of the group
        return start + -(-(position - start) // (8 * bits)) * 8 * bits

    while position + bits <= end:
        if len(table) >= 1 << bits and bits < max_bits:
            position = start = align()
            bits += 1
            continue
        byte = position >> 3
        code = (int.from_bytes(data[byte : byte + 4], "little") >> (position & 7)) & ((1 << bits) - 1)
        position += bits
        if code == 256 and block_mode:
            position = start = align()
            del table[first:]
            bits, previous = 9, b""
            continue
        if code < len(table):
            entry = table[code]
        elif previous and code == len(table):
            entry = previous + previous[:1]
        else:
            raise ValueError("a code that cannot occur")
        out.append(entry)
        if previous and len(table) < 1 << max_bits:
            table.append(previous + entry[:1])
        previous = entry
    return b"".join(out)
