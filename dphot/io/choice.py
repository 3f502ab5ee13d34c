"""Which calibration frames serve some lights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from ..config import Config

Record = Mapping[str, Any]

#: Dark exposures within this share of the lights' count as the same.
SAME_EXPOSURE = 0.01


@dataclass(frozen=True)
class Choice:
    """The calibration frames chosen for some lights, and what has to be said about them."""

    bias: tuple[Record, ...] = ()
    dark: tuple[Record, ...] = ()
    flat: tuple[Record, ...] = ()
    dark_is_pedestal: bool = False
    """There is no bias: the dark, of the lights' own exposure, is subtracted whole."""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def inputs(self) -> dict[str, list[str]]:
        """Paths of the frames chosen, by kind."""
        return {kind: [str(r["path"]) for r in getattr(self, kind)] for kind in ("bias", "dark", "flat")}


def choose(light: Record, candidates: Sequence[Record], config: Config | None = None) -> Choice:
    """Choose the calibration frames for lights like one given.

    Same camera size, binning, gain and trim; the nearest night, before or after, within
    `Config.calibration_days`; for darks the lights' temperature to `Config.dark_temperature`, and their
    exposure, or any where a bias allows it to be scaled; for flats the same filter.

    Parameters
    ----------
    light : mapping
        Frame record that stands for the lights.
    candidates : sequence of mapping
        Frame records; those that are no bias, dark or flat are passed over.
    config : Config, optional
        For the limit in days.

    Returns
    -------
    Choice
        What is missing is named, and what that costs.
    """
    config = config or Config()
    if light["calibrated"]:
        return Choice(notes=("the frames come calibrated, as their telescope's settings say",))
    whole = [r for r in candidates if r["type"] in ("bias", "dark", "flat") and not r["error"]]
    usable = [r for r in whole if _same_camera(light, r)]
    missing, notes = [], []
    refused = {r["type"] for r in whole} - {r["type"] for r in usable}
    notes += [f"no {kind} fits the lights' size, binning, gain and trim" for kind in sorted(refused)]

    biases = [r for r in usable if r["type"] == "bias"]
    bias = _nearest(light, biases, config)
    if not bias:
        notes += _too_far(light, biases, config)
    dark, pedestal = _choose_dark(light, usable, config, bool(bias), notes)
    same_filter = [
        r for r in usable if r["type"] == "flat" and (r["filter"] or light["filter"]) == light["filter"]
    ]
    flat = _nearest(light, same_filter, config)
    if not flat:
        notes += _too_far(light, same_filter, config)
    elif not flat[0]["filter"] and light["filter"]:
        notes.append(f"the flats name no filter; taken for {light['filter']!r}")
    if not bias and not pedestal:
        missing.append("bias: the camera's offset stays in the sky; fluxes are right, flat-fielding is not")
    if not dark:
        missing.append("dark: hot pixels stay")
    if not flat:
        missing.append(f"flat in filter {light['filter']!r}: vignetting and dust follow the stars' drift")
    return Choice(tuple(bias), tuple(dark), tuple(flat), pedestal, tuple(missing), tuple(notes))


def dark_misfit(choice: Choice, record: Record, config: Config) -> str:
    """Why the dark chosen for a series is not right for one of its lights; empty where it is, or there is none."""
    exposure = record["exposure"]
    if not choice.dark:
        return ""
    if not exposure > 0:
        return "without an exposure time the dark is not subtracted"
    taken, warmth, reasons = choice.dark[0]["exposure"], mean_temperature(choice.dark), []
    if choice.dark_is_pedestal and abs(taken - exposure) > SAME_EXPOSURE * exposure:
        reasons.append(
            f"exposed for {exposure:g} s, and without a bias the dark of {taken:g} s is subtracted whole"
        )
    if abs(warmth - record["temperature"]) > config.dark_temperature:
        reasons.append(
            f"taken at {record['temperature']:.1f} deg C, the darks at {warmth:.1f}; "
            f"dark_temperature = {config.dark_temperature:g} is the limit"
        )
    return "; ".join(reasons)


def mean_temperature(darks: Sequence[Record]) -> float:
    """Mean temperature (deg C) of those frames that tell it; NaN where none does."""
    told = [t for t in (float(r["temperature"]) for r in darks) if np.isfinite(t)]
    return float(np.mean(told)) if told else np.nan


def _same_camera(light: Record, other: Record) -> bool:
    same = all(light[k] == other[k] for k in ("width", "height", "xbinning", "ybinning", "trim"))
    # Calibration frames often name no telescope.
    same = same and (
        light["telescope"] == other["telescope"] or not (light["telescope"] and other["telescope"])
    )
    gains = light["gain"], other["gain"]
    return same and (not np.isfinite(gains).all() or bool(np.isclose(*gains, rtol=1e-3)))


def _days_between(light: Record, other: Record) -> float:
    if not light["night"] or not other["night"]:
        return np.inf
    return abs((date.fromisoformat(light["night"]) - date.fromisoformat(other["night"])).days)


def _nearest(light: Record, records: Sequence[Record], config: Config) -> list[Record]:
    """The frames of the nearest night within the limit; those whose night is unknown serve where no other does."""
    ranked: dict[tuple[float, str], list[Record]] = {}
    for record in records:
        ranked.setdefault((_days_between(light, record), record["night"]), []).append(record)
    for (days, _), group in sorted(ranked.items()):
        if days <= config.calibration_days or np.isinf(days):
            return sorted(group, key=lambda r: r["path"])
    return []


def _too_far(light: Record, records: Sequence[Record], config: Config) -> list[str]:
    """What is said of frames that would serve, were they not too many days away; nothing where there are none."""
    if not records:
        return []
    days, kind = min(_days_between(light, r) for r in records), records[0]["type"]
    return [
        f"the nearest {kind} frames are {days:g} days away; calibration_days = {config.calibration_days:g} is the limit"
    ]


def _choose_dark(
    light: Record, usable: Sequence[Record], config: Config, has_bias: bool, notes: list[str]
) -> tuple[list[Record], bool]:
    darks = [r for r in usable if r["type"] == "dark" and np.isfinite(r["exposure"])]
    exposure = light["exposure"]
    if darks and not exposure > 0:
        notes.append("the lights' exposure is not known, so that no dark can be chosen")
        return [], False
    fit = [r for r in darks if not abs(r["temperature"] - light["temperature"]) > config.dark_temperature]
    if darks and not fit:
        nearest = min(abs(r["temperature"] - light["temperature"]) for r in darks)
        notes.append(
            f"the darks are {nearest:.1f} deg C off the lights' temperature and not used; "
            f"dark_temperature = {config.dark_temperature:g} is the limit"
        )
    darks = fit
    matching = [r for r in darks if abs(r["exposure"] - exposure) <= SAME_EXPOSURE * exposure]
    dark = _nearest(light, matching, config)
    if not dark and has_bias:
        exposed = [r for r in darks if r["exposure"] > 0]
        dark = _nearest(light, exposed, config)
        if not dark:
            notes += _too_far(light, exposed, config)
        else:
            # Frames of several exposures give one rate, but the longest measure it best.
            longest = max(r["exposure"] for r in dark)
            dark = [r for r in dark if r["exposure"] == longest]
            notes.append(f"darks of {longest:g} s are scaled to {exposure:g} s")
    elif not dark and matching:
        notes += _too_far(light, matching, config)
    elif not dark and darks:
        notes.append(f"darks of another exposure than {exposure:g} s cannot be scaled without a bias")
    return dark, bool(dark) and not has_bias
