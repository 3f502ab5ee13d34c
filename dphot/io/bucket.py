"""Objects of an S3-compatible bucket: listed, looked at, read, whole or in part, and deleted.

Where the bucket is, and the credentials, tell the usual environment variables (``AWS_ENDPOINT_URL_S3``,
``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, ``AWS_ACCESS_KEY_ID`` ...) or a profile, as for a store.

What concerns one object is an `OSError`, as of a file. What concerns the bucket as a whole, so that no other object of
it could be read either, is a `BucketError`.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import BucketError, InputError

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3://"
#: What is read of an object at once with its opening, bytes: eight FITS blocks, the whole header of most files.
FIRST_READ = 8 * 2880
#: A part of an object that is read on and on is fetched in ever larger pieces, up to so many bytes.
_MOST_AHEAD = 8 * 2**20
#: How often a list that breaks off is gone on with; all else obstore tries again by itself.
_LISTINGS = 5
#: How long a request may take, the object's bytes included.
_TIMEOUT = timedelta(seconds=120)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENDPOINTS, _REGIONS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), ("AWS_REGION", "AWS_DEFAULT_REGION")
_KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SKIP_SIGNATURE",
)  # fmt: skip
_CHECK = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE"
#: S3's words for credentials that are refused, and for a bucket that is elsewhere.
_REFUSED = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed",
}  # fmt: skip
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


def endpoint() -> str | None:
    """Address of the S3 service; None for Amazon's."""
    return _first(_ENDPOINTS)


def region() -> str | None:
    """Name of the region, where it is told."""
    return _first(_REGIONS)


def objects(address: str) -> Iterator[tuple[str, int, int]]:
    """Address, size and last change (ns) of each object under an address, in the order of their names.

    Raises
    ------
    InputError
        If there is no such bucket.
    BucketError
        If it cannot be listed.
    """
    store, key = _open(address)
    root = address[: len(address) - len(key)].rstrip("/")
    last: str | None = None
    for attempt in range(_LISTINGS):
        try:
            for page in store.list(key.strip("/") or None, offset=last):
                for meta in page:
                    last = meta["path"]
                    yield f"{root}/{last}", meta["size"], _nanoseconds(meta["last_modified"])
            return
        except Exception as error:
            failure = _failure(address, error)
            if isinstance(failure, FileNotFoundError):
                hint = f"check its name, and the endpoint: {_told(_ENDPOINTS)}"
                raise InputError(f"{address}: {failure.strerror}; {hint}") from error
            if isinstance(failure, OSError):
                raise BucketError(f"{address}: cannot be listed: {failure.strerror}") from error
            if "response body" not in str(error) or attempt == _LISTINGS - 1:
                raise failure from error


def status(address: str) -> tuple[int, int]:
    """Size and last change (ns) of an object.

    Raises
    ------
    OSError
        If it is not there, or may not be read.
    BucketError
        If the bucket cannot be used at all.
    """
    store, key = _open(address)
    try:
        # Of a HEAD request that is refused the server does not tell why.
        meta = store.get(key, options={"range": (0, 1)}).meta
    except Exception as error:
        if _code(str(error)) != "InvalidRange":
            raise _failure(address, error) from error
        meta = store.head(key)  # an empty object has no first byte
    return meta["size"], _nanoseconds(meta["last_modified"])


def read(address: str, start: int = 0, stop: int | None = None) -> tuple[memoryview, int]:
    """The bytes of an object from `start` to `stop` or to its end, and its length; one request.

    Raises
    ------
    OSError, BucketError
        As `status`.
    """
    store, key = _open(address)
    try:
        result = store.get(key, options={"range": (start, stop)} if stop is not None else {})
        return memoryview(result.bytes()), result.meta["size"]
    except Exception as error:
        if start == 0 and stop and _code(str(error)) == "InvalidRange":
            return memoryview(b""), 0
        raise _failure(address, error) from error


def delete(addresses: Sequence[str]) -> None:
    """Delete objects of one bucket.

    Raises
    ------
    OSError, BucketError
        As `status`; some may be deleted then.
    """
    if not addresses:
        return
    store, _ = _open(addresses[0])
    try:
        store.delete([_open(address)[1] for address in addresses])
    except Exception as error:
        raise _failure(addresses[0], error) from error


class ObjectFile(io.RawIOBase):
    """An object as a seekable file: its first blocks come with the opening, other parts when they are read.

    Parameters
    ----------
    address : str
        ``s3://bucket/key``.
    """

    def __init__(self, address: str):
        self._address, self._position = address, 0
        first, self._size = read(address, 0, FIRST_READ)
        self._ahead = FIRST_READ
        self._held = [(0, first), (0, first)]
        """The first bytes, and those read last, each with its place."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        start = self._position
        stop = self._size if size is None or size < 0 else min(start + size, self._size)
        if start >= stop:
            return b""
        self._position = stop
        for place, data in self._held:
            if place <= start and stop <= place + len(data):
                return bytes(data[start - place : stop - place])
        onward = any(place < start <= place + len(data) for place, data in self._held)
        self._ahead = min(4 * self._ahead, _MOST_AHEAD) if onward else FIRST_READ
        data, _ = read(self._address, start, min(max(stop, start + self._ahead), self._size))
        self._held[1] = start, data
        return bytes(data[: stop - start])

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _open(address: str) -> tuple[S3Store, str]:
    """The bucket of an address, and the key in it."""
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", bucket):
        raise InputError(f"{address}: {bucket!r} names no bucket; write s3://bucket/folder")
    url = endpoint()
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        cure = "write http://host:port or https://host"
        raise BucketError(f"{address}: {_told(_ENDPOINTS)} is no address; {cure}")
    try:
        return _bucket(bucket, tuple(os.environ.get(name) for name in (*_ENDPOINTS, *_REGIONS, *_KEYS))), key
    except ImportError as error:
        need = "frames in a bucket are read with obstore, which is not installed: pip install 'dphot[s3]'"
        raise BucketError(f"{address}: {need}") from error
    except Exception as error:
        raise BucketError(f"{address}: {error}; {_CHECK}") from error


@lru_cache(maxsize=16)
def _bucket(name: str, environment: tuple[str | None, ...]) -> S3Store:
    """The client of a bucket, one for each environment."""
    from obstore.store import S3Store

    url = endpoint()
    place = {key: value for key, value in (("endpoint", url), ("region", region())) if value}
    return S3Store(
        name,
        config=place,  # type: ignore[arg-type]
        client_options={"allow_http": bool(url and url.startswith("http://")), "timeout": _TIMEOUT},
        credential_provider=_credentials(),
    )


def _credentials() -> Any:
    """What finds credentials as Amazon's own tools do (a profile, a role); None where the environment has them."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:  # obstore finds the role of a machine by itself
        return None
    try:
        return Boto3CredentialProvider()
    except ValueError as error:
        raise BucketError("no credentials, and AWS_SKIP_SIGNATURE=true is not set") from error


def _failure(address: str, error: Exception) -> Exception:
    """What obstore raised, as an `OSError` where it concerns one object, else as a `BucketError`."""
    from obstore.exceptions import InvalidPathError, PermissionDeniedError, UnauthenticatedError

    text = str(error)
    code, (why, *_) = _code(text), text.splitlines() or [repr(error)]
    if isinstance(error, (BucketError, InputError)):
        return error
    if code:
        why = f"{code}: {_between('Message', text)}"
    if code in _REFUSED:
        return BucketError(f"{address}: the credentials are refused ({why}); {_CHECK}")
    if isinstance(error, FileNotFoundError) or code == "NoSuchBucket":
        what = "no such bucket" if code == "NoSuchBucket" else "no such object"
        return FileNotFoundError(errno.ENOENT, what, address)
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or code == "AccessDenied":
        what = f"access denied; {_CHECK}, and what the bucket allows them"
        return PermissionError(errno.EACCES, what, address)
    if isinstance(error, (ValueError, InvalidPathError)):  # a key with an empty part, or one of dots
        return OSError(errno.EINVAL, f"an object's name cannot be asked for ({why}); rename it", address)
    if code and code not in _ELSEWHERE and "status code: 5" not in text:
        return OSError(errno.EIO, why, address)
    if cause := re.findall(r'(?:message|error): "([^"]+)"', text) or re.findall("status code: ([^:]+)", why):
        why = cause[-1]
    places = f"the endpoint ({_told(_ENDPOINTS)}), the region ({_told(_REGIONS)}) and the network"
    return BucketError(f"{address}: the bucket does not answer ({why}); check {places}")


def _code(text: str) -> str:
    return _between("Code", text)


def _between(tag: str, text: str) -> str:
    found = re.search(rf"<{tag}>([^<]*)</{tag}>", text)
    return found[1] if found else ""


def _first(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _told(names: tuple[str, ...]) -> str:
    """The first variable that is set, with its value; or that none is."""
    told = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
    return told[0] if told else f"{' and '.join(names)} are not set"


def _nanoseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000
