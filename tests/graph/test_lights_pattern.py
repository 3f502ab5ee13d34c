"""When the lights' own fixed pattern is taken off, and when it is not."""

import numpy as np
import pytest

from dphot import simulate
from dphot.config import Config
from dphot.graph import masters as graph
from dphot.graph.pattern import FEWEST
from dphot.io.choice import choose


def night(**changes):
    """Simulation, all records, and the lights among them, of 24 frames that drift by 70 px."""
    given = {"frames": 24, "size": 200, "seed": 4, "stars": 40, "bias": 3, "darks": 0, "flats": 0, "hours": 2.0,
             "drift": (30.0, 18.0), "hot_pixels": 2e-3, "exposure": 120.0, "sky": 100.0, "cosmics": 0.0}  # fmt: skip
    spec = simulate.simulation(**{**given, **changes})
    records = simulate.simulated_records(spec)
    return spec, records, [r for r in records if r["type"] == "light"]


def built(records, lights, pattern="auto"):
    return graph.build(choose(lights[0], records), lights[0], None, lights, Config(pattern=pattern))


def test_a_drifting_field_shows_the_hot_pixels_of_its_detector():
    spec, records, lights = night()
    ds = built(records, lights)
    (note,) = (text for text in ds.attrs["notes"] if "pattern" in text)
    assert f"taken from the lights themselves ({len(lights)} frames): there is no dark" in note
    plain = built(records, lights, "off")
    assert not any("pattern" in text for text in plain.attrs["notes"])
    camera = simulate.prepare(spec).camera
    true = camera.bias + camera.dark * spec.exposure / spec.gain
    hot = camera.dark > 5.0
    before, after = (np.median(np.abs(d.bias.values - true)[hot]) for d in (plain, ds))
    assert hot.sum() > 20 and after < 0.05 * before
    # the bias that was there is not taken off twice
    assert abs(np.median(ds.bias.values - plain.bias.values)) < 0.5


@pytest.mark.parametrize("changes, why", [
    ({"drift": (2.0, -1.5)}, "a star rests"),
    ({"hot_pixels": 0.0, "bias": 0, "bias_structure": 0.0, "dead_pixels": 0.0}, "they show a pattern of"),
    ({"frames": FEWEST - 1}, f"there are {FEWEST - 1}, and {FEWEST} are needed"),
    ({"stars": 2}, "of 20 looked at show how the field moved"),
])  # fmt: skip
def test_where_it_would_not_help_it_is_left(changes, why):
    _, records, lights = night(**changes)
    ds = built(records, lights)
    (note,) = (text for text in ds.attrs["notes"] if "pattern" in text)
    assert note.startswith("no fixed pattern is taken from the lights: ") and why in note
    assert ds.bias.values.tobytes() == built(records, lights, "off").bias.values.tobytes()


def test_with_a_dark_there_is_no_need():
    _, records, lights = night(darks=3)
    assert not any("pattern" in text for text in built(records, lights).attrs["notes"])
