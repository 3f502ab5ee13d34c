"""Time-series photometry of stars: raw FITS frames in, differential light curves out.

>>> import dphot
>>> store = dphot.reduce("night/", "field.dphot")            # doctest: +SKIP
>>> lc = dphot.differential(store.photometry["r"], target=0)  # doctest: +SKIP
>>> lc.dphot.plot()                                           # doctest: +SKIP
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pkgutil import resolve_name
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .views import accessor as _accessor  # noqa: F401  (registers Dataset.dphot, for files opened with xarray alone)

if TYPE_CHECKING:
    from . import simulate
    from .alignment import align, make_reference
    from .append import append
    from .calibration import calibrate, masters
    from .changes import diff
    from .checking import check
    from .cluster import connect
    from .config import Config
    from .cube import cube
    from .differential import differential
    from .formats import export
    from .io.choice import choose as choose_calibration
    from .io.frames import FrameTable, scan
    from .light_curves import light_curve
    from .lineage import explain
    from .photometry import photometry
    from .redo import redo
    from .reduction import reduce
    from .store import Store
    from .telescope import Telescope
    from .views import report
    from .watch import watch

    open = Store.open

__version__ = version("dphot")

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


#: Where each name is, which loads on first use: a command, or a worker, needs few of them.
_WHERE = {
    "Config": "config:Config",
    "FrameTable": "io.frames:FrameTable",
    "Store": "store:Store",
    "Telescope": "telescope:Telescope",
    "align": "alignment:align",
    "append": "append:append",
    "calibrate": "calibration:calibrate",
    "check": "checking:check",
    "choose_calibration": "io.choice:choose",
    "connect": "cluster:connect",
    "cube": "cube:cube",
    "diff": "changes:diff",
    "differential": "differential:differential",
    "explain": "lineage:explain",
    "export": "formats:export",
    "light_curve": "light_curves:light_curve",
    "make_reference": "alignment:make_reference",
    "masters": "calibration:masters",
    "open": "store:Store.open",
    "photometry": "photometry:photometry",
    "redo": "redo:redo",
    "reduce": "reduction:reduce",
    "report": "views:report",
    "scan": "io.frames:scan",
    "watch": "watch:watch",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        globals()[name] = value = resolve_name(f"{__name__}.{_WHERE[name]}")
        return value
    # modules, too: `dphot.errors.InputError`
    if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package. A name that a module shares with its function, as `dphot.append`, is always the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Python sets a module as attribute of its package whenever it is first imported, by whom ever.
        if isinstance(value, ModuleType) and name in _WHERE:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # as cloudpickle does for plain modules: a step of a script may use `dphot`
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
