"""The report: one HTML file that holds its plots, says what was done, and asks the network for nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.embed import components
from bokeh.models import LayoutDOM, Plot, Toolbar
from bokeh.resources import Resources

from ..errors import InputError, StoreError
from ..store import Store, open_store
from . import curves, facts, markup, precision, psf, records, select, stars

Record = Mapping[str, Any]

#: At most this many nights get a light curve of their own, the latest ones.
NIGHTS_SHOWN = 8


def report(
    store: Store | str | os.PathLike[str],
    path: str | os.PathLike[str],
    target: int | str | tuple[float, float] | None = None,
    *,
    filters: Sequence[str] | None = None,
    title: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write one self-contained HTML page about a store.

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
    title : str, optional
        Default: the name of the observed object.
    overwrite : bool
        Replace a file that exists.
    **options
        `comparisons`, `aperture` and `exclude` of `dphot.differential`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the store cannot be read, or the file exists and `overwrite` is not set.
    InputError
        If the store has no such filter or target.
    """
    from ..differential import differential

    opened = store if isinstance(store, Store) else open_store(store)
    _refuse(path, overwrite)
    names = list(filters or opened.photometry)
    unknown = [name for name in names if name not in opened.photometry]
    if unknown or not names:
        raise InputError(
            f"filters: the store has no {unknown or 'photometry'}; it has {list(opened.photometry)}"
        )
    lcs, stacks = [], []
    for name in names:
        lcs.append(
            differential(opened.photometry[name].compute(), target, **options).assign_attrs(filter=name)
        )
        nights = list(opened.stack[name]) if name in opened.stack else []
        stacks.append(opened.stack[name][nights[-1]].compute() if nights else None)
    reference = opened.reference.compute()
    return write_report(path, lcs, stacks, reference, opened.nights, title=title, overwrite=overwrite)


def write_report(
    path: str | os.PathLike[str],
    lc: xr.Dataset | Sequence[xr.Dataset],
    stack: xr.DataArray | Sequence[xr.DataArray | None] | None,
    reference: xr.Dataset | None,
    nights: Sequence[Record],
    title: str | None = None,
    truth: np.ndarray | Sequence[np.ndarray | None] | None = None,
    *,
    overwrite: bool = True,
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
        The records of the nights, of all filters.
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
    """
    path = _refuse(path, overwrite)
    lcs = [lc] if isinstance(lc, xr.Dataset) else list(lc)
    stacks = _each(stack, len(lcs), xr.DataArray)
    truths = _each(truth, len(lcs), np.ndarray)
    figures: dict[str, LayoutDOM] = {}
    parts, menu = [], []
    for i, (one, image, known) in enumerate(zip(lcs, stacks, truths, strict=True)):
        mark = f"f{i}-" if len(lcs) > 1 else ""
        name = str(one.attrs.get("filter") or f"series {i + 1}")
        if mark:
            parts.append(f'<h2 class="part" id="{mark}top">Filter {markup.escape(name)}</h2>')
            menu.append((f"{mark}top", f"Filter {name}"))
        html, links = _filter(one, image, reference, _of_filter(nights, one), known, mark, figures)
        parts.append(html)
        menu.extend([] if mark else links)
    parts.append(_done(lcs[0], nights))
    menu.append(("done", "What was done"))
    script, divs = components(figures, wrap_script=True)
    body = "\n".join(parts)
    for key, div in divs.items():
        body = body.replace(f"<!--{key}-->", div)
    name = title or str(lcs[0].attrs.get("object") or "Light curve")
    resources = Resources(mode="inline", components=["bokeh"])
    html = markup.document(name, _subtitle(lcs), menu, body, [resources.render_js(), script])
    path.write_text(html, encoding="utf-8")
    return path


def _refuse(path: str | os.PathLike[str], overwrite: bool) -> Path:
    path = Path(path)
    if path.exists() and not overwrite:
        raise StoreError(f"{path} exists; give overwrite=True (--overwrite) or another name")
    return path


def _each(value: Any, count: int, kind: type) -> list[Any]:
    return [value] * count if value is None or isinstance(value, kind) else list(value)


def _of_filter(nights: Sequence[Record], lc: xr.Dataset) -> list[Record]:
    name = lc.attrs.get("filter")
    return [n for n in nights if n.get("filter") in (None, name)]


def _subtitle(lcs: Sequence[xr.Dataset]) -> str:
    nights = sorted({night for lc in lcs for night in facts.nights(lc)})
    span = (
        ""
        if not nights
        else nights[0]
        if len(nights) == 1
        else f"{len(nights)} nights, {nights[0]} to {nights[-1]}"
    )
    filters = ", ".join(str(lc.attrs.get("filter") or "") for lc in lcs)
    parts = [
        str(lcs[0].attrs.get("telescope") or ""),
        f"filter {filters}" if filters.strip(", ") else "",
        span,
    ]
    return "  ·  ".join(part for part in parts if part)


def _filter(
    lc: xr.Dataset,
    stack: xr.DataArray | None,
    reference: xr.Dataset | None,
    nights: Sequence[Record],
    truth: np.ndarray | None,
    mark: str,
    figures: dict[str, LayoutDOM],
) -> tuple[str, list[tuple[str, str]]]:
    """Everything about one filter as HTML with places for its figures, and the links of the menu."""

    def place(key: str, view: Any, narrow: bool = False) -> str:
        figures[mark + key] = _responsive(hv.render(view, backend="bokeh"), narrow)
        return f'<div class="plot{" narrow" if narrow else ""}"><!--{mark + key}--></div>'

    c = select.curve(lc)
    shown = facts.nights(lc)
    light = [place("curve", curves.plot(lc, truth=truth))]
    if len(shown) > 1:
        light.append(
            "<h3>Night by night</h3>"
            + (
                f'<p class="none">The latest {NIGHTS_SHOWN} of {len(shown)} nights.</p>'
                if len(shown) > NIGHTS_SHOWN
                else ""
            )
        )
        light.extend(
            place(f"night{i}", curves.plot(lc, night=night, truth=truth))
            for i, night in enumerate(shown[-NIGHTS_SHOWN:])
            if (c.night == night).any()
        )
    pieces = [
        markup.cards(_cards(lc, c, nights, reference)),
        markup.section(
            mark + "curve",
            "Light curve",
            _words_curve(lc, truth),
            *light,
            markup.pairs(facts.facts(lc, reference)),
        ),
    ]
    links = [(mark + "curve", "Light curve")]

    def add(anchor: str, name: str, explanation: str, *content: str) -> None:
        pieces.append(markup.section(mark + anchor, name, explanation, *content))
        links.append((mark + anchor, name))

    add(
        "field",
        "Field",
        "The mean of the aligned frames. The target is circled in red; comparison stars in blue, the "
        "darker the more they weigh; the other measured stars in grey. Point at a star for its number and weight.",
        place("stars", stars.show_stars(lc, stack), True),
    )
    add(
        "comparisons",
        "Comparison stars",
        "Each comparison star against the weighted mean of all others, drawn under "
        "the target on the same scale. A star that varies has little weight.",
        place("comparisons", curves.comparisons(lc)),
        "<h3>Weights</h3>",
        _weights(lc),
    )
    add(
        "systematics",
        "Systematics",
        "What may have left a trace in the light curve, each quantity scaled to the same "
        "height; its range stands beside it.",
        place("systematics", curves.systematics(lc)),
    )
    add(
        "raw",
        "Raw flux",
        "Flux of the target as measured, with the artificial star made of the comparison stars; "
        "their ratio is the light curve.",
        place("raw", curves.raw(lc)),
    )
    if reference is not None and "psf" in reference:
        views = [place(f"psf{i}", view, True) for i, view in enumerate(psf.psf(reference))]
        add(
            "psf",
            "Point-spread function",
            "Median of bright stars on the reference frame, the elliptical Moffat model, "
            "and what the model leaves, on a scale ten times finer.",
            f'<div class="grid2">{"".join(views)}</div>',
        )
    add(
        "precision",
        "Precision",
        "How much each star scatters from frame to frame, against its flux. The lines are the "
        "terms of the noise model in the chosen aperture; stars above them vary, are blended, or weigh on few comparisons.",
        place("precision", precision.precision(lc)),
        "<h3>Apertures</h3>",
        _apertures(lc),
        "<h3>Data-quality flags</h3>",
        _flags(lc, c.star),
    )
    return "\n".join(pieces), links


def _cards(
    lc: xr.Dataset, c: select.Curve, nights: Sequence[Record], reference: xr.Dataset | None
) -> list[tuple[str, str]]:
    p = c.precision()
    used = sum(int(n.get("frames_used", 0)) for n in nights) if nights else c.time.size
    dropped = sum(len(n.get("frames_dropped", [])) for n in nights)
    return [
        (str(used), f"frames used, {dropped} dropped"),
        (facts.ppt(p["point_to_point"]), "point-to-point scatter per frame"),
        (facts.ppt(p["binned_point_to_point"]), "the same in 7.2 min bins"),
        (f"{c.radius:.2f} px", f"aperture radius, {c.aperture + 1} of {lc.sizes['aperture']}"),
        (
            str(len(select.comparisons(lc, c.aperture, c.star))),
            f"comparison stars of {lc.sizes['star']} measured",
        ),
    ]


def _words_curve(lc: xr.Dataset, truth: np.ndarray | None) -> str:
    method = str(lc.attrs.get("method") or "")
    text = "Flux of the target over its artificial star. Faint points are frames, dark ones 7.2-minute means with their errors."
    text += f" Method: {markup.escape(method)}." if method else ""
    text += " Crosses are flagged frames, left out of the means; a dashed line marks a meridian flip."
    return text + (" The orange line is the signal that was injected." if truth is not None else "")


def _weights(lc: xr.Dataset) -> str:
    rows = facts.weight_rows(lc)
    heaviest = max((row["weight"] for row in rows), default=1.0) or 1.0
    unit = lc.attrs.get("flux_unit", "e-")
    cells = [
        [
            r["star"],
            f"{r['x']:.1f}",
            f"{r['y']:.1f}",
            f"{r['flux']:.4g}",
            facts.ppt(r["scatter"]),
            f"{r['weight']:.4f}",
            markup.bar(r["weight"] / heaviest),
        ]
        for r in rows
    ]
    head = ["star", "x (px)", "y (px)", f"median flux ({unit})", "scatter", "weight", ""]
    return markup.table(head, cells, numbers=range(6))


def _apertures(lc: xr.Dataset) -> str:
    rows = facts.aperture_rows(lc)
    cells = [[r["aperture"], f"{r['radius']:.2f}", facts.ppt(r["scatter"])] for r in rows]
    return markup.table(
        ["aperture", "radius (px)", "scatter of the target"],
        cells,
        numbers=range(3),
        chosen=int(lc.attrs["aperture"]),
    )


def _flags(lc: xr.Dataset, target: int) -> str:
    rows = [[name, mine, total or "–"] for name, mine, total in facts.flag_counts(lc, target)]
    if not rows:
        return '<p class="none">No flag is set.</p>'
    return markup.table(["flag", "frames of the target", "measurements of all stars"], rows, numbers=(1, 2))


def _done(lc: xr.Dataset, nights: Sequence[Record]) -> str:
    return markup.section(
        "done",
        "What was done",
        "Frames, calibration, telescope, settings and software, as the reduction recorded them.",
        "<h3>Frames</h3>",
        records.frames(nights),
        "<h3>Calibration</h3>",
        records.calibration(nights),
        "<h3>Telescope</h3>",
        records.telescope(nights),
        records.software(nights),
    )


def _responsive(figure: LayoutDOM, narrow: bool) -> LayoutDOM:
    """The figure as wide as its place: with its own proportions where it shows an image, otherwise with its own height."""
    for plot in figure.select({"type": Plot}):
        ratio = (plot.frame_width or 0) / (plot.frame_height or 1)
        plot.output_backend = "canvas"
        if plot.frame_width and plot.frame_height:
            plot.update(
                frame_width=None,
                frame_height=None,
                width=None,
                height=None,
                match_aspect=True,
                aspect_ratio=0.97 * ratio,
                sizing_mode="scale_width",
            )
        else:
            plot.update(width=None, sizing_mode="stretch_width")
    for toolbar in figure.select({"type": Toolbar}):
        toolbar.update(logo=None, autohide=True)
    if not isinstance(figure, Plot):
        figure.update(sizing_mode="stretch_width")
    return figure
