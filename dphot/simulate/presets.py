"""Named nights, and a simulation from a few changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ValidationError
from .signal import Signal
from .spec import Simulation
from .timeline import make_timeline

#: Fields that a preset sets apart from the defaults (a realistic night).
PRESETS: dict[str, dict[str, Any]] = {
    # the observation of prose's photometry tutorial: calm air, +-3 px of dither, a 1 % sinusoid, few stars
    "tutorial": {
        "frames": 100, "hours": 3.6, "start_jd": 2450000.35, "exposure": 60.0, "filters": ("a",),
        "telescope": "A", "instrument": "", "object": "prose", "diameter": 1.0, "altitude": 2000.0,
        "ra": 352.0, "dec": 12.0,
        "stars": 30, "slope": 0.0, "magnitude_range": 8.5, "peak": 58000.0, "target": 0, "isolation": 50.0,
        "signal": Signal.sinusoid(0.01, 100.0), "variability": 0.01, "variability_days": 0.5,
        "fwhm": 3.5, "beta": 4.0, "ellipticity": 0.0, "seeing_rms": 0.0, "seeing_airmass": 0.0,
        "drift": (0.0, 0.0), "dither": 3.0, "sky": 300.0, "sky_trend": 0.0, "sky_gradient": 0.0,
        "extinction": 0.0, "transparency_rms": 0.03, "transparency_days": 0.3,
        "gain": 1.0, "read_noise": 9.0, "bias_level": 300.0, "dark_current": 0.02, "cosmics": 10.0,
    },
    # a transit seen with an amateur's telescope: drift, seeing, extinction, a flip before mid-transit
    "transit": {
        "hours": 5.0, "exposure": 90.0, "telescope": "Amateur28", "object": "Planet host", "diameter": 0.28,
        "altitude": 600.0, "pixel_scale": 1.1, "wcs": True, "ra": 146.0, "dec": 25.0,
        "target": 2, "peak": 40000.0, "signal": Signal.transit(0.014, 0.105, 0.1, 0.013),
        "fwhm": 3.2, "beta": 3.5, "seeing_rms": 0.1, "drift": (5.0, -3.0), "dither": 0.4, "rotation": 0.02,
        "flip": 0.45, "flip_offset": (14.0, -9.0), "extinction": 0.22, "sky": 700.0, "sky_trend": -0.25,
        "transparency_rms": 0.015, "gain": 0.9, "read_noise": 8.0, "dark_current": 0.1,
    },
    # all that goes wrong: clouds, cosmic rays, hot pixels, a flip, a large drift, a saturated star
    "hostile": {
        "hours": 5.0, "exposure": 90.0, "object": "Hard field", "ra": 146.0, "dec": 25.0,
        "target": 5, "peak": 80000.0, "signal": Signal.transit(0.02, 0.11, 0.1),
        "variables": ((7, Signal.sinusoid(0.08, 45.0)), (9, Signal.eclipse(0.4, 0.06, 0.08))),
        "beta": 3.0, "ellipticity": 0.15, "seeing_rms": 0.2,
        "drift": (16.0, -11.0), "dither": 2.0, "rotation": 0.15,
        "flip": 0.5, "flip_offset": (-35.0, 27.0), "extinction": 0.3, "transparency_rms": 0.04,
        "clouds": 4, "cloud_depth": 2.0, "sky": 900.0, "sky_trend": 0.8, "sky_gradient": 0.08,
        "hot_pixels": 3e-3, "hot_rate": 40.0, "dead_pixels": 2e-4, "dust": 14, "vignetting": 0.3,
        "dark_current": 0.3, "cosmics": 1500.0, "bias_structure": 6.0,
    },
}  # fmt: skip


def simulation(
    preset: str | None = None,
    *,
    nights: int = 1,
    size: int | tuple[int, int] | None = None,
    signal: Signal | Callable[[Any], Any] | Any = None,
    **changes: Any,
) -> Simulation:
    """A simulation from a preset and changes to it.

    Parameters
    ----------
    preset : str, optional
        ``tutorial``, ``transit`` or ``hostile``; none: a realistic night.
    nights : int
        Over how many nights a callable or array `signal` runs.
    size : int or (width, height), optional
        Pixels.
    signal : Signal, callable or array, optional
        Light curve of the target: a `Signal`; a function of the days from the first night's start; or one
        value for each light of all nights.
    **changes
        Any field of `Simulation`. Where the exposure is not among them, it is shortened to fit the frames
        into the night.

    Returns
    -------
    Simulation

    Raises
    ------
    ValidationError
        Naming every unknown name and unfit value.
    """
    if preset is not None and preset not in PRESETS:
        raise ValidationError(
            "simulation", [("preset", f"{preset!r} given, expected {', '.join(sorted(PRESETS))}")]
        )
    values: dict[str, Any] = {**PRESETS.get(preset or "", {}), **changes}
    if size is not None:
        values["width"], values["height"] = (size, size) if isinstance(size, int) else size
    if isinstance(signal, Signal | dict):
        values["signal"] = signal
    if "exposure" not in changes:
        _fit_exposure(values)
    spec = Simulation().patch(**values)
    if signal is None or isinstance(signal, Signal | dict):
        return spec
    lines = [make_timeline(spec.patch(night=spec.night + k)) for k in range(nights)]
    days = np.concatenate([line.days for line in lines])
    flux = np.asarray(signal(days) if callable(signal) else signal, float)
    if flux.shape != days.shape:
        raise ValidationError(
            "simulation", [("signal", f"{flux.shape} values given, expected {days.shape}: one a light")]
        )
    return spec.patch(signal=Signal.sampled(days, flux))


def _fit_exposure(values: dict[str, Any]) -> None:
    default = Simulation()
    filters = values.get("filters", default.filters)
    lights = values.get("frames", default.frames) * (1 if isinstance(filters, str) else len(filters))
    cadence = values.get("hours", default.hours) * 3600 / max(1, lights - 1)
    if values.get("exposure", default.exposure) > cadence:
        values["exposure"] = round(0.8 * cadence, 3)
