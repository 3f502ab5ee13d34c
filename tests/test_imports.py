"""What is imported when: names load on first use, and are the same in whatever order."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import cloudpickle
import pytest

import dphot

#: Libraries that take long to load.
HEAVY = ("astropy", "bokeh", "dask", "distributed", "erfa", "h5py", "holoviews", "hvplot", "icechunk", "matplotlib",
         "numba", "photutils", "scipy", "sep", "zarr")  # fmt: skip
#: Names of functions that are those of modules, too.
SHARED = {path.stem for path in Path(dphot.__file__).parent.iterdir()} & set(dphot._WHERE)
ORDERS = (
    "import dphot.differential",
    "from dphot import differential",
    "from dphot.differential import differential",
    "from dphot.light_curves import light_curve",
    "import dphot.differential as f; assert type(f).__name__ == 'function'",
    "import dphot; dphot.light_curve; dphot.differential",
    "import dphot; dphot.differential; from importlib import import_module as of, reload; reload(of('dphot.differential'))",
    "import dphot; from importlib import reload; dphot.differential; reload(dphot)",
)


def fresh(code: str, *arguments: str) -> str:
    """What a new process prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        (
            "import dphot, xarray; xarray.Dataset().dphot",
            set(),
        ),  # plots are there, and load with the first one
        ("from dphot import cli; cli.main(['telescope', 'list', '--quiet'])", set()),
        ("import dphot.io.frames", {"erfa"}),
        ("import dphot.upkeep", {"icechunk", "zarr"}),
    ],
)
def test_only_what_is_needed_loads(code: str, needed: set[str]):
    loaded = fresh(f"{code}; import sys; print(*[name for name in {HEAVY} if name in sys.modules])")
    assert set(loaded.split()) <= needed


def test_an_opened_store_takes_frames_in_a_new_process(small_store, night_copy):
    code = "import sys, dphot; print(dphot.open(sys.argv[1]).append(sys.argv[2], workers=0))"
    assert fresh(code, small_store.path, str(night_copy)) == f"<nothing new for {small_store.path}>"


def test_a_function_is_never_hidden_by_its_module():
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")  # the accessor of datasets is registered again
for order in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dphot"]:
        del sys.modules[name]
    exec(order, {{}})
    import dphot
    for name in {SHARED} & {{*vars(dphot), "differential"}}:
        assert type(getattr(dphot, name)).__name__ == "function", (order, name)
"""
    fresh(code, *ORDERS)
    assert len(SHARED) > 4 and all(dphot._WHERE[name] == f"{name}:{name}" for name in SHARED)


def test_every_public_name_is_there_and_listed():
    assert set(dphot.__all__) <= set(dir(dphot))
    for name in dphot.__all__:
        assert getattr(dphot, name) is not None
    assert dphot.errors.InputError  # modules need no import of their own
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dphot.nothing
    with pytest.raises(ImportError, match="nothing"):
        from dphot import nothing  # noqa: F401


def test_type_checkers_see_what_is_loaded():
    tree = ast.parse(Path(dphot.__file__).read_text())
    (seen,) = [node.body for node in tree.body if isinstance(node, ast.If)]
    where = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in seen
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert {**where, "open": "store:Store.open"} == dphot._WHERE
    assert {*dphot._WHERE, "simulate", "__version__"} == set(dphot.__all__)


def test_functions_and_the_package_travel_to_other_processes():
    functions = [f for name in dphot.__all__ if isinstance(f := getattr(dphot, name), FunctionType)]
    assert len(functions) > 15
    for what in (*functions, dphot):
        assert pickle.loads(pickle.dumps(what)) is what
        assert pickle.loads(cloudpickle.dumps(what)) is what
