"""The report: one HTML file that holds its plots, says what was done, and asks the network for nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.embed import components
from bokeh.resources import Resources

from ..differential import differential
from ..errors import InputError, StoreError
from ..store import Store
from . import facts, markup, records
from .png import save_pngs
from .sections import Sections

Record = Mapping[str, Any]
#: Known relative flux of the target, shape (time,).
Truth = np.ndarray | xr.DataArray


def report(
    store: Store | str | os.PathLike[str],
    path: str | os.PathLike[str],
    target: int | str | tuple[float, float] | None = None,
    *,
    filters: Sequence[str] | None = None,
    png: str | os.PathLike[str] | None = None,
    title: str | None = None,
    truth: Truth | Mapping[str, Truth] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[Path]:
    """Write one self-contained HTML page about a store, and its plots as PNG on request.

    Parameters
    ----------
    store : Store or path
        The store, or where it is.
    path : path
        The HTML file to write.
    target : int, str or (float, float), optional
        As in `dphot.differential`.
    filters : sequence of str, optional
        Default: all of the store's.
    png : path, optional
        A folder: every plot goes there as a PNG, too.
    title : str, optional
        Default: the name of the observed object.
    truth : array, shape (time,), or dict of filter to array, optional
        Known relative flux of the target, drawn over the light curve.
    overwrite : bool
        Replace files that exist.
    **options
        `comparisons`, `aperture` and `exclude` of `dphot.differential`.

    Returns
    -------
    list of Path
        The PNG files; empty without `png`.

    Raises
    ------
    StoreError
        If the store cannot be read, or a file exists and `overwrite` is not set.
    InputError
        If the store has no such filter or target, or a truth has another length than its light curve.
    """
    _refuse(path, overwrite)
    opened = store if isinstance(store, Store) else Store.open(os.fspath(store))
    known = list(opened.photometry)
    names = list(known if filters is None else filters)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(f"filters = {names}: the store has photometry in {known}")
    lcs, stacks = [], []
    for name in names:
        lcs.append(differential(opened.photometry[name].load(), target, **options).assign_attrs(filter=name))
        nights = list(opened.stack[name]) if name in list(opened.stack) else []
        stacks.append(opened.stack[name][nights[-1]].load() if nights else None)
    reference = opened.reference.load()
    truths = [truth.get(name) if isinstance(truth, Mapping) else truth for name in names]
    pictures = []
    for name, lc, stack, curve in zip(names, lcs, stacks, truths, strict=True):
        prefix = f"{name}_" if len(names) > 1 else ""
        pictures += _pictures(png, lc, stack, reference, curve, prefix, overwrite)
    write_report(path, lcs, stacks, reference, opened.nights, title, truths, overwrite=overwrite)
    return pictures


def _pictures(
    folder: str | os.PathLike[str] | None,
    lc: xr.Dataset,
    stack: xr.DataArray | None,
    reference: xr.Dataset,
    truth: Truth | None,
    prefix: str,
    overwrite: bool,
) -> list[Path]:
    if folder is None:
        return []
    known = _fitting(truth, lc)
    return save_pngs(folder, lc, stack, reference, truth=known, prefix=prefix, overwrite=overwrite)


def write_report(
    path: str | os.PathLike[str],
    lc: xr.Dataset | Sequence[xr.Dataset],
    stack: xr.DataArray | Sequence[xr.DataArray | None] | None,
    reference: xr.Dataset | None,
    nights: Sequence[Record],
    title: str | None = None,
    truth: Truth | Sequence[Truth | None] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the report from what it shows.

    Parameters
    ----------
    path : path
        The HTML file.
    lc : xarray.Dataset or sequence of them
        Of `dphot.differential`, one for each filter.
    stack : xarray.DataArray, dims (y, x), or sequence of them, optional
        One for each filter; None where there is none.
    reference : xarray.Dataset, optional
        Of the store.
    nights : sequence of dict
        The records of the nights, of all filters: a store's `nights`.
    title : str, optional
        Default: the name of the observed object.
    truth : array, shape (time,), or sequence of them, optional
        Known relative flux, one for each filter, drawn over the light curves.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the file exists and `overwrite` is not set.
    InputError
        If a truth has another length than its light curve.
    """
    path = _refuse(path, overwrite)
    lcs = [lc] if isinstance(lc, xr.Dataset) else list(lc)
    stacks = _each(stack, len(lcs))
    truths = [_fitting(one, curve) for one, curve in zip(_each(truth, len(lcs)), lcs, strict=True)]
    series = records.flatten(nights)
    figures: dict[str, Any] = {}
    parts, menu = [], []
    for i, one in enumerate(lcs):
        several = len(lcs) > 1
        name = str(one.attrs.get("filter") or "")
        sections = Sections(
            one, [n for n in series if n.get("filter", name) == name], f"f{i}-" if several else ""
        )
        html = sections.html(stacks[i], reference, truths[i])
        if several:
            parts.append(f'<h2 class="part" id="f{i}">Filter {markup.escape(name or "unknown")}</h2>')
        parts.append(html)
        menu += [(f"f{i}", f"Filter {name or 'unknown'}")] if several else sections.links
        figures |= sections.figures
    parts.append(_done(series))
    menu.append(("done", "What was done"))
    script, divs = components(figures, wrap_script=True)
    body = "\n".join(parts)
    for key, div in divs.items():
        body = body.replace(f"<!--{key}-->", div)
    name = title or str(lcs[0].attrs.get("object") or "") or "Light curve"
    path.write_text(markup.document(name, _subtitle(lcs), menu, body, [*_bokeh(), script]), encoding="utf-8")
    return path


def save_html(view: Any, path: str | os.PathLike[str], title: str = "", *, overwrite: bool = False) -> Path:
    """Write one plot as an HTML page that opens without a network.

    Parameters
    ----------
    view : HoloViews object
        What the plots of `ds.dphot` return.
    path : path
        The HTML file.
    title : str
        Heading of the page.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the file exists and `overwrite` is not set.
    """
    path = _refuse(path, overwrite)
    script, div = components(hv.render(view, backend="bokeh"), wrap_script=True)
    path.write_text(
        markup.document(title or path.stem, "", [], div, [*_bokeh("bokeh-widgets"), script]), encoding="utf-8"
    )
    return path


def _bokeh(*more: Literal["bokeh-widgets"]) -> list[str]:
    """Bokeh's own script as text; `render_js` would add what Panel registers, a file that is not there."""
    resources = Resources(mode="inline", components=["bokeh", *more], log_level="warn")
    return [f"<script>\n{code}\n</script>" for code in resources.js_raw]


def _refuse(path: str | os.PathLike[str], overwrite: bool) -> Path:
    path = Path(path)
    if path.exists() and not overwrite:
        raise StoreError(f"{path} exists already; give overwrite=True (--overwrite) or another name")
    return path


def _each(value: Any, count: int) -> list[Any]:
    single = value is None or isinstance(value, (xr.DataArray, np.ndarray))
    return [value] * count if single else list(value)


def _fitting(truth: Truth | None, lc: xr.Dataset) -> np.ndarray | None:
    """The known flux as an array along the time of a light curve."""
    if truth is None:
        return None
    values = np.asarray(truth, float)
    if values.shape != (lc.sizes["time"],):
        raise InputError(f"truth of shape {values.shape}: the light curve has {lc.sizes['time']} frames")
    return values


def _subtitle(lcs: Sequence[xr.Dataset]) -> str:
    nights = sorted({night for lc in lcs for night in facts.nights(lc)})
    span = f"{len(nights)} nights, {nights[0]} to {nights[-1]}" if len(nights) > 1 else "".join(nights)
    filters = ", ".join(str(lc.attrs["filter"]) for lc in lcs if lc.attrs.get("filter"))
    parts = [str(lcs[0].attrs.get("telescope") or ""), f"filter {filters}" if filters else "", span]
    return "  ·  ".join(part for part in parts if part)


def _done(nights: Sequence[Record]) -> str:
    explanation = (
        "Frames, calibration, telescope, reference, settings and software, as the reduction recorded them."
    )
    return markup.section(
        *("done", "What was done", explanation),
        *("<h3>Frames</h3>", records.frames(nights)),
        *("<h3>Calibration</h3>", records.calibration(nights)),
        *("<h3>Telescope</h3>", records.telescope(nights)),
        records.software(nights),
    )
