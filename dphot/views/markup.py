"""Pieces of the report: the style sheet, tables, and words for what a night's record says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .palette import BLUE, INK, MUTED, VERMILLION

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

CSS = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
html {{ scroll-behavior: smooth; }}
body {{ margin: 0; background: #f4f6f8; color: {INK}; font: 16px/1.55 {FONT}; }}
main, header > div, nav > div, footer {{ max-width: 1080px; margin: 0 auto; padding: 0 24px; }}
header {{ background: #fff; padding: 36px 0 20px; }}
h1 {{ font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }}
header p {{ margin: 0; color: {MUTED}; }}
nav {{ background: #fff; border-bottom: 1px solid #dde3e8; position: sticky; top: 0; z-index: 20;
  overflow-x: auto; }}
nav > div {{ display: flex; gap: 22px; }}
nav a {{ color: {MUTED}; text-decoration: none; padding: 10px 0; white-space: nowrap; font-size: 15px; }}
nav a:hover {{ color: {BLUE}; }}
section {{ background: #fff; border: 1px solid #dde3e8; border-radius: 10px; padding: 22px 26px 26px;
  margin: 22px 0; scroll-margin-top: 54px; }}
h2 {{ font-size: 21px; margin: 0 0 4px; }}
h3 {{ font-size: 16px; margin: 26px 0 6px; }}
section > p {{ margin: 4px 0 14px; max-width: 74ch; color: {MUTED}; }}
h2.part {{ font-size: 25px; margin: 40px 0 -8px; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px;
  margin: 22px 0; }}
.card {{ background: #fff; border: 1px solid #dde3e8; border-radius: 10px; padding: 14px 16px; }}
.card b {{ display: block; font-size: 23px; line-height: 1.25; font-weight: 650; }}
.card span {{ color: {MUTED}; font-size: 13.5px; }}
.plot {{ width: 100%; overflow: hidden; }}
.narrow {{ max-width: 760px; margin: 0 auto; }}
.pairs {{ display: grid; gap: 10px 22px;
  grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }}
.scroll {{ overflow: auto; max-height: 560px; }}
.scroll table {{ width: auto; min-width: 62%; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: 6px 26px 6px 0; border-bottom: 1px solid #e6eaee; vertical-align: top; }}
thead th {{ position: sticky; top: 0; background: #fff; color: {MUTED}; font-weight: 600;
  white-space: nowrap; }}
tbody th {{ font-weight: 500; color: {MUTED}; white-space: nowrap; width: 1%; padding-right: 26px; }}
td.n, th.n {{ text-align: right; }}
td {{ white-space: nowrap; }}
td.path {{ white-space: normal; overflow-wrap: anywhere; }}
tr.chosen td {{ background: #eaf3fa; }}
code {{ font: 13.5px/1.5 ui-monospace, 'SF Mono', Menlo, Consolas, monospace; overflow-wrap: anywhere; }}
.bar {{ display: inline-block; height: 9px; background: {BLUE}; border-radius: 2px; opacity: .75; }}
.none {{ color: {MUTED}; }}
.warn {{ border-left: 4px solid {VERMILLION}; background: #fdf4ee; padding: 9px 14px; margin: 8px 0;
  border-radius: 4px; }}
details {{ margin: 10px 0; }}
summary {{ cursor: pointer; color: {BLUE}; }}
footer {{ color: {MUTED}; font-size: 14px; padding-top: 6px; padding-bottom: 40px; }}
@media (max-width: 640px) {{
  main, header > div, nav > div, footer {{ padding: 0 12px; }} section {{ padding: 16px 14px; }}
  h1 {{ font-size: 24px; }} tbody th {{ white-space: normal; }}
}}
@media print {{ nav {{ display: none; }} section {{ break-inside: avoid; }} .scroll {{ max-height: none; }} }}
"""


def document(
    title: str, subtitle: str, menu: Sequence[tuple[str, str]], body: str, scripts: Sequence[str]
) -> str:
    """The whole page; it names no other file and no address."""
    links = "".join(f'<a href="#{escape(anchor)}">{escape(text)}</a>' for anchor, text in menu)
    loaded = "\n".join(scripts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<header><div><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></div></header>\n"
        f"<nav><div>{links}</div></nav>\n<main>\n"
        '<noscript><p class="warn">The plots need JavaScript; the tables do not.</p></noscript>\n'
        f"{body}\n</main>\n{loaded}\n</body>\n</html>\n"
    )


def section(anchor: str, title: str, explanation: str, *content: str) -> str:
    """A titled box; `explanation` is HTML, as is the content."""
    inner = "\n".join(content)
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2><p>{explanation}</p>\n{inner}\n</section>'


def cards(items: Iterable[tuple[str, str]]) -> str:
    """Large figures side by side: (value, what it is)."""
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
            for value, name in items
        )
        + "</div>"
    )


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of names and values."""
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td class=path>{escape(plain(value))}</td></tr>" for name, value in rows
    )
    return f"<table><tbody>{cells}</tbody></table>"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    numbers: Sequence[int] = (),
    chosen: int | None = None,
) -> str:
    """A table with a head, that scrolls where it is long.

    Parameters
    ----------
    head : sequence of str
        Titles of the columns.
    rows : sequence of sequences
        Cells; text is escaped, a `Raw` is not.
    numbers : sequence of int
        Columns set to the right.
    chosen : int, optional
        Row to mark.
    """
    align = [' class="n"' if i in numbers else "" for i in range(len(head) - 1)]
    align.append(' class="n"' if len(head) - 1 in numbers else ' class="path"')
    top = "".join(f"<th{a}>{escape(title)}</th>" for title, a in zip(head, align, strict=True))
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(
            f"<td{a}>{cell if isinstance(cell, Raw) else escape(plain(cell))}</td>"
            for cell, a in zip(row, align, strict=True)
        )
        lines.append(f'<tr class="chosen">{cells}</tr>' if i == chosen else f"<tr>{cells}</tr>")
    inner = "".join(lines)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{inner}</tbody></table></div>'


class Raw(str):
    """Text that is HTML already."""


def bar(share: float) -> Raw:
    """A bar as long as `share` (0 to 1) of 120 px."""
    return Raw(f'<span class="bar" style="width:{120 * max(share, 0.0):.0f}px"></span>')


def details(summary: str, content: str) -> str:
    """Content behind a line to click on."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def warnings(texts: Iterable[str]) -> str:
    """Boxes for what the reader must know."""
    return "".join(f'<div class="warn">{escape(text)}</div>' for text in texts)


def plain(value: Any) -> str:
    """A value in words: lists joined, nothing as a dash."""
    if value is None or value == "" or value == [] or value == ():
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(v) for v in value)
    return str(value)


def files(paths: Sequence[str]) -> str:
    """Files in words: the folder once, the first and last name."""
    split = [os.path.split(path) for path in paths]
    if not split:
        return "–"
    folder = split[0][0]
    if any(other != folder for other, _ in split) or len(split) == 1:
        return f"{paths[0]}" + (f" and {len(split) - 1} more" if len(split) > 1 else "")
    return f"{len(split)} files, {folder}/: {split[0][1]} … {split[-1][1]}"
