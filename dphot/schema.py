"""Every variable of the data model, declared once: dimensions, kind, unit, meaning.

Validation, attributes and the documentation table come from this registry.
"""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from .errors import ValidationError

#: Version of the data model, written to the root of every store.
FORMAT_VERSION = 1


#: Variables of the photometry that stores of this version need not have: they came later, and tell nothing of a star.
OPTIONAL = ("pixels",)


@dataclass(frozen=True)
class Variable:
    """One variable of the data model."""

    name: str
    dims: tuple[str, ...]
    kind: str
    """NumPy dtype kind: f float, i integer, u unsigned, M datetime64, O string."""
    unit: str
    meaning: str


def _table(dims: tuple[str, ...], rows: list[tuple[str, str, str, str]]) -> list[Variable]:
    return [Variable(name, dims, kind, unit, meaning) for name, kind, unit, meaning in rows]


_PHOTOMETRY = [
    *_table(
        ("time", "aperture", "star"),
        [
            ("flux", "f", "e-", "sky-subtracted flux in the aperture"),
            ("flux_err", "f", "e-", "its standard deviation from the noise model, without scintillation"),
        ],
    ),
    *_table(
        ("time", "star"),
        [
            ("x", "f", "px", "measured position, column; the first pixel's centre is 0"),
            ("y", "f", "px", "measured position, row"),
            ("sky", "f", "e-/px", "sky in the annulus"),
            ("sky_rms", "f", "e-/px", "standard deviation of one pixel in the annulus"),
            ("sky_pixels", "i", "", "annulus pixels used for the sky"),
            ("peak", "f", "ADU", "highest raw pixel within the flagging radius"),
            ("flags", "u", "", "bits of dphot.flags.StarFlag"),
        ],
    ),
    *_table(
        ("time", "aperture"),
        [
            ("aperture_radius", "f", "px", "radius of the aperture"),
            ("aperture_area", "f", "px2", "area of the aperture"),
        ],
    ),
    *_table(
        ("time", "coefficient"),
        [
            ("transform", "f", "", "reference to frame: x' = t0 x + t1 y + t2, y' = t3 x + t4 y + t5"),
        ],
    ),
    *_table(
        ("time",),
        [
            ("annulus_inner", "f", "px", "inner radius of the sky annulus"),
            ("annulus_outer", "f", "px", "outer radius of the sky annulus"),
            ("annulus_area", "f", "px2", "area of the sky annulus"),
            ("jd_utc", "f", "d", "mid-exposure, Julian date in UTC"),
            ("bjd_tdb", "f", "d", "mid-exposure, barycentric Julian date in TDB"),
            ("exposure", "f", "s", "exposure time"),
            ("airmass", "f", "", "airmass at mid-exposure"),
            ("scintillation", "f", "", "relative scintillation noise (Osborn et al. 2015)"),
            ("fwhm", "f", "px", "mean full width at half maximum of the frame's PSF"),
            ("fwhm_x", "f", "px", "full width along the first PSF axis"),
            ("fwhm_y", "f", "px", "full width along the second PSF axis"),
            ("theta", "f", "rad", "angle from x to the first PSF axis, counter-clockwise"),
            ("dx", "f", "px", "displacement of the reference's centre, column"),
            ("dy", "f", "px", "displacement of the reference's centre, row"),
            ("rotation", "f", "deg", "rotation from the reference, counter-clockwise"),
            ("scale", "f", "", "scale from the reference"),
            (
                "flip",
                "i",
                "",
                "1 where the frame is turned by more than 90 deg from the reference (meridian flip)",
            ),
            ("mirror", "i", "", "1 where the frame is mirrored against the reference"),
            ("n_matched", "i", "", "stars matched to the reference"),
            (
                "match_rms",
                "f",
                "px",
                "root-mean-square residual of the matched stars, weighted by their errors",
            ),
            ("share", "f", "", "light of the matched stars as a share of that on the reference, median"),
            ("sky_frame", "f", "e-/px", "median sky of the frame"),
            ("frame_flags", "u", "", "bits of dphot.flags.FrameFlag"),
            ("path", "O", "", "raw file"),
            (
                "digest",
                "O",
                "",
                "SHA-256 of the raw file's content; empty where it has none or cannot be read",
            ),
            (
                "pixels",
                "O",
                "",
                "BLAKE2b of a sample of the raw pixels, whatever file holds them; empty where not read",
            ),
            ("file_size", "i", "B", "size of the raw file"),
            ("file_time", "i", "ns", "last change of the raw file, since 1970 (UTC)"),
            ("night", "O", "", "local observing night, noon to noon"),
            ("note", "O", "", "what was wrong or unusual with the frame"),
        ],
    ),
    *_table(
        ("star",),
        [
            ("star_x", "f", "px", "position on the reference, column"),
            ("star_y", "f", "px", "position on the reference, row"),
            ("star_flux", "f", "e-", "flux on the reference, as detected"),
            ("star_ra", "f", "deg", "right ascension (ICRS), where the reference has a WCS"),
            ("star_dec", "f", "deg", "declination (ICRS), where the reference has a WCS"),
        ],
    ),
]

_DIFFERENTIAL = [
    *_table(
        ("time", "aperture", "star"),
        [
            ("diff_flux", "f", "", "flux over the artificial star, normalised to a median of 1"),
            (
                "diff_err",
                "f",
                "",
                "its standard deviation: noise model, scintillation, and the ensemble's own",
            ),
        ],
    ),
    *_table(
        ("time", "aperture"),
        [
            ("artificial", "f", "", "artificial star of the target, normalised to a mean of 1"),
            ("night_level", "f", "", "median of the target's differential flux in the night"),
        ],
    ),
    *_table(
        ("aperture", "star"),
        [
            ("weight", "f", "", "weight in the artificial star of the target, sum 1"),
        ],
    ),
    *_table(
        ("aperture",),
        [
            ("scatter", "f", "", "point-to-point scatter of the target's light curve"),
        ],
    ),
]

#: Name to declaration, for the photometry and the differential datasets.
PHOTOMETRY: dict[str, Variable] = {v.name: v for v in _PHOTOMETRY}
DIFFERENTIAL: dict[str, Variable] = {v.name: v for v in _DIFFERENTIAL}


def validate(ds: xr.Dataset, registry: dict[str, Variable], required: tuple[str, ...] = ()) -> None:
    """Check dimensions and kinds of the variables of a dataset that the registry knows.

    Parameters
    ----------
    ds : xarray.Dataset
        The dataset; nothing is computed.
    registry : dict
        `PHOTOMETRY` or `DIFFERENTIAL`.
    required : tuple of str
        Names that must be there.

    Raises
    ------
    ValidationError
        With every missing or unfit variable at once.
    """
    problems = [(name, "missing") for name in required if name not in ds.variables]
    for name, declared in registry.items():
        if name not in ds.variables:
            continue
        found = ds[name]
        if found.dims != declared.dims:
            problems.append((name, f"dimensions {found.dims}, expected {declared.dims}"))
        kinds = {"O": "OUST", "i": "iub", "u": "iub", "f": "f"}.get(declared.kind, declared.kind)
        if found.dtype.kind not in kinds:
            problems.append((name, f"dtype {found.dtype}, expected kind {declared.kind!r}"))
    if problems:
        raise ValidationError("dataset does not fit the data model", problems)


def annotate(ds: xr.Dataset, registry: dict[str, Variable], flux_unit: str = "e-") -> xr.Dataset:
    """The same dataset with the registry's units and meanings as attributes.

    Parameters
    ----------
    ds : xarray.Dataset
        The dataset.
    registry : dict
        `PHOTOMETRY` or `DIFFERENTIAL`.
    flux_unit : str
        ``"e-"``, or ``"ADU"`` where the gain is unknown.

    Returns
    -------
    xarray.Dataset
        A shallow copy; arrays are shared.
    """
    out = ds.copy()
    for name, declared in registry.items():
        if name in out.variables:
            unit = declared.unit.replace("e-", flux_unit)
            out[name].attrs.update(units=unit, long_name=declared.meaning)
    return out


def markdown() -> str:
    """The registry as a Markdown table, for the documentation."""
    lines = ["| variable | dims | unit | meaning |", "|---|---|---|---|"]
    for v in [*_PHOTOMETRY, *_DIFFERENTIAL]:
        lines.append(f"| `{v.name}` | {', '.join(v.dims)} | {v.unit} | {v.meaning} |")
    return "\n".join(lines)
