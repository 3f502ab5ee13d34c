"""Which calibration frames serve which lights."""

import numpy as np
import pytest

from dphot.config import Config
from dphot.io.choice import choose, dark_misfit
from dphot.io.headers import empty_record


def frame(kind, n=1, **values):
    given = {"type": kind, "width": 100, "height": 80, "dtype": "uint16", "night": "2026-03-14", "telescope": "T",
             "gain": 1.3, "temperature": -20.0, "exposure": {"bias": 0.0, "flat": 3.0}.get(kind, 60.0),
             "filter": "r" if kind in ("light", "flat") else ""}  # fmt: skip
    return [empty_record(f"/{kind}-{values}-{i}", **{**given, **values}) for i in range(n)]


(LIGHT,) = frame("light")
USUAL = [*frame("bias", 3), *frame("dark", 3), *frame("flat", 3)]


def nights(records):
    return {r["night"] for r in records}


def test_a_usual_night_is_complete_and_silent():
    choice = choose(LIGHT, [LIGHT, *USUAL])
    assert [len(v) for v in choice.inputs().values()] == [3, 3, 3]
    assert not choice.missing and not choice.notes and not choice.dark_is_pedestal


def test_the_nearest_night_serves_before_or_after():
    near, far, after = (frame("flat", 2, night=f"2026-03-{day}") for day in ("10", "01", "16"))
    assert nights(choose(LIGHT, [*far, *near, *after]).flat) == {"2026-03-16"}
    assert nights(choose(LIGHT, [*far, *near]).flat) == {"2026-03-10"}
    late = frame("flat", 2, night="2026-04-20")
    assert not choose(LIGHT, late).flat
    assert choose(LIGHT, late, Config(calibration_days=40)).flat
    # of two nights as near, the earlier one: the choice does not depend on the order of the frames
    both = [*frame("flat", night="2026-03-15"), *frame("flat", night="2026-03-13")]
    assert nights(choose(LIGHT, both).flat) == nights(choose(LIGHT, both[::-1]).flat) == {"2026-03-13"}


@pytest.mark.parametrize("kinds", [("bias", "dark", "flat"), ("dark",)])
def test_frames_too_many_days_away_are_told_as_such(kinds):
    far = [r for kind in kinds for r in frame(kind, 2, night="2026-04-23")]
    choice = choose(LIGHT, [*far, *frame("flat", filter="g")])
    assert not any(choice.inputs().values())
    assert choice.notes == tuple(
        f"the nearest {kind} frames are 40 days away; calibration_days = 30 is the limit" for kind in kinds
    )


def test_a_night_that_is_not_known_serves_where_no_other_does():
    unknown = frame("bias", 2, night="")
    assert nights(choose(LIGHT, [*unknown, *frame("bias", night="2026-03-01")]).bias) == {"2026-03-01"}
    assert len(choose(LIGHT, unknown).bias) == 2
    assert len(choose({**LIGHT, "night": ""}, USUAL).bias) == 3


@pytest.mark.parametrize(
    "other", [{"width": 50}, {"height": 50}, {"xbinning": 2}, {"ybinning": 2}, {"trim": "1:90,0:80"}, {"gain": 2.0},
              {"telescope": "U"}],
)  # fmt: skip
def test_frames_of_another_setup_are_refused_and_that_is_said(other):
    choice = choose(LIGHT, frame("bias", 3, **other))
    assert not choice.bias and choice.missing[0].startswith("bias") and "no bias fits" in choice.notes[0]


@pytest.mark.parametrize("other", [{"gain": np.nan}, {"telescope": ""}, {"camera": "C"}, {"dtype": "int16"}])
def test_what_a_calibration_frame_does_not_say_is_no_hindrance(other):
    assert len(choose(LIGHT, frame("bias", 3, **other)).bias) == 3


def test_flats_are_those_of_the_filter():
    other = frame("flat", 3, filter="g")
    choice = choose(LIGHT, other)
    assert not choice.flat and "flat in filter 'r'" in choice.missing[-1]
    near_but_other = [*other, *frame("flat", 2, night="2026-03-01")]
    assert nights(choose(LIGHT, near_but_other).flat) == {"2026-03-01"}
    nameless = choose(LIGHT, frame("flat", 2, filter=""))
    assert len(nameless.flat) == 2 and "name no filter" in nameless.notes[0]


def test_darks_match_the_exposure_or_are_scaled():
    bias, sixty, thirty, ten = (
        frame("bias", 2),
        frame("dark", 2),
        frame("dark", 2, exposure=30),
        frame("dark", exposure=10),
    )
    both = choose(LIGHT, [*bias, *thirty, *sixty])
    assert {r["exposure"] for r in both.dark} == {60.0} and not both.notes
    scaled = choose(LIGHT, [*bias, *ten, *thirty])
    assert {r["exposure"] for r in scaled.dark} == {30} and scaled.notes == (
        "darks of 30 s are scaled to 60 s",
    )
    alone = choose(LIGHT, thirty)
    assert not alone.dark and "cannot be scaled without a bias" in alone.notes[0]
    # a dark of the right exposure of a far night is better than one to be scaled
    far = choose(LIGHT, [*bias, *thirty, *frame("dark", 2, night="2026-03-01")])
    assert {r["exposure"] for r in far.dark} == {60.0}


def test_without_a_bias_the_dark_holds_the_pedestal():
    choice = choose(LIGHT, frame("dark", 2))
    assert choice.dark_is_pedestal and len(choice.missing) == 1 and choice.missing[0].startswith("flat")
    assert not dark_misfit(choice, LIGHT, Config())
    assert "dark of 60 s is subtracted whole" in dark_misfit(choice, {**LIGHT, "exposure": 30.0}, Config())


@pytest.mark.parametrize("exposure", [np.nan, 0.0])
def test_without_an_exposure_there_is_no_dark(exposure):
    choice = choose({**LIGHT, "exposure": exposure}, USUAL)
    assert not choice.dark and "exposure is not known" in choice.notes[0]
    whole = choose(LIGHT, USUAL)
    untimed = {**LIGHT, "exposure": exposure}
    assert "not subtracted" in dark_misfit(whole, untimed, Config())
    assert not dark_misfit(whole, LIGHT, Config())


def test_a_dark_of_another_temperature_is_refused():
    warm, near = frame("dark", temperature=-10.0), frame("dark", temperature=-17.5, night="2026-03-01")
    choice = choose(LIGHT, [*frame("bias"), *warm])
    assert not choice.dark and "10.0 deg C" in choice.notes[0] and "dark" in choice.missing[0]
    assert len(choose(LIGHT, [*frame("bias"), *warm], Config(dark_temperature=10)).dark) == 1
    # a dark of a far night at the right temperature is better than one that is too warm
    assert choose(LIGHT, [*frame("bias"), *warm, *near]).dark[0]["temperature"] == -17.5
    assert not choose(LIGHT, [*frame("bias"), *frame("dark", temperature=np.nan)]).notes


def test_each_light_is_judged_by_its_own_temperature():
    darks = [*frame("dark", temperature=-21.0), *frame("dark", temperature=-19.0)]
    choice = choose(LIGHT, [*frame("bias"), *darks, *frame("dark", temperature=np.nan)])
    assert len(choice.dark) == 3
    warm = {**LIGHT, "temperature": -12.0}
    assert "taken at -12.0 deg C, the darks at -20.0; dark_temperature = 3" in dark_misfit(
        choice, warm, Config()
    )
    assert not dark_misfit(choice, warm, Config(dark_temperature=8))
    assert not dark_misfit(choice, {**LIGHT, "temperature": np.nan}, Config())
    assert not dark_misfit(choose(LIGHT, frame("dark", temperature=np.nan)), warm, Config())


def test_frames_that_come_calibrated_need_nothing():
    choice = choose({**LIGHT, "calibrated": 1}, USUAL)
    assert not any(choice.inputs().values()) and not choice.missing and "come calibrated" in choice.notes[0]


def test_unreadable_frames_are_never_chosen():
    assert not choose(LIGHT, [{**r, "error": "truncated"} for r in USUAL]).inputs()["bias"]
