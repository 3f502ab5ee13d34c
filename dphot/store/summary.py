"""What a store shows of itself where it is printed: a line of text, or a table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import zarr

from . import layout, reading


def facts(root: zarr.Group, commits: int, nights: Sequence[str]) -> dict[str, str]:
    """How many nights, commits and frames there are, by what they are called.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    commits : int
        Their number.
    nights : sequence of str
        The nights, in order.
    """
    out = {"nights": "0", "commits": str(commits)}
    for name in reading.children(root, layout.PHOTOMETRY):
        flux: Any = root[f"{layout.photometry_group(name)}/flux"]
        frames, apertures, stars = flux.shape
        out[f"filter {name!r}"] = f"{frames} frames x {apertures} apertures x {stars} stars"
    if nights:
        out["nights"] = f"{len(nights)} ({nights[0]} to {nights[-1]})"
    return out


def as_text(path: str, facts: Mapping[str, str]) -> str:
    """One line."""
    return f"<dphot.Store {path}: " + ", ".join(f"{k} {v}" for k, v in facts.items()) + ">"


def as_html(path: str, facts: Mapping[str, str]) -> str:
    """A table."""
    cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
    return f"<table><caption>dphot store {html.escape(path)}</caption>{cells}</table>"
