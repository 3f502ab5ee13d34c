"""When was it exposed? The time keywords of many cameras, their agreement, and the middle of the exposure."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..kernels.timescale import to_utc
from ..telescope import Telescope
from .cards import Header, number

NS = 1_000_000_000
_DAY_NS = 86400 * NS
#: Clocks that were never set count from the first of January 1970; no digital frame is of that year.
_UNSET_NS = 365 * _DAY_NS
_UNIX = datetime.date(1970, 1, 1).toordinal()
_UNIX_JD = 2440587.5

#: Date, or date and time, as text; those that say UT themselves first.
DATES = ("UT-OBS", "UTC-OBS", "DATE-OBS", "DATE-BEG", "DATE_OBS", "DATEOBS", "UT-DATE", "UTDATE", "UT_DATE")
#: Date and time of the middle of the exposure, as text.
MID_DATES = ("DATE-AVG", "DATE-MID", "MIDTIME")
#: Time of day, where the date has none.
CLOCKS = (
    "UTCSTART", "UTSTART", "UT-OBS", "UTC-OBS", "TIME-OBS", "UT-START", "UTC-STRT", "TIME-BEG", "UTC", "UT",
    "UT-TIME",    "TIME_OBS", "EXP-START", "UTSHUT",
)  # fmt: skip
#: Julian dates of the middle, and of what `Telescope.time_is` says (the start, usually).
MID_NUMBERS = (
    "MIDTIMJD",
    "JD-MID",
    "JD_MID",
    "JDMID",
    "MIDJD",
    "MJD-MID",
    "MJD_MID",
    "MJDMID",
    "MJD-AVG",
    "JD_UTC",
)
NUMBERS = (
    "MJD-OBS",
    "MJD-BEG",
    "MJD_OBS",
    "MJD",
    "EXPSTART",
    "JD",
    "JD-OBS",
    "JD_OBS",
    "JD_SOBS",
    "JULDATE",
    "JUL-DATE",
)

_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T\s]+(.*))?$")
_OLD_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{2})$")
_CLOCK = re.compile(
    r"(\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:[.,]\d*)?))?"
    r"\s*(?:([AaPp])\.?[Mm]\.?)?\s*(Z|UTC?|GMT|[+-]\d{2}:?(?:\d{2})?)?$"
)


@dataclass(frozen=True)
class Candidate:
    """What one keyword, or two, say of the time."""

    key: str
    ns: int
    """Nanoseconds since 1970, as read."""
    middle: bool = False
    """Whether this is the middle of the exposure."""
    resolution: float = 0.0
    """Seconds to which the number is written."""
    zoned: bool = False
    """Whether the value says its own time zone."""
    clock_only: bool = False
    """Whether the day is another keyword's."""


def parse_date(text: str) -> tuple[int, str] | None:
    """Days since 1970 and the rest (time of day) of an ISO or DD/MM/YY date; None where it is neither."""
    text = text.strip()
    match, old = _DATE.match(text), _OLD_DATE.match(text)
    try:
        if match:
            day = datetime.date(int(match[1]), int(match[2]), int(match[3]))
        elif old:
            day = datetime.date(1900 + int(old[3]), int(old[2]), int(old[1]))
        else:
            return None
    except ValueError:
        return None
    return day.toordinal() - _UNIX, (match[4] or "") if match else ""


def parse_clock(text: str) -> tuple[int, int | None] | None:
    """Of ``hh:mm:ss``: ns since midnight, and the zone's offset from UTC in ns (None where not given)."""
    match = _CLOCK.match(text.strip())
    if not match:
        return None
    hour, minute, second = int(match[1]), int(match[2]), float((match[3] or "0").replace(",", "."))
    if match[4]:
        hour = hour % 12 + (12 if match[4].lower() == "p" else 0)
    if hour > 24 or minute > 59 or second >= 61:
        return None
    zone = match[5]
    offset: int | None = None
    if zone:
        digits = re.sub(r"\D", "", zone)
        minutes = int(digits[:2]) * 60 + int(digits[2:] or 0) if digits else 0
        offset = (-minutes if zone.startswith("-") else minutes) * 60 * NS
    return (hour * 3600 + minute * 60) * NS + round(second * 1e9), offset


def exposure_time(header: Header, telescope: Telescope, keys: Iterable[str]) -> float:
    """Seconds; NaN where no keyword holds a number that is 0 or more."""
    for key in (*telescope.keywords.get("exposure", ()), *keys):
        value = number(header.get(key))
        if value >= 0 and math.isfinite(value):
            return value
    return math.nan


def middle(header: Header, telescope: Telescope, exposure: float) -> tuple[int | None, str, list[str]]:
    """The middle of the exposure in UTC.

    Parameters
    ----------
    header : Header
        Of the frame.
    telescope : Telescope
        Its clock, time zone, time scale and keywords are used.
    exposure : float
        Seconds; NaN where unknown.

    Returns
    -------
    ns : int or None
        Nanoseconds since 1970; None where the header holds no time.
    date : str
        The date that stands in the header where there is no time of day, else ``''``.
    notes : list of str
        Keywords that disagree, corrections made.
    """
    notes: list[str] = []
    candidates, date = _candidates(header, telescope, notes)
    if unset := [c for c in candidates if -_DAY_NS <= c.ns < _UNSET_NS]:
        candidates = [c for c in candidates if c not in unset]
        notes.append(f"{unset[0].key} is of 1970: the camera's clock was not set")
        if not candidates:
            return None, "", notes
    if not candidates:
        text = (
            f"{date} has no time of day"
            if date
            else "no time in the header (DATE-OBS, UT-OBS, MJD-OBS, JD ...)"
        )
        return None, date, [*notes, text]
    duration = exposure if math.isfinite(exposure) else 0.0
    shift = {"start": duration / 2, "middle": 0.0, "end": -duration / 2}[telescope.time_is]
    if not math.isfinite(exposure) and telescope.time_is != "middle" and not candidates[0].middle:
        notes.append(f"no exposure time: the {telescope.time_is} stands for the middle of the exposure")
    scale = _scale(header, telescope, notes)
    chosen = candidates[0]
    notes += _other_century(header, chosen)
    times = [c.ns + (0 if c.middle else round(shift * 1e9)) for c in candidates]
    for other, ns in zip(candidates[1:], times[1:], strict=True):
        apart = abs(ns - times[0])
        if other.clock_only:
            apart = min(apart % _DAY_NS, -apart % _DAY_NS)
        limit = max(duration, 1.0) + max(other.resolution, chosen.resolution)
        if apart > limit * 1e9:
            # no finer, so that what a clock is off by has the same words in all frames, however numbers are written
            seconds = f"{round(apart / 1e9, 1):.10g}"
            notes.append(f"{chosen.key} and {other.key} disagree by {seconds} s; {chosen.key} used")
            break
    ns = times[0]
    if scale != "utc":
        jd = _UNIX_JD + ns / _DAY_NS
        ns += round((float(to_utc(jd, scale)) - jd) * 86_400_000) * 1_000_000  # the scales differ by whole ms
    return ns, "", notes


def _other_century(header: Header, chosen: Candidate) -> list[str]:
    """A note where a date of two digits for the year tells one before digital frames: a camera that means 20YY."""
    key = chosen.key.partition(" + ")[0]
    old = _OLD_DATE.match(str(header.get(key, "")).strip())
    if not old or chosen.ns >= 0:
        return []
    day, month, year = (int(part) for part in old.groups())
    meant = f"write 20{year:02}-{month:02}-{day:02} if that is meant"
    return [f"{key} {old[0]!r} is read as 19{year:02}, as the FITS standard says; {meant}"]


def _scale(header: Header, telescope: Telescope, notes: list[str]) -> str:
    if telescope.time_scale != "utc":
        return telescope.time_scale
    named = str(header.get("TIMESYS", "UTC")).strip().upper()
    known = {
        "TAI": "tai",
        "IAT": "tai",
        "TT": "tt",
        "TDT": "tt",
        "TDB": "tdb",
        "UTC": "utc",
        "UT": "utc",
        "UT1": "utc",
    }
    if named and named not in known:
        notes.append(f"TIMESYS = {named!r} is not known; taken as UTC")
    return known.get(named, "utc")


def _candidates(header: Header, telescope: Telescope, notes: list[str]) -> tuple[list[Candidate], str]:
    """All readings of the time, the best first; and a date without a time of day."""
    mapped = telescope.keywords
    date_keys = (*mapped.get("date", ()), *DATES)
    clock_keys = (*mapped.get("time", ()), *CLOCKS)
    full: list[Candidate] = []
    bare: list[tuple[str, int]] = []
    for key in (*date_keys, *MID_DATES):
        value = header.get(key)
        if not isinstance(value, str) or any(c.key == key for c in full):
            continue
        parsed = parse_date(value)
        if parsed is None:
            continue
        clock = parse_clock(parsed[1])
        if clock is None:
            bare.append((key, parsed[0]))
        else:
            full.append(_dated(key, parsed[0], clock, key in MID_DATES, header, telescope, notes))
    first = set(mapped.get("date", ()))
    # a time that names its zone is sure; UT-OBS is UTC by its name; DATE-OBS may be anything
    full.sort(key=lambda c: (c.key not in first, c.middle, not c.zoned and not c.key.startswith("UT")))
    clocks = []
    for key in dict.fromkeys(clock_keys):
        value = header.get(key)
        clock = parse_clock(value) if isinstance(value, str) else None
        if clock is not None and (bare or full):
            day_key, day = bare[0] if bare else (full[0].key, full[0].ns // _DAY_NS)
            found = _dated(key, day, clock, False, header, telescope, notes if not full else [])
            name = f"{day_key} + {key}" if not full else key
            clocks.append(Candidate(name, found.ns, False, 0.0, found.zoned, bool(full)))
    numbers = [_julian(k, header, k in MID_NUMBERS) for k in (*mapped.get("jd", ()), *MID_NUMBERS, *NUMBERS)]
    found_numbers = [c for c in numbers if c is not None]
    preferred = [c for c in found_numbers if c.key in mapped.get("jd", ())]
    rest = [c for c in found_numbers if c not in preferred]
    dates = [*full, *clocks]
    if "date" not in mapped:
        candidates = [*preferred, *dates, *rest]
    else:
        candidates = [*dates, *preferred, *rest]
    iso = (datetime.date(1970, 1, 1) + datetime.timedelta(days=bare[0][1])).isoformat() if bare else ""
    return candidates, iso


def _dated(
    key: str,
    day: int,
    clock: tuple[int, int | None],
    mid: bool,
    header: Header,
    telescope: Telescope,
    notes: list[str],
) -> Candidate:
    within, zone = clock
    if zone is None:
        within = _half_day(key, within, header, telescope, notes)
        zone = -round(telescope.time_offset_hours * 3600) * NS
        return Candidate(key, day * _DAY_NS + within - zone, mid)
    return Candidate(key, day * _DAY_NS + within - zone, mid, 0.0, True)


def _half_day(key: str, within: int, header: Header, telescope: Telescope, notes: list[str]) -> int:
    """Hours written without AM and PM set right, from the AM or PM that stands elsewhere in the header."""
    if telescope.clock == "24h" or within >= 13 * 3600 * NS:
        return within
    if telescope.clock == "auto" and telescope.time_offset_hours:
        return within
    match = re.search(r"(\d{1,2}:\d{2}:\d{2}) ?([AP]M)\b", header.text[:80])
    told = parse_clock(match[0]) if match else None
    half = _DAY_NS // 2
    if told is not None and told[0] // NS % 43200 == within // NS % 43200:
        right = within % half + (half if match and match[2] == "PM" else 0)
    elif telescope.clock == "12h":
        right = within % half + half
    else:
        return within
    if right != within:
        notes.append(f"{key} is on a 12-hour clock; {'PM' if right >= half else 'AM'} taken")
    return right


def _julian(key: str, header: Header, mid: bool) -> Candidate | None:
    value = header.get(key)
    days = number(value)
    if not math.isfinite(days):
        return None
    if 2_400_000.5 < days < 2_500_000.5:
        unix_days = days - _UNIX_JD
    elif 10_000 < days < 100_000:
        unix_days = days - 40587.0
    else:
        return None
    text = value.strip() if isinstance(value, str) else repr(days)
    decimals = len(text.partition(".")[2].rstrip("0")) if "e" not in text.lower() else 17
    return Candidate(key, round(unix_days * _DAY_NS), mid, min(86400.0 * 10.0**-decimals, 100.0))
