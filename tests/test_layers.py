"""Imports go strictly downward, and only the store imports zarr or icechunk."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dphot"

#: From the ground up; a module imports its own layer's package and the layers below.
LAYERS = [
    {"errors", "flags", "schema", "config"},
    {"kernels"},
    {"telescope", "simulate", "progress"},
    {"io", "store"},
    {"graph", "cluster", "fluxes"},
    {"cube", "calibration", "alignment", "photometry", "differential"},
    {"lineage", "checking", "light_curves"},
    {"identity", "planning", "kept", "memory", "frame_columns", "night_record"},
    {"other_calibration", "other_field"},
    {"night"},
    {"phot", "changes", "saying"},
    {"append", "redo", "reduction", "summaries", "views", "formats"},
    {"demo", "watch"},
    {"__init__"},
    {"arguments", "commands", "upkeep"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def top(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(module: Path) -> list[tuple[str, ...]]:
    """Every import as the dotted parts of what is imported; those within dphot begin with ``dphot``."""
    package = ("dphot", *module.relative_to(PACKAGE).parts[:-1])
    out: list[tuple[str, ...]] = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            out += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = (*base, *(node.module.split(".") if node.module else ()))
            out += [(*parts, alias.name) for alias in node.names] if parts == ("dphot",) else [parts]
    return out


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_go_downward(module: Path) -> None:
    here = top(module)
    assert here in LEVEL, f"{here} has no layer: add it to LAYERS"
    if here == "__init__":
        return
    for parts in imports(module):
        first = parts[1] if len(parts) > 1 else "__init__"
        if parts[0] == "dphot" and first not in (here, "__version__"):
            # Modules of one layer may use each other's (alignment uses the graph, never the other way).
            assert LEVEL[first] <= LEVEL[here], (
                f"{module.name} imports {'.'.join(parts)}, which lies above it"
            )


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_only_their_own_place_imports_heavy_libraries(module: Path) -> None:
    here = top(module)
    names = {parts[0] for parts in imports(module)}
    if here != "store":
        assert not names & {"zarr", "icechunk"}
    if here == "kernels":
        assert not names & {"xarray", "dask", "distributed"}
    if here != "views":
        assert not names & {"hvplot", "holoviews", "bokeh", "panel", "matplotlib"}


def test_kernels_do_no_input_or_output() -> None:
    for module in (PACKAGE / "kernels").glob("*.py"):
        calls = [n.func.id for n in ast.walk(ast.parse(module.read_text()))
                 if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]  # fmt: skip
        assert "open" not in calls and "print" not in calls, module
