"""Small nights, one after the other, for stores that grow by a night."""

SMALL = {"size": 128, "seed": 3, "stars": 25, "bias": 2, "darks": 2, "flats": 2, "clouds": 0}
DAYS = ("2026-03-14", "2026-03-15", "2026-03-16")


def lights(folder):
    return sorted(folder.glob("light*"))


def calibrations(folder):
    return sorted(p for p in folder.glob("*.fits") if not p.name.startswith("light"))
