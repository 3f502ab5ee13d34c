"""Where things live in a store: group paths, and filter names made safe for them."""

from __future__ import annotations

from urllib.parse import quote, unquote

#: What marks a repository as a dphot store, in the root attributes.
FORMAT = "dphot"

REFERENCE = "reference"
FRAMES = "frames"
MASTERS = "masters"
PHOTOMETRY = "photometry"
STACK = "stack"
NIGHTS = "nights"
HISTORY = "history"
ENSEMBLE = "ensemble"

#: The name of a filter that is not known; no quoted name can be a lone percent sign.
_EMPTY = "%"


def encode_name(name: str) -> str:
    """A group name for any string, the empty one included; `decode_name` turns it back.

    Parameters
    ----------
    name : str
        For example a filter, ``"r'"`` or ``"Ha/OIII"``.

    Returns
    -------
    str
        Letters, digits, ``-``, ``_``, ``~``, ``.`` and percent escapes of UTF-8 bytes; never empty, and
        never beginning with a dot or an underscore, which Zarr keeps for itself.
    """
    if not name:
        return _EMPTY
    quoted = quote(name, safe="")
    if quoted[0] in "._":
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    return quoted


def decode_name(encoded: str) -> str:
    """The string that `encode_name` was given."""
    return "" if encoded == _EMPTY else unquote(encoded)


def frames_group(filter: str, night: str) -> str:
    """Path of the raw frames of one filter and night."""
    return f"{FRAMES}/{encode_name(filter)}/{encode_name(night)}"


def masters_group(name: str) -> str:
    """Path of the masters of one night."""
    return f"{MASTERS}/{encode_name(name)}"


def photometry_group(filter: str) -> str:
    """Path of the photometry in one filter."""
    return f"{PHOTOMETRY}/{encode_name(filter)}"


def ensemble_group(filter: str) -> str:
    """Path of what each night tells of each star in one filter."""
    return f"{ENSEMBLE}/{encode_name(filter)}"


def stack_group(filter: str, night: str) -> str:
    """Path of the mean of the aligned frames of one filter and night."""
    return f"{STACK}/{encode_name(filter)}/{encode_name(night)}"
