"""Steps of the user's own between calibration and measurement: ``f(image, record) -> image``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.machinery import PathFinder
from typing import Any

import numpy as np

from ..errors import FrameError, InputError

Record = Mapping[str, Any]
Step = Callable[[np.ndarray, Record], np.ndarray]


def load_steps(given: Sequence[str | Step]) -> list[Step]:
    """The functions that ``module:function`` names stand for; functions stand for themselves.

    A module may lie in the working folder, where the installed command, unlike `python -m`, does not look by itself.

    Raises
    ------
    InputError
        If a name cannot be imported, or is no function.
    """
    steps: list[Step] = []
    for name in given:
        if not isinstance(name, str):
            if not callable(name):
                raise InputError(
                    f"steps: {name!r} is no function f(image, record), nor a name, module:function"
                )
            steps.append(name)
            continue
        module, _, function = name.partition(":")
        try:
            folder = os.getcwd()
            step = _imported(module, function, folder)
        except Exception as error:  # the user's module may raise anything
            if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
                why = (
                    f"there is no module {error.name}, neither in the working folder ({folder}) nor installed"
                )
                raise InputError(f"steps: {name!r} cannot be loaded: {why}") from error
            raise InputError(
                f"steps: {name!r} cannot be loaded ({type(error).__name__}: {error}); write it as module:function"
            ) from error
        if not callable(step):
            raise InputError(
                f"steps: {name!r} is a {type(step).__name__}; a function f(image, record) is needed"
            )
        if PathFinder.find_spec(module.partition(".")[0]) is None:
            # functions travel to other processes by name, and these do not look in the working folder either
            step = partial(_step_there, module, function, folder)
            step.__name__ = function  # type: ignore[attr-defined]
        steps.append(step)
    return steps


def _imported(module: str, function: str, folder: str) -> Any:
    """What a name stands for; of a folder only those modules that are nowhere else."""
    sys.path.append(folder)
    try:
        return getattr(importlib.import_module(module), function)
    finally:
        sys.path.remove(folder)


def _step_there(module: str, function: str, folder: str, image: np.ndarray, record: Record) -> np.ndarray:
    return _imported(module, function, folder)(image, record)  # type: ignore[no-any-return]


def stepped(step: Step, image: np.ndarray, record: Record) -> np.ndarray:
    """What a step of the user's makes of an image; whatever is wrong with it is the frame's error."""
    name = getattr(step, "__name__", repr(step))
    try:
        out = np.ascontiguousarray(step(image, record), dtype=np.float32)
    except Exception as error:
        raise FrameError(record["path"], f"step {name}: {type(error).__name__}: {error}") from error
    if out.shape != image.shape:
        raise FrameError(
            record["path"], f"step {name} returned an array of shape {out.shape}, expected {image.shape}"
        )
    return out
