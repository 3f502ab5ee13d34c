"""How the package is installed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_compiled_kernels_that_an_install_left_do_not_hide_an_editable_one(tmp_path):
    """What numba keeps beside the kernels stays behind as a folder ``dphot`` where the package is uninstalled."""
    pytest.importorskip(
        "setuptools", minversion="77", reason="setuptools that knows the licence is not installed"
    )
    project, site = tmp_path / "project", tmp_path / "site"
    shutil.copytree(ROOT / "dphot", project / "dphot", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    build = "from setuptools.build_meta import build_editable; build_editable('..')"
    subprocess.run([sys.executable, "-c", build], cwd=project, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    left = site / "dphot" / "kernels" / "__pycache__"
    left.mkdir(parents=True)
    (left / "sky.annulus-1.py311.nbi").touch()
    find = f"import site; site.addsitedir({str(site)!r}); import importlib.util as u; print(u.find_spec('dphot').origin)"
    found = subprocess.run([sys.executable, "-IS", "-c", find], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == str(project / "dphot" / "__init__.py")
