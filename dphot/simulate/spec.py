"""What a simulated night is: one frozen record of numbers that turns into JSON and back."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from ..errors import ValidationError
from .signal import Signal


@dataclass(frozen=True)
class Simulation:
    """One night of one telescope on one field; the same record (and seed) gives the same bits.

    Several nights of the same field and camera are the same record with `night` = 0, 1, 2 ...
    Positions are pixels of the zero-shift system: the frame without drift, dither, rotation and flip.
    """

    seed: int = 1
    """Seed of everything; each frame has its own generator from (seed, night, kind, index)."""
    night: int = 0
    """Which night: `start_jd` moves on by as many days."""

    frames: int = 100
    """Lights through each filter; several filters take turns."""
    hours: float = 5.0
    """From the start of the first light to the start of the last, evenly spaced."""
    exposure: float = 60.0
    """Exposure of lights and darks, s."""
    bias: int = 5
    """Bias frames."""
    darks: int = 5
    """Dark frames."""
    flats: int = 5
    """Flat frames through each filter."""
    flat_exposure: float = 3.0
    """Exposure of flats, s."""
    filters: tuple[str, ...] = ("r",)
    """Filter names."""
    start_jd: float = 2461114.35
    """Start of the first light of night 0, Julian date in UTC."""

    telescope: str = "Sim40"
    """TELESCOP."""
    instrument: str = "SimCam"
    """INSTRUME; empty: the keyword is left out."""
    object: str = "Field 1"
    """OBJECT."""
    latitude: float = 31.2027
    """Site, deg, north positive."""
    longitude: float = -7.8586
    """Site, deg, east positive."""
    altitude: float = 2700.0
    """Site above the sea, m."""
    diameter: float = 0.4
    """Aperture of the telescope, m."""
    ra: float = 140.0
    """Right ascension of the frame's centre (ICRS), deg."""
    dec: float = 20.0
    """Declination of the frame's centre (ICRS), deg."""
    pixel_scale: float = 0.66
    """Arcseconds a pixel."""
    wcs: bool = False
    """Write a TAN WCS that fits the frame."""

    width: int = 600
    """Columns."""
    height: int = 600
    """Rows."""
    stars: int = 300
    """Stars within the frame; more lie around it where the frame moves."""
    slope: float = 0.3
    """Counts go as 10^(slope m)."""
    magnitude_range: float = 6.5
    """From the brightest to the faintest star, mag."""
    peak: float = 30000.0
    """Peak of the brightest star above the sky, ADU: centred on a pixel, outside the air, at `fwhm`."""
    catalogue: tuple[tuple[float, float, float], ...] = ()
    """Stars given as (x, y, flux in e-/s outside the atmosphere): then nothing is drawn at random."""
    target: int = 1
    """Star that carries `signal`: by brightness, or row of the catalogue; -1: none. If drawn, central."""
    isolation: float = 25.0
    """No other star within so many pixels of the target."""
    signal: Signal = field(default_factory=Signal)
    """Light curve of the target; its time counts in days from `start_jd`, at mid-exposure."""
    variables: tuple[tuple[int, Signal], ...] = ()
    """Other variable stars: (star, light curve)."""
    variability: float = 0.004
    """Slow intrinsic variation of every other star: standard deviation at most half of this (Beta(1, 8))."""
    variability_days: float = 0.3
    """Its time scale, d."""

    fwhm: float = 3.3
    """Seeing at the zenith, px."""
    beta: float = 4.0
    """Moffat exponent."""
    ellipticity: float = 0.05
    """1 - FWHM of the minor over the major axis."""
    theta: float = 45.0
    """From x to the major axis, counter-clockwise, deg."""
    seeing_rms: float = 0.06
    """Relative variation of the seeing in the night."""
    seeing_airmass: float = 0.6
    """The seeing goes as airmass to this power."""

    drift: tuple[float, float] = (2.0, -1.5)
    """Drift in x and y, px/h."""
    dither: float = 0.5
    """Each frame is off by up to so many pixels, uniform, in x and y."""
    rotation: float = 0.0
    """Field rotation about the frame's centre, deg/h, counter-clockwise."""
    flip: float = 0.0
    """Meridian flip: the frames from this fraction of the night on are turned by 180 deg; 0: none."""
    flip_offset: tuple[float, float] = (9.0, -6.0)
    """The field comes back off by this after the flip, px."""

    sky: float = 400.0
    """Sky of a frame at its start, e-/px."""
    sky_trend: float = 0.2
    """Relative rise of the sky through the night."""
    sky_gradient: float = 0.02
    """Relative change of the sky across the frame."""
    extinction: float = 0.15
    """mag/airmass in the first filter; each further one has 0.8 of the one before."""
    transparency_rms: float = 0.01
    """Slow relative variation of the air's transparency."""
    transparency_days: float = 0.25
    """Its time scale, d."""
    clouds: int = 0
    """Passing clouds."""
    cloud_depth: float = 1.0
    """Depth of the deepest cloud, mag."""
    scintillation: float = 1.5
    """C_Y of Osborn et al. (2015), m^(2/3) s^(1/2); 0: none."""

    gain: float = 1.3
    """e-/ADU."""
    read_noise: float = 7.0
    """e-."""
    bias_level: float = 500.0
    """ADU."""
    bias_structure: float = 2.0
    """Column pattern and ramp of the bias, standard deviation, ADU."""
    dark_current: float = 0.05
    """e-/s a pixel."""
    hot_pixels: float = 3e-4
    """Fraction of the pixels that are hot."""
    hot_rate: float = 20.0
    """Their mean dark current, e-/s."""
    dead_pixels: float = 2e-5
    """Fraction of the pixels with a tenth to a half of the response."""
    vignetting: float = 0.12
    """Loss of light in the corners."""
    dust: int = 6
    """Dust rings on the flat of each filter."""
    pixel_response: float = 0.006
    """Standard deviation of the pixels' response."""
    flat_level: float = 28000.0
    """Level of the first flat, ADU above the bias."""
    full_well: float = 100000.0
    """Electrons a pixel holds."""
    adc_bits: int = 16
    """Bits of the digitiser."""
    cosmics: float = 20.0
    """Cosmic rays an hour of exposure."""
    temperature: float = -20.0
    """CCD-TEMP, C."""

    def __post_init__(self) -> None:
        checks = [
            (self.frames >= 1, "frames", "1 or more"),
            (min(self.bias, self.darks, self.flats) >= 0, "bias", "0 or more bias, darks and flats"),
            (self.clouds >= 0, "clouds", "0 or more"),
            (min(self.seed, self.night) >= 0, "seed", "a seed and a night of 0 or more"),
            (self.exposure > 0 and self.flat_exposure > 0, "exposure", "a positive time"),
            (0 < self.hours <= 14, "hours", "0 to 14: one night"),
            (min(self.width, self.height) >= 16, "width", "16 or more columns and rows"),
            (self.stars >= 1, "stars", "1 or more"),
            (self.beta > 1, "beta", "more than 1: else the profile holds no finite flux"),
            (self.fwhm > 0.5, "fwhm", "more than half a pixel"),
            (0 <= self.ellipticity < 1, "ellipticity", "0 to 1"),
            (0 <= self.flip < 1, "flip", "a fraction of the night, 0 to 1"),
            (self.gain > 0 and self.read_noise >= 0, "gain", "a positive gain, no negative read noise"),
            (8 <= self.adc_bits <= 16, "adc_bits", "8 to 16"),
            (self.diameter > 0, "diameter", "a positive diameter"),
            (len(self.filters) == len(set(self.filters)) > 0, "filters", "different names"),
            (-1 <= self.target < self.n_listed, "target", f"a star, 0 to {self.n_listed - 1}, or -1"),
            (all(0 <= star < self.n_listed for star, _ in self.variables), "variables", "stars of the field"),
            (self.exposure <= self.cadence or self.n_lights == 1, "exposure",
             f"at most {self.cadence:.6g} s: {self.n_lights} lights start within {self.hours:g} h"),
        ]  # fmt: skip
        problems = [
            (name, f"{getattr(self, name)!r} given, expected {expected}")
            for passed, name, expected in checks
            if not passed
        ]
        if problems:
            raise ValidationError("simulation", problems)

    @property
    def n_listed(self) -> int:
        """Stars certain to exist: those of the catalogue, or those within the frame."""
        return len(self.catalogue) or self.stars

    @property
    def n_lights(self) -> int:
        """Lights through all filters."""
        return self.frames * len(self.filters)

    @property
    def cadence(self) -> float:
        """From one start to the next, s."""
        return self.hours * 3600 / max(1, self.n_lights - 1)

    @property
    def saturation(self) -> float:
        """Level at which a pixel stops counting, ADU: the full well or the digitiser, whichever is lower."""
        return float(min(2**self.adc_bits - 1, self.bias_level + self.full_well / self.gain))

    def patch(self, **changes: Any) -> Simulation:
        """The same record with some fields replaced, checked as at construction."""
        unknown = sorted(set(changes) - {f.name for f in fields(self)})
        if unknown:
            known = ", ".join(f.name for f in fields(self))
            raise ValidationError("simulation", [(name, f"unknown; known are {known}") for name in unknown])
        return replace(self, **{name: _frozen(name, value) for name, value in changes.items()})

    def to_json(self) -> str:
        """The fields that differ from their defaults, as compact JSON with sorted names."""
        values = {}
        for f in fields(self):
            default = f.default_factory() if f.default_factory is not MISSING else f.default
            if (value := getattr(self, f.name)) != default:
                values[f.name] = value
        return json.dumps(
            values, sort_keys=True, separators=(",", ":"), default=lambda signal: signal.as_dict()
        )

    @classmethod
    def from_json(cls, text: str) -> Simulation:
        """The record that `to_json` wrote.

        Raises
        ------
        ValidationError
            If the text is not JSON, or holds unknown names or unfit values.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValidationError("simulation", [("json", str(error))]) from error
        return cls().patch(**values)


def _frozen(name: str, value: Any) -> Any:
    """JSON's lists and dicts, and NumPy's scalars, turned into what the record holds."""
    if name == "signal":
        return value if isinstance(value, Signal) else Signal.from_dict(value)
    if name == "variables":
        return tuple((int(star), _frozen("signal", signal)) for star, signal in value)
    if name == "filters":
        return (value,) if isinstance(value, str) else tuple(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(_frozen("", item) for item in value)
    return value
