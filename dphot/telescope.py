"""What is known of a telescope and its camera: header words, sections, detector, site and clock."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

from .errors import InputError, ValidationError

#: What `Telescope.keywords` may rename: our word for each header value.
KEYWORDS = (
    "telescope", "camera", "type", "date", "time", "jd", "exposure", "filter", "object", "ra", "dec", "gain",
    "read_noise", "saturation", "temperature", "airmass", "xbinning", "ybinning", "trim", "overscan", "bayer",
    "latitude", "longitude", "altitude",
)  # fmt: skip
#: Headers that may name the telescope, the most telling first.
NAMED_BY = ("INSTRUME", "TELESCOP", "CREATOR")
PRESETS = Path(__file__).parent / "telescopes"
_PROSE_TYPES = {f"keyword_{t}_images": t for t in ("light", "dark", "bias", "flat")}
_PROSE_KEYWORDS = {
    "keyword_telescope": "telescope", "keyword_object": "object", "keyword_image_type": "type",
    "keyword_observation_date": "date", "keyword_observation_time": "time",
    "keyword_exposure_time": "exposure", "keyword_filter": "filter", "keyword_airmass": "airmass",
    "keyword_ra": "ra", "keyword_dec": "dec",
    "keyword_jd": "jd",
}  # fmt: skip
_NAN = math.nan


@dataclass(frozen=True)
class Telescope:
    """A telescope with its camera. Everything has a default: an unknown telescope works too."""

    name: str = ""
    """Name given to its frames."""
    names: tuple[str, ...] = ()
    """Other names found in INSTRUME, TELESCOP or CREATOR; case does not matter, `*` stands for anything."""
    keywords: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Header keyword(s) of a value, tried before the usual ones; the values are `KEYWORDS`."""
    image_types: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Words for `light`, `bias`, `dark`, `flat` in the image-type keyword, tried before the usual ones."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Values that stand whatever the header says: object, filter, type, ra, dec (degrees), exposure ..."""
    hdu: int = -1
    """HDU of the image; -1: the first that holds one."""
    trimming: tuple[int, int] = (0, 0)
    """Pixels cut at both ends along x and y."""
    trim_section: str = ""
    """FITS section of the exposed pixels, `[x1:x2,y1:y2]`, 1-based inclusive; empty: header's TRIMSEC."""
    overscan_section: str = ""
    """FITS section of the overscan; empty: the header's BIASSEC."""
    gain: float = _NAN
    """e-/ADU, where the header does not say."""
    read_noise: float = _NAN
    """e-, where the header does not say."""
    saturation: float = _NAN
    """ADU of the raw frame; overrides the header."""
    nonlinear: float = _NAN
    """ADU of the raw frame above which the response is not linear."""
    linearity: tuple[float, ...] = ()
    """c1 (1/ADU), c2 (1/ADU^2) ...: counts s above the bias are s (1 + c1 s + c2 s^2 + ...) in truth."""
    calibrated: bool = False
    """The frames come calibrated: no bias, dark or flat is looked for, and none is missing."""
    pixel_scale: float = _NAN
    """arcsec per unbinned pixel."""
    latitude: float = _NAN
    """Degrees, north positive."""
    longitude: float = _NAN
    """Degrees, EAST positive."""
    altitude: float = _NAN
    """Metres."""
    diameter: float = _NAN
    """Metres."""
    time_is: str = "start"
    """What the header's time marks: `start`, `middle` or `end` of the exposure."""
    time_scale: str = "utc"
    """`utc`, `tai`, `tt` or `tdb`; the header's TIMESYS counts where this is `utc`."""
    time_offset_hours: float = 0.0
    """Hours added to dates and times that carry no zone of their own (+7 where the clock shows UTC-7)."""
    clock: str = "auto"
    """`12h`: hours are written without am and pm (past noon is meant where nothing tells); `24h`: as written;
    `auto`: 24h unless the header itself holds the same time with AM or PM."""
    ra_unit: str = "auto"
    """`deg`, `hour`, or `auto`: sexagesimal text is hours, a number degrees."""

    def __post_init__(self) -> None:
        between = lambda value, low, high: not math.isfinite(value) or low <= value <= high  # noqa: E731
        checks = [
            (self.time_is in ("start", "middle", "end"), "time_is", "start, middle or end"),
            (self.time_scale in ("utc", "tai", "tt", "tdb"), "time_scale", "utc, tai, tt or tdb"),
            (self.clock in ("auto", "12h", "24h"), "clock", "auto, 12h or 24h"),
            (self.ra_unit in ("auto", "deg", "hour"), "ra_unit", "auto, deg or hour"),
            (between(self.latitude, -90, 90), "latitude", "-90 to 90 degrees"),
            (between(self.longitude, -360, 360), "longitude", "degrees, east positive"),
            (between(self.gain, 1e-6, 1e6), "gain", "a positive number of e-/ADU"),
            (between(self.read_noise, 0, 1e6), "read_noise", "electrons, 0 or more"),
            (between(self.diameter, 1e-3, 100), "diameter", "metres"),
            (
                self._rises(),
                "linearity",
                "coefficients of a correction that rises all the way to saturation",
            ),
            (
                min(self.trimming, default=0) >= 0 and len(self.trimming) == 2,
                "trimming",
                "pixels along x and y",
            ),
            (set(self.keywords) <= set(KEYWORDS), "keywords", f"some of {', '.join(KEYWORDS)}"),
            (
                set(self.image_types) <= {"light", "bias", "dark", "flat"},
                "image_types",
                "light, bias, dark, flat",
            ),
        ]
        problems = [
            (name, f"{getattr(self, name)!r} given, expected {text}") for ok, name, text in checks if not ok
        ]
        if problems:
            raise ValidationError(f"telescope {self.name!r}", problems)

    def _rises(self) -> bool:
        """Whether the corrected counts grow with the counts up to saturation (65535 where that is not known)."""
        if not self.linearity:
            return True
        full = self.saturation if math.isfinite(self.saturation) else 65535.0
        slope = Polynomial([0.0, 1.0, *self.linearity]).deriv()
        turns = np.asarray(slope.deriv().roots(), complex)
        real = turns.real[np.abs(turns.imag) < 1e-9 * full]
        places = np.array([0.0, full, *real[(real > 0) & (real < full)]])
        return bool(np.all(slope(places) > 0))

    def patch(self, **changes: Any) -> Telescope:
        """The same telescope with some fields replaced."""
        return replace(self, **_coerce(changes, self.name or "patch"))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Telescope:
        """Make a telescope from names and values.

        Parameters
        ----------
        values : mapping
            Fields of this class. prose's names (``latlong``, ``keyword_light_images``, ``keyword_filter``, a
            diameter in cm ...) are understood too.

        Raises
        ------
        ValidationError
            Naming every unknown field and unfit value.
        """
        values = dict(values)
        return cls(**_coerce(_from_prose(values), str(values.get("name", ""))))

    @classmethod
    def from_toml(cls, path: str | Path) -> Telescope:
        """Read a telescope from a TOML file of ``name = value`` lines and tables.

        Raises
        ------
        InputError
            If the file cannot be read or is not TOML.
        ValidationError
            Naming every unknown field and unfit value.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{path}: not a readable telescope file: {error}") from error
        return cls.from_dict({"name": Path(path).stem, **values})

    def save(self, folder: str | Path | None = None, overwrite: bool = True) -> Path:
        """Remember this telescope: its frames are recognised from now on.

        Parameters
        ----------
        folder : path, optional
            Default: ``telescopes`` in ``$DPHOT_HOME`` or ``~/.config/dphot``.
        overwrite : bool
            Whether a telescope of that name there is replaced; an equal one stays in any case.

        Returns
        -------
        Path
            The TOML file.

        Raises
        ------
        InputError
            If the telescope has no name, or another of that name is there and `overwrite` is not set.
        """
        if not self.name:
            raise InputError("a telescope needs a name to be saved: give name=")
        target = Path(folder) if folder is not None else user_folder()
        target.mkdir(parents=True, exist_ok=True)
        path = target / (re.sub(r"[^\w.+-]+", "_", self.name.lower()) + ".toml")
        if path.exists() and not overwrite and Telescope.from_toml(path).digest() != self.digest():
            raise InputError(f"telescope {self.name!r} is in {path} already; rename it, or give --overwrite")
        temporary = path.with_suffix(".tmp")
        temporary.write_text(self.to_toml(), encoding="utf-8")
        temporary.replace(path)
        return path

    def to_toml(self) -> str:
        """The fields that differ from their defaults, as TOML."""
        default = asdict(Telescope())
        changed = {k: v for k, v in asdict(self).items() if v != default[k] and v == v}
        lines = [f"{k} = {_toml(v)}" for k, v in changed.items() if not isinstance(v, dict)]
        for name, table in changed.items():
            if isinstance(table, dict):
                lines += ["", f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in table.items())]
        return "\n".join(lines) + "\n"

    def digest(self) -> str:
        """SHA-256 over all fields."""
        values = {k: float(v) if isinstance(v, int) else v for k, v in asdict(self).items()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def answers_to(self, name: str) -> bool:
        """Whether `name`, as found in a header, means this telescope."""
        wanted = name.strip().lower()
        return bool(wanted) and any(fnmatchcase(wanted, n.lower()) for n in (self.name, *self.names) if n)

    @classmethod
    def find(
        cls,
        header: Mapping[str, Any],
        among: Iterable[Telescope] | None = None,
        default: Telescope | None = None,
    ) -> Telescope:
        """The telescope that a header names.

        Parameters
        ----------
        header : mapping
            Header keywords and values.
        among : iterable of Telescope, optional
            Default: `known`.
        default : Telescope, optional
            Its settings serve where none is found; a plain one otherwise, named by TELESCOP or INSTRUME.
        """
        candidates = list(known().values() if among is None else among)
        for key in NAMED_BY:
            for telescope in candidates:
                if telescope.answers_to(str(header.get(key, ""))):
                    return telescope
        if default is not None:
            return default
        return cls(name=str(header.get("TELESCOP", "") or header.get("INSTRUME", "")).strip())

    def missing(self) -> list[tuple[str, str]]:
        """Values that are not known here, and what each costs where the header lacks it too.

        Returns
        -------
        list of (str, str)
            Field and consequence.
        """
        costs = {
            "gain": "estimated from pairs of flats and of bias frames; without them fluxes stay in ADU",
            "saturation": "taken from the frames themselves: a saturated star can go unnoticed",
            "latitude": "no airmass, and barycentric times are up to 21 ms off",
            "longitude": "nights are cut at noon UTC, no airmass, barycentric times up to 21 ms off",
            "altitude": "sea level is taken: scintillation is overestimated",
            "diameter": "no scintillation noise",
            "pixel_scale": "sizes in pixels only, no scale bar",
        }
        return [(name, text) for name, text in costs.items() if not math.isfinite(getattr(self, name))]


def user_folder() -> Path:
    """Folder of the user's telescopes: ``$DPHOT_HOME/telescopes``, else ``~/.config/dphot/telescopes``."""
    home = os.environ.get("DPHOT_HOME")
    return (Path(home) if home else Path.home() / ".config" / "dphot") / "telescopes"


def known() -> dict[str, Telescope]:
    """All telescopes that frames are compared with: the user's first, then the presets.

    Returns
    -------
    dict
        By name; a telescope of the user hides a preset of the same name.
    """
    found: dict[str, Telescope] = {}
    for folder in (user_folder(), PRESETS):
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
            telescope = Telescope.from_toml(path)
            found.setdefault(telescope.name, telescope)
    return found


def get(name: str | Path | Mapping[str, Any] | Telescope) -> Telescope:
    """A telescope by its name, one of its other names, its TOML file, or a mapping of fields.

    Raises
    ------
    InputError
        If there is none; the known ones are named.
    """
    if isinstance(name, Telescope):
        return name
    if isinstance(name, Mapping):
        return Telescope.from_dict(name)
    if str(name).endswith(".toml") or Path(name).is_file():
        return Telescope.from_toml(name)
    telescopes = known()
    for telescope in telescopes.values():
        if telescope.answers_to(str(name)):
            return telescope
    raise InputError(
        f"no telescope {str(name)!r}: give a TOML file or one of {', '.join(sorted(telescopes))}"
    )


def _coerce(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Values of the types the fields declare; every problem in one error."""
    defaults = {f.name: getattr(_DEFAULT, f.name) for f in fields(Telescope)}
    problems: list[tuple[str, str]] = []
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key not in defaults:
            problems.append((key, f"unknown field; known are {', '.join(defaults)}"))
            continue
        try:
            out[key] = _typed(key, value, defaults[key])
        except (TypeError, ValueError, AttributeError):
            problems.append((key, f"{value!r} is not fit: a {type(defaults[key]).__name__} is expected"))
    if problems:
        raise ValidationError(f"telescope {name!r}", problems)
    return out


def _typed(key: str, value: Any, default: Any) -> Any:
    if key in ("keywords", "image_types"):
        return {k: (v,) if isinstance(v, str) else tuple(str(i) for i in v) for k, v in value.items()}
    if key == "fixed":
        return dict(value)
    if key == "names":
        return (value,) if isinstance(value, str) else tuple(str(v) for v in value)
    if key == "trimming":
        pair = (value, value) if isinstance(value, int) else value
        return tuple(int(v) for v in pair)
    if key == "linearity":
        return tuple(float(v) for v in value)
    if isinstance(default, bool) and not isinstance(value, bool):
        raise TypeError
    if isinstance(default, float) and value is None:
        return default
    return type(default)(value)


def _from_prose(values: dict[str, Any]) -> dict[str, Any]:
    """A prose telescope in our words; other mappings pass unchanged."""
    prose = [k for k in values if k.startswith("keyword_") or k in ("latlong", "camera_name")]
    if not prose:
        return values
    out = {
        k: v
        for k, v in values.items()
        if k not in prose and k not in ("dec_unit", "jd_scale", "bjd_scale", "mjd")
    }
    keywords = {_PROSE_KEYWORDS[k]: values[k] for k in prose if k in _PROSE_KEYWORDS and values[k]}
    types = {_PROSE_TYPES[k]: values[k] for k in prose if k in _PROSE_TYPES}
    latitude, longitude = values.get("latlong") or (None, None)
    if "diameter" in out:
        out["diameter"] = float(out["diameter"]) / 100  # prose: cm
    out["ra_unit"] = {"deg": "auto", "hourangle": "hour"}.get(str(out.get("ra_unit", "deg")), "auto")
    if out.get("hdu") == 0:
        del out["hdu"]
    return {**out, "keywords": keywords, "image_types": types, "latitude": latitude, "longitude": longitude}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


_DEFAULT = Telescope()
