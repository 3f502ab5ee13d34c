"""Plots and the report. What needs a plotting library loads on first use."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "comparisons": "curves",
    "plot": "curves",
    "raw": "curves",
    "report": "page",
    "save_html": "page",
    "save_pngs": "png",
    "show_stars": "stars",
    "systematics": "curves",
    "write_report": "page",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
