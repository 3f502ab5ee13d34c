"""Small nights, one after the other, for stores that grow by a night."""

import os

SMALL = {"size": 128, "seed": 3, "stars": 25, "bias": 2, "darks": 2, "flats": 2, "clouds": 0}
DAYS = ("2026-03-14", "2026-03-15", "2026-03-16")


def lights(folder):
    return sorted(folder.glob("light*"))


def calibrations(folder):
    return sorted(p for p in folder.glob("*.fits") if not p.name.startswith("light"))


def stop(image, record):
    """A step of the user's that ends the run at one frame."""
    if record["path"].endswith("0004.fits") and os.environ.get("DPHOT_TEST_STOP"):
        raise KeyboardInterrupt
    return image
