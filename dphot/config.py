"""The settings of a reduction: one frozen record, read from TOML or from options."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from .errors import ValidationError

#: The tutorial's 32 radii, in FWHM.
DEFAULT_RADII = tuple(round(0.1 + 0.25 * i, 2) for i in range(32))
#: Settings that an append may change: they select frames, or how the work is done; the others are the store's.
FREE_IN_APPEND = ("object", "filter", "calibration_days", "strict", "chunk")
#: Settings of a night that is measured again: those that neither the star list nor the masters rest on.
FREE_IN_REDO = ("apertures", "aperture_unit", "annulus", "sky_sigma", "centroid", "transform", "min_stars", "stack",
                "steps", "chunk")  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Settings of a reduction; what is not given keeps its default."""

    telescope: str = ""
    """Name of a telescope, or a TOML file; empty: found by the headers."""
    target: str = ""
    """The target: star index, `x,y` on the reference, or `ra,dec` in degrees or sexagesimal."""
    object: str = ""
    """Reduce only frames of this target name; needed where a folder holds several."""
    filter: str = ""
    """Reduce only lights through this filter; empty: all."""
    reference: str = "auto"
    """The reference frame: `auto`, an index into the lights in time order, or a path."""
    coordinates: str = ""
    """Sky position of the field, `ra,dec`, for barycentric times and airmass; empty: the headers'."""
    stars: str = ""
    """A CSV file with columns x,y or ra,dec: measure these stars instead of the detected ones."""
    max_stars: int = 500
    """At most this many stars are measured, the brightest first."""
    detection_sigma: float = 5.0
    """Detection threshold on the reference, in background standard deviations."""
    min_stars: int = 3
    """A frame with fewer detected stars is flagged FEW_STARS and not measured."""
    apertures: tuple[float, ...] = DEFAULT_RADII
    """Aperture radii, in the unit of `aperture_unit`."""
    aperture_unit: str = "fwhm"
    """`fwhm`: FWHM of the reference; `frame`: FWHM of each frame; `pixel`: pixels."""
    annulus: tuple[float, float] = (5.0, 8.0)
    """Inner and outer radius of the sky annulus, in the unit of `aperture_unit`."""
    sky_sigma: float = 3.0
    """Clipping of the annulus pixels, in standard deviations."""
    centroid: str = "forced"
    """`forced`: all stars where the transform puts them; `free`: every star at its own centroid."""
    transform: str = "auto"
    """`similarity`, `affine`, or `auto`: affine where the residuals ask for it."""
    saturation: float = 0.0
    """Saturation level in ADU; 0: the telescope's, or found on the reference."""
    gain: float = 0.0
    """Gain in e-/ADU; 0: the header's or the telescope's."""
    calibration_days: float = 30.0
    """Calibration frames of another night serve up to this many days away, before or after."""
    dark_temperature: float = 3.0
    """Darks serve lights whose temperature differs by at most so many deg C: dark current doubles every 6 deg C, so
    that at 3 deg C a dark still takes off more than half of it."""
    pattern: str = "auto"
    """Take hot pixels and other fixed pattern off with a median of the lights themselves, where there is no
    dark: `on`, `off`, or `auto`, where the field drifts far enough and the pattern stands out of its noise."""
    repair: bool = False
    """Replace bad pixels and cosmic rays by what their neighbours and the PSF tell, for the aperture sums; the flags
    stay."""
    strict: bool = False
    """Refuse to reduce where a bias, dark or flat is missing."""
    steps: tuple[str, ...] = ()
    """Steps of your own, `module:function`, applied to each calibrated frame: f(image, record) -> image."""
    frames: str = "copy"
    """`copy`: raw frames are kept in the store, lossless, in a quarter to two thirds of the space of plain FITS files
    (of five cameras: 0.23, 0.27, 0.47, 0.50, 0.61); `link`: the store names their files, and reads a frame from
    its file after checking its SHA-256 (a file that moved is found again by `dphot check --repair --moved-to`);
    `none`: only measurements are kept."""
    stack: bool = True
    """Make the mean of the aligned frames."""
    chunk: int = 16
    """Frames measured by one task. The results do not depend on it."""

    def __post_init__(self) -> None:
        checks = [
            (self.aperture_unit in ("fwhm", "frame", "pixel"), "aperture_unit", "fwhm, frame or pixel"),
            (self.centroid in ("forced", "free"), "centroid", "forced or free"),
            (self.transform in ("auto", "similarity", "affine"), "transform", "auto, similarity or affine"),
            (self.pattern in ("auto", "on", "off"), "pattern", "auto, on or off"),
            (self.frames in ("copy", "link", "none"), "frames", "copy, link or none"),
            (_ascending(self.apertures), "apertures", "positive radii, ascending"),
            (len(self.annulus) == 2 and _ascending(self.annulus), "annulus", "two radii, inner < outer"),
            (self.chunk >= 1, "chunk", "1 or more"),
            (self.min_stars >= 3, "min_stars", "3 or more: a transform needs three stars"),
            (self.max_stars >= 1, "max_stars", "1 or more"),
            (self.detection_sigma > 0, "detection_sigma", "a positive number"),
            (self.sky_sigma > 0, "sky_sigma", "a positive number"),
            (self.gain >= 0, "gain", "0 (unknown) or a positive number"),
            (self.saturation >= 0, "saturation", "0 (unknown) or a positive number"),
            (self.calibration_days >= 0, "calibration_days", "0 or a positive number"),
            (self.dark_temperature >= 0, "dark_temperature", "0 or a positive number"),
            (all(":" in step for step in self.steps), "steps", "module:function"),
        ]
        problems = [
            (name, f"{getattr(self, name)!r} given, expected {expected}")
            for passed, name, expected in checks
            if not passed
        ]
        if problems:
            raise ValidationError("settings", problems)

    def patch(self, **changes: Any) -> Config:
        """The same settings with some fields replaced (checked as at construction)."""
        return replace(self, **coerce(changes))

    def digest(self) -> str:
        """SHA-256 over all settings that can change a number (not `chunk`)."""
        return settings_digest(asdict(self))

    @classmethod
    def from_toml(cls, path: str | Path) -> Config:
        """Read settings from a TOML file of `name = value` lines.

        Raises
        ------
        ValidationError
            If the file is not TOML, or holds unknown names or unfit values; all are named.
        """
        return cls().patch(**read_toml(path))


def read_toml(path: str | Path) -> dict[str, Any]:
    """What a TOML file of settings gives, as it stands there (see `Config.from_toml`)."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValidationError("settings file", [(str(path), str(error))]) from error
    return coerce(values)


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 over all settings that can change a number, as `Config` or a store's record has them."""
    kept = {k: v for k, v in settings.items() if k != "chunk"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def descriptions() -> dict[str, str]:
    """What each setting means: the text under its field, for the command line's help."""
    (body,) = ast.parse(inspect.getsource(Config)).body
    assert isinstance(body, ast.ClassDef)
    out = {}
    for node, after in pairwise(body.body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
        ):
            out[node.target.id] = str(ast.literal_eval(after.value))
    return out


def coerce(values: dict[str, Any]) -> dict[str, Any]:
    """Values (strings, lists, numbers) turned into the types that `Config` declares.

    Raises
    ------
    ValidationError
        Naming every unknown setting and every value of the wrong kind.
    """
    defaults = {f.name: f.default for f in fields(Config)}
    problems: list[tuple[str, str]] = []
    out: dict[str, Any] = {}
    for name, value in values.items():
        if name not in defaults:
            near = get_close_matches(name, defaults, 1)
            known = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(defaults))}"
            problems.append((name, f"unknown setting; {known}"))
            continue
        default = defaults[name]
        try:
            out[name] = _typed(name, value, default)
        except (TypeError, ValueError, OverflowError):
            words = "names" if name == "steps" else "numbers"
            kind = {
                bool: "true or false",
                int: "a whole number",
                float: "a number",
                tuple: f"a list of {words}",
            }
            problems.append((name, f"{value!r} given, expected {kind.get(type(default), 'a text')}"))
    if problems:
        raise ValidationError("settings", problems)
    return out


def _typed(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        words = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() not in words:
            raise ValueError
        return words[str(value).lower()]
    if name == "pattern" and isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (bool, dict)) or value is None:
        raise TypeError
    if isinstance(default, tuple):
        items = value.split(",") if isinstance(value, str) else value
        kind = str if name == "steps" else float
        return tuple(kind(v) for v in items if str(v).strip())
    if isinstance(default, str):
        return ",".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
    number = float(value)
    if math.isnan(number) or (isinstance(default, int) and number != int(number)):
        raise ValueError
    return type(default)(number)


def _ascending(radii: tuple[float, ...]) -> bool:
    """Whether there are radii, all positive and finite, each larger than the one before."""
    return bool(radii) and all(a < b for a, b in pairwise((0.0, *radii, math.inf)))
