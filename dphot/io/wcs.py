"""The celestial coordinate system of a header, whatever it was written with."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from .cards import number


def wcs_of(header: Mapping[str, Any]) -> Any:
    """The celestial coordinate system of a header.

    Parameters
    ----------
    header : mapping
        Keywords and values. Numbers written as text count (astropy alone ignores them); a TAN with PV
        terms is the TPV that SCAMP meant.

    Returns
    -------
    astropy.wcs.WCS or None
        Two celestial axes; None where the header has none. It is that of the whole frame: subtract the trim's
        corner from pixel positions of a calibrated frame's pixel system, or slice it.
    """
    pattern = re.compile(
        r"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)[12]|(CD|PC|PV)[12]_\d+|(A|B|AP|BP)_(\d_\d|ORDER)|EQUINOX"
        r"|RADESYS|RADECSYS|LONPOLE|LATPOLE"
    )
    values: dict[str, Any] = {}
    for key in header:
        if pattern.fullmatch(key):
            value = header[key]
            if key.startswith(("CTYPE", "CUNIT", "RAD")):
                values[key] = str(value).strip()
            elif math.isfinite(number(value)):
                values[key] = number(value)
    types = [str(values.get(f"CTYPE{i}", "")) for i in (1, 2)]
    if not any(t.startswith(("RA", "GLON", "ELON")) for t in types) or "CRVAL1" not in values:
        return None
    if any(k.startswith("PV1_") or k.startswith("PV2_") for k in values):
        for i, name in enumerate(types, 1):
            values[f"CTYPE{i}"] = name.replace("TAN-SIP", "TPV").replace("-TAN", "-TPV")
    if "RADECSYS" in values:
        values.setdefault("RADESYS", values.pop("RADECSYS"))
    for key in ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"):
        if key in values:
            values[key] = int(values[key])
    return _build_wcs(values, header)


def _build_wcs(values: dict[str, Any], header: Mapping[str, Any]) -> Any:
    from astropy.io import fits
    from astropy.wcs import WCS

    cards = fits.Header(list(values.items()))
    cards["NAXIS"] = 2
    for i in (1, 2):
        cards[f"NAXIS{i}"] = int(number(header.get(f"NAXIS{i}", 0)) or 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = WCS(cards).celestial
        except Exception:  # wcslib's own errors: an unfit WCS is none
            return None
    return found if found.naxis == 2 and found.has_celestial else None
