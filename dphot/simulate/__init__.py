"""Simulated nights with a known truth: stars, sky, telescope and camera, as FITS folders or without any file.

>>> from dphot import simulate
>>> spec = simulate.simulation("tutorial", frames=20, seed=3)
>>> raw, header = simulate.read_simulated(simulate.simulated_path(spec, "light", 12))
>>> raw.shape, header["IMAGETYP"]
((600, 600), 'light')
"""

from .bound import position_bound
from .floor import Floor, ensemble_floor, residual_rms
from .presets import PRESETS, simulation
from .render import Night, prepare
from .signal import Signal
from .source import PREFIX, read_simulated, simulated_path, simulated_records
from .spec import Simulation
from .truth import truth
from .write import open_truth, write_nights

__all__ = [
    "PREFIX",
    "PRESETS",
    "Floor",
    "Night",
    "Signal",
    "Simulation",
    "ensemble_floor",
    "open_truth",
    "position_bound",
    "prepare",
    "read_simulated",
    "residual_rms",
    "simulated_path",
    "simulated_records",
    "simulation",
    "truth",
    "write_nights",
]
