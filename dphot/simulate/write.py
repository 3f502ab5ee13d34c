"""Simulated nights as folders of FITS files, the truth beside them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr
from astropy.io import fits

from ..errors import InputError
from .header import frame_header
from .heavens import local_night
from .presets import simulation
from .render import Night, prepare
from .truth import truth

#: `compress` to the ending of the files' names.
ENDINGS = {None: ".fits", "fz": ".fits.fz", "gz": ".fits.gz"}


def write_nights(
    folder: str | Path,
    nights: int = 1,
    frames: int | None = None,
    size: int | tuple[int, int] = 600,
    seed: int = 1,
    preset: str | None = None,
    compress: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **changes: Any,
) -> list[Path]:
    """Simulate nights and write a folder for each, named by its local date.

    Parameters
    ----------
    folder : path
        Where the nights' folders go; made if need be.
    nights : int
        How many, one after the other.
    frames : int, optional
        Lights of a night through each filter; 100, or the preset's, by default.
    size : int or (width, height)
        Pixels.
    seed : int
        The same seed gives the same files, byte for byte.
    preset : str, optional
        ``tutorial``, ``transit`` or ``hostile``; none: a realistic night.
    compress : str, optional
        ``fz`` (Rice) or ``gz``.
    overwrite : bool
        Replace the frames and the truth of a night's folder that is not empty. Files of other names stay.
    progress : callable, optional
        Called as ``progress(done, total)`` after each frame.
    **changes
        Fields of `Simulation`; `signal` may also be a callable or an array, see `simulation`.

    Returns
    -------
    list of Path
        The nights' folders: ``bias-0001.fits``, ``dark-0001.fits``, ``flat-r-0001.fits``,
        ``light-r-0001.fits`` ..., and ``truth.nc`` (``truth-r.nc`` for each filter where there are
        several).

    Raises
    ------
    InputError
        If a night's folder is not empty, before anything is written; or if the field is not up.
    ValidationError
        Naming every unknown name and unfit value.
    """
    if compress not in ENDINGS:
        raise InputError(f"compress={compress!r}: expected None, 'fz' or 'gz'")
    if nights < 1:
        raise InputError(f"nights={nights}: expected 1 or more")
    if frames is not None:
        changes["frames"] = frames
    spec = simulation(preset, nights=nights, size=size, seed=seed, **changes)
    planned = [prepare(spec.patch(night=spec.night + k)) for k in range(nights)]
    folders = [Path(folder) / night_name(night) for night in planned]
    for place in folders:
        if place.exists() and not (place.is_dir() and (overwrite or not any(place.iterdir()))):
            raise InputError(
                f"{place}: exists and is not empty; choose another folder, or overwrite=True (--overwrite)"
            )
    total = sum(len(_frames(night)) for night in planned)
    done = 0
    for place, night in zip(folders, planned, strict=True):
        place.mkdir(parents=True, exist_ok=True)
        for old in [path for pattern in _PATTERNS for path in place.glob(pattern)]:
            old.unlink()
        for kind, index in _frames(night):
            write_frame(place / (frame_name(night, kind, index) + ENDINGS[compress]), night, kind, index)
            done += 1
            if progress is not None:
                progress(done, total)
        write_truth(place, night, ENDINGS[compress])
    return folders


_PATTERNS = ("bias-*.fits*", "dark-*.fits*", "flat-*.fits*", "light-*.fits*", "truth.nc", "truth-*.nc")


def night_name(night: Night) -> str:
    """The local date of a night, `YYYY-MM-DD`."""
    return local_night(float(night.timeline.jd_utc[0]), night.spec.longitude)


def frame_name(night: Night, kind: str, index: int) -> str:
    """Name of a frame's file without its ending; lights and flats are counted within their filter."""
    spec = night.spec
    if kind in ("bias", "dark"):
        return f"{kind}-{index + 1:04d}"
    number = index // len(spec.filters) if kind == "light" else index % spec.flats
    return f"{kind}-{spec.filters[night.filter_index(kind, index)]}-{number + 1:04d}"


def write_frame(path: Path, night: Night, kind: str, index: int) -> None:
    """Render one frame and write it; the path's ending says whether it is compressed.

    Parameters
    ----------
    path : Path
        Ends in ``.fits``, ``.fits.fz`` or ``.fits.gz``; replaced if it exists.
    night : Night
        The prepared night.
    kind, index
        Which frame.
    """
    header = fits.Header([(key, *card) for key, card in frame_header(night, kind, index).items()])
    data = night.frame(kind, index)
    if path.suffix == ".fz":
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header, compression_type="RICE_1")])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(data, header)])
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    content = buffer.getvalue()
    # no file name and no clock in the gzip header: the same seed gives the same bytes
    path.write_bytes(gzip.compress(content, compresslevel=4, mtime=0) if path.suffix == ".gz" else content)


def write_truth(folder: Path, night: Night, ending: str = ".fits") -> None:
    """Write ``truth.nc``, or ``truth-<filter>.nc`` for each filter where there are several.

    Parameters
    ----------
    folder : Path
        The night's folder.
    night : Night
        The prepared night.
    ending : str
        Ending of the frames' names, for the variable `path`.
    """
    names = [frame_name(night, "light", k) + ending for k in range(night.spec.n_lights)]
    for name in night.spec.filters:
        path = folder / ("truth.nc" if len(night.spec.filters) == 1 else f"truth-{name}.nc")
        truth(night, name, names).to_netcdf(path, engine="h5netcdf")


def open_truth(path: str | Path) -> xr.Dataset:
    """Read a truth file, or that of a night's folder (with one filter), into memory."""
    path = Path(path)
    with xr.open_dataset(path / "truth.nc" if path.is_dir() else path, engine="h5netcdf") as ds:
        return ds.load()


def _frames(night: Night) -> list[tuple[str, int]]:
    return [(kind, k) for kind in ("bias", "dark", "flat", "light") for k in range(night.count(kind))]
