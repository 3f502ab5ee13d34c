"""Write the small store of a data format, which later versions must open: run once, when a format is released.

    python tests/data/make_store.py

makes `tests/data/format-N.zip`, N being `dphot.schema.FORMAT_VERSION`, and `format-N.json` with what it must be read as.
Both are committed, and once the format is released never made again. For the next: raise `FORMAT_VERSION`, teach `dphot.store.opening` what to do with version
N - 1, run this script, and `tests/store/test_formats_kept.py` opens all that are there.
"""

import json
import tempfile
import zipfile
from pathlib import Path

import dphot
from dphot import simulate
from dphot.schema import FORMAT_VERSION

HERE = Path(__file__).parent


def main() -> None:
    catalogue = tuple(
        (11.0 + 14 * (i % 4) + i % 3, 12.0 + 19 * (i // 4) - i % 2, 20000.0 * 0.8**i) for i in range(12)
    )
    spec = simulate.simulation(
        frames=4, size=64, catalogue=catalogue, bias=1, darks=0, flats=1, seed=5, cosmics=0.0
    )
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec))
    with tempfile.TemporaryDirectory() as folder:
        store = dphot.reduce(
            table, Path(folder) / "field.dphot", workers=0, apertures=(0.8, 1.5), annulus=(3, 4.5)
        )
        store.tag("released")
        (name,) = store.photometry
        obs = store.photometry[name].load()
        expected = {
            "filter": name,
            "sizes": {k: int(v) for k, v in obs.sizes.items()},
            "time": [str(t) for t in obs.time.values],
            "digest": [str(d) for d in obs.digest.values],
            "flux": obs.flux.values[:, 0, :3].tolist(),
            "raw": int(store.frames[name][store.nights[0]["night"]].raw.astype("i8").sum()),
            "night": store.nights[0]["night"],
            "frames_used": store.nights[0]["series"][0]["frames_used"],
            "stars": int(store.reference.sizes["star"]),
            "commit": store.history()[0].id,
            "curve": dphot.light_curve(store, target=1, aperture=0).diff_flux.values[:, 0, 1].tolist(),
        }
        target = HERE / f"format-{FORMAT_VERSION}"
        with zipfile.ZipFile(target.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(p for p in Path(store.path).rglob("*") if p.is_file()):
                archive.write(file, file.relative_to(store.path))
        target.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
