"""A simulated field whose stars stand apart, shared by tests."""

from dphot import simulate


def grid_simulation(**changes):
    """A night of isolated stars on an uneven grid, with drift, rotation and a meridian flip; star 0 saturates."""
    places = [(x + 9 * ((3 * i + 2 * j) % 5 - 2), y + 9 * ((2 * i + 5 * j) % 5 - 2))
              for i, x in enumerate((50, 110, 170, 230, 290)) for j, y in enumerate((50, 110, 170, 230, 290))]  # fmt: skip
    flux = [60000.0, *(9000.0 * 0.82**k for k in range(len(places) - 1))]
    given = {
        "frames": 9, "size": 340, "seed": 5, "hours": 2.0, "target": 3, "variability": 0.0, "clouds": 0,
        "catalogue": tuple((float(x), float(y), f) for (x, y), f in zip(places, flux, strict=True)),
        "drift": (3.0, -2.0), "rotation": 0.3, "flip": 0.6, "flip_offset": (7.0, -5.0), "cosmics": 0.0,
    }  # fmt: skip
    return simulate.simulation(**{**given, **changes})
