"""The record of a simulation: JSON, checks, presets, light curves."""

from __future__ import annotations

import numpy as np
import pytest

from dphot.errors import InputError, ValidationError
from dphot.simulate import PRESETS, Signal, Simulation, prepare, simulation


@pytest.mark.parametrize("preset", [None, *sorted(PRESETS)])
def test_json_round_trip(preset):
    spec = simulation(preset, seed=7, frames=12, size=(200, 180), filters=("g", "r"))
    assert Simulation.from_json(spec.to_json()) == spec
    assert (spec.width, spec.height, spec.n_lights) == (200, 180, 24)
    prepare(spec)


def test_json_holds_only_what_differs_from_the_defaults():
    assert Simulation().to_json() == "{}"
    assert Simulation(seed=4).to_json() == '{"seed":4}'


def test_json_keeps_catalogue_variables_and_sampled_curves():
    spec = Simulation(
        catalogue=((10.25, 20.5, 1e4), (30.0, 40.0, 5e3)),
        target=0,
        signal=Signal.sampled([0, 0.1], [1, 0.9]),
        variables=((1, Signal.eclipse(0.3, 0.05, 0.04, period=0.5)),),
    )
    again = Simulation.from_json(spec.to_json())
    assert again == spec and again.signal([0.05]) == pytest.approx([0.95])


def test_unknown_and_unfit_values_are_all_named():
    with pytest.raises(ValidationError) as caught:
        simulation(beta=1.0, gain=0.0, flip=1.5)
    assert [place for place, _ in caught.value.problems] == ["beta", "flip", "gain"]
    with pytest.raises(ValidationError, match=r"sede.*unknown"):
        simulation(sede=3)
    with pytest.raises(ValidationError, match=r"preset.*tutorail.*hostile, transit, tutorial"):
        simulation("tutorail")
    with pytest.raises(ValidationError, match="json"):
        Simulation.from_json("{")


def test_exposure_is_shortened_to_fit_unless_it_was_given():
    spec = simulation(frames=2001, hours=5.0)
    assert spec.exposure == pytest.approx(0.8 * 9)
    with pytest.raises(ValidationError, match=r"exposure.*at most 9 s"):
        simulation(frames=2001, hours=5.0, exposure=60.0)


def test_field_below_the_horizon_is_refused():
    with pytest.raises(InputError, match="change ra"):
        prepare(simulation(ra=320.0))


def test_signals():
    transit = Signal.transit(0.02, mid=0.1, duration=0.08, ingress=0.01, period=1.0)
    t = np.array([0.0, 0.06, 0.07, 0.1, 0.13, 0.14, 1.1])
    assert transit(t) == pytest.approx([1, 1, 0.98, 0.98, 0.98, 1, 0.98])
    assert Signal.eclipse(0.4, 0.0, 0.1)([0.0, 0.05]) == pytest.approx([0.6, 1])
    assert Signal.sinusoid(0.01, 100.0)(t) == pytest.approx(1 + 0.01 * np.sin(100 * t))
    assert Signal()(t) == pytest.approx(np.ones(7))
    for wrong in (
        {"kind": "flare"},
        {"kind": "transit", "duration": 1.0},
        {"kind": "sampled"},
        {"colour": 1},
    ):
        with pytest.raises(InputError, match="signal"):
            Signal.from_dict(wrong)


def test_callable_and_array_signals_hold_at_every_light_of_all_nights():
    spec = simulation(nights=2, frames=5, signal=lambda t: 1 + 0.1 * t)
    for k in range(2):
        days = prepare(spec.patch(night=k)).timeline.days
        assert k <= days.min() and days.max() < k + 0.3
        assert spec.signal(days) == pytest.approx(1 + 0.1 * days, abs=1e-12)
    values = np.linspace(1, 1.2, 5)
    one = simulation(frames=5, signal=values)
    assert one.signal(prepare(one).timeline.days) == pytest.approx(values, abs=1e-12)
    with pytest.raises(ValidationError, match="one a light"):
        simulation(frames=6, signal=values)
