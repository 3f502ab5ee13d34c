"""The transit of HAT-P-32 b seen by a 15 cm telescope: 142 real frames, without any calibration frame.

The frames are those of MicroObservatory that EXOTIC ships as its sample data (2017-12-20). Usage::

    python examples/hatp32.py [FOLDER] [--json]

FOLDER is where the frames are; by default ``$DPHOT_DATA/hatp32``. The transit is fitted with batman
(``pip install 'dphot[test]'``): circular orbit, a/Rs 6.05 and i 88.98 deg fixed; free are the time of mid-transit, the
radius ratio, the level, and a slope with airmass.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import batman
import numpy as np
import xarray as xr
from scipy.optimize import least_squares

import dphot
from dphot.progress import Progress

PERIOD = 2.1500082  # d
A_RS = 6.05
INCLINATION = 88.98  # deg
LIMB_DARKENING = (0.40, 0.27)  # quadratic, a star of 6200 K without a filter
PREDICTED = 2458107.7113  # BJD_TDB
COORDINATES = "02:04:10.28,+46:41:16.2"
TARGET = (423.2, 286.0)  # on the first frame, 0-based x, y
COMPARISONS = [(464.1, 181.8), (512.9, 261.5)]


def transit(t: np.ndarray, t_mid: float, rp: float) -> np.ndarray:
    """Relative flux of the transit."""
    p = batman.TransitParams()
    p.t0, p.per, p.rp, p.a, p.inc, p.ecc, p.w = t_mid, PERIOD, rp, A_RS, INCLINATION, 0.0, 90.0
    p.u, p.limb_dark = list(LIMB_DARKENING), "quadratic"
    return batman.TransitModel(p, t, supersample_factor=3, exp_time=60.0 / 86400).light_curve(p)


def fit(t: np.ndarray, flux: np.ndarray, airmass: np.ndarray) -> dict[str, float]:
    """Least-squares transit fit; errors from the residual scatter.

    Parameters
    ----------
    t, flux, airmass : ndarray (time,)
        BJD_TDB, differential flux, airmass; finite.

    Returns
    -------
    dict
        `t_mid`, `t_mid_err` (d), `rp_rs`, `rp_rs_err`, `residual_mmag` (rms of all frames).
    """
    z = airmass - airmass.mean()

    def model(p: np.ndarray) -> np.ndarray:
        return transit(t, PREDICTED + p[0], p[1]) * p[2] * np.exp(p[3] * z)

    found = least_squares(lambda p: (model(p) - flux) / 0.005, [0.0, 0.15, np.median(flux) * 1.01, 0.0], loss="soft_l1",
                          f_scale=3.0, x_scale=[0.005, 0.01, 0.01, 0.01])  # fmt: skip
    residual = flux - model(found.x)
    scatter = float(np.std(residual))
    covariance = np.linalg.inv(found.jac.T @ found.jac) * (scatter / 0.005) ** 2
    return {
        "t_mid": PREDICTED + found.x[0], "t_mid_err": float(np.sqrt(covariance[0, 0])),
        "rp_rs": float(found.x[1]), "rp_rs_err": float(np.sqrt(covariance[1, 1])),
        "residual_mmag": 1085.7 * scatter / float(np.median(flux)),
    }  # fmt: skip


def stars_by_first_frame(obs: xr.Dataset, places: list[tuple[float, float]]) -> list[int]:
    """Indices of the stars at positions of the first frame."""
    x, y = obs.x.values[0], obs.y.values[0]
    return [int(np.nanargmin(np.hypot(x - px, y - py))) for px, py in places]


def main() -> None:
    data = Path(os.environ.get("DPHOT_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", default=data / "hatp32")
    parser.add_argument("--store", default=None, help="keep the store here [a temporary folder]")
    parser.add_argument("--report", default=None, metavar="FILE.html", help="write the report")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = dphot.reduce(
            options.folder, options.store or Path(scratch) / "hatp32.dphot", workers=options.workers,
            telescope="MicroObservatory", coordinates=COORDINATES, progress=Progress(not options.json),
        )  # fmt: skip
        obs = next(iter(store.photometry.values())).load()
        target, *comparisons = stars_by_first_frame(obs, [TARGET, *COMPARISONS])
        lc = dphot.differential(obs, target=target)
        if options.report:
            dphot.report(store, options.report, target=target)
    flux = lc.diff_flux.values[:, lc.attrs["aperture"], target]
    good = np.isfinite(flux)
    pair = dphot.differential(obs, target=target, comparisons=comparisons)
    flux2 = pair.diff_flux.values[:, pair.attrs["aperture"], target]
    two = fit(lc.bjd_tdb.values[good], flux2[good], lc.airmass.values[good])
    result = {
        "aligned": int(np.isfinite(obs.match_rms.values).sum()),
        **fit(lc.bjd_tdb.values[good], flux[good], lc.airmass.values[good]),
        "bjd_first": float(lc.bjd_tdb.values[0]),
        "bjd_last": float(lc.bjd_tdb.values[-1]),
        "match_rms_px": float(np.median(obs.match_rms.values)),
        "match_rms_px_max": float(np.max(obs.match_rms.values)),
        "aperture_px": float(lc.aperture_radius.values[0, lc.attrs["aperture"]]),
        "residual_mmag_two_comparisons": two["residual_mmag"],
    }
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{k:18s} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
