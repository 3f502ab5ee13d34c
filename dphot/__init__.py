"""Time-series photometry of stars: raw FITS frames in, differential light curves out.

>>> import dphot
>>> store = dphot.reduce("night/", "field.dphot")            # doctest: +SKIP
>>> lc = dphot.differential(store.photometry["r"], target=0)  # doctest: +SKIP
>>> lc.dphot.plot()                                           # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

from .alignment import align, make_reference
from .append import append
from .calibration import calibrate, masters
from .changes import diff
from .checking import check
from .config import Config
from .cube import cube
from .differential import differential
from .io.choice import choose as choose_calibration
from .io.frames import FrameTable, scan
from .light_curves import light_curve
from .lineage import explain
from .photometry import photometry
from .redo import redo
from .reduction import reduce
from .store import Store
from .telescope import Telescope
from .views import accessor as _accessor  # noqa: F401  (registers Dataset.dphot; plots load on first use)
from .watch import watch

__version__ = version("dphot")

#: Open a store for reading (see `Store.open`).
open = Store.open

#: What loads on first use: plots, clusters, the simulator.
_LATER = {
    "connect": ("cluster", "connect"),
    "report": ("views", "report"),
    "export": ("formats", "export"),
    "simulate": ("simulate", None),
}

__all__ = [
    "Config",
    "FrameTable",
    "Store",
    "Telescope",
    "__version__",
    "align",
    "append",
    "calibrate",
    "check",
    "choose_calibration",
    "connect",
    "cube",
    "diff",
    "differential",
    "explain",
    "export",
    "light_curve",
    "make_reference",
    "masters",
    "open",
    "photometry",
    "redo",
    "reduce",
    "report",
    "scan",
    "simulate",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATER[name]
    loaded = importlib.import_module(f"{__name__}.{module}")
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value
