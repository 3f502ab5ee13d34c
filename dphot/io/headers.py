"""FITS dialects: one header in, one frame record out."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from ..kernels.timescale import local_night
from ..telescope import Telescope
from .bayer import stored_pattern
from .cards import Header, number
from .dialects import DIALECTS, NAME_WORDS, SHORT_TYPES, TYPE_WORDS
from .times import exposure_time, middle
from .wcs import wcs_of

__all__ = ["COLUMNS", "angle", "empty_record", "frame_record", "section", "slices", "wcs_of", "word_type"]

#: The columns of a frame record: pandas dtype and the value where nothing is known.
COLUMNS: dict[str, tuple[str, Any]] = {
    "path": ("str", ""), "hdu": ("int64", 0), "error": ("str", ""), "note": ("str", ""), "type": ("str", ""),
    "telescope": ("str", ""), "camera": ("str", ""), "filter": ("str", ""), "object": ("str", ""),
    "night": ("str", ""), "time": ("datetime64[ns]", None), "jd_utc": ("float64", math.nan),
    "exposure": ("float64", math.nan), "width": ("int64", 0), "height": ("int64", 0), "dtype": ("str", ""),
    "xbinning": ("int64", 1), "ybinning": ("int64", 1), "gain": ("float64", math.nan),
    "read_noise": ("float64", math.nan), "temperature": ("float64", math.nan), "ra": ("float64", math.nan),
    "dec": ("float64", math.nan), "airmass": ("float64", math.nan), "saturation": ("float64", math.nan),
    "trim": ("str", ""), "overscan": ("str", ""), "bayer": ("str", ""), "channel": ("str", ""),
    "latitude": ("float64", math.nan), "longitude": ("float64", math.nan), "altitude": ("float64", math.nan),
    "diameter": ("float64", math.nan), "nonlinear": ("float64", math.nan), "linearity": ("str", ""),
    "calibrated": ("int64", 0), "size": ("int64", 0), "mtime_ns": ("int64", 0),
}  # fmt: skip

#: Cameras whose GAIN is the position of a knob.
_KNOB_CAMERAS = re.compile(
    r"\b(zwo|asi|qhy|seestar|dwarf|player ?one|toup|altair|sv\d{3}|canon|nikon|sony)", re.I
)
_SECTION = re.compile(r"\[?\s*(-?\d+)\s*:\s*(-?\d+)\s*,\s*(-?\d+)\s*:\s*(-?\d+)\s*\]?$")


def empty_record(path: str, **values: Any) -> dict[str, Any]:
    """A record that knows nothing but what is given."""
    return {**{name: default for name, (_, default) in COLUMNS.items()}, "path": path, **values}


def frame_record(
    header: Header,
    path: str,
    telescope: Telescope | None = None,
    *,
    size: int = 0,
    mtime_ns: int = 0,
) -> dict[str, Any]:
    """One row of the frame table.

    Parameters
    ----------
    header : Header
        From `dphot.io.readers.read_header`.
    path : str
        The file; its folder and name tell the type where the header does not.
    telescope : Telescope, optional
        Default: the one the header names.
    size, mtime_ns : int
        Bytes and time of change of the file.

    Returns
    -------
    dict
        One value for each of `COLUMNS`; unknown are NaN, None (time) or ``''``; `note` tells what is odd.
    """
    telescope = Telescope.find(header) if telescope is None else telescope
    get = _Getter(header, telescope)
    notes = list(header.notes)
    height, width = header.shape
    exposure = get.fixed_number("exposure")
    if math.isnan(exposure):
        exposure = exposure_time(header, telescope, DIALECTS["exposure"])
    kind = _image_type(get, path, exposure, notes)
    if math.isnan(exposure) and kind != "bias":
        notes.append("no exposure time")
    latitude, longitude, site_altitude = _site(get, notes)
    ns, date, time_notes = middle(header, telescope, exposure)
    notes += time_notes
    jd = 2440587.5 + ns / 86400e9 if ns is not None else math.nan
    ra, dec = _coordinates(get, notes)
    trim, overscan = _sections(get, (height, width), notes)
    xbinning, ybinning = _binning(get)
    return empty_record(
        path,
        hdu=header.hdu,
        type=kind,
        telescope=telescope.name or get.text("telescope"),
        camera=get.text("camera"),
        filter=get.text("filter") if kind not in ("bias", "dark") else "",
        object=get.text("object"),
        night=local_night(jd, longitude) or date,
        time=ns,
        jd_utc=jd,
        exposure=exposure,
        width=width,
        height=height,
        dtype=str(header.dtype),
        xbinning=xbinning,
        ybinning=ybinning,
        gain=_gain(get, notes),
        read_noise=_read_noise(get),
        temperature=_temperature(get),
        ra=ra,
        dec=dec,
        airmass=_within(get.number("airmass"), 1.0, 40.0),
        saturation=_saturation(get, header),
        trim=trim,
        overscan=overscan,
        bayer=_bayer(get, height),
        nonlinear=telescope.nonlinear,
        linearity=",".join(map(repr, telescope.linearity)),
        calibrated=int(telescope.calibrated),
        latitude=latitude,
        longitude=longitude,
        altitude=site_altitude,
        diameter=_diameter(get),
        size=size,
        mtime_ns=mtime_ns,
        note=" | ".join(dict.fromkeys(notes)),
    )


class _Getter:
    """Looks a value up: fixed by the telescope, then its keywords, then the dialects."""

    def __init__(self, header: Header, telescope: Telescope):
        self.header, self.telescope = header, telescope

    def raw(self, name: str) -> Any:
        if name in self.telescope.fixed:
            return self.telescope.fixed[name]
        for key in (*self.telescope.keywords.get(name, ()), *DIALECTS.get(name, ())):
            value = self.header.get(key)
            if value is not None and not (isinstance(value, str) and not value.strip()):
                return value
        return None

    def text(self, name: str) -> str:
        value = self.raw(name)
        return "" if value is None else re.sub(r"[\s\x00-\x1f]+", " ", str(value)).strip()

    def number(self, name: str) -> float:
        return number(self.raw(name))

    def fixed_number(self, name: str) -> float:
        return number(self.telescope.fixed.get(name))


def _within(value: float, low: float, high: float) -> float:
    return value if low <= value <= high else math.nan


def word_type(text: str, telescope: Telescope | None = None) -> str:
    """The image type a word such as ``'Flat Field'`` or ``'SKYFLAT'`` means; ``''`` where it means none."""
    value = text.strip().lower()
    if telescope is not None:
        for kind, words in telescope.image_types.items():
            if any(word.lower() in value for word in words):
                return kind
    if value in SHORT_TYPES:
        return SHORT_TYPES[value]
    return next((kind for kind, words in TYPE_WORDS.items() if any(word in value for word in words)), "")


def _image_type(get: _Getter, path: str, exposure: float, notes: list[str]) -> str:
    text = get.text("type")
    if text:
        kind = word_type(text, get.telescope)
        if not kind:
            notes.append(f"image type {text!r} is not known; name it in the telescope's image_types")
        return kind
    hint = _path_type(path)
    if hint:
        notes.append(f"no image type in the header: {hint} by the name of the file or folder")
        return hint
    if exposure == 0:
        notes.append("no image type in the header: bias by its exposure of 0 s")
        return "bias"
    notes.append("no image type in the header: taken as light")
    return "light"


def _path_type(path: str) -> str:
    """The type by a whole word in the file name, then in the two folders above it (`flats`, `dark_60s`)."""
    parts = path.replace(os.sep, "/").split("/")[-3:]
    for part in reversed(parts):
        words = [w for w in re.split(r"[^a-z]+", part.lower()) if len(w) > 1]
        if part is not parts[-1] and len(words) > 2:
            continue  # a folder that says more is a name: Dark_Sky_Observatory
        for word in words:
            if word in NAME_WORDS:
                return NAME_WORDS[word]
    return ""


def _gain(get: _Getter, notes: list[str]) -> float:
    header, telescope = get.header, get.telescope
    mapped = [number(header.get(k)) for k in telescope.keywords.get("gain", ())]
    sure = [get.fixed_number("gain"), *mapped]
    sure += [number(header.get(k)) for k in ("EGAIN", "CCDSENS", "DET OUT1 CONAD", "EPERDN")]
    sure.append(_amplifier(header, "AGAIN"))
    for value in sure:
        if 0.001 < value < 1000:
            return value
    written = header.get("GAIN", header.get("CCDGAIN"))
    value = number(written)
    if 0.001 < value:
        knob = _KNOB_CAMERAS.search(
            " ".join(str(header.get(k, "")) for k in ("INSTRUME", "CREATOR", "SWCREATE"))
        )
        setting = isinstance(written, int) and ("OFFSET" in header or value >= 10)
        if value <= 100 and not knob and not setting:
            return value
        notes.append(f"GAIN = {written} is a camera setting, not e-/ADU")
    return telescope.gain


def _amplifier(header: Mapping[str, Any], name: str) -> float:
    """A value of the one amplifier in use (Lowell's AGAIN_01 with AAMP_01 = 1); NaN with several."""
    used = [i for i in range(1, 5) if header.get(f"AAMP_{i:02d}") == 1]
    return number(header.get(f"{name}_{used[0]:02d}")) if len(used) == 1 else math.nan


def _read_noise(get: _Getter) -> float:
    for value in (get.number("read_noise"), _amplifier(get.header, "ARDNS"), get.telescope.read_noise):
        if 0 < value < 10000:
            return value
    return math.nan


def _saturation(get: _Getter, header: Header) -> float:
    fixed = get.telescope.saturation
    value = get.number("saturation") if math.isnan(fixed) else fixed
    return value if value > 0 and math.isfinite(value) else math.nan


def _temperature(get: _Getter) -> float:
    value = get.number("temperature")
    if 100 < value < 400:
        value = round(value - 273.15, 6)  # kelvin: no detector is at 100 C
    return _within(value, -250.0, 100.0)


def angle(value: Any) -> float:
    """Degrees (or hours) of a number or of sexagesimal text; NaN where it is neither. W and S negate."""
    plain = number(value)
    if math.isfinite(plain):
        return plain
    if not isinstance(value, str):
        return math.nan
    text = value.strip()
    parts = re.findall(r"\d+(?:\.\d*)?", text)
    if not 1 <= len(parts) <= 3 or not re.fullmatch(r"[\d\s:.,+\-hmsdHMSD°'\"NSEWnsew]+", text):
        return math.nan
    total = sum(float(p) / 60**i for i, p in enumerate(parts))
    return -total if text.startswith("-") or re.search(r"[WwS]$|^[SWws]", text) else total


def _coordinates(get: _Getter, notes: list[str]) -> tuple[float, float]:
    raw_ra, raw_dec = get.raw("ra"), get.raw("dec")
    ra, dec = angle(raw_ra), angle(raw_dec)
    unit = get.telescope.ra_unit if "ra" not in get.telescope.fixed else "auto"
    sexagesimal = isinstance(raw_ra, str) and not math.isfinite(number(raw_ra))
    if unit == "hour" or (unit == "auto" and sexagesimal):
        ra *= 15.0
    if math.isnan(ra) or math.isnan(dec):
        return math.nan, math.nan
    if not (-360 <= ra <= 360 and -90 <= dec <= 90):
        notes.append(f"RA {raw_ra!r}, DEC {raw_dec!r} are no coordinates; ignored")
        return math.nan, math.nan
    return ra % 360.0, dec


def _site(get: _Getter, notes: list[str]) -> tuple[float, float, float]:
    telescope = get.telescope
    if math.isfinite(telescope.latitude) and math.isfinite(telescope.longitude):
        return telescope.latitude, telescope.longitude, telescope.altitude
    latitude = _within(angle(get.raw("latitude")), -90.0, 90.0)
    longitude = _within(angle(get.raw("longitude")), -360.0, 360.0)
    for key in (*telescope.keywords.get("longitude", ()), *DIALECTS["longitude"]):
        if key in get.header and longitude > 0 and "west" in get.header.comment(key).lower():
            notes.append(f"{key} counts west")
            longitude = -longitude
    height = _within(get.number("altitude"), -500.0, 9000.0)
    if "ALTITUDE" in get.header and abs(height) <= 90 and height == number(get.header["ALTITUDE"]):
        height = math.nan  # where the telescope points, not where it stands
    if latitude == 0 and longitude == 0:  # never set
        return math.nan, math.nan, telescope.altitude
    return latitude, longitude, telescope.altitude if math.isnan(height) else height


def _diameter(get: _Getter) -> float:
    """Metres, which headers give in millimetres; 0 where an acquisition program was not told."""
    fixed = get.telescope.diameter
    return fixed if math.isfinite(fixed) else _within(get.number("diameter") / 1000, 0.01, 15.0)


def _binning(get: _Getter) -> tuple[int, int]:
    x, y = get.number("xbinning"), get.number("ybinning")
    if math.isnan(x):
        text = str(get.header.get("CCDSUM", get.header.get("BINNING", "")))
        pair = [int(v) for v in re.findall(r"\d+", text)[:2]]
        x, y = (pair[0], pair[-1]) if pair else (1, 1)
    y = x if math.isnan(y) else y
    return (int(x), int(y)) if 1 <= x <= 64 and 1 <= y <= 64 else (1, 1)


def _bayer(get: _Getter, height: int) -> str:
    shift = [number(get.header.get(key, 0)) for key in ("XBAYROFF", "YBAYROFF")]
    dx, dy = (int(v) if math.isfinite(v) else 0 for v in shift)
    return stored_pattern(get.text("bayer"), height, str(get.header.get("ROWORDER", "")), (dx, dy))


def section(text: str, shape: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """``x0, x1, y0, y1`` (0-based, half-open) of a FITS section that lies within `shape`, else None."""
    match = _SECTION.match(text.strip())
    if not match:
        return None
    x1, x2, y1, y2 = (int(v) for v in match.groups())
    x0, x1, y0, y1 = min(x1, x2) - 1, max(x1, x2), min(y1, y2) - 1, max(y1, y2)
    return (x0, x1, y0, y1) if 0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0] else None


def _one_section(
    get: _Getter, name: str, given: str, shape: tuple[int, int], notes: list[str]
) -> tuple[int, int, int, int] | None:
    text = given or get.text(name)
    box = section(text, shape)
    if box is None and set(re.findall(r"\d+", text)) - {"0"}:
        notes.append(f"{name} section {text} does not fit {shape[1]} x {shape[0]} pixels; ignored")
    return box


def _sections(get: _Getter, shape: tuple[int, int], notes: list[str]) -> tuple[str, str]:
    overscan = _one_section(get, "overscan", get.telescope.overscan_section, shape, notes)
    # DATASEC is trusted only beside an overscan: elsewhere it may tell of the detector, not of this file
    fallback = section(str(get.header.get("DATASEC", "")), shape) if overscan else None
    trim = _one_section(get, "trim", get.telescope.trim_section, shape, [] if fallback else notes) or fallback
    cut_x, cut_y = get.telescope.trimming
    if cut_x or cut_y:
        x0, x1, y0, y1 = trim or (0, shape[1], 0, shape[0])
        cut = (max(x0, cut_x), min(x1, shape[1] - cut_x), max(y0, cut_y), min(y1, shape[0] - cut_y))
        if cut[0] < cut[1] and cut[2] < cut[3]:
            trim = cut
        else:
            notes.append(
                f"trimming {cut_x}, {cut_y} leaves nothing of {shape[1]} x {shape[0]} pixels; ignored"
            )
    return _written(trim, shape), _written(overscan, shape)


def _written(box: tuple[int, int, int, int] | None, shape: tuple[int, int]) -> str:
    whole = (0, shape[1], 0, shape[0])
    return "" if box is None or box == whole else f"{box[0]}:{box[1]},{box[2]}:{box[3]}"


def slices(text: str) -> tuple[slice, slice]:
    """A record's `trim` or `overscan` as the index ``(rows, columns)`` of an image; ``''`` is all of it."""
    if not text:
        return slice(None), slice(None)
    x, y = text.split(",")
    (x0, x1), (y0, y1) = (tuple(int(v) for v in part.split(":")) for part in (x, y))
    return slice(y0, y1), slice(x0, x1)
